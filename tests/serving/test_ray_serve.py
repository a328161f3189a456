"""On Ray Serve the forecast decides from what replicas tell; replicas that come and go lose no request; two nodes answer."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from joulewise.serving.app import Limits, of_model
from joulewise.serving.onnx_model import OnnxModel
from joulewise.serving.places import listen
from joulewise.serving.ray_serve import Forecast
from joulewise.serving.scaling import per_s, watched
from tests.serving import models
from tests.serving.asking import ask, x


def test_watched():
    """Requests are counted by the second over replicas that come and go, and by the minute."""
    state: dict[str, object] = {}
    totals = {"a": 0.0}
    for k in range(125):
        totals = {"a": 10.0 * k} if k < 60 else {"a": 590.0, "b": 20.0 * (k - 60)}
        if k > 90:
            totals.pop("a")  # it has gone
        state, traffic = watched(state, 1000.0 + k, totals, 3.0)
    assert traffic.seconds[-1] == pytest.approx(20.0)
    assert len(traffic.seconds) == 60
    assert list(traffic.minutes) == [pytest.approx(590, abs=15), pytest.approx(1190, abs=30)]
    assert traffic.backlog == 3.0
    assert json.dumps(state)  # Ray keeps it


def test_pauses_are_spread():
    """What came over a pause is spread over its seconds, and nothing is lost or counted twice."""
    state, _ = watched({}, 0.0, {"a": 0.0}, 0.0)
    state, traffic = watched(state, 10.0, {"a": 100.0}, 0.0)
    assert sum(traffic.seconds) + state["came"] == pytest.approx(100.0)
    assert max(traffic.seconds) == pytest.approx(10.0)


def context(now_s, state, requests, rate, current):
    raw = {
        "requests": {"r": [SimpleNamespace(value=requests)]},
        "per_s": {"r": [SimpleNamespace(value=rate)]},
    }
    return SimpleNamespace(
        current_time=now_s,
        policy_state=state,
        raw_metrics=raw,
        total_queued_requests=0.0,
        target_num_replicas=current,
    )


def test_forecast():
    """The policy asks for more as requests rise, and for fewer once the hold is over; before anything is known it stays."""
    policy, replicas, total = Forecast(wake_s=1.0, least=1, most=9), 1, 0.0
    state: dict[str, object] = {}
    assert policy(context(0.0, {}, 0.0, 0.0, 1))[0] == 1
    told = []
    for k in range(120):
        total += 100 if 20 <= k < 60 else 10
        replicas, state = policy(context(float(k), state, total, 20.0, replicas))
        told.append(replicas)
    assert (told[15], told[58], told[119]) == (1, 6, 1)
    assert max(told) >= 6


def test_per_s(tmp_path):
    """A replica tells nothing of its capacity before it has answered, and something after."""
    import asyncio

    service = of_model(OnnxModel(models.double(tmp_path)), Limits())
    assert per_s(service) == 0.0
    asyncio.run(ask(service, body=x((1, 2, 3))))
    assert per_s(service) > 0


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install 'joulewise[ray-serve]'")
def test_two_nodes(tmp_path):
    """Two replicas on two Ray nodes answer rightly, with our headers; a wrong request has our error."""
    with listen("127.0.0.1", 0) as taken:  # others on this machine may run Ray, too
        port = taken.getsockname()[1]
    program = f"""
import json, time, urllib.error, urllib.request
import ray
from ray import serve
from ray.cluster_utils import Cluster
from joulewise import wiring
from joulewise.serving.ray_serve import application
from joulewise.serving.scaling import Scaling
cluster = Cluster(initialize_head=True, head_node_args={{"num_cpus": 1, "object_store_memory": 100 << 20}})
cluster.add_node(num_cpus=2, object_store_memory=100 << 20)
ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
serve.start(http_options={{"host": "127.0.0.1", "port": {port}}})
app = application([{str(models.double(tmp_path))!r}], scaling=Scaling(least=2, most=2), begin=wiring.serving_period)
serve.run(app, route_prefix="/")
def routed():
    try:
        with urllib.request.urlopen("http://127.0.0.1:{port}/-/routes") as told:
            return "/" in json.load(told)
    except urllib.error.URLError:
        return False
while not routed():  # an application is ready before Ray's proxy has heard of it
    time.sleep(0.1)
def ask(body):
    return urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:{port}/predict", body))
for k in range(20):
    answer = ask(json.dumps({{"inputs": {{"x": [[k, 2, 3]]}}}}).encode())
    assert json.loads(answer.read()) == {{"outputs": {{"y": [[2.0 * k, 4.0, 6.0]]}}}}
assert answer.headers["x-variant"].startswith("double@")
try:
    ask(b"nonsense")
except urllib.error.HTTPError as error:
    assert error.code == 400
    assert b"not JSON" in error.read()
print("nodes", len(ray.nodes()))
serve.shutdown()
ray.shutdown()
cluster.shutdown()
"""
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    for _try in range(4):  # Ray gives its nodes 15 s to start, which a loaded machine misses
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        if "timed out during startup" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nodes 2" in done.stdout
