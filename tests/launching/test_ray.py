from __future__ import annotations

import os
import sys
import time

import pytest

from joulewise.launching.port import Order, Refused, Resources, State, Unreachable
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


PROGRAM = """
import os, sys, time
import ray
ray.init(address="auto", log_to_driver=False, configure_logging=False)
@ray.remote(num_cpus=1)
class Counter:
    def __init__(self, file):
        self.file = file
    def count(self):
        for i in range(3000):
            with open(self.file, "a") as file:
                print(i, os.environ["JOULEWISE_RAY_JOB"], flush=True, file=file)
            time.sleep(0.05)
counter = Counter.remote(sys.argv[1])
print("began", flush=True)
ray.get(counter.count.remote())
"""


def lines(file):
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_workers_of_a_job(rig):
    """Suspending a program that uses Ray itself stops its Ray workers, too, and Ray does not mind; then they go on."""
    file = rig.folder / "counted"
    handle = rig.run((sys.executable, "-c", PROGRAM, str(file)))
    rig._await(lambda: lines(file), lambda count: count > 5, "to count in a worker")

    rig.engine.suspend(handle)
    rig.await_state(handle, State.SUSPENDED)
    time.sleep(0.3)
    before = lines(file)
    time.sleep(5.0)
    assert lines(file) == before
    rig.engine.resume(handle)
    rig._await(lambda: lines(file), lambda count: count > before + 5, "to go on")
    rig.await_state(handle, State.RUNNING)
    rig.engine.cancel(handle)
    rig.await_state(handle, State.CANCELLED)


def test_no_second_copy(rig, cluster, tmp_path):
    """Two hosts that share nothing but the cluster start one copy under one key."""
    order = Order("shared-1", ("sh", "-c", "echo one copy; sleep 30"), str(rig.folder))
    elsewhere = Ray(tmp_path / "elsewhere", cluster)

    first = rig.engine.start(order)
    rig.keys[first] = order.key
    assert elsewhere.find("shared-1") == first
    assert elsewhere.start(order) == first

    rig.await_log(first, "one copy")
    assert rig.whole_log(first).count("one copy") == 1
    assert elsewhere.status(first).state is State.RUNNING


def test_several_nodes(rig):
    """A job of several nodes is refused with the line to read: its program asks Ray itself."""
    with pytest.raises(Refused, match="asks Ray for them itself"):
        rig.engine.start(Order("wide-1", ("true",), "/", resources=Resources(nodes=2)))


def test_nodes(rig):
    """Each node says what it has, and what no node holds is refused when the cluster is asked, before anything is submitted."""
    nodes = rig.engine.nodes()
    most = max(has.cpus for has in nodes.values())

    assert len(nodes) == 2
    assert rig.engine.room().cpus == sum(has.cpus for has in nodes.values())
    with pytest.raises(Refused, match="no node of the Ray cluster has"):
        rig.engine.check(Order("big-1", ("true",), "/", resources=Resources(cpus=most + 1)))
    rig.engine.check(Order("fits-1", ("true",), "/", resources=Resources(cpus=most)))


def test_no_head(tmp_path):
    """A cluster that does not answer is said to be away, and an address that is none is refused."""
    with pytest.raises(Unreachable, match="does not answer"):
        Ray(tmp_path, "http://127.0.0.1:9").find("a-1")
    with pytest.raises(Refused, match="http://HEAD:8265"):
        Ray(tmp_path, "ray://head:10001")
