"""`joulewise show`, and the JSON that it prints."""

from __future__ import annotations

import json


def test_shows_how_each_figure_is_known(joulewise, recorded):
    """Card, devices with their source, and every factor with basis and source are shown."""
    recorded("first", "sum(range(20_000_000))", "--param", "dataset_size=60000", "--zone", "DE")
    done = joulewise("show", "first")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("first · finished in ")
    for word in ("device", "this work", "uplift", "pue", "intensity", "OWID/Ember", "dataset_size", "60000"):
        assert word in done.stdout


def test_json(joulewise, recorded):
    """JSON holds the schema's version, every figure with interval and basis, and null for what is unknown."""
    recorded("first")
    fields = json.loads(joulewise("show", "latest", "--json").stdout)

    assert fields["schema_version"] == 1
    assert (fields["name"], fields["state"], fields["exit_code"]) == ("first", "finished", 0)
    total = fields["footprint"]["total_j"]
    assert 0 < total["low"] <= total["value"] <= total["high"]
    assert total["basis"] in ("measured", "modelled", "assumed")
    assert fields["footprint"]["cost"] is None
    assert "tariff" in fields["footprint"]["unknown"]["cost"]


def test_zone_of_another_place(joulewise, recorded):
    """`--zone` counts the same joules with another zone's intensity; joules stay."""
    recorded("first", "sum(range(20_000_000))", "--zone", "DE")
    here, there = (
        json.loads(joulewise("show", "--json", *z).stdout)["footprint"] for z in ((), ("--zone", "NO"))
    )

    assert here["total_j"] == there["total_j"]
    assert there["carbon_g"]["value"] < here["carbon_g"]["value"]


def test_unknown_names(joulewise, recorded):
    """An unknown recording and an unknown zone are one line each, with the nearest, and exit code 2."""
    recorded("digits")
    for arguments, words in (
        (("digitz",), "did you mean digits?"),
        (("--zone", "Germny"), "did you mean Germany"),
    ):
        done = joulewise("show", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_no_recording_yet(joulewise):
    """Before the first recording it is said how to make one."""
    done = joulewise("show")

    assert done.returncode == 2
    assert "there is no recording yet; make one: joulewise run -- COMMAND" in done.stderr


def test_foreign_and_future_folders(joulewise, home):
    """A folder that is no recording, and one of a future format, are one line each."""
    (home / "foreign").mkdir()
    (home / "foreign" / "notes.txt").write_text("hello")
    (home / "future").mkdir()
    (home / "future" / "run-x-1.jsonl").write_text('{"k":"head","format":99,"run":"x"}\n')
    for name in ("./foreign", "./future"):
        done = joulewise("show", name)
        assert done.returncode == 2, done
        assert len(done.stderr.splitlines()) == 1
