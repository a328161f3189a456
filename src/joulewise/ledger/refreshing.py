"""Refreshing: the index over the recordings, kept up to date by looking at little.

`refresh` stats one folder a day and opens only those that changed since it looked; of the recordings that it knows,
it looks again at those that had not ended. A hundred thousand recordings cost a few milliseconds. The index is a
view: deleting it loses nothing. Several processes may refresh at once; the last to read a recording writes its line.

What file systems do to us: a folder's time has the grain of its clock, so a folder that was scanned within two
seconds of its last change may still hide a newcomer, and is looked at again. A recording of another host cannot be
asked whether its process lives: as long as it grows, it runs.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from joulewise.ledger.files import QUIET_S, decode, is_alive, read_head, read_recording
from joulewise.ledger.minutes import minute_means, write_minutes
from joulewise.ledger.months import give_up, month_shares, rows_of, unread, write_months
from joulewise.ledger.store import INDEX_TABLES, Store, upsert
from joulewise.ledger.summary import COLUMNS, Summary, clean, host_prefix, row_of
from joulewise.vocabulary.errors import JoulewiseError, LedgerError
from joulewise.vocabulary.recording import EndState, Recording

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_GRAIN_NS = 2_000_000_000
_BATCH = 200
_MOST_OLD = 50  # recordings of an upgraded ledger that a refresh reads: a few hundredths of a second
_SMALL_BYTES = (
    1_000_000  # a running recording of this size is read anew at once, a larger one as it grows by 5 %
)
_TAIL_BYTES = 4096
_FORGOTTEN_AFTER_S = 86_400.0  # a silent recording of another host is looked at for a day
_WRITE = upsert("recordings", COLUMNS, ("run_id",))
_DAMAGED = ("root", "run_id", "day", "why", "size_bytes", "mtime_ns")
_SHARD = ("root", "day", "mtime_ns", "scanned_ns")
_UNSENT = ("root", "run_id", "day")
_LEFT_BEHIND = (
    "UPDATE recordings SET root = '', day = '', growing = 0, state = CASE state WHEN 'running' THEN 'lost' ELSE state END "
    "WHERE root = :root AND run_id = :run_id AND EXISTS (SELECT 1 FROM bodies WHERE bodies.run_id = :run_id)"
)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A folder among the recordings that cannot be read, and why."""

    folder: str
    why: str


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh found: recordings that are new, read anew or gone, and those that cannot be read."""

    new: int
    changed: int
    forgotten: int
    damaged: tuple[Damaged, ...]


def refresh(store: Store, runs_folder: Path, summarise: Callable[[Recording], Summary]) -> Refreshed:
    """Bring the index up to date with the recordings under `runs_folder`, and return what was found."""
    scan = _Scan(store, runs_folder, summarise)
    scan.look_again()
    scan.read_old(_MOST_OLD)
    scan.look_for_new()
    return scan.finish()


def read_old(store: Store, runs_folder: Path, summarise: Callable[[Recording], Summary]) -> None:
    """Read all recordings of this folder whose months a ledger of before could not know (`refresh` reads a few each time)."""
    while True:
        scan = _Scan(store, runs_folder, summarise)
        found = scan.read_old(_BATCH)
        scan.finish()
        if found < _BATCH:
            return


def rebuild(store: Store, runs_folder: Path, summarise: Callable[[Recording], Summary]) -> Refreshed:
    """Empty the index and read all recordings anew: of a ledger that hosts share, those under this host's folder.

    Pots and other primary tables are not touched.
    """
    with store.transaction():
        if store.shared:
            _forget_index(store, root_of(store, runs_folder))
        else:
            for table in INDEX_TABLES:
                store.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours
    scan = _Scan(store, runs_folder, summarise)
    scan.look_for_new(everywhere=True)  # another process may have said of a day, just now, that it knows it
    return scan.finish()


@final
class _Scan:
    """One look at the recordings under one folder, compared with what the index knows of it."""

    def __init__(self, store: Store, runs_folder: Path, summarise: Callable[[Recording], Summary]) -> None:
        self._store = store
        self._runs = os.path.realpath(runs_folder)
        self._root = root_of(store, runs_folder)
        self._summarise = summarise
        self._new = self._changed = self._forgotten = 0
        self._read: list[
            tuple[dict[str, Any], list[Any] | None, list[dict[str, Any]]]
        ] = []  # rows to write, with minutes and months
        self._broken: list[dict[str, Any]] = []
        self._shards: list[dict[str, Any]] = []
        elsewhere = store.query(
            "SELECT 1 AS one FROM shards WHERE root <> :root LIMIT 1", {"root": self._root}
        )
        self._others = bool(elsewhere)  # a newcomer may be an old acquaintance from a folder that was moved

    def look_again(self) -> None:
        """Read anew what had not ended, and what could not be read, where its files or its process changed."""
        for row in self._query("SELECT * FROM recordings WHERE root = :root AND growing = 1"):
            evidence = self._evidence(row)
            if evidence is None:
                self._forget([row["run_id"]])
            elif self._is_other(row, evidence):
                self._changed += self._take(row["day"], row["run_id"], evidence)
        for row in self._query("SELECT * FROM damaged WHERE root = :root"):
            evidence = self._evidence(row)
            if evidence is None:
                self._forget([row["run_id"]])
            elif evidence != (row["size_bytes"], row["mtime_ns"]):
                self._new += self._take(row["day"], row["run_id"], evidence)
        if (
            self._store.shared
        ):  # its host has not spoken for a day; if it does again, it reads the recording anew
            self._store.execute(
                "UPDATE recordings SET state = 'lost' WHERE growing = 1 AND state = 'running' AND root <> :root "
                "AND mtime_ns < :since_ns",
                {"root": self._root, "since_ns": time.time_ns() - int(_FORGOTTEN_AFTER_S * 1e9)},
            )

    def read_old(self, most: int) -> int:
        """Read recordings whose months an older ledger could not know, at most so many; return how many there were."""
        rows = unread(self._store, self._root, most)
        evidence = {row["run_id"]: self._evidence(row) for row in rows}
        lost = [
            row["run_id"]
            for row in rows
            if (seen := evidence[row["run_id"]]) is None or not self._take(row["day"], row["run_id"], seen)
        ]
        give_up(self._store, lost)
        return len(rows)

    def look_for_new(self, *, everywhere: bool = False) -> None:
        """Scan the folders of those days that changed since the last scan, or of all."""
        known = {r["day"]: r for r in self._query("SELECT * FROM shards WHERE root = :root")}
        found = _folders(self._runs)
        for day, mtime_ns in sorted(found.items()):
            before = known.get(day)
            unchanged = before is not None and before["mtime_ns"] == mtime_ns
            if everywhere or before is None or not unchanged or before["scanned_ns"] - mtime_ns <= _GRAIN_NS:
                self._scan_day(day, mtime_ns)
        gone = [day for day in known if day not in found]
        for day in gone:
            self._forget(self._known_of(day))
        if gone:
            self._store.execute(
                "DELETE FROM shards WHERE root = :root AND day = :day",
                *[{"root": self._root, "day": d} for d in gone],
            )

    def finish(self) -> Refreshed:
        """Write what is left, and return what was found."""
        self._write()
        if self._shards:
            self._store.execute(upsert("shards", _SHARD, _SHARD[:2]), *self._shards)
        self._forget_roots()
        broken = self._query("SELECT * FROM damaged WHERE root = :root AND size_bytes <> 0 ORDER BY run_id")
        damaged = tuple(Damaged(os.path.join(self._runs, r["day"], r["run_id"]), r["why"]) for r in broken)
        return Refreshed(self._new, self._changed, self._forgotten, damaged)

    def _scan_day(self, day: str, mtime_ns: int) -> None:
        scanned_ns = time.time_ns()  # before the folder is read: what appears meanwhile changes its time
        present = _folders(os.path.join(self._runs, day), pattern=None)
        known = set(self._known_of(day))
        for run_id in sorted(present.keys() - known):
            self._look_at_new(day, run_id)
        self._forget(sorted(known - present.keys()))
        self._shards.append({"root": self._root, "day": day, "mtime_ns": mtime_ns, "scanned_ns": scanned_ns})

    def _look_at_new(self, day: str, run_id: str) -> None:
        evidence = _evidence(os.path.join(self._runs, day, run_id))
        if evidence is None:
            return
        same = {"run_id": run_id, "size_bytes": evidence[0], "mtime_ns": evidence[1]}
        moved = self._store.execute(  # the folder of recordings was moved: the line is still right
            "UPDATE recordings SET root = :root, day = :day WHERE run_id = :run_id AND growing = 0 "
            "AND size_bytes = :size_bytes AND mtime_ns = :mtime_ns",
            {**same, "root": self._root, "day": day},
        ) if self._others else 0  # fmt: skip
        if not moved:
            self._new += self._take(day, run_id, evidence)
        elif self._store.shared:
            self._store.execute(
                "UPDATE unsent SET root = :root, day = :day WHERE run_id = :run_id AND NOT EXISTS "
                "(SELECT 1 FROM unsent AS here WHERE here.root = :root AND here.run_id = :run_id)",
                {"root": self._root, "run_id": run_id, "day": day},
            )

    def _known_of(self, day: str) -> list[str]:
        both = "SELECT run_id FROM recordings WHERE root = :root AND day = :day UNION "
        both += "SELECT run_id FROM damaged WHERE root = :root AND day = :day"
        return [r["run_id"] for r in self._query(both, day=day)]

    def _take(self, day: str, run_id: str, evidence: tuple[int, int]) -> bool:
        """Read one recording; return whether it could be read. A damaged one stops nobody."""
        folder = Path(self._runs, day, run_id)
        place = {
            "run_id": run_id,
            "root": self._root,
            "day": day,
            "size_bytes": evidence[0],
            "mtime_ns": evidence[1],
        }
        try:
            head = read_head(folder)
            recording = read_recording(folder)
            summary = self._summarise(recording)
            row = {**row_of(summary), **place, **_writer(head)}
            months = rows_of({**row, **_who(summary, folder)}, month_shares(recording))
        except (JoulewiseError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            why = str(error) if isinstance(error, JoulewiseError) else f"{type(error).__name__}: {error}"
            self._broken.append({**place, "why": clean(why)})
            return False
        row["growing"] = int(_may_grow(row))
        self._read.append((row, None if row["growing"] else list(minute_means(recording)), months))
        if len(self._read) >= _BATCH:
            self._write()
        return True

    def _write(self) -> None:
        """Write what was read so far, in the order of the ids: processes that write the same lines never deadlock."""
        read = sorted(self._read, key=lambda r: str(r[0]["run_id"]))
        broken = sorted(self._broken, key=lambda b: str(b["run_id"]))
        if read or broken:
            with self._store.transaction():
                if read:
                    self._store.execute(_WRITE, *(row for row, *_ in read))
                    write_minutes(self._store, {row["run_id"]: means or () for row, means, _ in read})
                    write_months(
                        self._store,
                        [row["run_id"] for row, *_ in read],
                        [month for *_, months in read for month in months],
                    )
                    mended = [{"root": self._root, "run_id": row["run_id"]} for row, *_ in read]
                    self._store.execute(
                        "DELETE FROM damaged WHERE root = :root AND run_id = :run_id", *mended
                    )
                    if self._store.shared:
                        spool = [{key: row[key] for key in _UNSENT} for row, *_ in read]
                        self._store.execute(upsert("unsent", _UNSENT, _UNSENT[:2]), *spool)
                if broken:
                    self._store.execute(upsert("damaged", _DAMAGED, _DAMAGED[:2]), *broken)
        self._read, self._broken = [], []

    def _forget(self, run_ids: Sequence[str], root: str = "") -> None:
        if not run_ids:
            return
        rows = [{"root": root or self._root, "run_id": r} for r in sorted(run_ids)]
        with self._store.transaction():
            if self._store.shared:  # what was pushed stays readable after its folder is gone
                self._store.execute(_LEFT_BEHIND, *rows)
            for table in ("recordings", "damaged", "unsent"):
                self._store.execute(f"DELETE FROM {table} WHERE root = :root AND run_id = :run_id", *rows)  # noqa: S608
            for table in ("minutes", "months", "wastes"):
                self._store.execute(
                    f"DELETE FROM {table} WHERE run_id = :run_id AND NOT EXISTS "  # noqa: S608 - names of ours
                    "(SELECT 1 FROM recordings WHERE recordings.run_id = :run_id)",
                    *rows,
                )
        self._forgotten += len(rows)

    def _forget_roots(self) -> None:
        """Forget folders of recordings that were moved or deleted as a whole."""
        if not self._others:
            return
        prefix = host_prefix(self._store)
        roots = [r["root"] for r in self._store.query("SELECT DISTINCT root FROM shards")]
        for root in roots:
            if (
                root != self._root
                and root.startswith(prefix)
                and not os.path.isdir(root.removeprefix(prefix))
            ):
                left = self._store.query("SELECT run_id FROM recordings WHERE root = :root", {"root": root})
                self._forget([r["run_id"] for r in left], root)
                for table in ("shards", "damaged", "unsent"):
                    self._store.execute(f"DELETE FROM {table} WHERE root = :root", {"root": root})  # noqa: S608

    def _query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return self._store.query(sql, {"root": self._root, **values})

    def _evidence(self, row: Mapping[str, Any]) -> tuple[int, int] | None:
        return _evidence(os.path.join(self._runs, row["day"], row["run_id"]))

    def _is_other(self, row: Mapping[str, Any], evidence: tuple[int, int]) -> bool:
        """Whether a recording that had not ended has more to tell than its line in the index."""
        size_bytes, mtime_ns = evidence
        if row["state"] == EndState.RUNNING:
            if row["host"] == os.uname().nodename:
                if not is_alive(row["host"], row["boot"], row["pid"], row["pid_start"]):
                    return True
            elif time.time() - mtime_ns / 1e9 > QUIET_S:
                return True
        if evidence == (row["size_bytes"], row["mtime_ns"]):
            return row["state"] == EndState.LOST and not _may_grow(
                row
            )  # silent for long enough: now it is final
        grown = size_bytes - row["size_bytes"]
        if size_bytes <= _SMALL_BYTES or grown < 0 or grown * 20 >= row["size_bytes"]:
            return True
        return _has_ended(os.path.join(self._runs, row["day"], row["run_id"]))


def _folders(path: str, pattern: re.Pattern[str] | None = _DAY) -> dict[str, int]:
    """Return the folders in a folder, with the time of their last change in ns; days only unless told otherwise."""
    found: dict[str, int] = {}
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if pattern.fullmatch(entry.name) if pattern else not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        if entry.is_dir():
                            found[entry.name] = entry.stat().st_mtime_ns if pattern else 0
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise LedgerError(f"cannot look at the recordings in {path}: {error.strerror}") from None
    return found


def _files(folder: str) -> Iterable[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (e for e in entries if e.name.endswith(".jsonl"))


def _evidence(folder: str) -> tuple[int, int] | None:
    """Return the size and the newest time of a recording's files; None if its folder is gone."""
    size_bytes, mtime_ns = 0, 0
    try:
        for entry in _files(folder):
            status = entry.stat()
            size_bytes += status.st_size
            mtime_ns = max(mtime_ns, status.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # reading it will say why
        return -1, 0
    return size_bytes, mtime_ns


def _has_ended(folder: str) -> bool:
    """Whether the last line of some file of a recording is its end; reads the tails only."""
    with suppress(OSError):
        for entry in _files(folder):
            with open(entry.path, "rb") as file:
                file.seek(max(0, entry.stat().st_size - _TAIL_BYTES))
                last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
            if (decode(last) or {}).get("k") == "end":
                return True
    return False


def _may_grow(row: Mapping[str, Any]) -> bool:
    if row["state"] == EndState.LOST:  # its process may be in another container, or on another host
        silent_s = time.time() - float(row["mtime_ns"]) / 1e9
        own = bool(row["host"] == os.uname().nodename)
        return silent_s < (QUIET_S if own else _FORGOTTEN_AFTER_S)
    return EndState(row["state"]) is EndState.RUNNING


def root_of(store: Store, runs_folder: Path) -> str:
    """Return how the ledger names a folder of recordings on this host: its real path, after the host's name where hosts share."""
    return host_prefix(store) + os.path.realpath(runs_folder)


def _forget_index(store: Store, root: str) -> None:
    """Forget what is indexed of one host's folder, in the order in which others write: nobody waits in a circle."""
    store.query("SELECT run_id FROM recordings WHERE root = :root ORDER BY run_id FOR UPDATE", {"root": root})
    for table in ("recordings", "shards", "damaged", "unsent"):
        store.execute(f"DELETE FROM {table} WHERE root = :root", {"root": root})  # noqa: S608 - names of ours
    for table in ("minutes", "months", "wastes"):
        store.execute(f"DELETE FROM {table} WHERE run_id NOT IN (SELECT run_id FROM recordings)")  # noqa: S608


def _writer(head: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "host": clean(str(head.get("host", ""))),
        "boot": clean(str(head.get("boot", ""))),
        "pid": int(head.get("pid", 0)),
        "pid_start": int(head.get("pid_start", -1)),
    }


def _who(summary: Summary, folder: Path) -> dict[str, str]:
    """Return who, what and where a recording was; the owner of its folder, where it does not tell a person."""
    who = {name: clean(getattr(summary, name)) for name in ("person", "project", "zone", "device", "site")}
    return {**who, "person": who["person"] or _owner(folder), "inside": clean(summary.inside)}


def _owner(folder: Path) -> str:
    try:
        import pwd

        return pwd.getpwuid(os.stat(folder).st_uid).pw_name
    except (ImportError, KeyError, OSError):  # Windows, a user without a name
        return ""
