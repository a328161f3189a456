"""Training sets: what was known at each label's time, exact against brute force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("duckdb")
np = pytest.importorskip("numpy")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from joulewise.features.training_sets import training_set  # noqa: E402
from joulewise.features.views import declared, view  # noqa: E402
from joulewise.vocabulary.errors import UsageError  # noqa: E402

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TTL_MINUTES = 20


def make(source, sql='SELECT "user", ts, v, gone FROM events', **changes):
    fields = {
        "name": "spend",
        "keys": "user",
        "event_time": "ts",
        "ttl": f"{TTL_MINUTES}min",
        "deleted": "gone",
    }
    return declared(**{**fields, "sql": sql, "sources": {"events": source}, **changes})


def events_sql(rows):
    values = ", ".join(
        f"({u}, TIMESTAMPTZ '{EPOCH + timedelta(minutes=m)}', {v}::DOUBLE, {g})" for u, m, v, g in rows
    )
    return f'SELECT * FROM (VALUES {values}) AS t("user", ts, v, gone)'


def labels_of(pairs):
    return {
        "user": np.array([u for u, _ in pairs]),
        "at": np.array(
            [np.datetime64((EPOCH + timedelta(minutes=m)).replace(tzinfo=None), "us") for _, m in pairs]
        ),
        "y": np.arange(len(pairs)),
    }


def known(events, user, minute):
    """Brute force: the value of the newest row at or before the minute, None where it is too old, deleted or not there."""
    rows = [(m, g, v) for u, m, v, g in events if u == user and m <= minute]
    if not rows:
        return None
    newest, gone, value = max(rows)
    return None if gone or minute - newest > TTL_MINUTES else value


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 9).map(float), st.booleans()),
    min_size=1,
    max_size=30,
)
LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(-5, 90)), min_size=1, max_size=20)


@given(EVENTS, LABELS)
@settings(max_examples=25, deadline=None)
def test_exact(tmp_path_factory, events, labels):
    """Property: every value equals brute force, with ties, deletions, old rows and unknown entities; rows keep their order."""
    import duckdb

    path = tmp_path_factory.mktemp("set") / "events.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'UTC'; COPY ({events_sql(events)}) TO '{path}' (FORMAT parquet)")
    found = training_set(labels_of(labels), [make(str(path))], at="at")

    values = np.ma.getdata(found["spend.v"]).tolist()
    masks = np.ma.getmaskarray(found["spend.v"]).tolist()
    assert [None if m else v for v, m in zip(values, masks, strict=True)] == [
        known(events, u, m) for u, m in labels
    ]
    assert found["y"].tolist() == list(range(len(labels)))


def test_no_value_from_the_future(parquet):
    """A row one microsecond after the label is not known yet; one at the label's time is."""
    source = parquet(
        "events",
        "SELECT 1 AS \"user\", TIMESTAMPTZ '2026-01-01 00:00:00.000001+00' AS ts, 5.0 AS v, false AS gone",
    )
    at = np.array(["2026-01-01T00:00:00.000000", "2026-01-01T00:00:00.000001"], "datetime64[us]")
    found = training_set({"user": np.array([1, 1]), "at": at}, [make(source)], at="at")

    assert np.ma.getmaskarray(found["spend.v"]).tolist() == [True, False]


def test_several_views_and_age(parquet):
    """Each view adds its columns and the age of its row, in seconds; a view of a view and a dataframe view, too."""
    source = parquet("events", events_sql([(1, 0, 2.0, False), (1, 10, 3.0, False)]))
    base = make(source)
    above = make(source, 'SELECT "user", ts, v * 10 AS w, gone FROM spend', name="above")

    @view(keys="user", event_time="ts", ttl="1h", name="frame")
    def frame(above):
        return above.project('"user", ts, w + 1 AS z')

    found = training_set(labels_of([(1, 12), (1, 3)]), [above, base, frame], at="at")

    assert found["spend.v"].tolist() == [3.0, 2.0]
    assert found["above.w"].tolist() == [30.0, 20.0]
    assert found["frame.z"].tolist() == [31.0, 21.0]
    assert found["spend.age_s"].tolist() == [120.0, 180.0]


def test_zone(parquet):
    """Label times without an offset are of the zone that is said."""
    source = parquet("events", events_sql([(1, 0, 2.0, False)]))
    labels = labels_of([(1, 60)])

    assert np.ma.getmaskarray(
        training_set(labels, [make(source)], at="at", zone="UTC")["spend.v"]
    ).tolist() == [True]
    assert training_set(labels, [make(source)], at="at", zone="Europe/Berlin")["spend.v"].tolist() == [2.0]


def test_files(parquet, tmp_path):
    """Labels may be a file, and the set may be written to one, whole or not at all."""
    source = parquet("events", events_sql([(1, 0, 2.0, False)]))
    labels = parquet("labels", f"SELECT 1 AS \"user\", TIMESTAMPTZ '{EPOCH}' AS at")
    assert training_set(labels, [make(source)], at="at", into=tmp_path / "set.parquet") == {}
    import duckdb

    with duckdb.connect() as connection:
        rows = connection.execute(f'SELECT "user", "spend.v" FROM \'{tmp_path / "set.parquet"}\'').fetchall()
    assert rows == [(1, 2.0)]
    with pytest.raises(UsageError, match="cannot write"):
        training_set(labels, [make(source)], at="at", into=tmp_path / "no" / "set.parquet")


def test_refused(parquet):
    """Views without a past, missing columns and times that are none are refused in one line."""
    source = parquet("events", events_sql([(1, 0, 2.0, False)]))
    labels = labels_of([(1, 0)])
    with pytest.raises(UsageError, match=r"view spend depends on \$now or \$since, so it has no past"):
        training_set(labels, [make(source, 'SELECT "user", $now AS ts, v, gone FROM events')], at="at")
    with pytest.raises(UsageError, match="gives no column 'when'"):
        training_set(labels, [make(source)], at="when")
    with pytest.raises(UsageError, match="labels' time y is BIGINT"):
        training_set(labels, [make(source)], at="y")
    with pytest.raises(UsageError, match=r"gives no column 'user' \(a key of view spend\)"):
        training_set({"at": labels["at"]}, [make(source)], at="at")
    with pytest.raises(UsageError, match="the labels are not there"):
        training_set("/no/labels.parquet", [make(source)], at="at")
