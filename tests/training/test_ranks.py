"""Ranks: what is decided once, and by all alike."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulewise.training import ranks


def test_alone():
    """Outside a process group all of it is what one process does."""
    assert ranks.world() == (0, 1)
    assert ranks.once(lambda: 3) == 3
    assert ranks.mean(0.25) == 0.25
    assert (ranks.every(True), ranks.every(False)) == (True, False)
    alone = ranks.scaling(lambda: None, lambda: pytest.fail("there is nobody to work with"))
    assert (alone.ranks, alone.efficiency) == (1, 1.0)


def test_scaling_says_itself():
    """Efficiency is the time of a step alone over its time together, in a line and as values for `run.log`."""
    found = ranks.Scaling(4, 0.010, 0.0125)

    assert found.efficiency == pytest.approx(0.8)
    assert str(found) == "4 ranks at 80% efficiency: 12.5 ms a step, 10 ms alone"
    assert found.values == {
        "ranks": 4,
        "scaling_efficiency": 0.8,
        "step_alone_s": 0.010,
        "step_together_s": 0.0125,
    }


@pytest.mark.slow
def test_two_ranks_agree(tmp_path):
    """Under torchrun two ranks get one recipe, halves of each batch, one fate for every step, and end with one model."""
    pytest.importorskip("torch")
    program = Path(__file__).with_name("ranks_program.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            program,
            tmp_path,
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))

    assert one == other
    assert (one["size"], one["share"]) == (2, 32)
    assert one["steps"] < one["epochs"] * 23  # the step that was spoilt on one rank was taken on neither
    assert one["curve"][-1] > 0.8
    assert "lands_at=None" not in one["landing"]
    assert 0 < one["scaling"]["scaling_efficiency"] < 1.5
    assert "a budget of -1 J is given" in one["refused"]
