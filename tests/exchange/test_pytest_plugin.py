"""The pytest plugin, in pytest itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import pytest

@pytest.mark.energy(max_joules=1e9)
def test_small():
    sum(range(1000))

@pytest.mark.energy(max_joules=1e-6)
def test_large():
    sum(range(60_000_000))

@pytest.mark.energy(max_cpu_seconds=0.05)
def test_seconds():
    sum(range(60_000_000))

@pytest.mark.energy(max_joules=5)
def test_fails_by_itself():
    assert 1 == 2

def test_unmarked():
    pass
"""


@pytest.fixture
def suite(tmp_path):
    def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(program)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
            *options,
        ]
        return subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=120)

    return run


def test_limits_hold(suite):
    """A test that surely used more fails in one line; one within its limit passes; a failing test fails as before."""
    done = suite(PROGRAM, "--energy", "--strict-markers")

    assert done.returncode == 1
    assert "3 failed, 2 passed" in done.stdout
    assert "it surely used more than 1e-06 J: " in done.stdout
    assert "of CPU time, more than 0.05 s" in done.stdout
    assert "assert 1 == 2" in done.stdout
    assert "test_it.py::test_small" in done.stdout.split("= energy =")[1]


def test_kept_only_when_asked(suite, home):
    """Without --energy-keep nothing is written; with it each marked test is a recording."""
    suite(PROGRAM)
    assert not list((home / "runs").glob("*/*"))
    suite(PROGRAM, "--energy-keep", "-k", "small")
    assert len(list((home / "runs").glob("*/*-test_small-*"))) == 1


@pytest.mark.parametrize(
    ("mark", "said"),
    [("max_jouls=3", "max_jouls"), ("max_joules=-3", "must be above 0")],
)
def test_wrong_use(suite, mark, said):
    """A limit that is none is a usage error that names it."""
    done = suite(f"import pytest\n@pytest.mark.energy({mark})\ndef test_x(): pass\n")
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
