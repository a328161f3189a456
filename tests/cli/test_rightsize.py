"""`joulewise rightsize`: the size to ask for, from probes and runs."""

from __future__ import annotations

import json


def test_the_size_of_least_joules_is_advised(joulewise):
    """From two probes the table shows every size, measured or by the fit, and what the present size wastes."""
    done = joulewise(
        "rightsize", "--probe", "1=16130", "--probe", "2=26085", "--now", "8", "--efficiency", "0.5",
        "--fixed-power", "100", "--worker-power", "52",
    )  # fmt: skip

    assert done.returncode == 0
    assert "<- ask for this" in done.stdout
    assert "measured" in done.stdout
    assert "by the fit" in done.stdout
    assert "would be spared" in done.stdout


def test_a_deadline_is_met(joulewise):
    """With work and a time the size that is in time is advised."""
    done = joulewise(
        "rightsize", "--probe", "1=100", "--probe", "2=195", "--work", "1e6", "--within", "1h", "--json"
    )  # fmt: skip
    fields = json.loads(done.stdout)

    assert fields["schema_version"] == 1
    assert fields["advice"]["units_per_s"] >= 1e6 / 3600
    assert fields["limits"] is None


def test_wrong_use_is_one_line(joulewise, recorded):
    """No measurement, an unreadable probe, and a deadline without work end with 2 and one line."""
    recorded("silent")
    for arguments, said in (
        ((), "give --probe 1=142"),
        (("silent",), "give --probe 1=142"),
        (("--probe", "x"), "cannot read --probe"),
        (("--probe", "1=1", "--offer", "a"), "cannot read --offer"),
        (("--probe", "1=1", "--within", "1h"), "--work UNITS"),
    ):
        done = joulewise("rightsize", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
