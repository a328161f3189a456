from __future__ import annotations

import pytest

from joulewise.launching.local_jobs import LocalJobs
from joulewise.testing.engine_contract import EngineContract, EngineRig


@pytest.fixture
def rig(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    made = EngineRig(LocalJobs(tmp_path / "jobs"), lambda: LocalJobs(tmp_path / "jobs"), folder)
    yield made
    made.clean()


class TestLocalJobs(EngineContract):
    pass
