"""A few hundred of the hostile requests of `make bench-serve-hostile`, and a killed worker: no crash, no wrong answer, nothing lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")

BENCH = Path(__file__).parents[2] / "bench" / "serve_hostile.py"


@pytest.mark.slow
def test_hostile():
    """Whatever comes, good requests among it are answered rightly, memory is bounded, and a killed worker is replaced."""
    done = subprocess.run(
        [sys.executable, str(BENCH), "--count", "300", "--kills", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 faults\n")
