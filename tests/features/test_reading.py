"""The online read: one get into the model's array, defaults, ages, and counts."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

np = pytest.importorskip("numpy")

from joulewise.features.online import StoreAway, ViewState, open_online  # noqa: E402
from joulewise.features.reading import Reader  # noqa: E402
from joulewise.features.rows import Layout, tombstone  # noqa: E402
from joulewise.features.views import Column, declared  # noqa: E402
from joulewise.vocabulary.errors import FeatureError, UsageError  # noqa: E402

COLUMNS = (Column("n", "int32", 0), Column("mean", "float32"), Column("vip", "bool", 0))


def make(name="spend", columns=COLUMNS, **changes):
    return declared(
        **{
            "name": name,
            "keys": "user",
            "event_time": "ts",
            "ttl": "1h",
            "sql": "SELECT 1",
            "columns": columns,
            **changes,
        }
    )


def fill(online, view, rows, age_s=60.0):
    """Write rows (entity to values, None is missing, "gone" a deletion) that are `age_s` old."""
    layout = Layout(view.columns)
    at = round((time.time() - age_s) * 1e6)
    packed = []
    for values in rows.values():
        if values == "gone":
            packed.append(tombstone(layout.stamp, at))
            continue
        columns = {
            c.name: np.ma.masked_array([0 if v is None else v], [v is None]).astype(c.type)
            for c, v in zip(view.columns, values, strict=True)
        }
        packed.append(layout.pack(np.array([at]), columns).tobytes())
    state = ViewState(
        view.name, view.keys, view.columns, layout.stamp.hex(), "", at, view.ttl_s, view.refresh_s
    )
    with online.writing(view.name, fresh=True, whole_keys=True) as writer:
        writer.put(list(rows), [at] * len(rows), packed)
        writer.finish(state)


@pytest.fixture
def online(tmp_path):
    store = open_online(str(tmp_path / "online.db"))
    yield store
    store.close()


def test_read_into(online):
    """Values of every type land in the caller's array, and the age of the row is told."""
    view = make()
    fill(online, view, {7: (3, 2.5, True)})
    with Reader(online, [view]) as reader:
        row = np.full(3, -1, "float32")
        (age_s,) = reader.read(7, row)

    assert row.tolist() == [3.0, 2.5, 1.0]
    assert 59 < age_s < 70
    assert reader.columns == ("spend.n", "spend.mean", "spend.vip")


def test_missing(online):
    """An unknown or deleted entity gives the defaults and no age; a null gives its column's default."""
    view = make()
    fill(online, view, {1: (3, None, None), 2: "gone"})
    with Reader(online, [view]) as reader:
        row = np.zeros(3, "float32")
        ages = [reader.read(n, row)[0] for n in (1, 2, 3)]

        assert [math.isnan(a) for a in ages] == [False, True, True]
        assert np.array_equal(reader.row(1), [3, np.nan, 0], equal_nan=True)
        assert np.array_equal(reader.row(2), [0, np.nan, 0], equal_nan=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [COLUMNS, (Column("a", "float32", 9), Column("b", "float32", -1))])
def test_batch_is_the_same_as_one_by_one(online, dtype, columns):
    """Property: a batch gives what single reads give: missing, deleted, null, doubled and unknown entities included."""
    view = make(columns=columns, stale="default")
    chance = np.random.default_rng(0)
    rows = {
        n: tuple(None if chance.random() < 0.2 else float(chance.integers(0, 2)) for _ in columns)
        for n in range(50)
    }
    fill(online, view, {**rows, 50: "gone"})
    whole = list(range(50))
    for keys in (whole, [*whole, 50, 51, 3, 3]):
        with Reader(online, [view], dtype=dtype) as reader:
            table, ages = reader.batch(keys)
            singles = np.array([reader.row(k) for k in keys])

        assert np.array_equal(table, singles, equal_nan=True)
        assert ages.shape == (len(keys), 1)


def test_empty_batch(online):
    """No entity gives no row."""
    fill(online, make(), {1: (1, 1.0, True)})
    with Reader(online, [make()]) as reader:
        assert reader.batch([])[0].shape == (0, 3)


def test_several_views(online):
    """Several views of one entity fill one row, each with its own age."""
    old, new = make(), make("other", columns=(Column("x", "float64", 4),))
    fill(online, old, {1: (1, 1.5, False)}, age_s=600)
    fill(online, new, {1: (8.0,), 2: (9.0,)}, age_s=5)
    with Reader(online, [new, old]) as reader:
        row = np.zeros(4, "float32")
        ages = reader.read(1, row)
        table, many = reader.batch([1, 2])

    assert row.tolist() == [8.0, 1.0, 1.5, 0.0]
    assert ages[0] < 60 < ages[1]
    assert table[1, 0] == 9.0
    assert np.isnan(many[1]).tolist() == [False, True]


def test_stale_is_counted(online):
    """Values older than the TTL, or than this reader tolerates, are served and counted; or the default is."""
    view = make()
    fill(online, view, {1: (1, 1.0, True)}, age_s=1000)
    served = Reader(online, [view], name="patient")
    strict = Reader(online, [view], name="strict", tolerates_s=60)
    default = Reader(online, [make(stale="default", ttl="1min")], name="default")
    for reader in (served, strict, default):
        reader.row(1)
        reader.batch([1, 1])
        reader.close()

    assert served.row(1).tolist() == strict.row(1).tolist() == [1.0, 1.0, 1.0]
    assert np.array_equal(default.row(1), [0, np.nan, 0], equal_nan=True)
    assert {t.reader: (t.reads, t.stale) for t in online.tallies()} == {
        "patient": (3, 0),
        "strict": (3, 3),
        "default": (3, 3),
    }


def test_tallies(online):
    """Reads, missing and mean age are told to the store once, under the reader's name."""
    fill(online, make(), {1: (1, 1.0, True)}, age_s=100)
    reader = Reader(online, [make()], name="model-7", tolerates_s=500)
    reader.row(1)
    reader.row(2)
    reader.tell()
    reader.tell()
    reader.row(1)
    reader.close()
    (tally,) = online.tallies()

    assert (tally.view, tally.reader, tally.reads, tally.missing, tally.tolerates_s) == (
        "spend",
        "model-7",
        3,
        1,
        500,
    )
    assert tally.age_sum_s == pytest.approx(200, abs=20)
    assert datetime.now(UTC) - datetime.fromisoformat(tally.last_utc) < timedelta(minutes=1)


def test_schema(online):
    """Other columns than in the store are refused when the reader opens, and when they change under it."""
    fill(online, make(), {1: (1, 1.0, True)})
    with pytest.raises(FeatureError, match=r"other columns than its file \(store: -x, \+n|store: "):
        Reader(online, [make(columns=(Column("x", "float32"),))])
    reader = Reader(online, [make()])
    fill(online, make(columns=(Column("x", "float64"),)), {1: (5.0,)})
    for read in (lambda: reader.row(1), lambda: reader.batch([1])):
        with pytest.raises(
            FeatureError, match="was materialised with other columns while this reader was open"
        ):
            read()


def test_refused(online):
    """What a reader cannot do is said when it opens."""
    fill(online, make(), {1: (1, 1.0, True)})
    with pytest.raises(FeatureError, match="view other was never materialised here"):
        Reader(online, [make("other")])
    with pytest.raises(UsageError, match="mean has no default, and an array of int64 cannot hold NaN"):
        Reader(online, [make()], dtype="int64")
    with pytest.raises(UsageError, match="different keys"):
        Reader(online, [make(), make("other", keys="shop")])
    with pytest.raises(UsageError, match="at least one view"):
        Reader(online, [])
    with pytest.raises(TypeError, match="must be a whole number or text"), Reader(online, [make()]) as reader:
        reader.row(1.5)


class _Away:
    """A store that can be switched off."""

    def __init__(self, online) -> None:
        self.online = online
        self._lookup = online.lookup(["spend"])
        self.off = False

    def lookup(self, _views):
        return self

    def one(self, key):
        if self.off:
            raise StoreAway("the online store is away")
        return self._lookup.one(key)

    def many(self, keys):
        if self.off:
            raise StoreAway("the online store is away")
        return self._lookup.many(keys)

    def __getattr__(self, name) -> Any:
        return getattr(self.online, name)


def test_away(online):
    """A store that is away: the last good value with its age where the view says so, else its own error."""
    fill(online, make(), {1: (1, 1.0, True), 2: (2, 2.0, False)})
    for policy in ("last", "refuse"):
        away = _Away(online)
        reader = Reader(away, [make(away=policy)], name=policy)
        good = reader.row(1)
        reader.batch([1, 2])
        away.off = True
        if policy == "refuse":
            with pytest.raises(StoreAway):
                reader.row(1)
            with pytest.raises(StoreAway):
                reader.batch([1])
            continue
        row = np.zeros(3, "float32")
        (age_s,) = reader.read(1, row)

        assert row.tolist() == good.tolist()
        assert age_s >= 60
        assert reader.batch([2, 1])[0][:, 0].tolist() == [2.0, 1.0]
        assert reader.away == 3
        with pytest.raises(StoreAway):
            reader.row(3)


@pytest.mark.service
def test_redis_that_goes_away():
    """With a real Redis that is stopped, the last good value is served, and unknown entities are refused in one line."""
    pytest.importorskip("redis")
    from joulewise.testing.redis import private_redis, redis_binary

    if redis_binary() is None:
        pytest.skip("no Redis server is installed (sh scripts/services.sh installs it on Debian)")
    view = make(away="last")
    with private_redis() as url:
        online = open_online(url)
        fill(online, view, {1: (1, 1.0, True)})
        reader = Reader(online, [view])
        good = reader.row(1)

    assert reader.row(1).tolist() == good.tolist()
    with pytest.raises(StoreAway, match="is away"):
        reader.row(2)
    reader.close()
    online.close()
