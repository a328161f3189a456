"""Sources: what stands in FROM for a view's Parquet and CSV files, and for its part of a PostgreSQL.

From PostgreSQL comes by COPY, a block at a time, only what is needed: `$since` and `$now` in a source's query are the times
of the run; of a view with incremental = "entities" the entities that changed and their rows; of a partition its own rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from joulewise.features.views import Source, View
from joulewise.vocabulary.errors import UsageError

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
PARAMETER = re.compile(r"\$(now|since)\b")
_SELECT = re.compile(r"\s*(select|with|values|table)\b", re.IGNORECASE)
_MOST_KEYS = 10_000  # more are not worth naming one by one
_MOST_PARTS = 256
_COPY_TYPES = {16: "BOOLEAN", 20: "BIGINT", 21: "SMALLINT", 23: "INTEGER", 700: "FLOAT", 701: "DOUBLE",
               1700: "DOUBLE", 1082: "DATE", 1114: "TIMESTAMP", 1184: "TIMESTAMP WITH TIME ZONE"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Partition:
    """One of `count` parts of a view's entities, told apart by a digest of their keys that DuckDB and PostgreSQL share."""

    number: int
    count: int

    def __post_init__(self) -> None:
        """Refuse what is no part."""
        if not 1 <= self.count <= _MOST_PARTS or not 0 <= self.number < self.count:
            raise UsageError(f"there are {self.count} parts, but must be 1 to {_MOST_PARTS}")

    def condition(self, keys: Sequence[str]) -> str:
        """Return the SQL that its entities meet, in both dialects."""
        told = " || '|' || ".join(f"CAST({quoted(k)} AS VARCHAR)" for k in keys)
        mine = ", ".join(f"'{n:02x}'" for n in range(_MOST_PARTS) if n % self.count == self.number)
        return f"substr(md5({told}), 1, 2) IN ({mine})"


@dataclass(frozen=True, slots=True)
class Times:
    """What `$now` and `$since` are in a run."""

    now: datetime
    since: datetime

    def into(self, sql: str) -> str:
        """Return SQL with its parameters as literals."""
        return PARAMETER.sub(lambda m: literal(getattr(self, m[1])), sql)


@final
class Sources:
    """The sources of a DuckDB connection. What is copied from PostgreSQL is kept as a table, once for each question."""

    def __init__(self, connection: Any, folder: Path) -> None:
        self._connection, self._folder = connection, folder
        self._copies: dict[tuple[str, str], str] = {}
        self._described: dict[tuple[str, str], dict[str, str]] = {}

    def columns(self, view: View, name: str, source: Source, times: Times) -> dict[str, str]:
        """Return a source's columns with DuckDB's names of their types."""
        if is_server(source):
            return self._columns_there(view, name, source, _query(name, source, times))
        relation = files(view, name, source)
        return {r[0]: r[1] for r in self._connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}

    def relation(self, view: View, name: str, source: Source, times: Times, where: Iterable[str] = ()) -> str:
        """Return what stands for the rows of a source that meet the conditions."""
        conditions = " AND ".join(where)
        if not is_server(source):
            relation = files(view, name, source)
            return f"(SELECT * FROM {relation} WHERE {conditions})" if conditions else relation
        query = _query(name, source, times)
        return self._copied(
            view, name, source, f"SELECT * FROM ({query}) AS rows WHERE {conditions}" if conditions else query
        )

    def touched(
        self, view: View, name: str, source: Source, times: Times, kind: str, where: Iterable[str]
    ) -> str:
        """Return SQL for the entities of a source that have rows of `$since` and later; `kind` is the event time's type."""
        keys, at = names(view.keys), quoted(view.event_time)
        since = literal(times.since)
        if not kind.startswith("TIMESTAMP WITH"):
            since = f"({since} AT TIME ZONE {text(view.zone)})"
        conditions = " AND ".join([f"{at} >= {since}", *where])
        if not is_server(source):
            return f"SELECT DISTINCT {keys} FROM {files(view, name, source)} WHERE {conditions}"
        query = _query(name, source, times)
        copied = self._copied(
            view, name, source, f"SELECT DISTINCT {keys} FROM ({query}) AS rows WHERE {conditions}"
        )
        return f"SELECT {keys} FROM {copied}"

    def few(self, view: View, table: str) -> str:
        """Return the SQL that the entities of a table meet, naming each; "" if there are too many."""
        rows = self._connection.execute(
            f"SELECT {names(view.keys)} FROM {table} LIMIT {_MOST_KEYS + 1}"
        ).fetchall()
        if len(rows) > _MOST_KEYS:
            return ""
        if not rows:
            return "false"
        told = [[str(v) if isinstance(v, int) else text(str(v)) for v in row] for row in rows]
        if len(view.keys) == 1:
            return f"{quoted(view.keys[0])} IN ({', '.join(row[0] for row in told)})"
        return f"({names(view.keys)}) IN ({', '.join('(' + ', '.join(row) + ')' for row in told)})"

    def _columns_there(self, view: View, name: str, source: Source, query: str) -> dict[str, str]:
        if (known := self._described.get((name, query))) is None:
            with _connected(view, name, source) as server:
                described = server.execute(f"SELECT * FROM ({query}) AS described LIMIT 0").description or ()
            known = self._described[name, query] = {
                c.name: _COPY_TYPES.get(c.type_code, "VARCHAR") for c in described
            }
        return known

    def _copied(self, view: View, name: str, source: Source, query: str) -> str:
        """Copy what a query gives into a table of ours and return its name."""
        if (name, query) in self._copies:
            return self._copies[name, query]
        given = self._columns_there(view, name, source, query)
        table = f"joulewise_copy_{len(self._copies)}"
        path = self._folder / f"{table}.csv"
        with (
            _connected(view, name, source) as server,
            path.open("wb") as file,
            server.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as rows,
        ):
            for block in rows:
                file.write(block)
        columns = ", ".join(f"{text(n)}: {text(kind)}" for n, kind in given.items())
        self._connection.execute(
            f"CREATE TEMP TABLE {table} AS SELECT * FROM read_csv({text(str(path))}, header = false, delim = ',', "
            f"quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false, columns = {{{columns}}})"
        )
        path.unlink()
        self._copies[name, query] = table
        return table


def is_server(source: Source) -> bool:
    """Whether a source is a PostgreSQL."""
    return source.place.startswith(("postgresql://", "postgres://"))


def files(view: View, name: str, source: Source) -> str:
    """Return what stands for files in FROM. Raises UsageError if they are not there."""
    place = source.place
    if "://" not in place and not any(c in place for c in "*?["):
        if not Path(place).exists():
            raise UsageError(f"view {view.name}: its source {name} is not there: {place}")
        if Path(place).is_dir():
            return f"read_parquet({text(place.rstrip('/') + '/**/*.parquet')}, union_by_name = true)"
    reader = "read_csv" if re.search(r"\.(csv|tsv)(\.gz|\.zst)?$", place) else "read_parquet"
    return f"{reader}({text(place)}, union_by_name = true)"


def literal(moment: datetime) -> str:
    """Return a time as SQL, in both dialects."""
    return f"TIMESTAMPTZ '{moment.isoformat()}'"


def quoted(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def names(several: Iterable[str]) -> str:
    """Return names as SQL."""
    return ", ".join(quoted(n) for n in several)


def text(value: str) -> str:
    """Return a text as SQL."""
    return "'" + value.replace("'", "''") + "'"


def _query(name: str, source: Source, times: Times) -> str:
    query = source.query.strip().rstrip(";") or name
    return times.into(query) if _SELECT.match(query) else f"SELECT * FROM {query}"


@contextmanager
def _connected(view: View, name: str, source: Source) -> Iterator[Any]:
    """Yield a read-only connection to a source's PostgreSQL; what goes wrong there is one line that names the view."""
    about = f"view {view.name}: its source {name}"
    try:
        import psycopg
    except ImportError:
        raise UsageError(
            f"{about} is PostgreSQL; install its driver: pip install 'joulewise[postgres]'"
        ) from None
    options = "-c timezone=UTC -c datestyle=ISO -c default_transaction_read_only=on"
    try:
        with psycopg.connect(source.place, options=options) as server:
            yield server
    except psycopg.Error as error:
        line = (str(error).splitlines() or ["no answer"])[0]
        raise UsageError(f"{about} cannot be read from PostgreSQL: {line}") from None
