from __future__ import annotations

import os

import pytest

from joulewise.launching.slurm import Slurm
from joulewise.testing.engine_contract import EngineContract, EngineRig
from joulewise.testing.slurm import private_slurm, slurm_missing

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def cluster():
    if why := slurm_missing():
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    with private_slurm(2) as started:
        yield started


@pytest.fixture
def rig(cluster, tmp_path):
    def engine():
        return Slurm(tmp_path / "jobs", environment=cluster.environment)

    folder = tmp_path / "work"
    folder.mkdir()
    made = EngineRig(engine(), engine, folder)
    yield made
    made.clean()


class TestSlurm(EngineContract):
    pass
