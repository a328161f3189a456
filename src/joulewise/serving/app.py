"""The server as whoever brings it requests sees it: routes, key, admission, pages, and the headers of every reply.

    request ── key? ── body within its size and time ── cached? ── in flight? ── understood? ── let in? ── queue
                401          413, 408                    hit         shared        400, 422       429      504

`wire.py` brings requests from sockets, `asgi.py` from any ASGI server. Each exchange goes through `opened`, `head` (its headers
are here), `took` (some of its body is) and `whole`; `gone` if its client leaves. Every response, errors too, says what it
cost: `x-joules`, `x-joules-basis`, `x-gco2e`, `x-cost`, `x-cache`, `x-variant`.
"""

from __future__ import annotations

import hmac
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final

from joulewise.serving import openapi, protocol
from joulewise.serving.endpoint import Endpoint, Hosted, Limits, refusal
from joulewise.serving.energy import Rate, Tally
from joulewise.serving.exchange import Cost, Deadlines, Exchange, Reply
from joulewise.serving.folder import Variant
from joulewise.serving.metrics import CONTENT_TYPE, Counters, exposition
from joulewise.serving.onnx_model import Model
from joulewise.serving.tensors import Refused
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis

__all__ = ["Limits", "Service", "of_model"]

_LONGEST_DEADLINE_MS = 600_000
_SILENCE_S = 1.0
_OPEN = frozenset(("/healthz", "/v2/health/live"))  # and readiness: these ask for no key
_Page = Callable[[], Reply]
_UNKNOWN = Cost()
_UNPRICED = Rate(0.0, None, Basis.ASSUMED)
_BASIS = {basis: basis.word.encode() for basis in Basis}


@final
class Service:
    """Answers requests to one or several models; the first is the one that `/predict` asks.

    `rate` is asked for the joules of a CPU-second now; `api_key` is one key, or several with commas between (to change them without
    a gap); "" lets everybody in (loopback only, which `places.py` sees to).
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        limits: Limits,
        rate: Callable[[], Rate | None] = lambda: None,
        api_key: str = "",
        executor: ThreadPoolExecutor | None = None,
    ) -> None:
        self.endpoints = {one.name: one for one in endpoints}
        self.counters = Counters()
        self.tally = Tally()
        self.limits = limits
        self.ready = True
        self.held_bytes = 0
        self.used_s = time.monotonic()  # when the last request came
        self.silences_s: deque[float] = deque(maxlen=1000)  # between requests, those above a second
        self.rate = rate
        self.more: Callable[[], Mapping[str, float]] = dict  # counters to show beside our own
        self._api_keys = [key.strip().encode() for key in api_key.split(",") if key.strip()]
        self._executor = executor
        self._priced = (
            _UNPRICED,
            0.0,
            _UNKNOWN,
        )  # the last rate and CPU time, and the headers that they came to
        self._deadlines = Deadlines(self._late)
        self._posts: dict[str, tuple[Endpoint, str, str]] = {}
        self._pages: dict[str, _Page] = {}
        self._readiness: set[str] = {"/readyz", "/v2/health/ready"}
        for one in endpoints:
            self._route(one, first=one is endpoints[0])

    def _route(self, one: Endpoint, *, first: bool) -> None:
        one.finish, one.on_batch, one.held_bytes = self.finish, self._batch, lambda: self.held_bytes
        plain, v2 = f"/models/{one.name}", f"/v2/models/{one.name}"
        for prefix in ("", plain) if first else (plain,):
            self._posts[f"{prefix}/predict"] = (one, "plain", "")
            self._pages[f"{prefix}/openapi.json"] = lambda: _json(self._described(one))
            self._pages[f"{prefix}/docs"] = lambda: _html(openapi.page(self._described(one)))
        self._posts[f"{v2}/infer"] = (one, "v2", "")
        self._pages[v2] = lambda: _json(self._metadata(one))
        self._readiness.add(f"{v2}/ready")
        for name in one.hosted:  # v2's versions are our variants
            self._posts[f"{plain}/{name}/predict"] = (one, "plain", name)
            self._posts[f"{v2}/versions/{name}/infer"] = (one, "v2", name)
            self._pages[f"{v2}/versions/{name}"] = self._pages[v2]
            self._readiness.add(f"{v2}/versions/{name}/ready")
        if first:
            live = _json({"live": True})
            self._pages["/healthz"] = self._pages["/v2/health/live"] = lambda: live
            self._pages["/metrics"] = lambda: Reply(200, self.metrics().encode(), CONTENT_TYPE.encode())
            self._pages["/v2"] = lambda: _json(_about())

    def _described(self, one: Endpoint) -> dict[str, Any]:
        return openapi.description(one.model, bool(self._api_keys), one.name, one is self._first)

    def _metadata(self, one: Endpoint) -> dict[str, Any]:
        return protocol.v2_metadata(one.model, one.name, list(one.hosted))

    @property
    def _first(self) -> Endpoint:
        return next(iter(self.endpoints.values()))

    def opened(self) -> None:
        """Count a request whose first byte is here."""
        now_s = time.monotonic()
        if now_s - self.used_s > _SILENCE_S:
            self.silences_s.append(now_s - self.used_s)
        self.used_s = now_s
        self.tally.enter()

    def head(self, exchange: Exchange) -> None:
        """Look at a request whose headers are here; it may be answered at once (then nothing more of it is wanted)."""
        try:
            self._look(exchange)
        except Refused as refused:
            reply = refusal(refused)
            if refused.status == 405:
                reply = reply._replace(allow=b"POST" if exchange.path in self._posts else b"GET, HEAD")
            self.finish(exchange, reply)

    def took(self, exchange: Exchange, size: int) -> None:
        """Count so many bytes of its body; it may be refused for them."""
        exchange.held_bytes += size
        self.held_bytes += size
        if exchange.held_bytes > self.limits.most_body_bytes:
            self.finish(exchange, refusal(_too_large(self.limits.most_body_bytes)))
        elif self.held_bytes > 2 * self.limits.bounds.most_held_bytes:
            reason = f"{self.held_bytes} bytes of requests are being held already"
            self.finish(exchange, refusal(Refused(429, reason, 1)))

    def whole(self, exchange: Exchange) -> None:
        """Answer a request that is here as a whole, now or later."""
        posted = self._posts.get(exchange.path)
        try:
            if posted is None:
                reply: Reply | None = self._page(exchange)
            else:
                endpoint, dialect, variant = posted
                self._deadlines.add(exchange)
                reply = endpoint.predict(exchange, dialect, variant)
        except Refused as refused:
            reply = refusal(refused)
        except UsageError as error:  # a model that cannot be loaded to be described
            reply = refusal(Refused(503, str(error)))
        if reply is not None:
            self.finish(exchange, reply)

    def refuse(self, exchange: Exchange, status: int, reason: str) -> None:
        """Answer with an error that whoever brought the request has seen."""
        self.finish(exchange, refusal(Refused(status, reason)))

    def gone(self, exchange: Exchange) -> None:
        """Forget a request whose client went away."""
        if not exchange.done:
            self._out(exchange)

    def finish(self, exchange: Exchange, reply: Reply) -> None:
        """Answer an exchange, once; does nothing if it was answered."""
        if exchange.done:
            return
        cost = self._cost(reply)
        self._out(exchange)
        exchange.respond(exchange, reply, cost)

    async def close(self) -> None:
        """Take no more requests as ready, and wait for what is inside; then end the model's thread."""
        self.ready = False
        for one in self.endpoints.values():
            await one.drained()
        if self._executor is not None:
            self._executor.shutdown()

    def _out(self, exchange: Exchange) -> None:
        exchange.done = True
        self._deadlines.discard(exchange)
        self.held_bytes -= exchange.held_bytes
        exchange.held_bytes = 0
        self.tally.leave()

    def _late(self, exchange: Exchange) -> None:
        reason = f"the deadline of {exchange.deadline_s:.3g} s passed before the answer"
        self.finish(exchange, refusal(Refused(504, reason)))

    def _look(self, exchange: Exchange) -> None:
        path, method = exchange.path, exchange.method
        if path in self._readiness and method in ("GET", "HEAD"):
            return
        if self._api_keys and path not in _OPEN and not self._may_enter(exchange):
            raise Refused(401, "the API key is missing or wrong: send it as 'authorization: Bearer KEY'")
        posted = self._posts.get(path)
        if posted is None:
            if path not in self._pages and path not in self._readiness:
                raise Refused(404, f"there is no {path[:200]}; see /docs")
            if method not in ("GET", "HEAD"):
                raise Refused(405, f"{path} takes GET, not {method}")
            return
        if method != "POST":
            raise Refused(405, f"{path} takes POST, not {method}")
        exchange.deadline_s = self._deadline_s(exchange)
        told = exchange.headers.get(b"content-length", b"0")
        if told.isdigit() and int(told[:20]) > self.limits.most_body_bytes:
            raise _too_large(self.limits.most_body_bytes)
        posted[0].full(exchange)

    def _page(self, exchange: Exchange) -> Reply:
        if exchange.path in self._readiness:
            return _json({"ready": self.ready}, 200 if self.ready else 503)
        return self._pages[exchange.path]()

    def _may_enter(self, exchange: Exchange) -> bool:
        scheme, _, told = exchange.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            told = exchange.headers.get(b"x-api-key", b"")
        return True in [
            hmac.compare_digest(told.strip(), key) for key in self._api_keys
        ]  # each, whichever fits

    def _deadline_s(self, exchange: Exchange) -> float:
        told = exchange.headers.get(b"x-deadline-ms")
        if told is None:
            return self.limits.deadline_s
        if not (told.isdigit() and len(told) <= 6 and 0 < int(told) <= _LONGEST_DEADLINE_MS):
            shown = told[:20].decode("latin-1")
            raise Refused(400, f"x-deadline-ms is {shown!r}, but must be 1 to {_LONGEST_DEADLINE_MS}")
        return int(told) / 1000

    def _cost(self, reply: Reply) -> Cost:
        rate = self.rate()
        if rate is None:
            self.counters.answered(reply.status, None, None)
            return _UNKNOWN
        cpu_s = reply.cpu_s + self.tally.overhead_s
        joules = rate.joules * cpu_s
        grams = None if rate.grams is None else rate.grams * cpu_s
        money = None if rate.money is None else rate.money * cpu_s
        self.counters.answered(reply.status, joules, grams, money)
        for_rate, for_cpu_s, cost = self._priced
        if for_rate is not rate or for_cpu_s != cpu_s:  # a batch's requests cost the same: it is written once
            cost = Cost(
                b"%.3g" % joules,
                _BASIS[rate.basis],
                b"unknown" if grams is None else b"%.3g" % grams,
                b"unknown" if money is None else f"{money:.3g} {rate.currency}".encode(),
            )
            self._priced = rate, cpu_s, cost
        return cost

    def _batch(self, rows: int, cpu_s: float) -> None:
        self.counters.batches += 1
        self.counters.rows += rows
        self.tally.batch(cpu_s)

    def metrics(self) -> str:
        """Return the counters as Prometheus reads them."""
        return exposition(self)


def of_model(
    model: Model,
    limits: Limits,
    rate: Callable[[], Rate | None] = lambda: None,
    api_key: str = "",
    cpu_s: Callable[[], float] = time.thread_time,
) -> Service:
    """Return a service of one model that is loaded already."""
    from pathlib import Path

    executor = ThreadPoolExecutor(1, "joulewise-model")
    hosted = Hosted(Variant(model.name, Path()), model)
    endpoint = Endpoint(model.name, [hosted], limits, lambda _variant: model, cpu_s=cpu_s, executor=executor)
    return Service([endpoint], limits, rate, api_key, executor)


def _about() -> dict[str, Any]:
    from importlib.metadata import version

    return {"name": "joulewise", "version": version("joulewise"), "extensions": ["binary_tensor_data"]}


def _json(fields: Any, status: int = 200) -> Reply:
    return Reply(status, protocol.json_bytes(fields))


def _html(page: str) -> Reply:
    return Reply(200, page.encode(), b"text/html; charset=utf-8")


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most} bytes")
