"""A real uvicorn on the loopback: listen, answer, drain at SIGTERM, and write into the recording."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from dataclasses import replace

import pytest

from joulewise import wiring
from joulewise.catalogue.tariffs import Tariff
from joulewise.measuring.recorder import Snapshot
from joulewise.serving.app import Limits, of_model
from joulewise.serving.onnx_model import OnnxModel
from joulewise.serving.places import check_host, is_loopback, listen
from joulewise.serving.running import RateOf, note, serve
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, relative
from tests.serving import models
from tests.serving.asking import x


class Kept:
    """A double of a recorder: keeps what is appended, and shows one snapshot."""

    def __init__(self, latest=None) -> None:
        self.interval_s = 1.0
        self.latest = latest
        self.points: list[dict[str, float]] = []

    def append(self, kind, /, **values):
        assert kind == "point"
        self.points.append(values["values"])


def snapshot(joules, cpu_s):
    energy_j = relative(joules, 0.5, 0.5, Basis.ASSUMED)
    return Snapshot(10.0, energy_j, None, None, None, {}, 0, 0, work_cpu_s=cpu_s)


def test_rate_of():
    """The rate is at the wall, looked for once a tick, and the last one known stands while there is none."""
    kept, clock = Kept(), [0.0]
    where = replace(wiring.place(zone="DE"), tariff=Tariff.parse("0.36EUR/kWh"))
    rate_of = RateOf(kept, where, lambda: clock[0])
    assert rate_of() is None
    kept.latest = snapshot(10.0, 2.0)
    assert rate_of() is None  # within the same tick
    clock[0] = 1.5
    kept.interval_s = 60.0  # ticks are rare: what is not known yet is looked for all the same
    first = rate_of()
    assert 5.0 < first.joules < 15.0
    assert first.basis is Basis.ASSUMED
    assert first.grams > 0
    assert first.currency == "EUR"
    assert first.joules * 1e-7 <= first.money < first.joules * 2e-7  # times PUE
    kept.latest, clock[0] = snapshot(20.0, 2.0), 61.0
    assert rate_of() is first  # within the same tick
    kept.latest, clock[0] = snapshot(10.0, None), 63.0
    assert rate_of() is first


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.8.8", True),
                                           ("0.0.0.0", False), ("::", False), ("192.0.2.1", False), ("example.org", False)])  # fmt: skip
def test_loopback(host, own):
    """Only this machine reaches the loopback; every other address needs a key."""
    assert is_loopback(host) is own
    check_host(host, "key")
    if own:
        check_host(host, "")
    else:
        with pytest.raises(UsageError, match="JOULEWISE_API_KEY"):
            check_host(host, "")


def test_port_taken():
    """A port that is taken is told in one line."""
    with listen("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(UsageError, match="cannot listen on 127"):
            listen("127.0.0.1", first.getsockname()[1])


def test_no_delay():
    """The socket is known as TCP, which asyncio needs to see before it sends small answers at once."""
    with listen("127.0.0.1", 0) as opened:
        assert opened.proto == socket.IPPROTO_TCP


def raw(port, data, wait_s=5.0):
    """Send bytes as they are and return what comes back until the server closes or says nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        got = b""
        while part := s.recv(65536):
            got += part
        return got


def test_real_server(tmp_path):
    """Good, malformed, oversized and truncated requests from many threads, then SIGTERM while one waits: it is answered."""
    service = of_model(OnnxModel(models.double(tmp_path)), Limits(most_body_bytes=2000))
    kept, listening = Kept(), listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    faults: list[object] = []
    statuses: list[int] = []
    last: list[object] = []

    def client(seed):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            for k in range(25):
                row = (seed, k, -k)
                connection.request("POST", "/predict", json.dumps(x(row)))
                answer = connection.getresponse()
                told = json.loads(answer.read())
                statuses.append(answer.status)
                if told != {"outputs": {"y": [[2.0 * v for v in row]]}}:
                    faults.append((row, told))
            connection.close()
        except Exception as error:
            faults.append(error)

    def scene():
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            clients = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
            for one in clients:
                one.start()
            for data, wanted in (
                (b"NONSENSE\r\n\r\n", b"400"),
                (b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 9999\r\n\r\n", b"413"),
                (b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", b"400"),
                (b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", b"400"),
                (b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", b"200"),
            ):
                got = raw(port, data)
                if wanted not in got.split(b"\r\n", 1)[0]:
                    faults.append((data, got))
            raw(port, b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n{")  # cut short
            for one in clients:
                one.join()
            inside = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            body = json.dumps(x((7, 7, 7))).encode()
            inside.putrequest("POST", "/predict")
            inside.putheader("content-length", str(len(body)))
            inside.endheaders(body[:5])
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
            inside.send(body[5:])
            answer = inside.getresponse()
            last.append((answer.status, json.loads(answer.read())))
            inside.close()
        except Exception as error:
            faults.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    driver = threading.Thread(target=scene)
    driver.start()
    serve(service, [listening], kept)
    driver.join(20)

    assert faults == []
    assert statuses == [200] * 200
    assert last == [(200, {"outputs": {"y": [[14.0, 14.0, 14.0]]}})]
    assert signal.getsignal(signal.SIGTERM) is before
    assert kept.points[-1]["requests"] >= 205
    assert kept.points[-1]["rows"] <= 201


def test_note(tmp_path):
    """A point tells requests, rows, batches, the cache and CPU time by use."""
    kept = Kept()
    note(of_model(OnnxModel(models.double(tmp_path)), Limits()), kept)
    assert kept.points[0].keys() == {
        "requests", "rows", "batches", "cache_hits", "cache_shared", "answers_j", "joules_unknown", "requests_cpu_s", "standing_by_cpu_s",
    }  # fmt: skip
