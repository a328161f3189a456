"""One request on its way through the server, its reply, and the deadlines of all that are inside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from joulewise.serving.engine import Job

JSON = b"application/json"
BINARY = b"application/octet-stream"


class Answer(NamedTuple):
    """What a model answered, as bytes; with binary tensors, how many of them are the JSON in front (else 0)."""

    body: bytes
    json_bytes: int = 0


class Reply(NamedTuple):
    """A response before its headers are written."""

    status: int
    body: bytes
    kind: bytes = JSON
    cache: bytes = b"off"
    variant: bytes = b"none"
    cpu_s: float = 0.0  # of the model, for this request
    retry_after_s: int | None = None
    json_bytes: int = 0
    allow: bytes = b""  # the methods that would do, of a 405


class Cost(NamedTuple):
    """What a response cost, as its headers tell it."""

    joules: bytes = b"unknown"
    basis: bytes = b"unknown"
    grams: bytes = b"unknown"
    money: bytes = b"unknown"


def more_headers(reply: Reply) -> list[tuple[bytes, bytes]]:
    """Return the headers that few responses have."""
    pairs = []
    if reply.json_bytes:
        pairs.append((b"inference-header-content-length", b"%d" % reply.json_bytes))
    if reply.retry_after_s is not None:
        pairs.append((b"retry-after", b"%d" % reply.retry_after_s))
    if reply.allow:
        pairs.append((b"allow", reply.allow))
    return pairs


@final
class Exchange:
    """A request as it comes in, whoever brings it (`wire.py`, `asgi.py`); `respond` is called once with the reply.

    `headers` go by lower-case name. `done` is True once it is answered or its client has gone: nothing it asked for is
    wanted any more.
    """

    __slots__ = (
        "body",
        "deadline_s",
        "done",
        "headers",
        "held_bytes",
        "job",
        "keep",
        "late_s",
        "method",
        "path",
        "respond",
        "slot",
    )

    def __init__(self, respond: Callable[[Exchange, Reply, Cost], None]) -> None:
        self.respond = respond
        self.method = self.path = ""
        self.headers: Mapping[bytes, bytes] = {}
        self.body = b""
        self.held_bytes = 0
        self.deadline_s = 0.0  # within which an answer is wanted
        self.late_s = 0.0  # on the loop's clock: after it the answer is 504
        self.done = False
        self.keep = True  # the connection, after the answer
        self.job: Job | None = None
        self.slot = -1  # of its connection in the journal (`keeping.py`), -1 for none


@final
class Deadlines:
    """Tells of exchanges whose time has passed, with one timer for all of them.

    A timer for each would cost more than a small model: most requests are answered long before. `passed` is called for
    each late one.
    """

    def __init__(self, passed: Callable[[Exchange], None]) -> None:
        self._passed = passed
        self._waiting: set[Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, exchange: Exchange) -> None:
        """Watch an exchange until `discard`; it may take `exchange.deadline_s` from now."""
        loop = asyncio.get_running_loop()
        exchange.late_s = loop.time() + exchange.deadline_s
        self._waiting.add(exchange)
        if self._timer is not None and exchange.late_s < self._timer.when():
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = loop.call_at(exchange.late_s, self._look)

    def discard(self, exchange: Exchange) -> None:
        """Watch an exchange no longer."""
        self._waiting.discard(exchange)

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for exchange in [one for one in self._waiting if one.late_s <= now_s]:
            self._passed(exchange)
        if self._waiting and self._timer is None:
            self._timer = loop.call_at(min(one.late_s for one in self._waiting), self._look)
