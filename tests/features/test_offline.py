"""Offline: views computed by DuckDB, and what is refused in one line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("duckdb")

from joulewise.features.offline import Offline
from joulewise.features.sources import Partition
from joulewise.features.views import Column, declared, view
from joulewise.vocabulary.errors import UsageError
from tests.features.conftest import NOW

EVENTS = """SELECT * FROM (VALUES (1, TIMESTAMPTZ '2026-11-20 10:00+00', 5.0), (1, TIMESTAMPTZ '2026-11-21 10:00+00', 7.0),
            (2, TIMESTAMPTZ '2026-11-22 10:00+00', NULL)) AS t("user", ts, amount)"""


def make(sql='SELECT "user", ts, amount FROM events', **changes):
    return declared(
        **{"name": "spend", "keys": "user", "event_time": "ts", "ttl": "30d", "sql": sql, **changes}
    )


def compute(one, *others, now=NOW, **options):
    """Return a view's rows as sorted tuples of key, microseconds, deletion and values."""
    with Offline([one, *others]) as offline:
        computed = offline.compute(one, now=now, **options)
        return offline.connection.execute(f"SELECT * FROM {computed.table} ORDER BY ALL").fetchall()


def us(text):
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


@pytest.fixture
def events(parquet):
    return {"events": parquet("events", EVENTS)}


def test_rows(events):
    """Keys, event time, deletion and columns come out, nulls as nulls."""
    assert compute(make(sources=events)) == [
        (1, us("2026-11-20T10:00"), False, 5.0),
        (1, us("2026-11-21T10:00"), False, 7.0),
        (2, us("2026-11-22T10:00"), False, None),
    ]


def test_since_and_now(events):
    """Rows of the mark and later only; `$now` and `$since` stand for their times."""
    since = datetime(2026, 11, 21, 10, tzinfo=UTC)
    one = make(
        "SELECT \"user\", ts, date_diff('hour', ts, $now) AS age, ts > $since AS fresh FROM events",
        sources=events,
    )

    assert [(r[0], r[3], r[4]) for r in compute(one, since=since)] == [(1, 74, False), (2, 50, True)]
    assert [r[4] for r in compute(one)] == [True, True, True]


def test_csv_and_patterns(tmp_path):
    """CSV is read by its ending, patterns take several files."""
    (tmp_path / "a.csv").write_text("user,ts,amount\n1,2026-11-20T10:00:00Z,5\n")
    (tmp_path / "b.csv").write_text("user,ts,amount\n2,2026-11-20T11:00:00Z,6\n")

    assert [r[0] for r in compute(make(sources={"events": str(tmp_path / "*.csv")}))] == [1, 2]


def test_folder(parquet, tmp_path):
    """A folder is all of the Parquet files below it."""
    parquet("events", EVENTS)

    assert len(compute(make(sources={"events": str(tmp_path)}))) == 3


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("UTC", "TIMESTAMP '2026-07-01 12:00'", "2026-07-01T12:00"),
        ("Europe/Berlin", "TIMESTAMP '2026-07-01 12:00'", "2026-07-01T10:00"),
        ("Europe/Berlin", "TIMESTAMP '2026-01-01 12:00'", "2026-01-01T11:00"),
        ("Europe/Berlin", "TIMESTAMPTZ '2026-07-01 12:00-03'", "2026-07-01T15:00"),
        ("Asia/Kolkata", "DATE '2026-07-02'", "2026-07-01T18:30"),
    ],
)
def test_time_zones(parquet, zone, text, expected):
    """A time with an offset is what it says; one without is of the view's zone."""
    source = parquet("events", f'SELECT 1 AS "user", {text} AS ts, 1.0 AS amount')

    assert compute(make(sources={"events": source}, zone=zone))[0][1] == us(expected)


def test_dataframe(events):
    """A function of a source may give a relation or a mapping of arrays; a view below counts as a source."""

    @view(keys="user", event_time="ts", ttl="1d", sources=events)
    def double(events):
        return events.project('"user", ts, amount * 2 AS twice')

    @view(keys="user", event_time="ts", ttl="1d")
    def quadruple(double):
        columns = double.fetchnumpy()
        return {"user": columns["user"], "ts": columns["ts"], "four": columns["twice"].filled(0) * 2}

    rows = compute(quadruple, double)

    assert [(r[0], r[3]) for r in rows] == [(1, 20.0), (1, 28.0), (2, 0.0)]


def test_view_of_a_view(events):
    """A view's SQL may take from another view, and changes its recipe with it."""
    below = make(name="below", sources=events)
    above = make('SELECT "user", ts, amount + 1 AS more FROM below', name="above")

    assert [r[3] for r in compute(above, below)] == [6.0, 8.0, None]
    with (
        Offline([above, below]) as one,
        Offline([above, make(name="below", sources=events, zone="Asia/Kolkata")]) as two,
    ):
        assert list(one.views) == ["below", "above"]
        assert one.lineage(above) == ["below"]
        assert one.recipe(above) != two.recipe(above)


def test_itself(events):
    """A view that takes from itself is refused."""
    with pytest.raises(UsageError, match="view spend depends on itself: spend -> spend"):
        Offline([make("SELECT * FROM spend", sources=events)])


def test_with_names_are_no_tables(events):
    """A name of a WITH part is not taken for a source or a view."""
    one = make('WITH spend AS (SELECT * FROM events) SELECT "user", ts, amount FROM spend', sources=events)

    assert len(compute(one)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": "customer"}, r"gives no column 'customer' \(a key\); it gives user, ts, amount"),
        ({"event_time": "time"}, r"gives no column 'time' \(the event time\)"),
        ({"columns": {"amounts": "float64"}}, "gives no column 'amounts' .* did you mean amount"),
        (
            {"columns": {"amount": "int32"}},
            "column amount is DECIMAL.*, but is declared int32; cast it in the SQL",
        ),
        (
            {"sql": 'SELECT "user", ts, amount, 1 AS more FROM events', "columns": {"amount": "float64"}},
            "gives more, not declared",
        ),
        (
            {"sql": "SELECT \"user\", ts, 'x' AS name FROM events"},
            "column name is VARCHAR, but features are numbers; make it a number",
        ),
        (
            {"sql": 'SELECT "user", ts, ts AS last FROM events'},
            r"column last is TIMESTAMP WITH TIME ZONE, but features are numbers.*epoch\(last\)",
        ),
        (
            {"sql": 'SELECT "user", epoch(ts)::BIGINT AS ts, amount FROM events'},
            r"event time ts is BIGINT.*to_timestamp\(ts\)",
        ),
        ({"sql": "SELECT user FROM"}, "its SQL cannot be read: syntax error"),
        ({"sql": "SELECT 1; SELECT 2"}, "must be one SELECT, not 2 statements"),
        ({"sql": "SELECT nothing FROM events"}, 'Referenced column "nothing" not found'),
        ({"sql": "SELECT * FROM nowhere"}, "nowhere does not exist"),
        (
            {"sql": 'SELECT "user" / 2.5 AS "user", ts, amount FROM events'},
            "key user is DOUBLE, but must be a whole number or text",
        ),
        ({"deleted": "amount"}, "amount marks deletion and is DECIMAL.*, but must be BOOLEAN"),
        (
            {"sql": 'SELECT nullif("user", 2) AS "user", ts, amount FROM events'},
            r"1 of 3 rows are without a key \(user\)",
        ),
        (
            {"sql": 'SELECT "user", CASE WHEN amount > 5 THEN ts END AS ts, amount FROM events'},
            r"2 of 3 rows are without an event time",
        ),
        (
            {"sql": 'SELECT "user", ts, 300 AS n FROM events', "columns": {"n": "int8"}},
            "Conversion Error.*300",
        ),
    ],
)
def test_refused(events, changes, message):
    """Missing columns, wrong types, bad SQL: one line that names the view."""
    with pytest.raises(UsageError, match=message) as refused:
        compute(make(sources=events, **changes))
    assert "\n" not in str(refused.value)
    assert "view spend" in str(refused.value)


def test_source_that_is_not_there():
    """A missing file, an empty pattern and a damaged file are said with the view's name."""
    with pytest.raises(UsageError, match=r"view spend: its source events is not there: /no/file.parquet"):
        compute(make(sources={"events": "/no/file.parquet"}))
    with pytest.raises(UsageError, match=r"view spend: .*No files found"):
        compute(make(sources={"events": "/no/*.parquet"}))


def test_future(events):
    """Event times in the future are refused with how many and how far, or dropped and counted."""
    early = NOW - timedelta(days=3)
    with pytest.raises(
        UsageError, match=r"1 of 3 rows have an event time in the future \(up to 2026-11-22T10:00Z, now is"
    ):
        compute(make(sources=events), now=early)
    with Offline([make(sources=events, future="drop")]) as offline:
        computed = offline.compute(make(sources=events, future="drop"), now=early)

    assert (computed.rows, computed.dropped, computed.newest_us) == (2, 1, us("2026-11-21T10:00"))


def test_one_name_two_sources(events):
    """One source name with two meanings is refused."""
    with pytest.raises(UsageError, match=r"the source events is .* in view a and /b in view b"):
        Offline([make(name="a", sources=events), make(name="b", sources={"events": "/b"})])


def test_inferred_types(parquet):
    """Undeclared columns get the type that the SQL gives."""
    source = parquet(
        "events",
        "SELECT 1 AS \"user\", TIMESTAMPTZ '2026-01-01' AS ts, true AS b, 1::TINYINT AS i, 1.5::FLOAT AS f, 2::DECIMAL(9,2) AS d",
    )
    one = make("SELECT * FROM events", sources={"events": source})
    with Offline([one]) as offline:
        assert offline.columns(one) == (
            Column("b", "bool"),
            Column("i", "int8"),
            Column("f", "float32"),
            Column("d", "float64"),
        )


def test_newest_is_the_same_every_time(parquet):
    """Of duplicates of one entity and time the same row is chosen at every run; chunks give each entity once."""
    source = parquet(
        "events",
        "SELECT i % 100 AS \"user\", TIMESTAMPTZ '2026-01-01' + to_seconds(i // 1000) AS ts, hash(i) % 1000 / 10 AS v FROM range(5000) t(i)",
    )
    one = make("SELECT * FROM events", sources={"events": source})
    with Offline([one]) as offline:
        computed = offline.compute(one, now=NOW)
        whole = next(offline.newest(computed, one))
        parts = list(offline.newest(computed, one, chunk_rows=700))

    assert len(whole["user"]) == 100
    assert len(parts) == 8
    merged = {k: v for p in parts for k, v in zip(p["user"].tolist(), p["v"].tolist(), strict=True)}
    assert merged == dict(zip(whole["user"].tolist(), whole["v"].tolist(), strict=True))


@pytest.mark.service
class TestPostgres:
    @pytest.fixture
    def place(self, postgres_url):
        import psycopg

        with psycopg.connect(postgres_url, autocommit=True) as server:
            server.execute("DROP TABLE IF EXISTS sales")
            server.execute(
                "CREATE TABLE sales (shop text, ts timestamptz, amount numeric(9,2), fine boolean, n smallint, note text)"
            )
            server.execute(
                "INSERT INTO sales VALUES ('a,\"b', '2026-11-20 10:00+02', 5.25, true, 7, ''), ('', '2026-11-21', NULL, false, -1, NULL)"
            )
        return postgres_url

    def test_table(self, place):
        """A table comes with its types; text with commas and quotes, empty text and null are kept apart."""
        one = make(
            "SELECT shop, ts, amount, fine, n, (note IS NULL)::INT AS gone FROM sales",
            keys="shop",
            sources={"sales": {"place": place}},
        )

        assert compute(one) == [
            ("", us("2026-11-21T00:00"), False, None, False, -1, 1),
            ('a,"b', us("2026-11-20T08:00"), False, 5.25, True, 7, 0),
        ]

    def test_query(self, place):
        """A SELECT is run there."""
        source = {"place": place, "query": "SELECT shop, ts, n FROM sales WHERE n > 0"}
        one = make("SELECT * FROM sold", keys="shop", sources={"sold": source})

        assert [r[0] for r in compute(one)] == ['a,"b']

    def test_refused(self, place):
        """A table that is not there, and a server that does not answer, are said in one line."""
        with pytest.raises(
            UsageError,
            match='view spend: its source events cannot be read from PostgreSQL: relation "events" does not',
        ):
            compute(make(sources={"events": place}))
        with pytest.raises(UsageError, match="cannot be read from PostgreSQL: connection"):
            compute(make(sources={"events": "postgresql://nobody@127.0.0.1:1/x"}))

    def test_only_read(self, place):
        """Nothing is written there: the transaction is read only."""
        source = {"place": place, "query": "SELECT nextval('s') FROM sales"}
        import psycopg

        with psycopg.connect(place, autocommit=True) as server:
            server.execute("CREATE SEQUENCE IF NOT EXISTS s")
        with pytest.raises(UsageError, match="read-only transaction"):
            compute(make("SELECT * FROM sold", sources={"sold": source}))

    @pytest.fixture
    def spend(self, postgres_url):
        """Return a view of running sums over 3,000 events of 300 entities there, and how many rows were copied."""
        import psycopg

        with psycopg.connect(postgres_url, autocommit=True) as server:
            server.execute(
                "CREATE TABLE events AS SELECT i % 300 AS user, TIMESTAMP '2026-11-20' + i * INTERVAL '1 second' AS ts, "
                "i::float8 AS amount FROM generate_series(0, 2999) i"
            )
        one = make(
            'SELECT "user", max(ts) AS ts, sum(amount) AS total FROM events GROUP BY "user"',
            sources={"events": {"place": postgres_url}},
            incremental="entities",
        )
        return one, lambda offline: offline.first(
            "SELECT sum(estimated_size) FROM duckdb_tables() WHERE table_name LIKE 'joulewise_copy%'"
        )[0]

    def test_only_what_changed_is_copied(self, spend):
        """Of a view by entities come the entities that changed and their rows; the values are those of all rows."""
        one, copied = spend
        with Offline([one]) as offline:
            changed = offline.changed(one, datetime(2026, 11, 20, 0, 49, 50, tzinfo=UTC))
            part = offline.newest(offline.compute(one, now=NOW, only=changed, filtered=False), one)
            found = {k: v for p in part for k, v in zip(p["user"].tolist(), p["total"].tolist(), strict=True)}
            taken = copied(offline)
        with Offline([one]) as offline:
            whole = {
                k: v
                for p in offline.newest(offline.compute(one, now=NOW), one)
                for k, v in zip(p["user"].tolist(), p["total"].tolist(), strict=True)
            }
            everything = copied(offline)

        assert sorted(found) == list(range(290, 300))
        assert found == {k: whole[k] for k in found}
        assert (taken, everything) == (10 + 100, 3000)

    def test_since_in_the_query(self, spend):
        """`$since` and `$now` in a source's query are asked there."""
        place = spend[0].sources["events"].place
        source = {"place": place, "query": "SELECT * FROM events WHERE ts >= $since AND ts < $now"}
        one = make('SELECT "user", ts, amount FROM late', sources={"late": source})
        with Offline([one]) as offline:
            first = offline.compute(one, now=NOW).rows
            second = offline.compute(one, now=NOW, since=datetime(2026, 11, 20, 0, 49, 50, tzinfo=UTC)).rows

        assert (first, second) == (3000, 10)

    @pytest.mark.parametrize("count", [1, 3])
    def test_partitions(self, spend, count):
        """The parts of a view are disjoint, together everything, and each takes only its own rows."""
        one, copied = spend
        seen, rows = [], 0
        for number in range(count):
            with Offline([one], partition=Partition(number, count)) as offline:
                for part in offline.newest(offline.compute(one, now=NOW), one):
                    seen += part["user"].tolist()
                rows += copied(offline)

        assert sorted(seen) == list(range(300))
        assert rows == 3000
