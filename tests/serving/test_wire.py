"""A connection is right whatever comes in whatever pieces: pipelined, cut short, too large, too slow, no HTTP at all."""

from __future__ import annotations

import asyncio
import json
import random
import re

import pytest

from joulewise.serving.app import Limits, of_model
from joulewise.serving.onnx_model import OnnxModel
from joulewise.serving.wire import Front
from tests.serving import models
from tests.serving.asking import x


class Pipe:
    """A double of a transport: keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.paused = self.ended = False

    def write(self, data):
        assert not self.closed
        self.written += data

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.ended = True

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False

    @property
    def statuses(self):
        return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d\d\d) ", self.written)]

    @property
    def outputs(self):
        return [
            json.loads(part.split(b"\r\n\r\n", 1)[1])["outputs"]["y"]
            for part in self.written.split(b"HTTP/1.1 200 ")[1:]
        ]


def post(*row, head="", path="/predict"):
    body = json.dumps(x(row)).encode()
    return f"POST {path} HTTP/1.1\r\nhost: a\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def service(tmp_path):
    return of_model(OnnxModel(models.double(tmp_path)), Limits(most_body_bytes=3000, body_s=60))


@pytest.fixture
def hasty(tmp_path):
    return of_model(OnnxModel(models.double(tmp_path)), Limits(body_s=0.1))


def talk(service, *pieces, turns=30, eof=False, between=2):
    """Return the pipe and the front after these pieces have come, with turns of the loop between them."""

    async def scene():
        front, pipe = Front(service), Pipe()
        connection = front()
        connection.connection_made(pipe)
        for piece in pieces:
            for _ in range(500):
                if not pipe.paused:
                    break
                await asyncio.sleep(0.001)
            assert not pipe.paused
            if pipe.closed:
                break
            connection.data_received(piece)
            for _ in range(between):
                await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0.001)
        if eof:
            connection.eof_received()
        for _ in range(3):
            await asyncio.sleep(0.001)
        connection.connection_lost(None)
        assert front.connections == set()
        return pipe

    pipe = asyncio.run(scene())
    assert (service.held_bytes, service.tally.inside, len(service._deadlines)) == (0, 0, 0)
    return pipe


def test_any_pieces(service):
    """Ten requests in pieces of any size, sent without waiting, are answered in their order."""
    draw = random.Random(1)
    for _ in range(30):
        rows = [(draw.randint(0, 5), draw.randint(0, 99) / 4, k) for k in range(10)]
        stream = b"".join(post(*row) for row in rows)
        cuts = sorted(draw.sample(range(1, len(stream)), draw.randint(0, 20)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

        pipe = talk(service, *pieces, between=draw.randint(0, 3))

        assert pipe.outputs == [[[2 * v for v in row]] for row in rows]
        assert not pipe.closed


def test_errors_keep_the_connection(service):
    """A small request that is refused by its headers is read and forgotten; the next one is answered."""
    pipe = talk(
        service,
        post(1, 2, 3, path="/nowhere") + post(4, 5, 6),
        b"GET /predict HTTP/1.1\r\n\r\n",
        post(7, 8, 9),
    )
    assert pipe.statuses == [404, 200, 405, 200]
    assert not pipe.closed


def test_head_and_close(service):
    """HEAD has no body; `connection: close` and HTTP/1.0 end after the answer."""
    pipe = talk(service, b"HEAD /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
    assert pipe.written.endswith(b"\r\n\r\n")
    for request in (b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n", b"GET /healthz HTTP/1.0\r\n\r\n"):
        pipe = talk(service, request + request)
        assert pipe.closed
        assert pipe.statuses == [200]
        assert b"connection: close" in pipe.written


def test_continue(service):
    """Who asks first whether to send the body is told to."""
    whole = post(1, 2, 3, head="expect: 100-continue\r\n")
    head, body = whole.split(b"\r\n\r\n", 1)
    pipe = talk(service, head + b"\r\n\r\n", body)
    assert pipe.statuses == [100, 200]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"POST /predict HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", 400),
        (b"POST /predict HTTP/1.1\r\ncontent-length: 9999\r\n\r\n", 413),
        (b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"fff\r\n" + b"x" * 0xFFF + b"\r\n", 413),
        (b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000, 431),
        (b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 404),
    ],
)  # fmt: skip
def test_wrong(service, data, status):
    """What is no good HTTP is told so, and what is large is not held."""
    pipe = talk(service, data, eof=True)
    assert pipe.statuses == [status]


def test_wrong_after_good(service):
    """Nonsense behind a good request takes nothing from its answer, and ends the connection."""
    pipe = talk(service, post(1, 2, 3) + b"NONSENSE\r\n\r\n")
    assert pipe.statuses == [200]
    assert pipe.closed


def test_cut_short(service):
    """A client that stops in the middle is told so, and nothing of it stays."""
    pipe = talk(service, post(1, 2, 3)[:-4], eof=True)
    assert pipe.statuses == [400]
    talk(service, post(1, 2, 3)[:-4])
    talk(service, b"POST /pre")


@pytest.mark.parametrize("begun", [b"POST /predict HT", post(1, 2, 3)[:-4]])
def test_slow(hasty, begun):
    """A request that does not arrive in time, header or body, is told so and its connection ends."""
    pipe = talk(hasty, begun, turns=250)
    assert pipe.statuses == [408]
    assert pipe.ended


def test_a_fault_of_ours(service, monkeypatch):
    """What fails in our own hands is told to the loop, and answered with 500; the next connection is served."""
    told = []

    def fail(_exchange):
        raise ZeroDivisionError

    async def scene():
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: told.append(context["exception"])
        )
        front, pipe = Front(service), Pipe()
        connection = front()
        connection.connection_made(pipe)
        connection.data_received(post(1, 2, 3))
        front._timer.cancel()
        return pipe

    with monkeypatch.context() as patched:
        patched.setattr(next(iter(service.endpoints.values())), "predict", lambda *_: fail(None))
        pipe = asyncio.run(scene())
    assert pipe.statuses == [500]
    assert pipe.closed
    assert [type(e) for e in told] == [ZeroDivisionError]
    assert talk(service, post(1, 2, 3)).statuses == [200]


def test_answers_that_nobody_takes(service):
    """A client that asks and asks and takes nothing gets no more answers until it does; then all, in their order."""

    async def scene():
        front, pipe = Front(service), Pipe()
        connection = front()
        connection.connection_made(pipe)
        rows = [(k, 0.5, -k) for k in range(40)]
        stream = b"".join(post(*row) for row in rows)
        connection.pause_writing()
        connection.data_received(stream[:1500])
        await asyncio.sleep(0.01)
        assert pipe.written == b""
        connection.resume_writing()
        await asyncio.sleep(0.05)
        connection.data_received(stream[1500:])
        sent = len(pipe.written)
        connection.pause_writing()
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert len(pipe.written) < sent + 2000  # what was under way
        connection.resume_writing()
        for _ in range(100):
            await asyncio.sleep(0.002)
        connection.connection_lost(None)
        front._timer.cancel()
        return pipe.outputs, [[[2 * v for v in row]] for row in rows]

    outputs, wanted = asyncio.run(scene())
    assert outputs == wanted
    assert (service.held_bytes, service.tally.inside) == (0, 0)


def test_drain(service):
    """A draining front closes what is silent and answers what is inside, then closes that, too."""

    async def scene():
        front, pipes = Front(service), (Pipe(), Pipe())
        connections = [front(), front()]
        for connection, pipe in zip(connections, pipes, strict=True):
            connection.connection_made(pipe)
        connections[1].data_received(post(1, 2, 3)[:-4])
        front.drain()
        assert [pipe.closed for pipe in pipes] == [True, False]
        connections[1].data_received(post(1, 2, 3)[-4:])
        await asyncio.sleep(0.05)
        front._timer.cancel()
        return pipes[1]

    pipe = asyncio.run(scene())
    assert pipe.statuses == [200]
    assert pipe.closed
