"""The tutorial works as it is written: its program is saved, its commands are run in order, and each tells what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
TOLD = {  # by the beginning of a command: what its answer holds wherever it is run
    "joulewise doctor": ("component", "cpu", "What it would take"),
    "joulewise run --name seeds ": ("finished in", "repeated experiments"),
    "joulewise diagnose": ("repeated experiments", "fitted 20 times"),
    "joulewise run --name seeds-once": ("finished in",),
    "joulewise settle": ("promised", "realised", "accuracy 0.9311 before, 0.9311 after", "verdict"),
    "joulewise run --name capped": ("the budget is spent",),
    "joulewise totals": ("energy", "CO2e"),
    "joulewise diagnose --month": ("over-training", "no waste found"),
}
LEFT = ("pip install", "joulewise web")  # installs, and a server that does not end


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a page in their order."""
    for block in re.findall(r"^```\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        yield from (
            line[2:].partition("  #")[0].strip() for line in block.splitlines() if line.startswith("$ ")
        )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(find_spec("sklearn") is None, reason="the tutorial's program needs scikit-learn")
def test_tutorial(tmp_path, monkeypatch):
    """Every command of the page is run, and what the page promises of each is in its answer."""
    text = PAGE.read_text(encoding="utf-8")
    program = next(
        b
        for b in re.findall(r"^```\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
        if "import joulewise" in b
    )
    (tmp_path / "train.py").write_text(program)
    (tmp_path / "train2.py").write_text(program.replace("range(20)", "range(1)"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = set()
    for command in commands(text):
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            monkeypatch.setenv(name, value)
            continue
        if command.startswith(LEFT):
            continue
        # what a run takes on this machine is not known: half a joule is always less
        line = command.replace("--budget 20J", "--budget 0.5J")
        ran = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
        told = ran.stdout + ran.stderr
        key = max((k for k in TOLD if command.startswith(k)), key=len)
        missing = [what for what in TOLD[key] if what not in told]
        assert not missing, f"{command}: {missing} not in\n{told}"
        assert (ran.returncode == 0) is ("capped" not in command), told
        done.add(key)
    assert done == set(TOLD)
