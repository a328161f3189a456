"""The application as an ASGI server sees it: routes, admission, cache, single flight, errors, headers."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import numpy as np
import pytest

from joulewise.serving.app import Limits, of_model
from joulewise.serving.asgi import Asgi
from joulewise.serving.batching import Bounds
from joulewise.serving.energy import Rate, Tally
from joulewise.serving.onnx_model import OnnxModel
from joulewise.vocabulary.figures import Basis
from tests.serving import models
from tests.serving.asking import ask, x

HEADERS = {"x-joules", "x-joules-basis", "x-gco2e", "x-cost", "x-cache", "x-variant"}


class Counted:
    """A model around another, that counts the rows it computes and can be held."""

    def __init__(self, model) -> None:
        self._model = model
        self.rows = 0
        self.go = threading.Event()
        self.go.set()

    def __getattr__(self, name) -> object:
        return getattr(self._model, name)

    def run(self, tensors):
        self.go.wait(10)
        self.rows += len(tensors[0])
        return self._model.run(tensors)


@pytest.fixture
def model(tmp_path):
    return Counted(OnnxModel(models.double(tmp_path)))


def first(service):
    return next(iter(service.endpoints.values()))


def serve(service, *requests):
    """Return the answers to requests that are asked all at once."""

    async def scene():
        return await asyncio.gather(*(ask(service, **request) for request in requests))

    return asyncio.run(scene())


def test_answer_and_headers(model):
    """An answer is right, and says its joules, grams, basis, cache and variant."""
    service = of_model(model, Limits(), lambda: Rate(20.0, 0.002, Basis.MODELLED, 0.0004, "EUR"))

    (answer,) = serve(service, {"body": x((1, 2, 3))})

    assert (answer.status, answer.json()) == (200, {"outputs": {"y": [[2.0, 4.0, 6.0]]}})
    assert float(answer.headers["x-joules"]) > 0
    assert float(answer.headers["x-gco2e"]) == pytest.approx(
        float(answer.headers["x-joules"]) * 1e-4, rel=0.02
    )
    money, currency = answer.headers["x-cost"].split()
    assert float(money) == pytest.approx(float(answer.headers["x-joules"]) * 2e-5, rel=0.02)
    assert currency == "EUR"
    assert 'joulewise_serve_cost_total{currency="EUR"}' in service.metrics()
    assert answer.headers["x-joules-basis"] == "modelled"
    assert answer.headers["x-cache"] == "miss"
    assert answer.headers["x-variant"] == f"double@{model.version[:8]}"


def test_joules_follow_the_rate(model):
    """A new rate is in the very next answer, also where it takes the CPU time of the one before."""
    rates = iter([Rate(20.0, None, Basis.MODELLED), Rate(40.0, 0.5, Basis.ASSUMED)])
    service = of_model(model, Limits(), lambda: next(rates))
    service.tally = Tally(lambda: 0.0)
    page = {"method": "GET", "path": "/healthz"}

    told = [
        [answer.headers[h] for h in ("x-joules-basis", "x-gco2e")] for answer in serve(service, page, page)
    ]

    assert told == [["modelled", "unknown"], ["assumed", "0"]]


def test_unknown_joules(model):
    """While nothing is known about joules the headers say so; they never say 0."""
    (answer,) = serve(of_model(model, Limits()), {"body": x((1, 2, 3))})
    assert [answer.headers[h] for h in ("x-joules", "x-joules-basis", "x-gco2e", "x-cost")] == ["unknown"] * 4


def test_cache(model):
    """The same bytes again are answered from the cache: the model computes once, and the answer is the same."""
    service = of_model(model, Limits())
    first, second = (serve(service, {"body": x((1, 2, 3))})[0] for _ in range(2))

    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.body == second.body
    assert model.rows == 1


def test_ttl(model):
    """An answer older than the cache may keep is computed again."""
    service = of_model(model, Limits(cache_ttl_s=0.01))
    serve(service, {"body": x((1, 2, 3))})
    time.sleep(0.02)
    assert serve(service, {"body": x((1, 2, 3))})[0].headers["x-cache"] == "miss"


def test_single_flight(model):
    """Fifty equal requests at once are computed once; every one has the answer."""
    answers = serve(of_model(model, Limits()), *[{"body": x((1, 2, 3))}] * 50)

    assert {a.body for a in answers} == {b'{"outputs":{"y":[[2.0,4.0,6.0]]}}'}
    assert sorted(a.headers["x-cache"] for a in answers) == ["miss"] + ["shared"] * 49
    assert model.rows == 1


def test_single_flight_shares_refusals(tmp_path):
    """Equal requests that the model refuses are all refused, and nothing is kept of it."""
    service = of_model(OnnxModel(models.pick(tmp_path)), Limits())
    for _ in range(2):
        answers = serve(service, *[{"body": {"inputs": {"ids": [[99]]}}}] * 3)
        assert [a.status for a in answers] == [422] * 3
        assert len(first(service).cache) == len(first(service).flights) == 0


def test_no_cache(model, tmp_path):
    """A cache of no size, or a model that does not repeat itself, computes every time."""
    off = of_model(model, Limits(cache_bytes=0))
    answers = serve(off, *[{"body": x((1, 2, 3))}] * 3)
    assert [a.headers["x-cache"] for a in answers] == ["off"] * 3
    assert model.rows == 3
    noisy = of_model(OnnxModel(models.noisy(tmp_path)), Limits())
    assert len({a.body for a in serve(noisy, *[{"body": x((1, 2, 3))}] * 3)}) == 3


def test_many_at_once(model):
    """Three hundred unlike requests at once, some wrong: every good one has its own answer, every wrong one its error."""
    draw = random.Random(1)
    wrong = [
        b"",
        b'{"inputs": {"x": [[1, 2',
        b'{"inputs": {"x": [[1, 2]]}}',
        b'{"inputs": {"x": [[1, 2, NaN]]}}',
        b'{"inputs": {"x": [[1, 2, null]]}}',
        b'{"inputs": {"x": [[1, 2, 1e999]]}}',
        b"\x00" * 50,
    ]
    requests: list[dict[str, Any]] = []
    for k in range(300):
        if k % 3 == 0:
            requests.append({"body": draw.choice(wrong)})
        else:
            requests.append({"body": x(*[(k, k + 0.5, -k)] * draw.randint(1, 5))})
    service = of_model(model, Limits(deadline_s=60))

    answers = serve(service, *requests)

    for k, (request, answer) in enumerate(zip(requests, answers, strict=True)):
        assert answer.headers.keys() >= HEADERS
        if k % 3 == 0:
            assert answer.status == 400
            assert answer.json()["error"]
        else:
            rows = np.array(request["body"]["inputs"]["x"])
            assert answer.json()["outputs"]["y"] == (2 * rows).tolist()
    assert service.counters.responses == {200: 200, 400: 100}
    assert service.counters.batches < 200
    assert len(service._deadlines) == 0
    assert (service.held_bytes, service.tally.inside) == (0, 0)


def test_neighbours_of_a_bad_input(tmp_path):
    """In one batch with ids that the model refuses (422), the others get their right answers."""
    service = of_model(OnnxModel(models.pick(tmp_path)), Limits())
    answers = serve(
        service, *({"body": {"inputs": {"ids": [[k % 4, 99 if k == 7 else 0]]}}} for k in range(20))
    )
    assert [a.status for a in answers] == [422 if k == 7 else 200 for k in range(20)]
    assert all(a.json()["outputs"]["y"] == [[10.0 + k % 4, 10.0]] for k, a in enumerate(answers) if k != 7)


def test_unlike_shapes(tmp_path):
    """Requests of unlike lengths never share a batch, and all are answered."""
    service = of_model(OnnxModel(models.pick(tmp_path)), Limits())
    answers = serve(service, *({"body": {"inputs": {"ids": [[1] * (1 + k % 3)]}}} for k in range(30)))
    assert [len(a.json()["outputs"]["y"][0]) for a in answers] == [1 + k % 3 for k in range(30)]


def test_body_limits(model):
    """Too large by its header or as it comes is 413, cut short 400, too slow 408; the memory is given back."""
    service = of_model(model, Limits(most_body_bytes=100, body_s=0.05))
    told, seen, cut, slow = serve(
        service,
        {"body": b"", "headers": {"content-length": "101"}},
        {"parts": [b"x" * 60] * 9},
        {"parts": [b"{", b""], "hang": False, "headers": {"content-length": "9"}},
        {"parts": [b"{"], "hang": True},
    )
    assert [a.status for a in (told, seen, cut, slow)] == [413, 413, 400, 408]
    assert told.headers["connection"] == "close"
    assert service.held_bytes == 0


def test_disconnect(model):
    """A client that goes away before its body is whole costs nothing but a 400 that nobody reads."""

    async def scene():
        sent = []
        messages = [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": "/predict", "method": "POST", "headers": []}
        await Asgi(of_model(model, Limits()))(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(scene()) == 400


def test_admission(model):
    """More than may wait is refused with 429 and Retry-After, before its body is read; those inside are answered."""
    service = of_model(model, Limits(bounds=Bounds(most_waiting=5), cache_bytes=0))

    async def scene():
        model.go.clear()
        inside = [asyncio.create_task(ask(service, body=x((k, 0, 0)))) for k in range(1)]
        await asyncio.sleep(0.05)
        inside += [asyncio.create_task(ask(service, body=x((k, 0, 0)))) for k in range(1, 6)]
        await asyncio.sleep(0.05)
        refused = await ask(service, body=x((9, 0, 0)))
        model.go.set()
        return refused, await asyncio.gather(*inside)

    refused, inside = asyncio.run(scene())
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert [a.status for a in inside] == [200] * 6


def test_deadline(model):
    """A request's own deadline ends its waiting with 504; a wrong one is 400."""
    service = of_model(model, Limits())

    async def scene():
        model.go.clear()
        late = await ask(service, body=x((1, 0, 0)), headers={"x-deadline-ms": "30"})
        model.go.set()
        return late

    assert asyncio.run(scene()).status == 504
    for wrong in ("0", "-1", "1.5", "soon", "600001", "9" * 30):
        (answer,) = serve(service, {"body": x((1, 0, 0)), "headers": {"x-deadline-ms": wrong}})
        assert answer.status == 400


def test_key(model):
    """With a key, only health and readiness answer without it; both headers are taken; errors do not tell the key."""
    service = of_model(model, Limits(), api_key="s3cret")
    body = x((1, 2, 3))
    statuses = [
        a.status
        for a in serve(
            service,
            {"body": body},
            {"body": body, "headers": {"authorization": "Bearer wrong"}},
            {"body": body, "headers": {"authorization": "Basic s3cret"}},
            {"path": "/metrics", "method": "GET"},
            {"body": body, "headers": {"authorization": "Bearer s3cret"}},
            {"body": body, "headers": {"x-api-key": "s3cret"}},
            {"path": "/healthz", "method": "GET"},
            {"path": "/v2/health/ready", "method": "GET"},
        )
    ]
    assert statuses == [401, 401, 401, 401, 200, 200, 200, 200]
    both = of_model(model, Limits(), api_key="s3cret, older")
    told = serve(
        both,
        *({"body": body, "headers": {"x-api-key": key}} for key in ("s3cret", "older", "", "s3cret, older")),
    )
    assert [a.status for a in told] == [200, 200, 401, 401]


def test_pages(model):
    """Every page of the description answers; unknown paths and wrong methods are told."""
    service = of_model(model, Limits())
    v2 = "/v2/models/double/versions/double"
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/double", "/v2/models/double/ready",
                 v2, f"{v2}/ready", "/metrics", "/openapi.json", "/docs", "/healthz", "/readyz"):  # fmt: skip
        (answer,) = serve(service, {"path": path, "method": "GET"})
        assert answer.status == 200, path
        assert answer.headers.keys() >= HEADERS
    statuses = [
        a.status
        for a in serve(
            service,
            {"path": "/nowhere", "method": "GET"},
            {"path": "/predict", "method": "GET"},
            {"path": "/docs", "method": "POST"},
            {"path": "/v2/models/other/infer"},
        )
    ]
    assert statuses == [404, 405, 405, 404]


def test_metrics(model):
    """The counters are those of what happened."""
    service = of_model(model, Limits(), lambda: Rate(20.0, 0.002, Basis.MODELLED))
    serve(service, {"body": x((1, 2, 3))})
    serve(service, {"body": x((1, 2, 3))}, {"body": b""})
    lines = serve(service, {"path": "/metrics", "method": "GET"})[0].body.decode().splitlines()
    told = dict(line.replace('model="double",', "").replace('variant="double"', "").rsplit(" ", 1)
                for line in lines if not line.startswith("#"))  # fmt: skip
    assert told['joulewise_serve_responses_total{status="200"}'] == "2"
    assert told['joulewise_serve_responses_total{status="400"}'] == "1"
    assert told['joulewise_serve_cache_total{result="hit"}'] == "1"
    assert told["joulewise_serve_rows_total{}"] == "1"
    assert float(told["joulewise_serve_joules_total{}"]) > 0


def test_lifespan_drains(model):
    """At the end the server is not ready, what waits is answered, and only then it says that it is down."""
    service = of_model(model, Limits())

    async def scene():
        queue: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        sent: list[str] = []

        async def send(message):
            sent.append(message["type"])

        life = asyncio.create_task(Asgi(service)({"type": "lifespan"}, queue.get, send))
        await queue.put({"type": "lifespan.startup"})
        model.go.clear()
        inside = asyncio.create_task(ask(service, body=x((1, 2, 3))))
        await asyncio.sleep(0.05)
        await queue.put({"type": "lifespan.shutdown"})
        await asyncio.sleep(0.05)
        ready = await ask(service, path="/readyz", method="GET")
        assert sent == ["lifespan.startup.complete"]
        model.go.set()
        await life
        return ready, await inside, sent

    ready, inside, sent = asyncio.run(scene())
    assert ready.status == 503
    assert inside.status == 200
    assert sent[-1] == "lifespan.shutdown.complete"


def test_other_protocols(model):
    """What is neither http nor a lifespan is refused aloud."""

    async def scene():
        await ask(of_model(model, Limits()), kind="websocket")

    with pytest.raises(ValueError, match="websocket"):
        asyncio.run(scene())
