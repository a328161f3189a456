"""The server as an ASGI application, without a framework: routes, admission, cache, headers.

    request ── key? ── body within its size and time ── cached? ── in flight? ── understood? ── let in? ── queue
                401          413, 408                    hit         shared        400, 422       429      504

Every response, errors too, says what it cost: `x-joules`, `x-joules-basis`, `x-gco2e`, `x-cache`, `x-variant`.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any, final

import orjson

from joulewise.serving import openapi, protocol
from joulewise.serving.batching import Bounds, admit
from joulewise.serving.cache import Flights, Keys, PredictionCache
from joulewise.serving.energy import Rate, Tally
from joulewise.serving.engine import Engine, Job, Outcome
from joulewise.serving.metrics import CONTENT_TYPE, Counters, Metric, text
from joulewise.serving.onnx_model import Model
from joulewise.serving.reading import Readers
from joulewise.serving.tensors import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_JSON = b"application/json"
_LONGEST_DEADLINE_MS = 600_000
_DIALECTS = {"plain": protocol.plain_request, "v2": protocol.v2_request}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server promises and what it takes: all of it can be set from the command line or Python."""

    latency_target_s: float = 0.1
    deadline_s: float = 5.0  # of a request that names none
    body_s: float = 10.0  # for a body to arrive
    most_body_bytes: int = 16_000_000
    most_rows: int = 64  # in a batch
    cache_bytes: int = 64_000_000
    cache_ttl_s: float = 3600.0
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True)
class Reply:
    """A response before its headers are written."""

    status: int
    body: bytes
    kind: bytes = _JSON
    cache: str = "off"
    cpu_s: float = 0.0  # of the model, for this request
    retry_after_s: int | None = None


@final
class Service:
    """The ASGI application for one model.

    `rate` is asked for the joules of a CPU-second now, `more` for counters to show beside our own; `api_key` "" lets everybody in (loopback only, which
    `running.py` sees to).
    """

    def __init__(
        self,
        model: Model,
        limits: Limits,
        rate: Callable[[], Rate | None] = lambda: None,
        api_key: str = "",
        cpu_s: Callable[[], float] = time.thread_time,
        more: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.model = model
        self.more = more
        self.counters = Counters()
        self.tally = Tally()
        self.ready = True
        self._limits = limits
        self._rate = rate
        self._api_key = api_key.encode()
        self._cache = PredictionCache(limits.cache_bytes if model.repeats else 0, limits.cache_ttl_s)
        self._keys = {dialect: Keys(model.version, dialect) for dialect in _DIALECTS}
        self._flights: Flights[Job] = Flights()
        self._readers = Readers(limits.body_s)
        self._held_bytes = 0
        self._variant = f"{model.name}@{model.version[:8]}".encode("ascii", "replace")
        self._engine = Engine(
            model,
            target_s=limits.latency_target_s,
            limit_rows=limits.most_rows,
            cpu_s=cpu_s,
            on_batch=self._count_batch,
        )
        described = openapi.description(model, bool(api_key))
        infer = f"/v2/models/{model.name}"
        self._posts = {
            "/predict": "plain",
            f"{infer}/infer": "v2",
            f"{infer}/versions/{model.version}/infer": "v2",
        }
        metadata = _json(protocol.v2_metadata(model))
        self._pages: dict[str, Reply] = {
            "/v2": Reply(
                200, _json({"name": "joulewise", "version": version("joulewise"), "extensions": []})
            ),
            "/openapi.json": Reply(200, _json(described)),
            "/docs": Reply(200, openapi.page(described).encode(), b"text/html; charset=utf-8"),
            infer: Reply(200, metadata),
            f"{infer}/versions/{model.version}": Reply(200, metadata),
            "/healthz": Reply(200, _json({"live": True})),
            "/v2/health/live": Reply(200, _json({"live": True})),
        }
        self._readiness = {
            "/readyz",
            "/v2/health/ready",
            f"{infer}/ready",
            f"{infer}/versions/{model.version}/ready",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"cannot speak {scope['type']}: only http is served")
        self.tally.enter()
        try:
            try:
                reply = await self._reply(scope, receive)
            except Refused as refused:
                reply = _refusal(refused)
            await self._send(reply, send)
        finally:
            self.tally.leave()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        self.ready = False
        await self._engine.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        path, method = scope["path"], scope["method"]
        headers = {name.lower(): value for name, value in scope["headers"]}
        if path in self._readiness and method in ("GET", "HEAD"):
            return Reply(200 if self.ready else 503, _json({"ready": self.ready}))
        if path not in ("/healthz", "/v2/health/live") and not self._may_enter(headers):
            raise Refused(401, "the API key is missing or wrong: send it as 'authorization: Bearer KEY'")
        if path in self._posts:
            if method != "POST":
                raise Refused(405, f"{path} takes POST, not {method}")
            return await self._predict(self._posts[path], headers, receive)
        page = (
            Reply(200, self.metrics().encode(), CONTENT_TYPE.encode())
            if path == "/metrics"
            else self._pages.get(path)
        )
        if page is None:
            raise Refused(404, f"there is no {path[:200]}; see /docs")
        if method not in ("GET", "HEAD"):
            raise Refused(405, f"{path} takes GET, not {method}")
        return page

    def _may_enter(self, headers: dict[bytes, bytes]) -> bool:
        if not self._api_key:
            return True
        scheme, _, told = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            told = headers.get(b"x-api-key", b"")
        return hmac.compare_digest(told.strip(), self._api_key)

    async def _predict(self, dialect: str, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        deadline_s = self._deadline_s(headers)
        if self._engine.busy:
            self._let_in(0, deadline_s)  # before the body is read: a full server reads none
        body = await self._body(headers, receive)
        self._held_bytes += len(body)
        try:
            return await self._answer(dialect, body, deadline_s)
        finally:
            self._held_bytes -= len(body)

    async def _answer(self, dialect: str, body: bytes, deadline_s: float) -> Reply:
        key = b""
        if self._cache.on:
            key = self._keys[dialect].of(body)
            kept = self._cache.get(key, time.monotonic())
            if kept is not None:
                self.counters.hits += 1
                return Reply(200, kept, cache="hit")
            flight = self._flights.under_way(key)
            if flight is not None:
                self.counters.shared += 1
                return _answered(await flight.wait(deadline_s), "shared", follows=True)
        ask = _DIALECTS[dialect](self.model, body)
        landed = partial(self._landed, key) if self._cache.on else None
        job = Job(ask.tensors, self.model.batches, ask.encode, landed)
        self._let_in(job.waiting.rows, deadline_s)
        if self._cache.on:
            self._flights.begin(key, job)
        self.counters.misses += 1
        self._engine.submit(job)
        return _answered(await job.wait(deadline_s), "miss" if self._cache.on else "off")

    def _landed(self, key: bytes, job: Job, outcome: Outcome) -> None:
        self._flights.end(key, job)
        if outcome.refused is None:
            self._cache.put(key, outcome.body, time.monotonic())

    def _let_in(self, rows: int, deadline_s: float) -> None:
        engine = self._engine
        refusal = admit(
            engine.load(self._held_bytes),
            self._limits.bounds,
            rows,
            deadline_s,
            engine.most,
            engine.seconds_line,
        )
        if refusal is not None:
            raise Refused(429, refusal.reason, refusal.retry_after_s)

    def _deadline_s(self, headers: dict[bytes, bytes]) -> float:
        told = headers.get(b"x-deadline-ms")
        if told is None:
            return self._limits.deadline_s
        if not (told.isdigit() and len(told) <= 6 and 0 < int(told) <= _LONGEST_DEADLINE_MS):
            raise Refused(
                400,
                f"x-deadline-ms is {told[:20].decode('latin-1')!r}, but must be 1 to {_LONGEST_DEADLINE_MS}",
            )
        return int(told) / 1000

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Return the body; raises Refused if it is too large (413), too slow (408) or cut short (400)."""
        most = self._limits.most_body_bytes
        told = headers.get(b"content-length", b"0")
        if told.isdigit() and int(told[:20]) > most:
            raise _too_large(most)
        with self._readers.reading():
            message = await receive()
            if not message.get("more_body"):  # as a rule it is here already
                return self._whole(message)
            parts, size = [], 0
            try:
                while True:
                    part = message.get("body", b"")
                    size += len(part)
                    self._held_bytes += len(part)
                    parts.append(part)
                    if size > most:
                        raise _too_large(most)
                    if self._held_bytes > 2 * self._limits.bounds.most_held_bytes:
                        raise Refused(429, f"{self._held_bytes} bytes of requests are being held already", 1)
                    if not message.get("more_body"):
                        return b"".join(parts)
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the body was cut short")
            finally:
                self._held_bytes -= size

    def _whole(self, message: Message) -> bytes:
        if message["type"] == "http.disconnect":
            raise Refused(400, "the body was cut short")
        body: bytes = message.get("body", b"")
        if len(body) > self._limits.most_body_bytes:
            raise _too_large(self._limits.most_body_bytes)
        return body

    async def _send(self, reply: Reply, send: Send) -> None:
        rate = self._rate()
        cpu_s = reply.cpu_s + self.tally.overhead_s
        joules = rate.joules * cpu_s if rate else None
        grams = rate.grams * cpu_s if rate and rate.grams is not None else None
        self.counters.answered(reply.status, joules, grams)
        headers = [
            (b"content-type", reply.kind),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-joules", _number(joules)),
            (b"x-joules-basis", rate.basis.word.encode() if rate else b"unknown"),
            (b"x-gco2e", _number(grams)),
            (b"x-cache", reply.cache.encode()),
            (b"x-variant", self._variant),
        ]
        if reply.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % reply.retry_after_s))
        if reply.status in (408, 413):  # what is left of the body is not read
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def _count_batch(self, rows: int, cpu_s: float) -> None:
        self.counters.batches += 1
        self.counters.rows += rows
        self.tally.batch(cpu_s)

    def metrics(self) -> str:
        """Return the counters as Prometheus reads them."""
        count, tally, load, rate = (
            self.counters,
            self.tally,
            self._engine.load(self._held_bytes),
            self._rate(),
        )
        seconds, cpu = self._engine.seconds.line(), self._engine.cpu_seconds.line()
        joules = rate.joules if rate else None
        batch = (
            (joules * cpu.a, joules * cpu.b)
            if joules is not None and cpu is not None and cpu.fitted
            else (None, None)
        )
        none: dict[str, str] = {}
        shown = [
            Metric("responses_total", "counter", "Responses by status.", [({"status": str(s)}, n) for s, n in sorted(count.responses.items())]),
            Metric("cache_total", "counter", "Predictions by what the cache did.", [({"result": "hit"}, count.hits), ({"result": "shared"}, count.shared), ({"result": "miss"}, count.misses)]),
            Metric("cache_bytes", "gauge", "Bytes that the cache holds.", [(none, self._cache.held_bytes)]),
            Metric("batches_total", "counter", "Batches that the model computed.", [(none, count.batches)]),
            Metric("rows_total", "counter", "Rows that the model computed.", [(none, count.rows)]),
            Metric("batch_rows_most", "gauge", "The largest batch that is worth running now.", [(none, self._engine.most)]),
            Metric("batch_seconds", "gauge", "Fitted seconds of a batch: per row, and per call.", [({"part": "row"}, seconds.a if seconds else None), ({"part": "call"}, seconds.b if seconds else None)]),
            Metric("batch_joules", "gauge", "Fitted joules of a batch: per row, and per call.", [({"part": "row"}, batch[0]), ({"part": "call"}, batch[1])]),
            Metric("waiting", "gauge", "Requests in the queue.", [(none, load.waiting)]),
            Metric("inside", "gauge", "Requests inside the server.", [(none, tally.inside)]),
            Metric("cpu_seconds_total", "counter", "CPU seconds by use; standing_by is while no request was inside.", [({"use": "requests"}, tally.busy_s), ({"use": "model"}, tally.model_s), ({"use": "standing_by"}, tally.standing_by_s)]),
            Metric("joules_total", "counter", "Joules at the wall of the answers whose joules are known.", [(none, count.joules)]),
            Metric("gco2e_total", "counter", "Grams of CO2e of those.", [(none, count.grams)]),
            Metric("joules_unknown_total", "counter", "Answers whose joules are not known.", [(none, count.unknown)]),
            Metric("joules_per_cpu_second", "gauge", "What a CPU second costs at the wall now.", [(none, joules)]),
        ]  # fmt: skip
        shown += [Metric(f"{name}_total", "counter", f"{name.replace('_', ' ').capitalize()}.", [(none, value)])
                  for name, value in self.more().items()]  # fmt: skip
        return text(shown, {"model": self.model.name, "version": self.model.version})


def _answered(outcome: Outcome, cache: str, *, follows: bool = False) -> Reply:
    """Return the reply of an outcome; who joined another's flight is not charged for the model."""
    if outcome.refused is not None:
        return _refusal(outcome.refused, cache, outcome.cpu_s)
    return Reply(200, outcome.body, cache=cache, cpu_s=0.0 if follows else outcome.cpu_s)


def _refusal(refused: Refused, cache: str = "off", cpu_s: float = 0.0) -> Reply:
    return Reply(
        refused.status,
        _json({"error": refused.reason}),
        cache=cache,
        cpu_s=cpu_s,
        retry_after_s=refused.retry_after_s,
    )


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most} bytes")


def _number(value: float | None) -> bytes:
    return b"unknown" if value is None else b"%.3g" % value


def _json(fields: Any) -> bytes:
    return orjson.dumps(fields)
