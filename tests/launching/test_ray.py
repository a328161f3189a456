from __future__ import annotations

import os

import pytest

from joulewise.launching.ray import Ray
from joulewise.testing.engine_contract import EngineContract, EngineRig
from joulewise.testing.ray import private_ray, ray_missing

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def cluster():
    if why := ray_missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}; in CI that is a failure", pytrace=False)
        pytest.skip(why)
    if address := os.environ.get("JOULEWISE_TEST_RAY"):
        yield address
        return
    with private_ray(2) as address:
        yield address


@pytest.fixture
def rig(cluster, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    made = EngineRig(
        Ray(tmp_path / "jobs", cluster), lambda: Ray(tmp_path / "jobs", cluster), folder, patience_s=90.0
    )
    yield made
    made.clean()


class TestRay(EngineContract):
    pass
