"""HTTP/1.1 on a socket, straight into the service: httptools reads, one write answers.

Between an ASGI server and an application stand a task, two queues and a dozen objects for each request; here there is a
connection that calls the service and is called back. A connection answers one request after the other: what is sent
before its turn waits in the socket.

Whoever is slow holds little and not for long: one look over all connections, and only while there are any, closes those
whose request has not arrived within `body_s`, whose answer is not taken for as long, and those that have kept silent.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from typing import Any, final

import httptools

from joulewise.serving.app import Service
from joulewise.serving.exchange import Cost, Exchange, Reply, more_headers
from joulewise.serving.keeping import NO_SLOT, Keeper, Orphan, State

_MOST_HEAD_BYTES = 65_536
_SILENT_S = 60.0  # a kept connection without a request
_LINGER_S = 2.0  # what a refused client still sends is taken, or it would not read why
_LOOK_S = 5.0
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")  # not the locale's
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HEAD = (
    b"%b%bcontent-type: %b\r\ncontent-length: %d\r\nx-joules: %b\r\nx-joules-basis: %b\r\nx-gco2e: %b\r\n"
    b"x-cost: %b\r\nx-cache: %b\r\nx-variant: %b\r\n%b\r\n%b"
)
_KILLED_BODY = (
    b'{"error":"the worker was killed while it computed this batch; the request was not tried again"}'
)
_KILLED = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
    % (len(_KILLED_BODY), _KILLED_BODY)
)
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


@final
class Front:
    """All connections to one service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.connections: set[Connection] = set()
        self.draining = False
        self.keeper: Keeper | None = None  # of a worker that has a parent
        self._date: tuple[int, bytes] = (0, b"")
        self._timer: asyncio.TimerHandle | None = None
        self._adoptions: set[asyncio.Future[None]] = set()

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self)

    @property
    def date(self) -> bytes:
        """Return the header that tells the time, made anew at most once a second."""
        now_s = int(time.time())
        if now_s != self._date[0]:
            t = time.gmtime(now_s)
            day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
            told = f"date: {day}, {t.tm_mday:02} {month} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT\r\n"
            self._date = now_s, told.encode()
        return self._date[1]

    def enter(self, connection: Connection) -> None:
        """Watch a connection."""
        self.connections.add(connection)
        if self._timer is None:
            self._look_later()

    def adopt(self, orphan: Orphan) -> None:
        """Go on with a connection whose worker is gone: its request is read again, or answered with an error, or it ends."""
        if orphan.state in (State.EMPTY, State.ASKED) and not self.draining:
            self._adoptions.add(task := asyncio.ensure_future(self._adopt(orphan)))
            task.add_done_callback(self._adoptions.discard)
            return
        with orphan.connection as connection, suppress(OSError):
            if orphan.state is State.INSIDE:
                connection.send(_KILLED)
            connection.shutdown(socket.SHUT_RDWR)

    async def _adopt(self, orphan: Orphan) -> None:
        orphan.connection.setblocking(False)
        read = orphan.data if orphan.state is State.ASKED else b""
        with suppress(OSError):  # its client has left
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self, read), orphan.connection
            )

    def share(self) -> None:
        """Give some connections to the workers that have come: its part of them, so that all hold about as many."""
        if self.keeper is not None:
            workers = max(2, len(self.keeper.lines()))
            for connection in list(self.connections)[: len(self.connections) // workers]:
                connection.leave()

    def drain(self) -> None:
        """Close what is silent, or give it to other workers; the others close after their answer."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def _look_later(self) -> None:
        within_s = min(_LOOK_S, self.service.limits.body_s / 2)
        self._timer = asyncio.get_running_loop().call_later(within_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        for connection in list(self.connections):
            connection.look(now_s)
        if self.connections:
            self._look_later()


@final
class Connection(asyncio.Protocol):
    """One client's connection: one request has its turn, what is behind it waits in line or unread."""

    __slots__ = ("_front", "_head_bytes", "_headed", "_headers", "_keeper", "_leaving", "_line", "_lingering", "_parser", "_parts",
                 "_paused_s", "_raw_path", "_read", "_reading", "_service", "_since_s", "_slot", "_transport", "_turn", "_unread", "_working")  # fmt: skip

    def __init__(self, front: Front, read: bytes = b"") -> None:
        self._front = front
        self._read = read  # by a worker that was killed: it comes before all that is in the socket
        self._service = front.service
        self._keeper = front.keeper
        self._slot = NO_SLOT
        self._leaving = False  # another worker goes on with it once nothing is under way
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._turn: Exchange | None = None  # whose answer is the next on this connection
        self._working = False  # it is here as a whole
        self._reading: Exchange | None = None  # what the parser is in
        self._headed = False  # ... and its headers are complete
        self._line: deque[Exchange] = deque()  # came as a whole before its turn
        self._unread: deque[bytes] = deque()
        self._lingering = False
        self._since_s = time.monotonic()  # the last beginning or end of a request
        self._paused_s = 0.0  # since when the client does not take its answer
        self._raw_path = b""
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._head_bytes = 0

    # what asyncio calls

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        if self._keeper is not None:
            self._slot = self._keeper.keep(transport.get_extra_info("socket"))
        self._front.enter(self)
        if self._read:
            self.data_received(self._read)
            self._read = b""

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self._slot != NO_SLOT and self._keeper is not None:
            self._keeper.journal.came(self._slot, data)
        if self._working or self._unread or self._paused_s:
            self._unread.append(data)
            self._transport.pause_reading()
        elif not self._lingering:
            self._feed(data)

    def eof_received(self) -> bool:
        """Stay open for an answer that is under way; a request that was cut short is told so."""
        if self._working:
            return True
        if self._turn is not None:
            self._service.refuse(self._turn, 400, "the request was cut short")
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        """Forget the client."""
        self._front.connections.discard(self)
        if self._slot != NO_SLOT and self._keeper is not None:
            self._keeper.drop(self._slot)
            self._slot = NO_SLOT
        for exchange in {self._turn, self._reading, *self._line} - {None}:
            if exchange is not None:
                self._service.gone(exchange)
        self._turn = self._reading = None
        self._lingering = True
        self._line.clear()

    def pause_writing(self) -> None:
        """Note that the client does not take its answers: until it does, it gets no more."""
        self._paused_s = time.monotonic()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused_s = 0.0
        asyncio.get_running_loop().call_soon(self._next)

    # what the parser calls

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._lingering:
            return
        self._reading = Exchange(self._respond)
        self._reading.slot = self._slot
        self._service.opened()
        self._since_s = time.monotonic()
        self._headed = False
        self._raw_path = b""
        self._headers = {}
        self._parts = []
        if self._turn is None and not self._line and not self._paused_s:
            self._turn = self._reading

    def on_url(self, url: bytes) -> None:
        """Take (a part of) the path."""
        self._raw_path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Let the service look at the headers of a request whose turn it is."""
        exchange = self._reading
        if exchange is None:
            return
        self._headed = True
        exchange.method = self._parser.get_method().decode("latin-1")
        exchange.path = self._raw_path.partition(b"?")[0].decode("latin-1")
        exchange.headers = self._headers
        if exchange is self._turn:
            self._service.head(exchange)
        if not exchange.done and self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        exchange = self._reading
        if exchange is None or exchange.done:
            return
        self._parts.append(body)
        if exchange is self._turn:
            self._service.took(exchange, len(body))

    def on_message_complete(self) -> None:
        """Hand the whole request over, or let it wait for its turn."""
        exchange, self._reading = self._reading, None
        self._head_bytes = 0
        if exchange is None or exchange.done:
            return
        parts = self._parts
        exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
        exchange.keep = self._parser.should_keep_alive()
        if exchange is self._turn:
            self._working = True
            self._service.whole(exchange)
        else:
            self._line.append(exchange)
            self._mark(State.LOST)

    # our own

    def _mark(self, state: State) -> None:
        if self._slot != NO_SLOT and self._keeper is not None:
            self._keeper.journal.mark(self._slot, state)

    def leave(self) -> None:
        """Let another worker go on with this connection, now or after the answer that is under way."""
        self._leaving = self._slot != NO_SLOT
        under_way = self._turn or self._reading or self._unread or self._line or self._lingering
        if self._leaving and not under_way and not self._transport.get_write_buffer_size():
            self._give()

    def _give(self) -> None:
        self._mark(State.EMPTY)
        slot, self._slot = self._slot, NO_SLOT
        self._lingering = True
        if self._keeper is not None:
            self._keeper.give(slot)
        self._transport.close()  # our end of it; the parent holds another

    def _feed(self, data: bytes) -> None:
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (
            httptools.HttpParserUpgrade
        ):  # it was answered as HTTP/1.1; what follows would be something else
            last = self._line[-1] if self._line else self._turn
            if last is not None:
                last.keep = False
            elif not self._lingering:
                self._end(early=False)
        except httptools.HttpParserCallbackError as error:
            self._fault(error)
        except httptools.HttpParserError as error:
            self._wrong(f"this is not HTTP: {' '.join(str(error).split())[:100]}")
        else:
            if self._head_bytes > _MOST_HEAD_BYTES and not self._headed:
                self._wrong(f"the headers are larger than {_MOST_HEAD_BYTES} bytes", 431)

    def _fault(self, error: Exception) -> None:
        """Answer what failed in our own hands with 500, tell the loop, and close."""
        asyncio.get_running_loop().call_exception_handler(
            {"message": "joulewise failed on a request", "exception": error.__context__ or error}
        )
        exchange, self._reading, self._headed = self._turn, None, False
        if exchange is not None and not exchange.done:
            exchange.keep = False
            self._service.refuse(exchange, 500, "the server failed on this request")
        elif not self._lingering:
            self._end(early=False)

    def _wrong(self, reason: str, status: int = 400) -> None:
        """Tell the client that we do not understand it, or end after the answers to what it asked before; then close."""
        if self._lingering:
            return
        last = self._line[-1] if self._line else self._turn
        if last is not None and last is not self._reading:
            last.keep = False
            return
        if last is None:
            last = self._turn = self._reading = Exchange(self._respond)
            self._service.opened()
        self._headed = False
        self._service.refuse(last, status, reason)

    def _respond(self, exchange: Exchange, reply: Reply, cost: Cost) -> None:
        early = exchange is self._reading
        keep = self._may_go_on() if early else exchange.keep
        keep = keep and (self._leaving or not self._front.draining)
        more = b"" if keep else b"connection: close\r\n"
        if reply.status != 200 or reply.json_bytes:
            more += b"".join(b"%b: %b\r\n" % pair for pair in more_headers(reply))
        body = reply.body
        head = _HEAD % (
            _LINES[reply.status], self._front.date, reply.kind, len(body), cost.joules, cost.basis, cost.grams,
            cost.money, reply.cache, reply.variant, more, body if exchange.method != "HEAD" else b"",
        )  # fmt: skip
        self._turn, self._working = None, False
        self._since_s = time.monotonic()
        if self._slot != NO_SLOT:
            self._mark(State.ANSWERED)
        self._transport.write(head)
        if self._slot != NO_SLOT and keep:
            self._settled(whole=not early)
        if keep:
            if self._unread or self._line or (self._reading is not None and not early):
                asyncio.get_running_loop().call_soon(self._next)
        else:
            self._end(early=early)

    def _may_go_on(self) -> bool:
        """Return whether the rest of a request that is answered already is small enough to be read and forgotten."""
        told = self._headers.get(b"content-length", b"0")
        return (
            self._headed
            and b"transfer-encoding" not in self._headers
            and told.isdigit()
            and int(told[:20]) <= _MOST_HEAD_BYTES
            and bool(self._parser.should_keep_alive())
        )

    def _end(self, *, early: bool) -> None:
        self._lingering = True
        transport = self._transport
        if not early:
            transport.close()
            return
        if (
            transport.can_write_eof()
        ):  # more of the request may come, and closing on it would take our answer back
            transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_S, transport.close)

    def _next(self) -> None:
        """Give the turn to the next in line, or to what is being read; then go on reading."""
        if self._paused_s:
            return
        if self._turn is None and not self._lingering:
            service = self._service
            exchange = self._line.popleft() if self._line else self._reading
            if exchange is not None and not exchange.done:
                self._turn, whole = exchange, exchange is not self._reading
                if whole or self._headed:
                    service.head(exchange)
                    size = len(exchange.body) if whole else sum(map(len, self._parts))
                    if not exchange.done:
                        service.took(exchange, size)
                if whole and not exchange.done:
                    self._working = True
                    service.whole(exchange)
        while (
            self._unread
            and not self._working
            and not self._lingering
            and not self._line
            and not self._paused_s
        ):
            self._feed(self._unread.popleft())
        if not self._unread and not self._transport.is_closing():
            self._transport.resume_reading()

    def _settled(self, *, whole: bool) -> None:
        """Tell the journal that nothing is under way, if that is so."""
        if self._unread or self._line or self._reading is not None or not whole:
            self._mark(State.LOST)
        elif not self._transport.get_write_buffer_size():
            if self._keeper is not None:
                self._keeper.journal.clear(self._slot)
            if self._leaving:
                self._give()

    def drain(self) -> None:
        """Close unless a request is inside; where other workers go on, they are given it."""
        if self._keeper is not None and self._keeper.giving:
            self.leave()
        if self._turn is None and self._reading is None and not self._leaving:
            self._transport.close()

    def look(self, now_s: float) -> None:
        """End what takes too long."""
        body_s = self._service.limits.body_s
        if self._paused_s and now_s - self._paused_s >= body_s:
            self._transport.abort()
        elif self._turn is not None:
            if not self._working and now_s - self._since_s >= body_s:
                self._headed = False  # what is left of it is not read
                reason = f"the request did not arrive within {body_s:.3g} s"
                self._service.refuse(self._turn, 408, reason)
        elif now_s - self._since_s >= _SILENT_S or (self._reading and now_s - self._since_s >= body_s):
            self._transport.close()
