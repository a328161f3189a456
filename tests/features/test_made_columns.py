"""Text and times as features: a vocabulary, a stable hash, seconds since 1970, seconds before the read."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("duckdb")
np = pytest.importorskip("numpy")

from joulewise.features.loading import load_views  # noqa: E402
from joulewise.features.materialising import materialise  # noqa: E402
from joulewise.features.offline import Offline  # noqa: E402
from joulewise.features.online import open_online  # noqa: E402
from joulewise.features.reading import Reader  # noqa: E402
from joulewise.features.training_sets import training_set  # noqa: E402
from joulewise.features.views import Column, declared  # noqa: E402
from joulewise.vocabulary.errors import FeatureError, UnknownName, UsageError  # noqa: E402

PEOPLE = """SELECT * FROM (VALUES
    (1, TIMESTAMPTZ '2026-11-20 00:00+00', 'DE', 'Köln', TIMESTAMPTZ '2026-11-19 00:00+00', DATE '1970-01-02'),
    (2, TIMESTAMPTZ '2026-11-20 00:00+00', 'XX', 'it''s', TIMESTAMPTZ '2026-11-20 00:00+00', NULL),
    (3, TIMESTAMPTZ '2026-11-20 00:00+00', NULL, NULL, NULL, DATE '2026-11-20'))
    t("user", ts, country, city, seen, joined)"""
COLUMNS = {
    "country": {"type": "category", "values": ["FR", "DE"]},
    "city": {"type": "hash", "buckets": 1000},
    "seen": "age",
    "joined": "epoch",
}


@pytest.fixture
def online(tmp_path):
    store = open_online(str(tmp_path / "online.db"))
    yield store
    store.close()


def make(columns=COLUMNS, sql=PEOPLE, **changes):
    return declared(
        **{
            "name": "people",
            "keys": "user",
            "event_time": "ts",
            "ttl": "300d",
            "sql": sql,
            "columns": columns,
            **changes,
        }
    )


def close(row, expected):
    return np.allclose(row, expected, rtol=1e-6, atol=2.0, equal_nan=True)


def test_online(online):
    """A place in the vocabulary, a stable bucket, a time as seconds; what is unknown or null is missing, read alone or not."""
    materialise([make()], online)
    seen_s = datetime(2026, 11, 19, tzinfo=UTC).timestamp()
    now_s = time.time()
    expected = [
        [1, _bucket("Köln"), now_s - seen_s, 86_400],
        [np.nan, _bucket("it's"), now_s - seen_s - 86_400, np.nan],
        [np.nan, np.nan, np.nan, datetime(2026, 11, 20, tzinfo=UTC).timestamp()],
    ]
    reader = Reader(online, [make()], dtype="float64")

    assert close(reader.batch([1, 2, 3])[0], expected)
    assert close([reader.row(n) for n in (1, 2, 3)], expected)
    assert Reader(online, ["people"], dtype="float64").row(1)[1] == _bucket("Köln")


def _bucket(text):
    import hashlib

    return int(hashlib.md5(text.encode()).hexdigest()[:15], 16) % 1000


def test_an_age_grows(online):
    """What is read is the age at the time of the read, in full precision also in an array of float32."""
    materialise(
        [
            make(
                columns={"seen": "age"},
                sql='SELECT 1 AS "user", $now AS ts, $now - INTERVAL 5 SECOND AS seen',
            )
        ],
        online,
    )
    reader = Reader(online, ["people"])
    first = reader.row(1)[0]
    time.sleep(0.05)
    later = reader.row(1)[0]

    assert first == pytest.approx(5.0, abs=3)
    assert 0.03 < later - first < 5
    assert reader.batch([1, 1])[0][0, 0] > first


def test_training_set_as_online(online):
    """In a training set an age is that at the label's time, and codes are those of the online rows."""
    labels = {"user": np.array([1, 2]), "at": np.array(["2026-11-21", "2026-11-20"], "datetime64[us]")}
    found = training_set(labels, [make()], at="at")
    materialise([make()], online)
    rows = Reader(online, [make()], dtype="float64").batch([1, 2])[0]

    assert np.ma.filled(found["people.seen"], np.nan).tolist() == [2 * 86_400.0, 0.0]
    assert np.ma.filled(found["people.country"].astype(float), np.nan).tolist()[0] == rows[0, 0] == 1
    assert np.ma.getmaskarray(found["people.country"]).tolist() == [False, True]
    assert found["people.city"].tolist() == rows[:, 1].tolist()


def test_defaults(online, tmp_path):
    """A category's default is a word of its vocabulary; in TOML as in Python."""
    (tmp_path / "views.toml").write_text(
        f"""
[people]
keys = "user"
event_time = "ts"
ttl = "300d"
sql = \'\'\'SELECT "user", ts, country FROM ({PEOPLE})\'\'\'
columns = {{ country = {{ type = "category", values = ["FR", "DE"], default = "FR" }} }}
"""
    )
    (view,) = load_views(tmp_path / "views.toml")
    materialise([view], online)

    assert Reader(online, [view], dtype="int64").batch([1, 2, 3, 4])[0][:, 0].tolist() == [1, 0, 0, 0]
    with pytest.raises(UnknownName, match=r"unknown default 'ES'.*of column country in view people"):
        make(columns={"country": {"type": "category", "values": ["FR"], "default": "ES"}})


def test_another_vocabulary_is_another_column(online):
    """A vocabulary that grows or turns is a migration: old codes are never read as new ones."""
    materialise([make()], online)
    other = make(columns={**COLUMNS, "country": {"type": "category", "values": ["DE", "FR"]}})
    with pytest.raises(FeatureError, match="country category of other values"):
        Reader(online, [other])
    with pytest.raises(UsageError, match=r"\(country category of other values\).*--migrate"):
        materialise([other], online)
    materialise([other], online, migrate=True)

    assert Reader(online, [other]).row(1)[0] == 0
    with pytest.raises(FeatureError, match="city hash of other buckets"):
        Reader(online, [make(columns={**other_columns(other), "city": {"type": "hash", "buckets": 10}})])


def other_columns(view):
    return {c.name: c for c in view.columns}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"type": "category"}, "country is category, but only a category has values, and needs them"),
        ({"type": "hash"}, "only a hash has buckets"),
        ({"type": "int8", "values": ["a"]}, "only a category has values"),
        ({"type": "category", "values": ["a", "a"]}, "they must differ"),
        ({"type": "hash", "buckets": 1}, "has 1 buckets, but must have 2 or more"),
        ({"type": "text"}, "features are numbers: bool, .*; or made into one: category, hash, epoch, age"),
        ({"type": "age"}, "column country is VARCHAR, but is declared age, which is made of a timestamp"),
    ],
)
def test_refused(online, column, message):
    """What cannot be is one line."""
    with pytest.raises(UsageError, match=message):
        materialise(
            [make(columns={"country": column}, sql=f'SELECT "user", ts, country FROM ({PEOPLE})')], online
        )


@pytest.mark.parametrize(
    ("column", "sql", "message"),
    [
        (Column("n", "category", values=("a",)), "1.5 AS n", "n is DECIMAL.*made of text"),
        (Column("n", "hash", buckets=9), "1.5 AS n", "n is DECIMAL.*made of text or a whole number"),
        (Column("n", "epoch"), "5 AS n", "n is INTEGER.*made of a timestamp"),
    ],
)
def test_wrong_source(column, sql, message):
    """A column of another kind than its declaration needs is told with what it is."""
    one = make(columns=[column], sql=f"SELECT 1 AS \"user\", TIMESTAMPTZ '2026-11-20' AS ts, {sql}")
    with Offline([one]) as offline, pytest.raises(UsageError, match=message):
        offline.compute(one, now=datetime(2026, 11, 24, tzinfo=UTC) + timedelta(0))


def test_a_zone(online):
    """A time that tells no zone is of the view's zone, as the event time is."""
    one = make(
        columns={"seen": "epoch"}, zone="Europe/Berlin",
        sql='SELECT 1 AS "user", TIMESTAMP \'2026-11-20 01:00\' AS ts, TIMESTAMP \'2026-11-20 01:00\' AS seen',
    )  # fmt: skip
    materialise([one], online)

    assert Reader(online, [one], dtype="float64").row(1)[0] == datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    assert not math.isnan(Reader(online, [one]).row(1)[0])
