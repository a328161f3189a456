"""Run Python code under `joulewise run` and read what its recording says, for the tests of the agent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from joulewise.ledger.files import read_recording
from joulewise.vocabulary.observed import ProcessView, observe
from joulewise.vocabulary.recording import Recording


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended, what it wrote, and its recording."""

    code: int
    out: str
    err: str
    recording: Recording
    folder: Path

    @property
    def views(self) -> tuple[ProcessView, ...]:
        return observe(self.recording)

    @property
    def view(self) -> ProcessView:
        """The one process that was seen."""
        assert len(self.views) == 1, [v.command for v in self.views]
        return self.views[0]


def run(
    code: str,
    folder: Path,
    *,
    options: Sequence[str] = (),
    python: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Ran:
    """Write the code into a script in `folder` and run it under joulewise."""
    script = folder / "program.py"
    script.write_text(code)
    home = folder / "home"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "joulewise",
            "run",
            "--quiet",
            *options,
            "--",
            sys.executable,
            *python,
            str(script),
        ],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {}), "JOULEWISE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    kept = max(home.glob("runs/*/*"))  # the newest: their names begin with the time
    return Ran(done.returncode, done.stdout, done.stderr, read_recording(kept), kept)


def alone(
    code: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the same script without joulewise."""
    script = folder / "program.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
