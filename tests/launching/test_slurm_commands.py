from __future__ import annotations

import os

import pytest

from joulewise.launching.port import Refused
from joulewise.launching.slurm import Slurm
from joulewise.launching.slurm_commands import SlurmCommands

FREE = "SlurmUser               = slurm(64030)\nTaskPlugin              = task/none\n"
BOUND = "SlurmUser               = slurm(64030)\nTaskPlugin              = task/cgroup,task/affinity\n"
CONFINED = f"{FREE}\nCgroup Support Configuration:\nConstrainCores          = yes\nConstrainDevices        = (null)\n"


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Return commands of a cluster whose scontrol and sacctmgr print what the test says, for a user who is not root."""
    monkeypatch.setattr(os, "geteuid", lambda: 33)

    def made(config: str, level: str = "") -> SlurmCommands:
        answers = {
            "scontrol": f"cat <<'E'\n{config}E\n",
            "sacctmgr": f"echo {level}\n" if level else "exit 1\n",
        }
        for name, text in answers.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
            (tmp_path / name).chmod(0o755)
        return SlurmCommands({"PATH": f"{tmp_path}:{os.environ['PATH']}"})

    return made


@pytest.mark.parametrize(("config", "binds"), [(FREE, False), (BOUND, True), (CONFINED, True)])
def test_binds_cores(told, config, binds):
    """Whether jobs are bound to cores is what the cluster's configuration says."""
    assert told(config).binds_cores() is binds


@pytest.mark.parametrize(
    ("config", "level", "may"),
    [
        (FREE, "", False),  # no accounting
        (FREE, "None", False),
        (FREE, "Operator", True),
        (FREE, "Administrator", True),
        (FREE.replace("64030", "33"), "", True),
    ],
)
def test_may_suspend(told, config, level, may):
    """Slurm's own user and operators may suspend, and nobody is asked for what would be refused."""
    assert told(config, level).may_suspend() is may


def test_keeps(told, tmp_path):
    """A job keeps its allocation where it is stopped and not suspended; where nobody answers nothing is known."""
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for config, level, keeps in ((BOUND, "Operator", True), (FREE, "Operator", False), (FREE, "", True)):
        told(config, level)
        assert Slurm(tmp_path / "jobs", environment=path).keeps is keeps
    away = {"PATH": str(tmp_path / "none")}
    assert not Slurm(tmp_path / "jobs", environment=away).keeps
    with pytest.raises(Refused, match="not installed here"):
        SlurmCommands(away).binds_cores()
