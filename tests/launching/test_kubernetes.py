from __future__ import annotations

import signal

import pytest

from joulewise.launching.port import Checkpointing, Order, Refused, Resources, State, Unreachable
from joulewise.testing.engine_contract import COUNTS, SAVES, EngineContract, EngineRig
from joulewise.testing.kubernetes import kubernetes_double

client = pytest.importorskip("kubernetes.client")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:kubernetes")


def engine_of(double, queue=""):
    from joulewise.launching.kubernetes import Kubernetes

    settings = client.Configuration()
    settings.host = double.url
    settings.retries = False
    return Kubernetes(client.ApiClient(settings), "python:3.11", queue=queue)


def a_rig(double, tmp_path, queue=""):
    folder = tmp_path / "work"
    folder.mkdir()
    return EngineRig(engine_of(double, queue), lambda: engine_of(double, queue), folder, keeps_logs=False)


@pytest.fixture(params=["", "team"], ids=["jobs", "kueue"])
def rig(request, tmp_path):
    with kubernetes_double(kueue=bool(request.param)) as double:
        yield a_rig(double, tmp_path, request.param)


@pytest.fixture
def double():
    with kubernetes_double() as started:
        yield started


@pytest.fixture
def plain(double, tmp_path):
    return a_rig(double, tmp_path)


class TestKubernetes(EngineContract):
    pass


def test_conflicts(plain, double):
    """Where somebody else changes the Job at the same time, it is read again and changed then."""
    handle = plain.start("print('ran')", held=True)
    double.conflicts = 3

    plain.engine.release(handle)

    plain.await_state(handle, State.FINISHED)
    assert double.conflicts == 0


def test_conflicts_without_end(plain, double):
    """A Job that is changed all the time is given up with one line, and stays as it was."""
    handle = plain.start("print('ran')", held=True)
    double.conflicts = 100

    with pytest.raises(Unreachable, match="changed by somebody else"):
        plain.engine.release(handle)

    double.conflicts = 0
    assert plain.engine.status(handle).state is State.HELD


def test_expired_list(plain, double):
    """A list of pods that expires between two pages (410) is read anew."""
    handle = plain.run(("sh", "-c", "echo two; exit 3"), resources=Resources(cpus=2, nodes=1))
    plain.await_state(handle, State.FINISHED)
    wide = plain.run(("sleep", "60"), resources=Resources(cpus=1, nodes=1))
    plain.await_state(wide, State.RUNNING)
    double.expired = 2

    assert len(plain.engine._pods(wide)) == 1
    assert plain.engine.status(handle).exit_code == 3


@pytest.mark.parametrize("code", [429, 500, 503])
def test_away(plain, double, code):
    """An API server that fails is said to be away; what was asked is asked again with the same key."""
    double.refuse(code, "etcdserver: leader changed")
    with pytest.raises(Unreachable, match="leader changed"):
        plain.engine.start(Order("a-1", ("true",), "/"))

    plain.await_state(plain.run(("true",)), State.FINISHED)


def test_forbidden(plain, double):
    """What the user may not do (403, a quota) is refused in the server's own words, and nothing is half-submitted."""
    plain.engine.find("a-1")  # may read
    order = Order("a-1", ("true",), "/")
    known = plain.engine._job
    plain.engine._job = lambda name: None
    plain.engine._refuse_impossible = lambda order: double.refuse(403, "exceeded quota: compute")
    with pytest.raises(Refused, match="exceeded quota: compute"):
        plain.engine.start(order)
    plain.engine._job = known
    assert plain.engine.find("a-1") is None


def test_may_not_see_nodes(plain, double):
    """A user who may not list nodes can still start jobs."""
    assert plain.engine.find("a-1") is None
    refuse = double.refuse
    known = plain.engine._job
    plain.engine._job = lambda name: (refuse(403, "nodes is forbidden"), None)[1]

    handle = plain.engine.start(Order("a-1", ("true",), "/"))

    plain.engine._job = known
    assert plain.await_state(handle, State.FINISHED).exit_code == 0


def test_gone(tmp_path):
    """A server that is not there is said to be away, in one line."""
    with kubernetes_double() as double:
        engine = engine_of(double)
    with pytest.raises(Unreachable) as away:
        engine.find("a-1")
    assert "\n" not in str(away.value)


def test_never_two_pods(plain):
    """Released while its old pod still saves, a Job starts its new pod only when the old one has ended."""
    slow = SAVES.replace("sys.exit(0)\nsignal", "time.sleep(1); print('gone'); sys.exit(0)\nsignal")
    handle = plain.start(slow, str(plain.folder / "saved"), checkpointing=Checkpointing(signal.SIGUSR1, 20.0))
    plain.await_log(handle, "began")

    plain.engine.requeue(handle)
    plain.engine.release(handle)

    seen = set()
    while plain.engine.status(handle).live:
        seen.add(len([p for p in plain.engine._pods(handle) if p.status.container_statuses[0].ready]))
    assert max(seen) == 1
    assert plain.engine.status(handle).exit_code == 0


def test_limit(plain):
    """A Job that runs longer than it may is ended by the cluster, and the reason says so."""
    handle = plain.start(COUNTS, resources=Resources(limit_s=1))

    assert "limit" in plain.await_state(handle, State.CANCELLED).reason


def test_manifest(plain, double):
    """What reaches the API server: no retries, no second pod, the order's needs, and nothing that the kubelet expands."""
    handle = plain.run(
        ("echo", "$(HOME)"), env={"A": "$(B)"}, held=True, tags={"zone": "DE"},
        resources=Resources(cpus=2, gpus=1, memory_bytes=1 << 30),
    )  # fmt: skip

    job = double._jobs[handle]
    pod = job["spec"]["template"]["spec"]
    assert (job["spec"]["backoffLimit"], job["spec"]["podReplacementPolicy"]) == (0, "Failed")
    assert pod["containers"][0]["resources"]["limits"] == {
        "cpu": "2",
        "memory": str(1 << 30),
        "nvidia.com/gpu": "1",
    }
    assert job["metadata"]["annotations"]["joulewise.dev/zone"] == "DE"
    plain.engine.release(handle)
    plain.await_state(handle, State.FINISHED)
    assert plain.whole_log(handle) == "$(HOME)\n"
