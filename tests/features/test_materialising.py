"""Materialise: only what changed, all or nothing, and the same as computing everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("duckdb")
np = pytest.importorskip("numpy")

from joulewise.features.materialising import due, materialise  # noqa: E402
from joulewise.features.offline import Offline  # noqa: E402
from joulewise.features.online import open_online  # noqa: E402
from joulewise.features.reading import Reader  # noqa: E402
from joulewise.features.views import declared  # noqa: E402
from joulewise.vocabulary.errors import UnknownName, UsageError  # noqa: E402
from tests.features.conftest import NOW  # noqa: E402

HEAD = '"user", ts, amount'
RUNNING = """SELECT "user", ts, count(*) OVER w AS n, sum(amount) OVER w AS total FROM events
             WINDOW w AS (PARTITION BY "user" ORDER BY ts RANGE UNBOUNDED PRECEDING)"""


@pytest.fixture
def online(tmp_path):
    store = open_online(str(tmp_path / "online.db"))
    yield store
    store.close()


@pytest.fixture
def events(parquet):
    """Return a function that writes (user, minute, amount) rows and gives the source."""

    def write(*rows, name="events"):
        values = ", ".join(
            f"({u}, TIMESTAMPTZ '2026-11-20 00:00+00' + to_minutes({m}), {a}::DOUBLE)" for u, m, a in rows
        )
        return {"events": parquet(name, f'SELECT * FROM (VALUES {values}) AS t("user", ts, amount)')}

    return write


def make(sources, sql=RUNNING, **changes):
    return declared(
        **{
            "name": "spend",
            "keys": "user",
            "event_time": "ts",
            "ttl": "30d",
            "sql": sql,
            "sources": sources,
            **changes,
        }
    )


def run(view, online, **options):
    (done,) = materialise([view], online, now=NOW, **options)
    return done


def values(view, online, *users):
    rows = Reader(online, [view], dtype="float64").batch(list(users))[0]
    return [None if np.isnan(r).any() else tuple(r.tolist()) for r in rows]


def test_first_run_and_mark(online, events):
    """The first run writes the newest row of each entity and remembers the newest event time."""
    view = make(events((1, 0, 5), (1, 10, 7), (2, 3, 1)))
    done = run(view, online, run_id="r1")

    assert done.why == "first run"
    assert (done.run.rows_read, done.run.rows_written, done.run.run_id) == (3, 2, "r1")
    assert done.run.cpu_s > 0
    assert done.state.mark_us == round(datetime(2026, 11, 20, 0, 10, tzinfo=UTC).timestamp() * 1e6)
    assert values(view, online, 1, 2, 3) == [(2.0, 12.0), (1.0, 1.0), None]


@pytest.mark.parametrize("incremental", ["rows", "entities"])
def test_only_what_changed(online, events, incremental):
    """A second run reads and writes what came since, and the store is as if everything had been computed."""
    old = [(u, 5 * u, 1.0) for u in range(1, 100)]
    view = make(events(*old), incremental=incremental)
    run(view, online)
    again = run(view, online)
    events(*old, (7, 2000, 4), (101, 2001, 2))
    changed = run(view, online)

    assert (again.why, again.run.rows_written) == ("", 0)
    assert (changed.why, changed.run.rows_written) == ("", 2)
    assert values(view, online, 7, 101, 8) == [(2.0, 5.0), (1.0, 2.0), (1.0, 1.0)]
    assert changed.state.rows == 100


def test_view_that_begins_empty(online, events):
    """A view without a row yet takes whole numbers as keys all the same when rows come."""
    view = make(events((1, 0, 5)), f"SELECT {HEAD} FROM events WHERE amount > 9")
    first = run(view, online)
    events((1, 1, 11))
    run(view, online)

    assert (first.state.rows, first.state.mark_us) == (0, None)
    assert values(view, online, 1) == [(11.0,)]


@pytest.mark.parametrize("incremental", ["rows", "entities"])
def test_event_of_the_same_time_as_the_mark(online, events, incremental):
    """An event that comes after the run, with the time of the newest event seen, is not lost."""
    view = make(events((1, 0, 1), (2, 10, 2)), incremental=incremental)
    run(view, online)
    events((1, 0, 1), (2, 10, 2), (1, 10, 5))

    assert run(view, online).run.rows_written == 1
    assert values(view, online, 1, 2) == [(2.0, 6.0), (1.0, 2.0)]


def test_late_event(online, events):
    """A late event within `lateness` is seen, and an older row never stands in for a newer one."""
    base = [(1, 0, 1), (1, 100, 2), (2, 100, 5)]
    view = make(events(*base), lateness="1h")
    run(view, online)
    events(*base, (1, 90, 10), (2, 95, 1))

    assert run(view, online).run.rows_written == 2  # the running totals of the rows after them
    assert values(view, online, 1, 2) == [(3.0, 13.0), (2.0, 6.0)]


def test_too_late_event_waits_for_a_full_run(online, events):
    """Later than `lateness` it is not seen by an incremental run, and by a full one it is."""
    base = [(1, 0, 1), (1, 100, 2), (2, 200, 1)]
    view = make(events(*base))
    run(view, online)
    events(*base, (1, 50, 10))

    assert run(view, online).run.rows_written == 0
    assert run(view, online, full=True).why == "asked for"
    assert values(view, online, 1) == [(3.0, 13.0)]


def test_duplicates(online, events):
    """Doubled rows, and two rows of one time, give one row, the same at every run."""
    sql = f"SELECT {HEAD} FROM events"
    view = make(events((1, 5, 2), (1, 5, 9), (1, 5, 2), (1, 5, 4)), sql)
    first = run(view, online)
    second = run(view, online, full=True)

    assert first.run.rows_written == second.run.rows_written == 1
    assert values(view, online, 1) == [(9.0,)]


def test_deletes(online, events):
    """A row that is marked deletes its entity; a late row does not bring it back, a newer one does."""
    sql = f"SELECT {HEAD}, amount < 0 AS gone FROM events"
    base = [(1, 0, 5), (2, 0, 6), (1, 10, -1)]
    view = make(events(*base), sql, deleted="gone", lateness="1d")
    done = run(view, online)
    first = values(view, online, 1, 2)
    events(*base, (1, 5, 7))
    run(view, online)
    late = values(view, online, 1)
    events(*base, (1, 20, 8))
    run(view, online)

    assert done.run.rows_deleted == 1
    assert first == [None, (6.0,)]
    assert late == [None]
    assert values(view, online, 1) == [(8.0,)]


def test_entity_that_no_longer_qualifies(online, events):
    """Recomputing by entity deletes an entity for which the SQL gives no row any more; so does a full run."""
    sql = 'SELECT "user", max(ts) AS ts, sum(amount) AS total FROM events GROUP BY "user" HAVING sum(amount) > 0'
    base = [(1, 0, 5), (2, 0, 5)]
    view = make(events(*base), sql, incremental="entities")
    run(view, online)
    events(*base, (1, 9, -7))
    done = run(view, online)

    assert done.run.rows_deleted == 1
    assert values(view, online, 1, 2) == [None, (5.0,)]


def test_entities_that_depend_on_each_other(online, events):
    """`entities` is refused where a row depends on other entities, found by trying a sample."""
    sql = 'SELECT "user", ts, amount / sum(amount) OVER () AS share FROM events'
    view = make(events(*((u, 0, 1.0 + u) for u in range(80))), sql, incremental="entities")
    with pytest.raises(UsageError, match="incremental is 'entities', but share of an entity is another"):
        run(view, online)


def test_entities_need_keys_in_a_source(online, parquet):
    """`entities` needs a source that holds the keys and the event time."""
    source = parquet("events", "SELECT 1 AS id, TIMESTAMPTZ '2026-01-01' AS at")
    view = make(
        {"events": source}, 'SELECT id AS "user", "at" AS ts, 1.0 AS v FROM events', incremental="entities"
    )
    run(view, online)
    with pytest.raises(UsageError, match="no source has the columns ts, user"):
        run(view, online)


def test_changed_recipe(online, events):
    """Another SQL with the same columns makes everything anew, by itself."""
    sources = events((1, 0, 5), (2, 0, 6))
    run(make(sources, f"SELECT {HEAD} FROM events"), online)
    done = run(make(sources, 'SELECT "user", ts, amount * 2 AS amount FROM events'), online)

    assert done.why == "recipe changed"
    assert values(make(sources, f"SELECT {HEAD} FROM events"), online, 1) == [(10.0,)]


def test_changed_columns(online, events):
    """Other columns are refused with what changed, the store stays; with `migrate` they are made anew."""
    sources = events((1, 0, 5))
    old = make(sources, f"SELECT {HEAD} FROM events")
    new = make(sources, 'SELECT "user", ts, amount, 1::INT AS n FROM events')
    run(old, online)
    with pytest.raises(UsageError, match=r"spend has other columns than in the store \(\+n\).*--migrate"):
        run(new, online)
    assert values(old, online, 1) == [(5.0,)]

    assert run(new, online, migrate=True).why == "columns changed: +n"
    assert values(new, online, 1) == [(5.0, 1.0)]


def test_changed_keys(online, events):
    """Other keys are a change of schema, too."""
    sources = events((1, 0, 5))
    run(
        make(
            sources, f"SELECT {HEAD}, 1 AS shop FROM events", columns={"amount": "float64", "shop": "int32"}
        ),
        online,
    )
    new = make(sources, f"SELECT {HEAD}, 'x' AS shop FROM events", keys=("user", "shop"))
    with pytest.raises(UsageError, match="keys user -> user, shop"):
        run(new, online)

    run(new, online, migrate=True)
    assert values(new, online, (1, "x"), (1, "y")) == [(5.0,), None]


def test_fault_leaves_the_store(online, events):
    """A run that is refused changes nothing."""
    view = make(events((1, 0, 5)), f"SELECT {HEAD} FROM events")
    run(view, online)
    events((1, 9, 7), ("NULL", 10, 8))
    with pytest.raises(UsageError, match="without a key"):
        run(view, online)

    assert values(view, online, 1) == [(5.0,)]


def test_since(online, events):
    """A time takes the place of the mark."""
    base = [(1, 0, 1), (1, 100, 2), (2, 50, 5)]
    view = make(events(*base))
    run(view, online)
    events(*base, (2, 60, 5))

    assert run(view, online, since=datetime(2026, 11, 20, 0, 55, tzinfo=UTC)).run.rows_read == 2
    assert values(view, online, 2) == [(2.0, 10.0)]


def test_chosen_views(online, events):
    """Only the named views are materialised; an unknown name suggests the nearest."""
    one, two = make(events((1, 0, 5))), make(events((1, 0, 5)), name="other")

    assert [d.view for d in materialise([one, two], online, only=["other"], now=NOW)] == ["other"]
    with pytest.raises(UnknownName, match="did you mean spend"):
        materialise([one, two], online, only=["spent"], now=NOW)


def test_progress(online, events):
    """Progress is told with what is done and what there is."""
    told = []
    run(make(events((1, 0, 5), (2, 0, 6), (2, 1, 6))), online, progress=lambda *args: told.append(args))

    assert told == [("spend", 2, 3)]


def test_incremental_equals_full(online, events, tmp_path):
    """Property: a store that was brought up to date in many steps is the one that was computed at once."""
    chance = np.random.default_rng(3)
    rows = [(int(chance.integers(0, 30)), minute, float(chance.integers(1, 9))) for minute in range(300)]
    view = make(events(rows[0]), incremental="entities")
    for end in (50, 51, 120, 121, 300):
        events(*rows[:end])
        run(view, online)
    other = open_online(str(tmp_path / "other.db"))
    run(view, other)

    assert values(view, online, *range(30)) == values(view, other, *range(30))
    other.close()


@pytest.mark.service
def test_on_redis(redis_url, events):
    """The same on Redis: first run, increment, delete, migration."""
    online = open_online(redis_url)
    sql = f"SELECT {HEAD}, amount < 0 AS gone FROM events"
    base = [(1, 0, 5), (2, 0, 6)]
    view = make(events(*base), sql, deleted="gone")
    run(view, online)
    events(*base, (1, 10, -1), (3, 10, 4))
    done = run(view, online)
    new = replace(view, sql=f"SELECT {HEAD}, amount < 0 AS gone, 1.5 AS more FROM events")

    assert done.run.rows_written == 2
    assert values(view, online, 1, 2, 3) == [None, (6.0,), (4.0,)]
    assert run(new, online, migrate=True).state.rows == 3
    assert values(new, online, 2) == [(6.0, 1.5)]
    online.close()


def test_due(online, events):
    """A view is due half of its TTL after its last run and late when its values are older than their TTL."""
    done = run(make(events((1, 0, 5)), ttl="10h"), online)
    last = datetime.fromisoformat(done.run.at_utc)
    when = due(done.state)

    assert when.earliest_utc == last + timedelta(hours=5)
    assert when.latest_utc == last + timedelta(hours=10)
    assert when.expected_s == done.run.wall_s
    assert due(replace(done.state, runs=())).expected_s is None


def test_derivations(events):
    """The same expression over the same rows has the same fingerprint, whatever it and its source are called."""
    from joulewise.features.derivation import derivations

    sources = events((1, 0, 5))
    one = make(
        sources,
        'SELECT "user", max(ts) AS ts, sum(amount) AS total, count(*) AS n FROM events GROUP BY "user"',
    )
    two = make(
        {"sales": sources["events"]},
        'SELECT  "user", max(ts) AS ts, SUM(amount) AS spent FROM sales GROUP BY "user"',
    )
    three = make(
        sources,
        'SELECT "user", max(ts) AS ts, sum(amount) AS total FROM events WHERE amount > 1 GROUP BY "user"',
    )
    with Offline([one]) as a, Offline([two]) as b, Offline([three]) as c:
        first, second, third = derivations(a, one), derivations(b, two), derivations(c, three)

    assert first["total"] == second["spent"]
    assert first["n"] != first["total"]
    assert third["total"] != first["total"]
