"""`joulewise run --with`: what it says it changed, and the gate between runs with and without remedies."""

from __future__ import annotations

import json
import sys

from tests.cli.conftest import Joulewise

WORK = "import os\nfor _ in range(3): sum(i * i for i in range(2_000_000))\nprint(os.environ.get('OMP_NUM_THREADS'))"


def test_gate(joulewise: Joulewise, home, monkeypatch):
    """Without an earlier run there is nothing to compare with; then the saving is told, kept, and its quality is open."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (home / "work.py").write_text(WORK)
    command = ("--", sys.executable, "work.py")
    first = joulewise("run", "--with", "threads=1", *command)
    assert (first.returncode, first.stdout) == (0, "1\n")
    assert "  changed  threads: OMP_NUM_THREADS=1 (was not set), MKL and OpenBLAS alike\n" in first.stderr
    assert "  gate     no finished run of this command was recorded without remedies" in first.stderr

    assert joulewise("run", "--quiet", *command).stdout == "None\n"
    second = joulewise("run", "--with", "threads=1,batch=x2", *command)
    assert "  left     batch: no shuffling DataLoader was made" in second.stderr
    assert " less energy than " in second.stderr
    assert "the quality is not known" in second.stderr
    kept = json.loads(joulewise("runs", "--savings", "--json").stdout)
    assert len(kept["savings"]) == 1
    assert kept["savings"][0]["equal_quality"] is None


def test_nothing_changed(joulewise: Joulewise):
    """Where no remedy found its place, nothing is compared."""
    done = joulewise("run", "--with", "early-stop,validate", "--", sys.executable, "-c", "pass")

    assert done.returncode == 0
    assert "  left     early-stop: no framework came by that offers a stop" in done.stderr
    assert "  gate     nothing was changed" in done.stderr


def test_wrong_use(joulewise: Joulewise):
    """A remedy that is not known, or has no recording to say in what it did, stops before the program starts."""
    for arguments, words in (
        (("--with", "speed=2"), "unknown knob 'speed'"),
        (("--with", "threads=none"), "threads is 'none', but must be a number"),
        (("--with", "cache", "--no-phases"), "--no-phases"),
    ):
        done = joulewise("run", *arguments, "--", sys.executable, "-c", "print('never')")
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
