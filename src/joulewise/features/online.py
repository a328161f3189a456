"""Online: where materialised rows are kept and read by key. One port, two stores: SQLite (default) and Redis (shared).

The store also keeps, for each view, what it is made from and when it was last materialised (`ViewState`), and who reads
it (`ReadTally`), so that unused views can be named by anybody who opens it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from joulewise.features.rows import Key
from joulewise.features.views import Column
from joulewise.vocabulary.errors import FeatureError

KEPT_RUNS = 100


@dataclass(frozen=True, slots=True)
class Materialisation:
    """One run of one view: when, what it wrote, what it cost, and the recording that says so (`run_id`)."""

    at_utc: str
    full: bool
    rows_read: int
    rows_written: int
    rows_deleted: int
    bytes_written: int
    cpu_s: float
    wall_s: float
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class ViewState:
    """What a store holds of one view. `mark_us` is the newest event time seen, in microseconds since 1970."""

    name: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    stamp: str
    recipe: str
    mark_us: int | None
    ttl_s: float
    refresh_s: float
    owner: str = ""
    about: str = ""
    stale: str = "serve"  # as the view says: a reader that has no view file needs it
    away: str = "refuse"
    key_kinds: tuple[str, ...] = ()  # of each key: whole (a number) or text
    made_from: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    derivations: Mapping[str, str] = field(default_factory=dict)  # column: fingerprint of how it is computed
    aggregates: Mapping[str, str] = field(
        default_factory=dict
    )  # the same, whoever it is asked for (derivation.py)
    row_bytes: int = 0
    rows: int = 0
    since_utc: str = ""  # the first run; of the runs only the last are kept
    runs: tuple[Materialisation, ...] = ()

    def to_json(self) -> str:
        """Return the state as JSON, as the stores keep it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> ViewState:
        """Return the state that `to_json` wrote; entries of a newer joulewise are left out."""
        given = {k: v for k, v in json.loads(text).items() if k in cls.__dataclass_fields__}
        for name in ("keys", "key_kinds", "made_from"):
            given[name] = tuple(given.get(name, ()))
        given["columns"] = tuple(Column(**c) for c in given["columns"])
        given["runs"] = tuple(Materialisation(**r) for r in given.get("runs", ()))
        return cls(**given)


@dataclass(frozen=True, slots=True)
class ReadTally:
    """How often one reader (a model, a service) read one view. `tolerates_s`: the oldest value that it wants."""

    view: str
    reader: str
    reads: int
    missing: int
    stale: int
    age_sum_s: float
    tolerates_s: float
    first_utc: str
    last_utc: str

    def plus(self, other: ReadTally) -> ReadTally:
        """Return both together: the same view and reader, `other` being the later one."""
        return replace(
            other,
            reads=self.reads + other.reads,
            missing=self.missing + other.missing,
            stale=self.stale + other.stale,
            age_sum_s=self.age_sum_s + other.age_sum_s,
            first_utc=min(self.first_utc, other.first_utc),
        )


class StoreAway(FeatureError):  # noqa: N818 - it names the state
    """The store does not answer; a view may say that the last good value is served then."""


class Writer(Protocol):
    """Writes rows of one view; nothing is seen before `finish`."""

    def put(self, keys: Sequence[Key], at_us: Sequence[int], rows: Sequence[bytes]) -> int:
        """Write rows whose event time is newer than what is there (or the same, with other values); return how many."""

    def finish(self, state: ViewState) -> ViewState:
        """Make everything that was put visible, with the state that goes with it; return the state with its counts."""


class Lookup(Protocol):
    """Gets rows of a fixed list of views; None where there is none."""

    def one(self, key: Key) -> Sequence[bytes | None]:
        """Return one entity's row in each view."""

    def many(self, keys: Sequence[Key]) -> Sequence[Sequence[bytes | None]]:
        """Return for each view the rows of many entities, in their order."""


class OnlineStore(Protocol):
    """A place for materialised rows. Is used by one thread at a time; open one per process."""

    @property
    def where(self) -> str:
        """How messages name it: the file, or the URL without its password."""

    def states(self) -> dict[str, ViewState]:
        """Return what it holds, by the name of the view."""

    def alone(self, view: str) -> AbstractContextManager[None]:
        """Return a context that one process at a time is in for a view; a killed one leaves it."""

    def writing(self, view: str, *, fresh: bool, whole_keys: bool) -> AbstractContextManager[Writer]:
        """Return a context to write a view in: all of it or nothing. `fresh` replaces all rows that are there."""

    def lookup(self, views: Sequence[str]) -> Lookup:
        """Return how to get rows of these views."""

    def tally(self, tallies: Iterable[ReadTally]) -> bool:
        """Add to what is known of the readers; False if the store is busy just now and should be told again later."""

    def tallies(self) -> list[ReadTally]:
        """Return who reads what."""

    def forget(self, view: str) -> None:
        """Delete a view's rows, state and tallies."""

    def close(self) -> None:
        """Give back the connection; closing twice is fine."""


def open_online(place: str, *, wait_s: float = 5.0) -> OnlineStore:
    """Return the store at `place`: a path (SQLite; created if missing) or `redis://host:port/0`.

    `wait_s` is how long Redis may take for an answer before it counts as away.
    """
    if place.startswith(("redis://", "rediss://", "unix://")):
        from joulewise.features.redis_store import RedisOnline

        return RedisOnline(place, wait_s=wait_s)
    from joulewise.features.sqlite_store import SqliteOnline

    return SqliteOnline(place)


def now_text() -> str:
    """Return the time as the stores keep it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
