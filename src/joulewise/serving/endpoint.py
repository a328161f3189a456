"""One model by its name: its variants, which of them answers, the cache, and what is being computed.

    exchange ── which variant? ── cached? ── in flight? ── understood? ── let in? ── the variant's queue

A variant is loaded when it is first asked for (in a thread; who asked waits) and unloaded when `unload` is called; its file
is checked against the folder's checksum.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import final

from joulewise.serving import protocol
from joulewise.serving.batching import Bounds, admit
from joulewise.serving.cache import Flights, Keys, PredictionCache
from joulewise.serving.engine import Engine, Job, Outcome
from joulewise.serving.exchange import JSON, Answer, Exchange, Reply
from joulewise.serving.folder import Variant
from joulewise.serving.metrics import Counters
from joulewise.serving.onnx_model import Model
from joulewise.serving.tensors import Refused, Tensor
from joulewise.serving.variants import Variants
from joulewise.vocabulary.errors import UsageError

_DIALECTS = {"plain": protocol.plain_request, "v2": protocol.v2_request}
_HIT, _SHARED, _MISS, _OFF = b"hit", b"shared", b"miss", b"off"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server promises and what it takes: all of it can be set from the command line or Python."""

    latency_target_s: float = 0.1
    deadline_s: float = 5.0  # of a request that names none
    body_s: float = 10.0  # for a request to arrive
    most_body_bytes: int = 16_000_000
    most_rows: int = 64  # in a batch
    cache_bytes: int = 64_000_000
    cache_ttl_s: float = 3600.0
    bounds: Bounds = field(default_factory=Bounds)


Load = Callable[[Variant], Model]


@final
class Hosted:
    """A variant in this server: loaded or not, and what it has learned."""

    def __init__(self, variant: Variant, model: Model | None = None) -> None:
        self.variant = variant
        self.label = b""  # as the header x-variant tells it
        self.model: Model | None = None
        self.engine: Engine | None = None
        self.keys: dict[str, Keys] = {}
        self.caches = False
        self.used_s = 0.0  # when it was last asked, or loaded, on the monotonic clock
        self.load_cpu_s: float | None = None  # what loading it cost
        self.size_bytes = 0  # of its file: about what it holds in memory
        self.counters = Counters()
        self.awaited: list[Callable[[], None]] = []  # who waits until it is loaded
        self.wrong = ""  # why it cannot be loaded
        self.given = model


@final
class Endpoint:
    """Answers requests to one model.

    `finish` is called with each exchange that is answered later than at once, `held_bytes` tells how many bytes of bodies
    are inside; `variants` chooses between several (without it, the default answers).
    """

    def __init__(
        self,
        name: str,
        hosted: Sequence[Hosted],
        limits: Limits,
        load: Load,
        *,
        cpu_s: Callable[[], float] = time.thread_time,
        executor: Executor | None = None,
        always_on: bool = False,
    ) -> None:
        self.name = name
        self.hosted = {one.variant.name: one for one in hosted}
        self.default = next(iter(self.hosted))
        self.always_on = always_on
        self.limits = limits
        self.counters = Counters()
        self.cache = PredictionCache(limits.cache_bytes, limits.cache_ttl_s)
        self.flights: Flights[Job] = Flights()
        self.finish: Callable[[Exchange, Reply], None] = lambda _exchange, _reply: None
        self.on_take: Callable[[Sequence[Job]], None] = lambda _batch: None
        self.on_batch: Callable[[int, float], None] = lambda _rows, _cpu_s: None
        self.held_bytes: Callable[[], int] = lambda: 0
        self.variants: Variants | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._load = load
        self._cpu_s = cpu_s
        self._executor = executor
        for one in hosted:
            if one.given is not None:
                self._ready(one, one.given)

    @property
    def model(self) -> Model:
        """Return the default variant's model: its inputs and outputs describe the endpoint. Loads it if it is away."""
        return self.loaded(self.hosted[self.default])

    def loaded(self, one: Hosted) -> Model:
        """Return a variant's model, loaded here and now if it is away. Raises UsageError."""
        if one.model is None:
            self._ready(one, self._timed(one))
        assert one.model is not None  # noqa: S101 - _ready has set it
        return one.model

    def predict(self, exchange: Exchange, dialect: str, variant: str = "") -> Reply | None:
        """Return the reply if there is one at once; None if `finish` will be called. Raises Refused."""
        one = self.hosted[variant or (self.variants.pick(exchange) if self.variants else self.default)]
        one.used_s = time.monotonic()
        engine, model = one.engine, one.model
        if engine is None or model is None:
            self._wake(one, partial(self._again, exchange, dialect, one.variant.name))
            return None
        key = b""
        if one.caches:
            key = one.keys[dialect].of(exchange.body, exchange.headers.get(protocol.JSON_BYTES, b""))
            kept = self.cache.get(key, one.used_s)
            if kept is not None:
                self.counters.hits += 1
                return Reply(200, kept.body, protocol.kind(kept), _HIT, one.label, json_bytes=kept.json_bytes)
            flight = self.flights.under_way(key)
            if flight is not None:
                self.counters.shared += 1
                exchange.job = flight
                flight.exchanges.append(exchange)
                return None
        ask = _DIALECTS[dialect](model, exchange.body, exchange.headers, self.name)
        encode = ask.encode
        if self.variants is not None and self.variants.canary:
            beside = self.variants.shadow(one)
            if beside is not None:
                self._loop = asyncio.get_running_loop()
                encode = partial(self._shadowed, beside, ask)
        job = Job(ask.tensors, model.batches, encode, partial(self._landed, one, key), exchange)
        self.let_in(one, job.waiting.rows, exchange.deadline_s)
        exchange.job = job
        if key:
            self.flights.begin(key, job)
        self.counters.misses += 1
        one.counters.misses += 1
        engine.submit(job)
        return None

    def let_in(self, one: Hosted, rows: int, deadline_s: float) -> None:
        """Raise Refused (429) if a request cannot come in now."""
        engine = one.engine
        assert engine is not None  # noqa: S101 - asked of loaded variants only
        load, bounds = engine.load(self.held_bytes()), self.limits.bounds
        refusal = admit(load, bounds, rows, deadline_s, engine.most, engine.seconds_line)
        if refusal is not None:
            raise Refused(429, refusal.reason, refusal.retry_after_s)

    def full(self, exchange: Exchange) -> None:
        """Raise Refused (429) if no request could come in now, before the body is read: a full server reads none."""
        one, bounds = self.hosted[self.default], self.limits.bounds
        if one.engine is not None and (
            one.engine.waiting >= bounds.most_waiting or self.held_bytes() > bounds.most_held_bytes
        ):
            self.let_in(one, 0, exchange.deadline_s)

    def unload(self, one: Hosted) -> bool:
        """Give a variant's memory back; returns False if it is at work or not there."""
        if one.engine is None or one.engine.busy:
            return False
        one.engine = one.model = one.given = None
        return True

    async def drained(self) -> None:
        """Wait until nothing waits or runs."""
        for one in self.hosted.values():
            if one.engine is not None:
                await one.engine.drained()

    def _landed(self, one: Hosted, key: bytes, job: Job, outcome: Outcome) -> None:
        if key:
            self.flights.end(key, job)
        refused, answer = outcome.refused, outcome.answer
        if refused is not None:
            one.counters.refused += 1
        if refused is None and key:
            self.cache.put(key, answer, time.monotonic())
        word = _MISS if key else _OFF
        cpu_s = outcome.cpu_s
        for exchange in job.exchanges:
            if not exchange.done:
                reply = (
                    refusal(refused, word, one.label, cpu_s)
                    if refused
                    else Reply(
                        200,
                        answer.body,
                        protocol.kind(answer),
                        word,
                        one.label,
                        cpu_s,
                        None,
                        answer.json_bytes,
                    )
                )
                self.finish(exchange, reply)
            word, cpu_s = _SHARED, 0.0  # who joined another's flight is not charged for the model

    def _shadowed(self, beside: Hosted, ask: protocol.Ask, outputs: list[Tensor]) -> Answer:
        """Encode a canary's answer, and let the incumbent compute the same, to compare (this may run in the thread)."""
        kept = [output.copy() for output in outputs]
        assert self._loop is not None  # noqa: S101 - predict has set it
        self._loop.call_soon_threadsafe(self._compare, beside, ask, kept)
        return ask.encode(outputs)

    def _compare(self, beside: Hosted, ask: protocol.Ask, kept: list[Tensor]) -> None:
        engine, model, variants = beside.engine, beside.model, self.variants
        if engine is None or model is None or variants is None or engine.waiting:
            return  # the shadow waits for nobody and makes nobody wait
        told: list[Tensor] = []

        def encode(outputs: list[Tensor]) -> Answer:
            told.extend(output.copy() for output in outputs)
            return Answer(b"")

        def landed(_job: Job, outcome: Outcome) -> None:
            if outcome.refused is None:
                variants.compare(kept, told)

        nobody = Exchange(lambda _exchange, _reply, _cost: None)
        engine.submit(Job(ask.tensors, model.batches, encode, landed, nobody))

    def _take(self, batch: Sequence[Job]) -> None:
        self.on_take(batch)  # whoever listens may come after a variant was loaded

    def _count(self, one: Hosted, rows: int, cpu_s: float) -> None:
        for counters in (self.counters, one.counters):
            counters.batches += 1
            counters.rows += rows
        one.counters.model_cpu_s += cpu_s
        self.on_batch(rows, cpu_s)

    def warm(self, name: str) -> bool:
        """Return whether a variant is loaded; if it is not, begin to load it."""
        one = self.hosted[name]
        if one.model is None and not one.awaited and not one.wrong:
            self._wake(one, lambda: None)
        return one.model is not None

    def _wake(self, one: Hosted, again: Callable[[], None]) -> None:
        """Load a variant in a thread, then call `again`. Raises Refused (503) if it cannot be loaded."""
        if one.wrong:
            raise Refused(503, one.wrong)
        one.awaited.append(again)
        if len(one.awaited) == 1:
            loading = asyncio.get_running_loop().run_in_executor(self._executor, self._timed, one)
            loading.add_done_callback(partial(self._woken, one))

    def _woken(self, one: Hosted, loading: asyncio.Future[Model]) -> None:
        try:
            self._ready(one, loading.result())
        except UsageError as error:
            one.wrong = str(error)
        finally:
            awaited, one.awaited = one.awaited, []
            for again in awaited:
                again()

    def _again(self, exchange: Exchange, dialect: str, variant: str) -> None:
        if exchange.done:
            return
        try:
            reply = self.predict(exchange, dialect, variant)
        except Refused as refused:
            reply = refusal(refused)
        if reply is not None:
            self.finish(exchange, reply)

    def _timed(self, one: Hosted) -> Model:
        began_s = time.thread_time()
        model = self._load(one.variant)
        one.load_cpu_s = time.thread_time() - began_s
        one.size_bytes = one.variant.path.stat().st_size
        return model

    def _ready(self, one: Hosted, model: Model) -> None:
        one.model = model
        one.used_s = time.monotonic()
        one.label = f"{one.variant.name}@{model.version[:8]}".encode("ascii", "replace")
        one.keys = {dialect: Keys(model.version, dialect) for dialect in _DIALECTS}
        one.caches = self.cache.on and model.repeats
        one.engine = Engine(
            model,
            target_s=self.limits.latency_target_s,
            limit_rows=self.limits.most_rows,
            cpu_s=self._cpu_s,
            on_batch=partial(self._count, one),
            on_take=self._take,
            executor=self._executor,
        )


def refusal(refused: Refused, cache: bytes = _OFF, variant: bytes = b"none", cpu_s: float = 0.0) -> Reply:
    """Return the reply that tells what was wrong, in one line."""
    body = protocol.json_bytes({"error": refused.reason})
    return Reply(refused.status, body, JSON, cache, variant, cpu_s, refused.retry_after_s)
