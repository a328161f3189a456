"""`joulewise serve` as a user runs it: a process on the loopback, and a recording of the serving period."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from joulewise import wiring
from joulewise.cli import serve as verb
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.recording import EndState

pytest.importorskip("onnxruntime")
pytest.importorskip("orjson")
pytest.importorskip("onnx")

from joulewise.serving.places import listen
from tests.serving import models


def refusal(*arguments):
    result = CliRunner().invoke(verb.command, [str(a) for a in arguments])
    assert isinstance(result.exception, UsageError), result.exception
    assert "\n" not in str(result.exception)
    return str(result.exception)


@pytest.fixture
def server(home, tmp_path):
    """Start the verb on a free port; returns the process and the port it told."""
    started = []

    def start(*options, model=None):
        process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-m",
                "joulewise",
                "serve",
                str(model or models.double(tmp_path)),
                "--port",
                "0",
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
        )
        started.append(process)
        for line in process.stderr:
            if told := re.search(r"http://127\.0\.0\.1:(\d+)/docs", line):
                return process, int(told[1])
        raise AssertionError("the server did not start")

    yield start
    for process in started:
        process.kill()
        process.communicate()


def request(port, path="/predict", body=None, **headers):
    for _ in range(50):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("POST" if body else "GET", path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError("nobody listens")


def test_a_serving_period(server):
    """Answers carry joules once a tick has told the rate; SIGTERM ends with 0, the account, and a recording with counts."""
    process, port = server("--zone", "DE", "--json")
    body = {"inputs": {"x": [[1, 2, 3]]}}
    assert request(port, body=body)[2] == b'{"outputs":{"y":[[2.0,4.0,6.0]]}}'
    until_s = time.monotonic() + 8
    told = "unknown"
    while told == "unknown" and time.monotonic() < until_s:
        time.sleep(0.2)
        status, headers, _ = request(port, body=body)
        told = headers["x-joules"]
    assert status == 200
    assert float(told) > 0
    assert float(headers["x-gco2e"]) > 0
    assert headers["x-cache"] == "hit"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)

    assert process.returncode == 0, err
    assert err == ""
    account = json.loads(out)
    recording = wiring.find("latest")
    assert account["run_id"] == recording.run_id
    assert account["role"] == recording.role == "serve"
    assert recording.name == "serve-double"
    assert recording.end.state is EndState.FINISHED
    assert recording.params["version"]
    # to import and to load is in it: that is what waking costs
    assert recording.ticks.counters["work_cpu_s"][0] > 0.1
    last = recording.points[-1].values
    assert last["requests"] == last["cache_hits"] + 1
    assert last["rows"] == 1


def workers_of(process):
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def worker_of(process):
    return next(iter(workers_of(process)), 0)


@pytest.mark.parametrize("how", [[], ["--zygote"]])
def test_sleeps_and_wakes(server, how):
    """Without requests the worker ends, its period is a recording; the next request is answered by another worker."""
    process, port = server("--sleep", "1s", *how)
    body = {"inputs": {"x": [[1, 2, 3]]}}
    assert request(port, body=body)[0] == 200
    first = worker_of(process)
    while worker_of(process):
        time.sleep(0.05)
    recording = wiring.find("latest")
    assert recording.end.state is EndState.FINISHED
    assert recording.end.reason == "asleep: nobody asked for 1 s"
    assert recording.points[-1].values["requests"] == 1
    status, _, told = request(port, body=body)
    assert (status, told) == (200, b'{"outputs":{"y":[[2.0,4.0,6.0]]}}')
    assert worker_of(process) not in (0, first)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "asked to end" in out
    assert "joulewise: asleep: nobody asked for 1 s (1 answers); waiting for the next" in err


def test_asleep_ends_at_once(server):
    """Told to end while asleep, the parent ends with 0."""
    process, port = server("--sleep", "1s")
    request(port, "/healthz")
    while worker_of(process):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate")
def test_systemd(home, tmp_path):
    """Given a socket by systemd, the verb serves on it, and ends when nobody asks: systemd waits for the next."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
    command = [
        "systemd-socket-activate",
        "-l",
        f"127.0.0.1:{port}",
        *(f"-E{name}" for name in ("PATH", "JOULEWISE_HOME")),
    ]
    command += [sys.executable, "-m", "joulewise", "serve", str(models.double(tmp_path)), "--sleep", "1s"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert request(port, body={"inputs": {"x": [[1, 2, 3]]}})[2] == b'{"outputs":{"y":[[2.0,4.0,6.0]]}}'
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "asleep: nobody asked for 1 s (1 answers)" in err


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate")
def test_replicas_with_systemd(home, tmp_path):
    """On a socket of systemd's there are as many workers as are asked for; a signal to each and to the parent ends all in order."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-EPATH", "-EJOULEWISE_HOME"]
    command += [sys.executable, "-m", "joulewise", "serve", str(models.double(tmp_path)), "--replicas", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert request(port, body={"inputs": {"x": [[1, 2, 3]]}})[0] == 200
        while len(workers := workers_of(process)) < 2:
            time.sleep(0.05)
        assert request(port, body={"inputs": {"x": [[1, 2, 3]]}})[2] == b'{"outputs":{"y":[[2.0,4.0,6.0]]}}'
        for pid in (*workers, process.pid):  # as systemd does
            os.kill(pid, signal.SIGTERM)
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_several_models(server, tmp_path):
    """Each model answers under its name, the first at /predict too; one that is not asked is not loaded, an idle one unloaded."""
    other = models.pick(tmp_path)
    process, port = server(str(other), "--always-on", "double", "--sleep", "1s")
    assert request(port, body={"inputs": {"x": [[1, 2, 3]]}})[0] == 200
    loaded = 'joulewise_serve_loaded{model="pick",variant="pick"} %d'
    assert loaded % 0 in request(port, "/metrics")[2].decode()
    told = request(port, "/models/pick/predict", {"inputs": {"ids": [[1]]}})[2]
    assert json.loads(told) == {"outputs": {"y": [[11.0]]}}
    while loaded % 0 not in request(port, "/metrics")[2].decode():
        time.sleep(0.2)
    assert (
        'joulewise_serve_loaded{model="double",variant="double"} 1' in request(port, "/metrics")[2].decode()
    )
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_life(server, tmp_path):
    """A life adds up the folder's making and the recorded periods; what is not known is named."""
    process, port = server("--zone", "DE")
    request(port, body={"inputs": {"x": [[1, 2, 3]]}})
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    told = CliRunner().invoke(verb.command, [str(tmp_path / "double.onnx"), "--life", "--json"])
    life = json.loads(told.output)
    assert (life["model"], life["periods"], life["requests"]) == ("double", 1, 1)
    assert life["unknown"][:3] == ["search", "training", "compressing"]
    shown = CliRunner().invoke(verb.command, [str(tmp_path / "double.onnx"), "--life"]).output
    assert "double: 1 requests in 1 serving periods" in shown
    assert "not known: search, training, compressing" in shown


def test_kserve(tmp_path):
    """The manifest is printed as JSON, and nothing is served."""
    told = CliRunner().invoke(
        verb.command, [str(models.double(tmp_path)), "--kserve", "image:1", "pvc://a/b"]
    )
    assert json.loads(told.output)["kind"] == "InferenceService"


def test_key(server, monkeypatch):
    """The key comes from the environment, is asked for, and stands in no recording."""
    monkeypatch.setenv("JOULEWISE_API_KEY", "s3cret-key")
    process, port = server()
    body = {"inputs": {"x": [[1, 2, 3]]}}
    assert request(port, body=body)[0] == 401
    assert request(port, body=body, authorization="Bearer s3cret-key")[0] == 200
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0
    folder = wiring.settings().runs
    kept = subprocess.run(["grep", "-r", "s3cret-key", folder], capture_output=True, text=True)
    assert kept.stdout == ""


def test_key_on_the_command_line(server):
    """A key given as an option is not in the recording either."""
    process, port = server("--api-key", "s3cret-option")
    assert request(port, "/healthz")[0] == 200
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    recording = wiring.find("latest")
    assert "s3cret-option" not in " ".join(recording.command)
    assert "***" in recording.command


def test_refusals(home, tmp_path):
    """Wrong use is one line that says what is wrong, before anything listens or is recorded."""
    model = models.double(tmp_path)
    assert "others can reach" in refusal(model, "--host", "0.0.0.0")
    assert "nothing is unpickled" in refusal(tmp_path / "model.pkl")
    assert "--cache" in refusal(model, "--cache", "64 parsecs")
    assert "--latency-target" in refusal(model, "--latency-target", "0")
    assert "--deadline" in refusal(model, "--deadline", "0ms")
    assert "--name" in refusal(model, "--name", "a/b")
    assert "'soon' as a duration" in refusal(model, "--sleep", "soon")
    for wrong in ("0", "4..1", "many", "1..65"):
        assert "must be a number from 1 to 64" in refusal(model, "--replicas", wrong)
    assert "unknown model 'other'" in refusal(model, "--always-on", "other")
    assert "--name is for one model" in refusal(model, model, "--name", "a")
    assert "two models are called double" in refusal(model, model)
    assert "no such file" in refusal(tmp_path / "none.onnx")
    assert "unknown zone" in refusal(model, "--zone", "Atlantis")
    assert not list((home / "runs").glob("*")) if (home / "runs").exists() else True


def test_what_is_no_model_is_one_line(home, tmp_path):
    """A file that only its name makes ONNX ends the parent with 2 and one line: nothing is said to be served."""
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    command = [sys.executable, "-m", "joulewise", "serve", "bad.onnx", "--port", "0"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.startswith("joulewise: cannot load bad.onnx:")
    assert told.stderr.count("\n") == 1


def test_needs_its_extra(home, monkeypatch):
    """Without the extra the line says how to install it."""
    monkeypatch.setattr(verb, "_NEEDED", ("onnxruntime", "joulewise_no_such_module"))
    assert "pip install 'joulewise[serve]'" in refusal("m.onnx")


def test_options():
    """Times and sizes are read with their units; a file's name becomes one that can stand in a URL."""
    assert verb.time_option("--deadline", "250ms") == 0.25
    assert verb.time_option("--deadline", "1h") == 3600
    assert verb.size_option("--cache", "64MB") == 64_000_000
    assert verb.size_option("--cache", "0") == 0
    assert verb.url_name("my model (2)") == "my-model-2"
    assert verb.url_name("???") == "model"


FOLDER = """
schema = 1
name = "churn"

[views]
x = ["spend.mean", "spend.n", "spend.total"]

[[variant]]
name = "fp32"
file = "score.onnx"
"""


@pytest.fixture
def folder(tmp_path):
    """Return a model folder whose input x is filled from a view, and a function that materialises the view."""
    pytest.importorskip("duckdb")
    from joulewise.features.materialising import materialise
    from joulewise.features.views import Column, declared

    view = declared(
        name="spend",
        keys="user",
        event_time="ts",
        ttl="1h",
        away="last",
        sql='SELECT 17 AS "user", $now - INTERVAL 60 SECOND AS ts, 3::FLOAT AS n, 2::FLOAT AS mean, 1::FLOAT AS total',
        columns=[Column(name, "float32", 0) for name in ("n", "mean", "total")],
    )
    place = tmp_path / "churn"
    place.mkdir()
    models.score(place)
    (place / "model.toml").write_text(FOLDER)
    return place, lambda store: materialise([view], store)


def keys(*users):
    return {"inputs": {"user": list(users), "amount": [[0.5]] * len(users)}}


def test_a_folder_that_names_its_views(server, folder):
    """The request carries the entity's key alone; reads are counted in the store, the metrics and the recording."""
    place, fill = folder
    online = wiring.online_store()
    fill(online)
    process, port = server("--json", model=place)
    status, _, body = request(port, body=keys(17, 99))
    outputs = json.loads(body)["outputs"]
    metrics = request(port, "/metrics")[2].decode()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0

    assert (status, outputs["y"]) == (200, [[132.5], [0.5]])
    assert 55 < outputs["spend.age_s"][0] < 120
    assert outputs["spend.age_s"][1] is None
    assert "joulewise_serve_feature_missing_total{} 1" in metrics
    assert [(t.reader, t.reads, t.missing) for t in online.tallies()] == [("churn", 2, 1)]
    assert wiring.find("serve-churn").points[-1].values["feature_reads"] == 2
    online.close()


@pytest.mark.service
def test_a_redis_that_is_away(server, folder):
    """With a real Redis that stops and comes back: last good values with their age, 503 for the unknown, then all again."""
    pytest.importorskip("redis")
    from urllib.parse import urlsplit

    from joulewise.features.online import open_online
    from joulewise.testing.redis import private_redis, redis_binary

    if redis_binary() is None:
        pytest.skip("no Redis server is installed (sh scripts/services.sh installs it on Debian)")
    place, fill = folder

    def filled(url):
        online = open_online(url)
        fill(online)
        online.close()

    with private_redis() as url:
        filled(url)
        _, port = server("--store", url, model=place)
        good = request(port, body=keys(17))
    kept, refused = request(port, body=keys(17)), request(port, body=keys(18))
    alive = request(port, "/healthz")
    with private_redis(urlsplit(url).port):
        filled(url)
        until_s = time.monotonic() + 20
        while (back := request(port, body=keys(18)))[0] != 200:
            assert time.monotonic() < until_s
            time.sleep(0.05)

    assert json.loads(good[2])["outputs"]["y"] == json.loads(kept[2])["outputs"]["y"] == [[132.5]]
    assert json.loads(kept[2])["outputs"]["spend.age_s"] > json.loads(good[2])["outputs"]["spend.age_s"]
    assert refused[0] == 503
    assert "is away" in json.loads(refused[2])["error"]
    assert (alive[0], json.loads(back[2])["outputs"]["y"]) == (200, [[0.5]])


def test_a_view_that_was_never_materialised(folder):
    """A folder whose views are not in the store is refused in one line before anything listens."""
    assert "unknown view 'spend'" in refusal(folder[0], "--port", "0")
