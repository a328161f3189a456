"""A view: what is derived, from what, for which entity, how long it is good for, and who answers for it.

    @view(keys="user", event_time="ts", ttl="2d", owner="growth", sources={"events": "events/*.parquet"},
          columns={"n": "int32", "mean": Column("mean", "float32", default=0.0)})
    def user_spend():
        return "SELECT user, ts, n, mean FROM ..."          # SQL; or a function of its sources that gives a dataframe

Each row of a view is the state of one entity from its event time on. The online store keeps the newest row of each
entity; a training set takes for each label the row that was known then (`training_sets.py`). One definition serves both.

`$now` in the SQL is the time of materialisation, `$since` the high-water mark minus `lateness` (the beginning of time
at the first run). Names in FROM are the view's sources or other views.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.quantities import parse_duration

Number = Literal["bool", "int8", "int16", "int32", "int64", "float32", "float64"]
NUMBERS: tuple[str, ...] = get_args(Number)
# text by a declared vocabulary or a stable hash; a time as seconds since 1970, or as seconds before it is read
MADE = ("category", "hash", "epoch", "age")
TYPES: tuple[str, ...] = (*NUMBERS, *MADE)
_MOST_VALUES = 32_000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "incremental": ("rows", "entities"),
    "future": ("refuse", "drop"),
    "stale": ("serve", "default"),
    "away": ("refuse", "last"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One feature: its name, its type (see TYPES), and what stands for it where it is missing.

    `default` None means: NaN in an array of floats, and a refusal in an array of integers. Whether it is used for
    a null in the source as well is the same question: a null is missing. `values` is the vocabulary of a `category`: its
    number is the value's place in it, and what is not in it is missing. `buckets` is how many numbers a `hash` has.
    """

    name: str
    type: str = "float64"
    default: float | None = None
    values: tuple[str, ...] = ()
    buckets: int = 0

    @property
    def stored(self) -> str:
        """The type of number that is kept."""
        if self.type == "category":
            return "int8" if len(self.values) <= 127 else "int16"
        return {"hash": "int32", "epoch": "float64", "age": "float64"}.get(self.type, self.type)

    @property
    def told(self) -> tuple[object, ...]:
        """What tells columns apart: rows of another one are never read as rows of this."""
        made: tuple[object, ...] = (self.values,) if self.type == "category" else ()
        return (self.name, self.type, *made, *((self.buckets,) if self.type == "hash" else ()))


@dataclass(frozen=True, slots=True)
class Source:
    """Where a view's rows come from: a Parquet or CSV file or pattern, or a table or query of PostgreSQL.

    `place` is a path, a pattern or a `postgresql://` URL; `query` is the table or SELECT there (PostgreSQL only).
    """

    place: str
    query: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A derived thing with a name; see the module. Times are in seconds; unknown choices are refused.

    `incremental` says how a later run finds what changed. `rows`: the SQL is computed over all of its sources, and
    rows from the mark on are written. `entities`: the SQL is computed for the entities that have newer rows in a
    source, which is right where a row depends on its own entity only (tried on a sample before it is believed).
    `lateness_s` is how late an event may come and still be seen. `zone` is of event times that tell none.
    """

    name: str
    keys: tuple[str, ...]
    event_time: str
    ttl_s: float
    sql: str = ""
    function: Callable[..., Any] | None = field(default=None, compare=False)
    code: str = ""  # fingerprint of `function`
    columns: tuple[Column, ...] = ()  # empty: as the SQL gives them
    sources: Mapping[str, Source] = field(default_factory=dict)
    owner: str = ""
    lateness_s: float = 0.0
    every_s: float = 0.0  # how often it is to be materialised; 0: half of its TTL
    deleted: str = ""  # a boolean column: the entity is gone from here on
    zone: str = "UTC"
    incremental: str = "rows"
    future: str = "refuse"  # event times after now: refuse the run, or drop the rows
    stale: str = "serve"  # older than its TTL: serve the value and count it, or serve the default
    away: str = "refuse"  # the store does not answer: raise, or serve the last good value with its age
    about: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be right, in one line."""
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"a view is named {self.name!r}, but a name has letters, digits and _, and begins with no digit"
            )
        if not self.keys:
            raise UsageError(f"view {self.name} has no keys; name the columns that tell its entities apart")
        if not self.event_time:
            raise UsageError(
                f"view {self.name} has no event_time; name the column that says from when a row holds"
            )
        if not self.ttl_s > 0:
            raise UsageError(f"view {self.name}: ttl is {self.ttl_s:g}, but must be more than 0 seconds")
        if self.lateness_s < 0 or self.every_s < 0:
            raise UsageError(f"view {self.name}: lateness and every must be at least 0 seconds")
        if bool(self.sql) == (self.function is not None):
            raise UsageError(f"view {self.name} needs either SQL or a function that gives a dataframe")
        for option, choices in _CHOICES.items():
            if getattr(self, option) not in choices:
                raise UsageError(
                    f"view {self.name}: {option} is {getattr(self, option)!r}, but must be {' or '.join(choices)}"
                )
        self._check_columns()

    def _check_columns(self) -> None:
        special = {*self.keys, self.event_time, self.deleted}
        seen: set[str] = set()
        for column in self.columns:
            where = f"view {self.name}: column {column.name}"
            if column.type not in TYPES:
                raise UsageError(
                    f"{where} has the type {column.type!r}; features are numbers: {', '.join(NUMBERS)}; or made into one: "
                    f"{', '.join(MADE)}"
                )
            if (column.type == "category") != bool(column.values) or (column.type == "hash") != bool(
                column.buckets
            ):
                raise UsageError(
                    f"{where} is {column.type}, but only a category has values, and needs them, and only a hash has buckets"
                )
            if len(set(column.values)) != len(column.values) or len(column.values) > _MOST_VALUES:
                raise UsageError(
                    f"{where} has {len(column.values)} values; they must differ, and be {_MOST_VALUES} at most"
                )
            if column.type == "hash" and not 2 <= column.buckets < 2**31:
                raise UsageError(f"{where} has {column.buckets} buckets, but must have 2 or more")
            if column.name in special:
                raise UsageError(
                    f"view {self.name}: {column.name} is a key, the event time or the mark of deletion, and no feature"
                )
            if column.name in seen:
                raise UsageError(f"view {self.name} declares the column {column.name} twice")
            seen.add(column.name)

    @property
    def recipe(self) -> str:
        """The fingerprint of how the view is derived: another recipe makes every row anew."""
        told = (self.sql, self.code, self.keys, self.event_time, self.deleted, self.zone,
                sorted((n, s.place, s.query) for n, s in self.sources.items()))  # fmt: skip
        return hashlib.blake2b(json.dumps(told).encode(), digest_size=8).hexdigest()

    @property
    def refresh_s(self) -> float:
        """Seconds between two materialisations: as declared, or half of the TTL."""
        return self.every_s or self.ttl_s / 2


def view(
    *,
    keys: str | Sequence[str],
    event_time: str,
    ttl: str | float,
    columns: Mapping[str, str | Column] | Sequence[Column] = (),
    sources: Mapping[str, str | Source] | None = None,
    name: str = "",
    lateness: str | float = 0.0,
    every: str | float = 0.0,
    **options: Any,
) -> Callable[[Callable[..., Any]], View]:
    """Return a decorator that makes a view of a function, which gives SQL text or a dataframe.

    A function without arguments gives the SQL. One with arguments is called at materialisation with a DuckDB relation
    for each argument (the source or view of that name; `.df()`, `.pl()`, `.fetchnumpy()` as you like) and gives
    anything with columns: a relation, a pandas, polars or Arrow table, or a mapping of numpy arrays.
    """

    def declare(function: Callable[..., Any]) -> View:
        import inspect

        from joulewise.features.fingerprint import code_fingerprint

        takes = list(inspect.signature(function).parameters)
        sql = ""
        if not takes:
            sql = function()
            if not isinstance(sql, str):
                raise UsageError(
                    f"view {function.__name__} takes no source and gives {type(sql).__name__}; give SQL text, or name "
                    "its sources as arguments"
                )
        return declared(
            name=name or function.__name__,
            keys=keys,
            event_time=event_time,
            ttl=ttl,
            columns=columns,
            sources=sources or {},
            lateness=lateness,
            every=every,
            sql=sql,
            function=function if takes else None,
            code=code_fingerprint(function) if takes else "",
            about=(function.__doc__ or "").strip().partition("\n")[0],
            **options,
        )

    return declare


def declared(
    *,
    name: str,
    keys: str | Sequence[str],
    ttl: str | float,
    columns: Mapping[str, str | Column | Mapping[str, Any]] | Sequence[Column] = (),
    sources: Mapping[str, str | Source | Mapping[str, str]] | None = None,
    lateness: str | float = 0.0,
    every: str | float = 0.0,
    **rest: Any,
) -> View:
    """Return a view from what people write: durations as text, columns and sources as mappings."""
    known = set(View.__dataclass_fields__) - {"ttl_s", "lateness_s", "every_s"}
    for key in rest:
        if key not in known:
            raise UnknownName("entry", key, {*known, "ttl", "lateness", "every"}, f"(in view {name})")
    return View(
        name=name,
        keys=(keys,) if isinstance(keys, str) else tuple(keys),
        ttl_s=_seconds(name, "ttl", ttl),
        lateness_s=_seconds(name, "lateness", lateness),
        every_s=_seconds(name, "every", every),
        columns=tuple(_columns(name, columns)),
        sources={n: _source(name, n, s) for n, s in (sources or {}).items()},
        **rest,
    )


def ordered(views: Iterable[View], references: Mapping[str, Iterable[str]]) -> list[View]:
    """Return the views so that each comes after those that it refers to. Raises UsageError naming a circle."""
    by_name: dict[str, View] = {}
    for one in views:
        if one.name in by_name:
            raise UsageError(f"two views are named {one.name}; give one of them another name")
        by_name[one.name] = one
    done: dict[str, View] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise UsageError(f"view {name} depends on itself: {circle}; take one of them out of the circle")
        if name in done:
            return
        for other in references.get(name, ()):
            if other in by_name:
                visit(other, (*path, name))
        done[name] = by_name[name]

    for name in by_name:
        visit(name, ())
    return list(done.values())


def missing_column(where: str, wanted: str, given: Iterable[str], role: str) -> UsageError:
    """Return the error for a column that a view needs and its rows do not have."""
    names = list(given)
    near = get_close_matches(wanted, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return UsageError(
        f"{where} gives no column {wanted!r} ({role}); it gives {', '.join(names) or 'none'}{hint}"
    )


def _seconds(name: str, option: str, value: str | float) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(
            f"view {name}: {option} is {value!r}, but must be a duration, for instance 2d or 90s"
        )
    return float(value)


def _columns(name: str, columns: Mapping[str, Any] | Sequence[Column]) -> Iterable[Column]:
    if not isinstance(columns, Mapping):
        yield from columns
        return
    for key, value in columns.items():
        if isinstance(value, Column):
            yield replace(value, name=key)
        elif isinstance(value, str):
            yield Column(key, value)
        elif isinstance(value, Mapping) and set(value) <= {"type", "default", "values", "buckets"}:
            told = {**value, "values": tuple(value.get("values", ()))}
            if isinstance(told.get("default"), str):
                told["default"] = _place(name, key, told["default"], told["values"])
            yield Column(key, **told)
        else:
            raise UsageError(
                f"view {name}: column {key} is {value!r}, but must be a type such as float32, or a type and a default"
            )


def _place(name: str, key: str, default: str, values: tuple[str, ...]) -> int:
    if default not in values:
        raise UnknownName("default", default, values, f"(of column {key} in view {name})")
    return values.index(default)


def _source(name: str, key: str, value: Any) -> Source:
    if isinstance(value, Source):
        return value
    if isinstance(value, str):
        return Source(value)
    if isinstance(value, Mapping) and "place" in value and set(value) <= {"place", "query"}:
        return Source(**value)
    raise UsageError(
        f"view {name}: source {key} is {value!r}, but must be a path, a pattern or a postgresql:// URL"
    )
