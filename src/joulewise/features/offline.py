"""Offline: where views are computed. DuckDB over Parquet, CSV and PostgreSQL, in bounded memory.

DuckDB spills to a folder of its own when a computation outgrows `memory_bytes`. PostgreSQL is read by COPY through
psycopg into a file there, a block at a time, so that no table has to fit into memory. Everything is refused in one line
that names the view: a missing column, a wrong type, an event time without a type, files that are not there.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, final

from joulewise.features.extras import need
from joulewise.features.sources import (
    BEGINNING,
    PARAMETER,
    Partition,
    Sources,
    Times,
    is_server,
    names,
    quoted,
    text,
)
from joulewise.features.views import Column, Source, View, missing_column, ordered
from joulewise.vocabulary.errors import UsageError

MEMORY_BYTES = 1_000_000_000
_CLOCK = re.compile(r"\bnow\s*\(|\bcurrent_(timestamp|date)\b", re.IGNORECASE)
_INTEGERS = {"TINYINT": "int8", "SMALLINT": "int16", "INTEGER": "int32", "BIGINT": "int64", "UTINYINT": "int16",
             "USMALLINT": "int32", "UINTEGER": "int64"}  # fmt: skip
_TYPES = {**_INTEGERS, "BOOLEAN": "bool", "FLOAT": "float32", "DOUBLE": "float64", "HUGEINT": "float64",
          "UBIGINT": "float64"}  # fmt: skip
_NAMES = {"bool": "BOOLEAN", "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT",
          "float32": "FLOAT", "float64": "DOUBLE"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Computed:
    """A view's rows in a table of the connection: keys, `at_us`, `gone`, and its columns under their own names."""

    table: str
    columns: tuple[Column, ...]
    rows: int
    newest_us: int | None  # the newest event time
    dropped: int  # rows in the future that were left out


@final
class Offline:
    """A DuckDB of our own for a set of views; use it in a `with` block, which deletes what it spilled."""

    def __init__(
        self,
        views: Sequence[View],
        *,
        memory_bytes: int = MEMORY_BYTES,
        threads: int | None = None,
        partition: Partition | None = None,
    ) -> None:
        need("duckdb")
        need("numpy")
        import duckdb

        self._spilled = tempfile.TemporaryDirectory(prefix="joulewise-features-")
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{max(memory_bytes, 64_000_000)}B",
            "temp_directory": self._spilled.name,
        }
        if threads:
            config["threads"] = threads
        self.connection = duckdb.connect(":memory:", config=config)
        self.connection.execute(
            "SET TimeZone = 'UTC'; SET preserve_insertion_order = false; SET enable_progress_bar = false"
        )
        try:
            self._sources = _one_meaning(views)
            self._references = {v.name: self._tables(v) for v in views}
            self.views = {v.name: v for v in ordered(views, self._references)}
        except UsageError:
            self.close()
            raise
        self._from = Sources(self.connection, Path(self._spilled.name))
        self._partition = partition
        self._types: dict[str, dict[str, str]] = {}
        self._count = 0

    def __enter__(self) -> Offline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the memory and delete what was spilled; closing twice is fine."""
        self.connection.close()
        self._spilled.cleanup()

    def lineage(self, view: View) -> list[str]:
        """Return what a view is made from: its views and its sources."""
        return sorted(n for n in self._references[view.name] if n in self.views or n in self._sources)

    def recipe(self, view: View) -> str:
        """Return the fingerprint of a view's recipe with those of the views that it is made from."""
        inner = [self.recipe(self.views[n]) for n in self.lineage(view) if n in self.views]
        return (
            view.recipe
            if not inner
            else hashlib.blake2b(" ".join([view.recipe, *inner]).encode(), digest_size=8).hexdigest()
        )

    def compute(
        self,
        view: View,
        *,
        now: datetime,
        since: datetime | None = None,
        only: str = "",
        filtered: bool = True,
    ) -> Computed:
        """Compute a view into a table. `since`: rows of that time and later only; `only`: a table of the keys wanted.

        With `filtered` False the rows are not filtered by `since`; the SQL still sees it as `$since`.
        Raises UsageError in one line for whatever is wrong with the view or its sources.
        """
        with self._plainly(view):
            self._define(view, now, since, only)
            body = self._body(view, now, since)
            given = {r[0]: r[1] for r in self.connection.execute(f"DESCRIBE {body}").fetchall()}
            columns = self._columns(view, given)
            at = self._event_time(view, given)
            gone = f"COALESCE({quoted(view.deleted)}, false)" if view.deleted else "false"
            chosen = ", ".join(
                f"CAST({quoted(c.name)} AS {_NAMES[c.type]}) AS {quoted(c.name)}" for c in columns
            )
            table = self._table()
            where = f"WHERE at_us >= {_us(since)}" if since is not None and filtered else ""
            self.connection.execute(
                f"CREATE TEMP TABLE {table} AS SELECT * FROM (SELECT {names(view.keys)}, {at} AS at_us, {gone} AS gone"
                f"{', ' + chosen if chosen else ''} FROM ({body})) {where}"
            )
            return self._checked(view, table, columns, now)

    def changed(self, view: View, since: datetime) -> str:
        """Return a table of the entities that have rows of `since` and later in a source that holds keys and times."""
        with self._plainly(view):
            times = Times(since, since)
            needed = {*view.keys, view.event_time}
            parts = []
            for name in self._leaves(view):
                source = self._sources[name]
                given = self._from.columns(view, name, source, times)
                if needed <= set(given):
                    self._event_time(view, given)
                    where = self._mine(view)
                    parts.append(self._from.touched(view, name, source, times, given[view.event_time], where))
            if not parts:
                raise UsageError(
                    f"view {view.name}: incremental is 'entities', but no source has the columns {', '.join(sorted(needed))}; "
                    "use incremental = 'rows'"
                )
            table = self._table()
            self.connection.execute(f"CREATE TEMP TABLE {table} AS {' UNION '.join(parts)}")
            return table

    def sample(self, computed: Computed, view: View, count: int) -> str:
        """Return a table of at most `count` of the computed entities."""
        table = self._table()
        keys = names(view.keys)
        self.connection.execute(
            f"CREATE TEMP TABLE {table} AS SELECT {keys} FROM {computed.table} GROUP BY {keys} ORDER BY hash({keys}) LIMIT {count}"
        )
        return table

    def newest(
        self, computed: Computed, view: View, *, within: str = "", chunk_rows: int = 1_000_000
    ) -> Iterator[dict[str, Any]]:
        """Yield the newest row of each entity as columns of arrays, about `chunk_rows` of the table's rows at a time.

        Of rows of one entity and one time the greatest counts, column by column: the same one at every run.
        """
        keys = names(view.keys)
        fields = ", ".join(
            f"{quoted(n)} := {quoted(n)}" for n in ("at_us", "gone", *(c.name for c in computed.columns))
        )
        given = ", ".join(
            f"newest.{quoted(n)} AS {quoted(n)}"
            for n in ("at_us", "gone", *(c.name for c in computed.columns))
        )
        parts = max(1, -(-computed.rows // chunk_rows))
        for part in range(parts):
            where = f"WHERE hash({keys}) % {parts} = {part}" if parts > 1 else ""
            semi = f"SEMI JOIN {within} USING ({keys})" if within else ""
            with self._plainly(view):
                chunk = self.connection.execute(
                    f"SELECT {keys}, {given} FROM (SELECT {keys}, max(struct_pack({fields})) AS newest FROM {computed.table} "
                    f"{semi} {where} GROUP BY {keys}) ORDER BY {keys}"
                ).fetchnumpy()
            yield chunk

    def key_kinds(self, view: View) -> tuple[str, ...]:
        """Return what each of a view's keys is: `whole` (a number) or `text`."""
        given = self._described(view)
        return tuple("text" if given[k] in ("VARCHAR", "UUID") else "whole" for k in view.keys)

    def vanished(self, changed: str, computed: Computed, view: View) -> dict[str, Any]:
        """Return the keys of `changed` for which the view gives no row any more."""
        keys = names(view.keys)
        return self.connection.execute(
            f"SELECT {keys} FROM {changed} ANTI JOIN {computed.table} USING ({keys}) ORDER BY {keys}"
        ).fetchnumpy()

    def first(self, sql: str, *values: Any) -> tuple[Any, ...]:
        """Return the first row of a statement, () if it has none; the connection is free again afterwards."""
        rows = self.connection.execute(sql, list(values)).fetchall()
        return tuple(rows[0]) if rows else ()

    def drop(self, *tables: str) -> None:
        """Forget tables that are no longer needed."""
        for table in tables:
            self.connection.execute(f"DROP TABLE IF EXISTS {table}")

    def select(self, view: View) -> str:
        """Return SQL for a view's rows (keys, `at_us`, `gone`, columns) whenever they hold, for training sets."""
        if "$now" in view.sql or "$since" in view.sql:
            raise UsageError(
                f"view {view.name} depends on $now or $since, so it has no past; for training sets write it with window "
                "functions (RANGE BETWEEN INTERVAL ... PRECEDING AND CURRENT ROW)"
            )
        now = datetime.now(UTC)
        with self._plainly(view):
            self._define(view, now, None, "")
            body = self._body(view, now, None)
            given = {r[0]: r[1] for r in self.connection.execute(f"DESCRIBE {body}").fetchall()}
            columns = self._columns(view, given)
            gone = f"COALESCE({quoted(view.deleted)}, false)" if view.deleted else "false"
            chosen = "".join(
                f", CAST({quoted(c.name)} AS {_NAMES[c.type]}) AS {quoted(c.name)}" for c in columns
            )
            return f"SELECT {names(view.keys)}, {self._event_time(view, given)} AS at_us, {gone} AS gone{chosen} FROM ({body})"

    def columns(self, view: View) -> tuple[Column, ...]:
        """Return a view's columns, as declared or as its SQL gives them."""
        with self._plainly(view):
            return self._columns(view, self._described(view))

    def _described(self, view: View) -> dict[str, str]:
        """Return the columns and types that a view's SQL gives. Of sources in SQL no row is read for it."""
        if view.name not in self._types:
            with self._plainly(view):
                now = datetime.now(UTC)
                plain = all(v.function is None for v in (view, *(self.views[n] for n in self._inner(view))))
                self._define(view, now, None, "", empty=plain)
                body = self._body(view, now, None)
                self._types[view.name] = {
                    r[0]: r[1] for r in self.connection.execute(f"DESCRIBE {body}").fetchall()
                }
        return self._types[view.name]

    @contextmanager
    def _plainly(self, view: View) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            lines = str(error).splitlines()
            more = next((line for line in lines[1:] if "Candidate" in line or "Did you mean" in line), "")
            text = " ".join(part.strip() for part in (lines[0], more) if part)
            raise UsageError(f"view {view.name}: {text}") from None

    def _tables(self, view: View) -> tuple[str, ...]:
        if view.function is not None:
            import inspect

            return tuple(inspect.signature(view.function).parameters)
        tree = json.loads(self.first("SELECT json_serialize_sql($1)", PARAMETER.sub("NULL", view.sql))[0])
        if tree.get("error"):
            raise UsageError(
                f"view {view.name}: its SQL cannot be read: {str(tree.get('error_message')).splitlines()[0]}"
            )
        if len(tree["statements"]) != 1:
            raise UsageError(
                f"view {view.name}: its SQL must be one SELECT, not {len(tree['statements'])} statements"
            )
        return tuple(dict.fromkeys(_base_tables(tree)))

    def _leaves(self, view: View) -> list[str]:
        """Return the sources of a view and of the views that it is made from."""
        names: dict[str, None] = {}
        for name in self._references[view.name]:
            if name in self.views and name not in view.sources:
                names.update(dict.fromkeys(self._leaves(self.views[name])))
            elif name in self._sources:
                names[name] = None
        return list(names)

    def _define(
        self, view: View, now: datetime, since: datetime | None, only: str, *, empty: bool = False
    ) -> None:
        """Make every name that the view's SQL uses known to DuckDB; with `empty` without a row."""
        times = Times(now, since or BEGINNING)
        for name in self._leaves(view):
            source, where = self._sources[name], ["false"] if empty else []
            keyed = bool(only or self._partition) and set(view.keys) <= set(
                self._from.columns(view, name, source, times)
            )
            if keyed:
                where += self._mine(view)
                if only and is_server(source):
                    where += filter(None, [self._from.few(view, only)])
            relation = self._from.relation(view, name, source, times, where)
            if keyed and only:
                relation = f"(SELECT * FROM {relation} SEMI JOIN {only} USING ({names(view.keys)}))"
            self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT * FROM {relation}")
        for name in self._inner(view):
            body = self._body(self.views[name], now, since)
            self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS {body}")

    def _mine(self, view: View) -> list[str]:
        return [self._partition.condition(view.keys)] if self._partition else []

    def _inner(self, view: View) -> list[str]:
        """Return the views that a view is made from, the innermost first."""
        names: dict[str, None] = {}
        for name in self._references[view.name]:
            if name in self.views and name not in view.sources:
                names.update(dict.fromkeys([*self._inner(self.views[name]), name]))
        return list(names)

    def _body(self, view: View, now: datetime, since: datetime | None) -> str:
        """Return the SELECT that gives a view's rows."""
        if view.function is None:
            return Times(now, since or BEGINNING).into(view.sql).strip().rstrip(";")
        relations = [self.connection.view(n) for n in self._references[view.name]]
        given = view.function(*relations)
        name = f"given_{view.name}"
        if type(given).__name__ == "DuckDBPyRelation":
            return f"SELECT * FROM ({given.sql_query()})"
        if isinstance(given, Mapping) and not given:
            raise UsageError(f"view {view.name}: its function gives no columns")
        try:
            self.connection.register(name, dict(given) if isinstance(given, Mapping) else given)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("_duckdb", "duckdb", "builtins"):
                raise
            raise UsageError(
                f"view {view.name}: its function gives {type(given).__name__}; give a relation, a dataframe, or a mapping of arrays"
            ) from None
        return f"SELECT * FROM {quoted(name)}"

    def _columns(self, view: View, given: Mapping[str, str]) -> tuple[Column, ...]:
        where = f"view {view.name}"
        special = [(k, "a key") for k in view.keys] + [(view.event_time, "the event time")]
        special += [(view.deleted, "the mark of deletion")] if view.deleted else []
        for name, role in special:
            if name not in given:
                raise missing_column(where, name, given, role)
        for key in view.keys:
            if given[key] not in (*_INTEGERS, "VARCHAR", "UUID"):
                raise UsageError(
                    f"{where}: its key {key} is {given[key]}, but must be a whole number or text; cast it"
                )
        if view.deleted and given[view.deleted] != "BOOLEAN":
            raise UsageError(
                f"{where}: {view.deleted} marks deletion and is {given[view.deleted]}, but must be BOOLEAN"
            )
        rest = {n: t for n, t in given.items() if n not in {s for s, _ in special}}
        if not view.columns:
            return tuple(Column(n, _fitting(where, n, t)) for n, t in rest.items())
        for column in view.columns:
            if column.name not in rest:
                raise missing_column(where, column.name, given, f"declared as {column.type}")
            kind = _fitting(where, column.name, rest[column.name])
            if not _converts(kind, column.type):
                raise UsageError(
                    f"{where}: column {column.name} is {rest[column.name]}, but is declared {column.type}; cast it in the SQL"
                )
        undeclared = [n for n in rest if n not in {c.name for c in view.columns}]
        if undeclared:
            raise UsageError(
                f"{where} gives {', '.join(undeclared)}, not declared; declare it, or leave it out of the SELECT"
            )
        return view.columns

    def _event_time(self, view: View, given: Mapping[str, str]) -> str:
        kind, name = given[view.event_time], quoted(view.event_time)
        if kind == "TIMESTAMP WITH TIME ZONE":
            return f"epoch_us({name})"
        if kind.startswith("TIMESTAMP") or kind == "DATE":
            if view.zone == "UTC":
                return f"epoch_us(CAST({name} AS TIMESTAMP))"
            return f"epoch_us(timezone({text(view.zone)}, CAST({name} AS TIMESTAMP)))"
        raise UsageError(
            f"view {view.name}: its event time {view.event_time} is {kind}, but must be a timestamp; for seconds since 1970 "
            f"write to_timestamp({view.event_time})"
        )

    def _checked(self, view: View, table: str, columns: tuple[Column, ...], now: datetime) -> Computed:
        nulls = " OR ".join(f"{quoted(k)} IS NULL" for k in view.keys)
        count, newest, future, keyless, timeless = self.first(
            f"SELECT count(*), max(at_us), count(*) FILTER (at_us > {_us(now)}), count(*) FILTER ({nulls}), "
            f"count(*) FILTER (at_us IS NULL) FROM {table}"
        )
        if keyless or timeless:
            what = (
                f"without a key ({', '.join(view.keys)})"
                if keyless
                else f"without an event time ({view.event_time})"
            )
            raise UsageError(
                f"view {view.name}: {keyless or timeless} of {count} rows are {what}; leave them out in the SQL"
            )
        if future:
            if view.future == "refuse":
                seen = datetime.fromtimestamp(newest / 1e6, UTC)
                mend = "write $now for now()" if _CLOCK.search(view.sql) else "mend the source or its zone"
                raise UsageError(
                    f"view {view.name}: {future} of {count} rows have an event time in the future (up to {seen:%Y-%m-%dT%H:%MZ}, "
                    f"now is {now:%Y-%m-%dT%H:%MZ}); {mend}, or set future = 'drop'"
                )
            self.connection.execute(f"DELETE FROM {table} WHERE at_us > {_us(now)}")
            count, newest = self.first(f"SELECT count(*), max(at_us) FROM {table}")
        return Computed(table, columns, count, newest, future)

    def _table(self) -> str:
        self._count += 1
        return f"joulewise_{self._count}"


def _one_meaning(views: Iterable[View]) -> dict[str, Source]:
    sources: dict[str, tuple[str, Source]] = {}
    for view in views:
        for name, source in view.sources.items():
            first, known = sources.setdefault(name, (view.name, source))
            if known != source:
                raise UsageError(
                    f"the source {name} is {known.place} in view {first} and {source.place} in view {view.name}; give one of "
                    "them another name"
                )
    return {name: source for name, (_, source) in sources.items()}


def _base_tables(tree: Any, within: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the tables that a parsed statement reads, the names of its WITH left out."""
    if isinstance(tree, list):
        for item in tree:
            yield from _base_tables(item, within)
    elif isinstance(tree, dict):
        if isinstance(tree.get("cte_map"), dict):
            within = within | {entry["key"] for entry in tree["cte_map"].get("map", ())}
        if tree.get("type") == "BASE_TABLE" and tree["table_name"] not in within:
            yield tree["table_name"]
        for item in tree.values():
            yield from _base_tables(item, within)


def _fitting(where: str, name: str, kind: str) -> str:
    if kind in _TYPES:
        return _TYPES[kind]
    if kind.startswith("DECIMAL"):
        return "float64"
    advice = {
        "VARCHAR": "make it a number in the SQL, for instance CASE name WHEN 'a' THEN 0 ELSE 1 END",
        "TIMESTAMP WITH TIME ZONE": "make it a number in the SQL, for instance epoch(name)",
        "TIMESTAMP": "make it a number in the SQL, for instance epoch(name)",
        "DATE": "make it a number in the SQL, for instance epoch(name)",
    }.get(kind, "cast it in the SQL").replace("name", name)
    raise UsageError(f"{where}: column {name} is {kind}, but features are numbers; {advice}")


def _converts(given: str, wanted: str) -> bool:
    """Whether every value of one type can stand in the other; integers that do not fit are refused when they come."""
    if given == wanted or wanted.startswith("float"):
        return True
    return wanted.startswith("int") and (given.startswith("int") or given == "bool")


def _us(moment: datetime | None) -> int:
    delta = (moment or BEGINNING) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
