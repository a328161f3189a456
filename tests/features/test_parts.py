"""A view in parts: the same rows as in one piece, wherever the parts run."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

pytest.importorskip("duckdb")
np = pytest.importorskip("numpy")

from joulewise.features.materialising import materialise  # noqa: E402
from joulewise.features.online import open_online  # noqa: E402
from joulewise.features.parts import Spread, Task, part  # noqa: E402
from joulewise.features.reading import Reader  # noqa: E402
from joulewise.features.sources import Partition  # noqa: E402
from joulewise.features.views import Source, declared  # noqa: E402
from joulewise.vocabulary.errors import FeatureError, UsageError  # noqa: E402
from tests.features.conftest import NOW  # noqa: E402

SUMS = """SELECT "user", max(ts) AS ts, count(*) AS n, sum(amount) AS total FROM events GROUP BY "user" """
EVENTS = """SELECT (i * 7919) % 500 AS "user", TIMESTAMPTZ '2026-11-20 00:00+00' + to_seconds(i) AS ts, (i % 13)::DOUBLE AS amount
            FROM range(6000) t(i)"""


@pytest.fixture
def online(tmp_path):
    store = open_online(str(tmp_path / "online.db"))
    yield store
    store.close()


@pytest.fixture
def spend(parquet):
    return declared(
        name="spend",
        keys="user",
        event_time="ts",
        ttl="30d",
        sql=SUMS,
        sources={"events": parquet("events", EVENTS)},
        incremental="entities",
    )


def rows(view, store, count=500):
    return Reader(store, [view], dtype="float64").batch(list(range(count)))[0]


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_the_same_rows(spend, online, tmp_path, parts):
    """Parts one after another give what one piece gives: rows, mark, counts."""
    whole = open_online(str(tmp_path / "whole.db"))
    (one,) = materialise([spend], whole, now=NOW)
    (many,) = materialise([spend], online, now=NOW, spread=Spread(parts))

    assert np.array_equal(rows(spend, online), rows(spend, whole))
    assert not np.isnan(rows(spend, online)).any()
    assert (
        (many.state.mark_us, many.state.rows)
        == (one.state.mark_us, one.state.rows)
        == (one.state.mark_us, 500)
    )
    assert many.run.rows_read == one.run.rows_read
    whole.close()


def test_afterwards_only_what_changed(spend, online, parquet):
    """A run after the first needs no parts: it computes what changed, and says so."""
    materialise([spend], online, now=NOW, spread=Spread(3))
    parquet("events", f"{EVENTS} UNION ALL SELECT 7, TIMESTAMPTZ '2026-11-22 00:00+00', 1000.0")
    (done,) = materialise([spend], online, now=NOW, spread=Spread(3))

    assert (done.why, done.run.rows_written) == ("", 1)
    assert rows(spend, online)[7, 1] > 1000


def test_text_and_several_keys(online, parquet):
    """Entities of text and of several keys are told apart alike, with quotes and commas in them."""
    source = parquet(
        "visits",
        """SELECT 'it''s ' || (i % 9) AS shop, i % 4 AS day, TIMESTAMPTZ '2026-11-20 00:00+00' AS ts, i AS n FROM range(36) t(i)""",
    )
    view = declared(
        name="visits", keys=["shop", "day"], event_time="ts", ttl="30d", incremental="entities",
        sql="SELECT shop, day, ts, sum(n)::INT AS n FROM visits GROUP BY ALL", sources={"visits": source},
    )  # fmt: skip
    (done,) = materialise([view], online, now=NOW, spread=Spread(5))

    assert done.state.rows == 36
    assert Reader(online, [view]).row(("it's 3", 1)).tolist() == [21.0]


def test_not_every_view_can_be_parted(spend, online):
    """A view whose rows may depend on other entities is refused, and so is one that says otherwise and does."""
    with pytest.raises(UsageError, match=r"cannot be computed in parts.*incremental = 'entities'"):
        materialise([replace(spend, incremental="rows")], online, now=NOW, spread=Spread(2))
    ranked = replace(spend, sql=SUMS.replace("count(*)", "rank() OVER (ORDER BY sum(amount))"))
    with pytest.raises(
        UsageError, match="n of an entity is another when it is computed without the other entities"
    ):
        materialise([ranked], online, now=NOW, spread=Spread(2))

    assert online.states() == {}


def test_a_part_can_be_sent(spend):
    """A task and what it finds go through pickle: that is all another machine needs."""
    found = part(pickle.loads(pickle.dumps(Task((spend,), "spend", Partition(1, 4), NOW))))

    assert pickle.loads(pickle.dumps(found)) == found
    assert 0 < sum(len(c[0]) for c in found.chunks) < 500


@pytest.mark.parametrize(("number", "count"), [(0, 0), (0, 257), (3, 3), (-1, 2)])
def test_bad_parts(number, count):
    """There are 1 to 256 parts."""
    with pytest.raises(UsageError, match="must be 1 to 256"):
        Partition(number, count)


@pytest.fixture(scope="module")
def ray_map():
    """Return a Ray of our own: one start for all tests, which takes up to half a minute on a busy machine."""
    pytest.importorskip("ray", reason="ray is in the extra `ray`")
    from joulewise.features.ray_map import RayMap

    with RayMap("local") as run:
        yield run


@pytest.mark.slow
@pytest.mark.service
class TestRay:
    def test_parts_on_ray(self, ray_map, spend, online, tmp_path):
        """On a real Ray the parts come from other processes, and the rows are the same; a wrong view is its own one line."""
        whole = open_online(str(tmp_path / "whole.db"))
        materialise([spend], whole, now=NOW)
        (done,) = materialise([spend], online, now=NOW, spread=Spread(4, ray_map, counted=False))

        assert np.array_equal(rows(spend, online), rows(spend, whole))
        assert done.run.cpu_s > 0
        gone = replace(spend, sources={"events": Source("/nowhere/events.parquet")})
        with pytest.raises(UsageError, match="view spend: its source events is not there"):
            list(ray_map(part, [Task((gone,), "spend", Partition(0, 2), NOW)]))
        whole.close()

    def test_a_function_of_a_file_of_views(self, ray_map, online, tmp_path, parquet):
        """A view that is a Python function in a file of its own goes along."""
        from joulewise.features.loading import load_views

        source = parquet("events", EVENTS)
        (tmp_path / "views.py").write_text(
            f"""
from joulewise.features import view

FACTOR = 3

@view(keys="user", event_time="ts", ttl="30d", incremental="entities", sources={{"events": {source!r}}})
def tripled(events):
    return events.aggregate('"user", max(ts) AS ts, count(*) * ' + str(FACTOR) + ' AS n', '"user"')
"""
        )
        (view,) = load_views(tmp_path / "views.py")
        materialise([view], online, now=NOW, spread=Spread(2, ray_map, counted=False))

        assert rows(view, online)[:, 0].tolist() == [36.0] * 500


def test_a_ray_that_is_away():
    """An address where no Ray answers is said in one line."""
    pytest.importorskip("ray", reason="ray is in the extra `ray`")
    from joulewise.features.ray_map import RayMap

    with (
        pytest.raises(FeatureError, match=r"Ray cannot be reached at '127\.0\.0\.1:1'"),
        RayMap("127.0.0.1:1"),
    ):
        pass


def test_nothing_to_run(monkeypatch):
    """No Ray is started where no part is to be run."""
    ray = pytest.importorskip("ray", reason="ray is in the extra `ray`")
    from joulewise.features.ray_map import RayMap

    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("started"))
    with RayMap("local"):
        pass
