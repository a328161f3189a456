"""What outlives a worker: its connections and what they asked; nobody is answered twice, and nobody another's answer."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from joulewise.serving.engine import Job
from joulewise.serving.exchange import Answer, Exchange
from joulewise.serving.keeping import NO_SLOT, SLOT_BYTES, Journal, Keeper, Line, Orphan, State, keeper
from joulewise.serving.parent import BOARD_BYTES, JOURNAL_BYTES, KEEPING
from tests.cli.conftest import home
from tests.serving import models
from tests.serving.asking import x

__all__ = ["home"]


def memory(size):
    fd = os.memfd_create("test")
    os.ftruncate(fd, size)
    return fd


@pytest.fixture
def both():
    """Return the parent's end of the channel, a keeper at the other, and a journal that sees the same memory."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    journal = memory(JOURNAL_BYTES)
    told = Keeper(theirs.detach(), os.dup(journal), memory(BOARD_BYTES), 0)
    with ours:
        ours.settimeout(5)
        yield ours, told, Journal(journal)
    told._channel.close()
    os.close(journal)


def test_a_request_in_pieces():
    """What comes in pieces is one request until it is answered; then the slot begins anew."""
    journal = Journal(memory(JOURNAL_BYTES))
    journal.came(3, b"POST /pre")
    journal.came(3, b"dict")
    assert journal.read(3) == (State.ASKED, b"POST /predict")
    journal.inside(3)
    assert journal.read(3)[0] is State.INSIDE
    journal.mark(3, State.EMPTY)
    journal.came(3, b"GET /")
    assert journal.read(3) == (State.ASKED, b"GET /")
    assert journal.read(2) == (State.EMPTY, b"")


@pytest.mark.parametrize("state", [State.INSIDE, State.ANSWERED, State.LOST])
def test_more_than_one_request_is_lost(state):
    """What comes while another request is under way cannot be told apart: the connection would end."""
    journal = Journal(memory(JOURNAL_BYTES))
    journal.came(1, b"GET /")
    journal.mark(1, state)
    journal.came(1, b"GET /")
    assert journal.read(1)[0] is State.LOST
    journal.inside(1)
    assert journal.read(1)[0] is State.LOST


def test_too_large_is_lost():
    """A request larger than a slot is lost with its worker, and never runs into the next slot."""
    journal = Journal(memory(JOURNAL_BYTES))
    journal.came(1, b"x" * (SLOT_BYTES // 2))
    journal.came(1, b"x" * (SLOT_BYTES // 2))
    assert journal.read(1)[0] is State.LOST
    assert journal.read(2) == (State.EMPTY, b"")


def test_channel(both):
    """Connections are handed over and let go of by their slots; a slot is used again."""
    parent, worker, journal = both
    one, other = socket.socketpair()
    with one, other:
        slot = worker.keep(one)
        text, fds, *_ = socket.recv_fds(parent, 64, 1)
        assert text == b"k%d" % slot
        os.close(fds[0])
        journal.came(slot, b"GET /")
        worker.drop(slot)
        assert parent.recv(64) == b"d%d" % slot
        assert worker.keep(one) == slot
        assert journal.read(slot)[0] is State.EMPTY
        worker.want(3)
        worker.up()
        socket.recv_fds(parent, 64, 1)
        assert [parent.recv(64), parent.recv(64)] == [b"n3", b"u"]


def test_an_orphan(both):
    """A connection that lost its worker comes with what that one had read of it."""
    parent, worker, _ = both
    past = memory(JOURNAL_BYTES)
    Journal(past).came(5, b"GET /healthz")
    one, client = socket.socketpair()
    socket.send_fds(parent, [b"t5"], [one.fileno(), past])
    one.close()
    parent.send(b"b")
    orphans: list[Orphan] = []
    words: list[bytes] = []

    assert worker.heard(orphans.append, words.append)
    (orphan,) = orphans
    assert (orphan.state, orphan.data, words) == (State.ASKED, b"GET /healthz", [b"b"])
    with orphan.connection as again, client:
        again.sendall(b"hello")
        assert client.recv(10) == b"hello"
    parent.close()
    assert not worker.heard(orphans.append, words.append)


def test_a_batch_is_marked(both):
    """The requests of a batch that begins are inside; one that was answered (its deadline passed) is not."""
    _parent, worker, journal = both
    exchanges = []
    for slot, done in ((1, False), (2, True), (NO_SLOT, False)):
        exchange = Exchange(lambda *_: None)
        exchange.slot, exchange.done = slot, done
        exchanges.append(exchange)
        if slot != NO_SLOT:
            journal.came(slot, b"GET /")
    worker.taken([Job([], False, lambda _: Answer(b""), lambda *_: None, one) for one in exchanges])

    assert [journal.read(slot)[0] for slot in (1, 2)] == [State.INSIDE, State.ASKED]


def test_board(both):
    """A worker's line is seen by all who share the board, and only lines of those who wrote one."""
    _parent, worker, _journal = both
    assert worker.lines() == {}
    worker.tell(Line(7, 1, 20.5))
    assert worker.lines() == {0: Line(7, 1, 20.5)}


def test_no_parent(monkeypatch):
    """Without a parent there is no keeper."""
    monkeypatch.delenv(KEEPING, raising=False)
    assert keeper() is None


def workers(parent):
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.fixture
def server(home):
    """Return a function that starts the real server; returns its process and port."""
    models.double(home)
    started: list[subprocess.Popen[str]] = []

    def start(*options):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "joulewise",
            "serve",
            "double.onnx",
            "--port",
            str(port),
            "--sleep",
            "1h",
            *options,
        ]
        process = subprocess.Popen(
            command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return process, port
            except OSError:
                time.sleep(0.05)
        raise AssertionError(process.communicate())

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=40)


def predict(connection, row):
    connection.request("POST", "/predict", json.dumps(x(row)))
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read()), connection.sock


@pytest.mark.slow
def test_connections_outlive_a_killed_worker(server):
    """A kept connection, and one whose request is half sent, go on with the next worker as if nothing had happened."""
    process, port = server()
    silent, half = (http.client.HTTPConnection("127.0.0.1", port, timeout=40) for _ in range(2))
    status, _told, before = predict(silent, (1, 2, 3))
    assert status == 200
    body = json.dumps(x((4, 5, 6))).encode()
    half.putrequest("POST", "/predict")
    half.putheader("content-length", str(len(body)))
    half.endheaders(body[:7])
    time.sleep(0.3)
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    half.send(body[7:])

    assert json.loads(half.getresponse().read()) == {"outputs": {"y": [[8.0, 10.0, 12.0]]}}
    status, told, after = predict(silent, (1, 2, 3))
    assert (status, told) == (200, {"outputs": {"y": [[2.0, 4.0, 6.0]]}})
    assert after is before
    silent.close()
    half.close()


@pytest.mark.slow
def test_replicas(server):
    """Two workers answer; one that is killed is replaced; at the end each has its recording, and one card is shown."""
    process, port = server("--replicas", "2")
    for _ in range(600):
        if len(workers(process.pid)) == 2:
            break
        time.sleep(0.05)
    assert len(workers(process.pid)) == 2
    faults: list[object] = []

    def client(seed):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
        for k in range(100):
            try:
                status, told, _ = predict(connection, (seed, k, 1))
                if status == 500 and "killed" in told["error"]:
                    continue  # it was in the batch that was killed
                if (status, told) != (200, {"outputs": {"y": [[2.0 * seed, 2.0 * k, 2.0]]}}):
                    faults.append((status, told))
            except Exception as error:
                faults.append(error)
        connection.close()

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for one in clients:
        one.start()
    time.sleep(0.2)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    for one in clients:
        one.join()
    for _ in range(600):
        if len(workers(process.pid)) == 2:
            break
        time.sleep(0.05)

    assert faults == []
    assert len(workers(process.pid)) == 2
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0
    assert out.count("energy") == 1
    assert err.count("ended with signal 9") == 1
