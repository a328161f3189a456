"""A model that is fed by views: the request carries keys, the answer is the one of the assembled row, with its ages."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("duckdb")

from joulewise.features.materialising import materialise
from joulewise.features.online import StoreAway, open_online
from joulewise.features.views import Column, declared
from joulewise.serving.app import Limits, of_model
from joulewise.serving.features import FedModel
from joulewise.serving.onnx_model import OnnxModel
from joulewise.vocabulary.errors import UnknownName, UsageError
from tests.serving import models
from tests.serving.asking import ask

SPEND = """SELECT * FROM (VALUES (17, now() - INTERVAL 60 SECOND, 1::INT, 2.0::FLOAT), (4, now() - INTERVAL 5 HOUR, 3, NULL))
           t("user", ts, n, mean)"""
TASTE = """SELECT * FROM (VALUES (17, 'a', now() - INTERVAL 10 SECOND, 5.0), (4, 'b', now() - INTERVAL 10 SECOND, 6.0))
           t("user", shop, ts, affinity)"""


def spend(**changes):
    columns = (Column("n", "int32", 0), Column("mean", "float32", -1))
    return declared(
        **{
            "name": "spend", "keys": "user", "event_time": "ts", "ttl": "1h", "sql": SPEND, "columns": columns, **changes
        }
    )  # fmt: skip


def taste(**changes):
    columns = (Column("affinity", "float64", 0),)
    return declared(
        **{
            "name": "taste", "keys": ["user", "shop"], "event_time": "ts", "ttl": "1h", "sql": TASTE, "columns": columns,
            **changes,
        }
    )  # fmt: skip


@pytest.fixture
def online(tmp_path):
    store = open_online(str(tmp_path / "online.db"))
    materialise([spend(), taste()], store)
    yield store
    store.close()


@pytest.fixture
def model(tmp_path):
    return OnnxModel(models.score(tmp_path))


VIEWS = {"x": ("spend.mean", "taste", "spend.n")}  # of two entities, in an order of their own


def answers(service, *bodies, path="/predict"):
    async def scene():
        return await asyncio.gather(*(ask(service, path, body) for body in bodies))

    return asyncio.run(scene())


def request(users, shops, amounts):
    return {"inputs": {"user": users, "shop": shops, "amount": [[a] for a in amounts]}}


def test_the_request_carries_keys(model, online):
    """The answer is the model's own for the row that the views hold; unknown entities and nulls get the defaults."""
    fed = FedModel(model, VIEWS, online)
    (answer,) = answers(of_model(fed, Limits()), request([17, 4, 99], ["a", "b", "a"], [0.5, 0.5, 0.5]))
    told = answer.json()["outputs"]
    rows = np.array([[2, 5, 1], [-1, 6, 3], [-1, 0, 0]], "float32")
    (own,) = model.run([rows, np.full((3, 1), 0.5, "float32")])

    assert told["y"] == own.tolist()
    assert [None if a is None else round(a, -1) for a in told["spend.age_s"]] == [60, 18_000, None]
    assert [a is None for a in told["taste.age_s"]] == [False, False, True]
    assert answer.headers["x-cache"] == "off"


def test_v2(model, online):
    """In v2 the keys are tensors as the metadata says, text too; outputs can be chosen."""
    service = of_model(FedModel(model, VIEWS, online), Limits())
    (about,) = asyncio.run(_get(service, "/v2/models/score"))
    body = {
        "inputs": [
            {"name": "user", "shape": [2], "datatype": "INT64", "data": [17, 4]},
            {"name": "shop", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
            {"name": "amount", "shape": [2, 1], "datatype": "FP32", "data": [0, 0]},
        ],
        "outputs": [{"name": "taste.age_s"}, {"name": "y"}],
    }
    (answer,) = answers(service, body, path="/v2/models/score/infer")

    assert [(i["name"], i["datatype"], i["shape"]) for i in about.json()["inputs"]] == [
        ("user", "INT64", [-1]),
        ("shop", "BYTES", [-1]),
        ("amount", "FP32", [-1, 1]),
    ]
    assert [o["name"] for o in about.json()["outputs"]] == ["y", "spend.age_s", "taste.age_s"]
    outputs = {o["name"]: o for o in answer.json()["outputs"]}
    assert outputs["y"]["data"] == [152.0, 359.0]
    assert len(outputs["taste.age_s"]["data"]) == 2
    assert "spend.age_s" not in outputs


async def _get(service, *paths):
    return [await ask(service, path, method="GET") for path in paths]


def test_documentation(model, online):
    """The OpenAPI description takes keys, text as strings, and gives the ages."""
    (answer,) = asyncio.run(_get(of_model(FedModel(model, VIEWS, online), Limits()), "/openapi.json"))
    post = answer.json()["paths"]["/predict"]["post"]
    asked = post["requestBody"]["content"]["application/json"]["schema"]["properties"]["inputs"]["properties"]
    given = post["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["outputs"][
        "properties"
    ]

    assert {name: schema.get("items", {}).get("type") for name, schema in asked.items()} == {
        "user": "integer",
        "shop": "string",
        "amount": "array",
    }
    assert given["spend.age_s"]["items"]["type"] == ["number", "null"]


def test_requests_share_a_read(model, online):
    """Requests of one batch are one read in each view, and each gets its own rows."""
    fed = FedModel(model, VIEWS, online)
    service = of_model(fed, Limits())
    asked = [request([17 if k % 2 else 4], ["a" if k % 2 else "b"], [k]) for k in range(20)]
    told = [a.json()["outputs"]["y"][0][0] for a in answers(service, *asked)]

    assert told == [(152.0 if k % 2 else 359.0) + k for k in range(20)]
    assert fed.feed.counts.reads == 40
    assert service.counters.batches < 20


def test_counted(model, online):
    """Reads, missing and stale are counted: in the metrics, and in the store under the model's name."""
    fed = FedModel(model, VIEWS, online)
    service = of_model(fed, Limits())
    service.more = fed.feed.counters
    answers(service, request([17, 4, 99], ["a", "b", "a"], [0, 0, 0]))
    (metrics,) = asyncio.run(_get(service, "/metrics"))
    fed.feed.close()

    assert (fed.feed.counts.reads, fed.feed.counts.missing, fed.feed.counts.stale) == (6, 2, 1)
    assert "joulewise_serve_feature_stale_total{} 1" in metrics.body.decode()
    assert {(t.view, t.reader): (t.reads, t.missing, t.stale) for t in online.tallies()} == {
        ("spend", "score"): (3, 1, 1),
        ("taste", "score"): (3, 1, 0),
    }


def test_materialised_meanwhile(model, online):
    """New rows are seen at once; new columns are found by name; a column that is gone is 503, and comes back."""
    service = of_model(FedModel(model, VIEWS, online), Limits())
    asked = request([17], ["a"], [0])
    seen = [answers(service, asked)[0]]
    for sql, columns in (
        (SPEND.replace("2.0::FLOAT", "3.0::FLOAT"), spend().columns),
        (SPEND, (Column("mean", "float64", 7), Column("n", "int8", 0))),
        (
            SPEND.replace("n, mean)", "n, average)"),
            (Column("n", "int32", 0), Column("average", "float32", 0)),
        ),
        (SPEND, spend().columns),
    ):
        materialise([spend(sql=sql, columns=columns)], online, migrate=True)
        seen.append(answers(service, asked)[0])

    assert [a.json()["outputs"]["y"][0][0] if a.status == 200 else a.status for a in seen] == [
        152,
        153,
        152,
        503,
        152,
    ]
    assert "unknown column 'mean'" in seen[3].json()["error"]


def test_types(tmp_path, online):
    """A model of whole numbers gets whole numbers; a column without a default is refused there, for it could be NaN."""
    pick = OnnxModel(models.pick(tmp_path))
    fed = FedModel(pick, {"ids": ["spend.n"]}, online)
    (answer,) = answers(of_model(fed, Limits()), {"inputs": {"user": [17, 4]}})

    assert answer.json()["outputs"]["y"] == [[11.0], [13.0]]
    materialise([spend(columns=(Column("n", "int32"), Column("mean", "float32", 0)))], online, migrate=True)
    with pytest.raises(UsageError, match="n has no default"):
        FedModel(pick, {"ids": ["spend.n"]}, online)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ({"z": ["spend"]}, "unknown input 'z'"),
        ({"x": ["spent"]}, "unknown view 'spent'; did you mean spend.*materialise"),
        ({"x": ["spend.total"]}, "unknown column 'total'.*of view spend"),
        ({"x": ["spend"]}, r"input x has the shape \[None, 3\], but spend gives 2 columns"),
    ],
)
def test_refused_at_the_start(model, online, views, message):
    """What does not fit is told in one line before a request comes."""
    with pytest.raises((UsageError, UnknownName), match=message):
        FedModel(model, views, online)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"user": ["17"], "shop": ["a"], "amount": [[1]]}, "'user' holds text, but must hold INT64"),
        ({"user": [17], "shop": [3], "amount": [[1]]}, "'shop' holds integers, but must hold BYTES"),
        ({"user": [17], "amount": [[1]]}, "the input 'shop' is missing"),
        ({"user": [17, 4], "shop": ["a"], "amount": [[1]]}, "differ in their first dimension"),
        ({"user": [None], "shop": ["a"], "amount": [[1]]}, "'user' holds something else than numbers"),
        ({"user": [2**70], "shop": ["a"], "amount": [[1]]}, "'user' holds"),
        ({"x": [[1, 2, 3]], "amount": [[1]]}, "the input 'user' is missing"),
    ],
)
def test_refused_requests(model, online, inputs, message):
    """A wrong key is 400 in one line, and is never looked for."""
    fed = FedModel(model, VIEWS, online)
    (answer,) = answers(of_model(fed, Limits()), {"inputs": inputs})

    assert answer.status == 400
    assert message in answer.json()["error"]
    assert fed.feed.counts.reads == 0


class Away:
    """An online store whose rows cannot be reached for a while."""

    def __init__(self, online) -> None:
        self.online, self.off = online, False
        self.where = "redis://elsewhere:6379/0"

    def __getattr__(self, name) -> Any:
        return getattr(self.online, name)

    def lookup(self, views):
        found = self.online.lookup(views)
        away = self

        class Lookup:
            def one(self, key):
                return self.many([key])

            def many(self, keys):
                if away.off:
                    raise StoreAway("the online store redis://elsewhere:6379/0 is away: no answer")
                return found.many(keys)

        return Lookup()


def test_away(model, online):
    """While the store is away: the last good row with its growing age where the views say so, else 503 in one line."""
    materialise([spend(away="last"), taste(away="last")], online)
    store = Away(online)
    fed = FedModel(model, VIEWS, store)
    service = of_model(fed, Limits())
    known, other = request([17], ["a"], [0]), request([4], ["b"], [0])
    before = answers(service, known)[0].json()["outputs"]
    store.off = True
    kept, refused = answers(service, known, other)  # in one batch: one must not spoil the other
    store.off = False
    back = answers(service, other)[0]

    assert kept.json()["outputs"]["y"] == before["y"]
    assert kept.json()["outputs"]["spend.age_s"] >= before["spend.age_s"]
    assert (refused.status, refused.json()["error"]) == (
        503,
        "the online store redis://elsewhere:6379/0 is away: no answer",
    )
    assert back.status == 200
    assert fed.feed.counts.away > 0
    assert fed.waits


def test_away_and_refused(model, online):
    """A view that says nothing of a store that is away refuses rather than serve what may be old."""
    store = Away(online)
    service = of_model(FedModel(model, VIEWS, store), Limits())
    asked = request([17], ["a"], [0])
    answers(service, asked)
    store.off = True

    assert answers(service, asked)[0].status == 503


def test_text_that_means_a_number(online):
    """17 and "17" are one entity, read alone or with others, whatever the store keeps."""
    from joulewise.features.reading import Reader

    text = declared(
        name="named",
        keys="user",
        event_time="ts",
        ttl="1h",
        sql="SELECT '17' AS \"user\", $now AS ts, 3 AS n",
    )
    materialise([text], online)
    for view in ("spend", "named"):
        reader = Reader(online, [view])
        rows = [reader.row(17), reader.row("17"), *reader.batch([17, "17"])[0]]

        assert all(np.array_equal(row, rows[0]) for row in rows), view
        assert not np.isnan(rows[0]).any()
    assert json.dumps(reader.keys) == '["user"]'


def test_an_unloaded_model_is_let_go(tmp_path, online):
    """What keeps the counts does not keep the model: an idle one can be unloaded."""
    import gc
    import weakref

    inner = OnnxModel(models.score(tmp_path))
    fed = FedModel(inner, VIEWS, online)
    feed, gone = fed.feed, weakref.ref(inner)
    del inner, fed
    gc.collect()

    assert gone() is None
    assert feed.counters()["feature_reads"] == 0
