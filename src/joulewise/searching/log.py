"""Where a study's lines are kept, so that several workers share them: memory, a file, or a database.

`alone()` is the whole of it: inside, no other worker adds a line, and it yields the lines that others added since this
log last looked. Whoever decides, decides inside, and adds what it decided before it leaves: so all workers see the same
lines in the same order, and no two of them take the same trial. Nothing is held outside: a worker that is killed leaves
at most one line unwritten, and no lock behind.

    MemoryLog()                        one process
    FileLog(path)                      several processes of one host; a line of JSON each, to be read by eye
    DatabaseLog(open_store(place))     several hosts (PostgreSQL), or one (SQLite)
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, final

from joulewise.ledger.store import Store, insert
from joulewise.vocabulary.errors import LedgerAway, LedgerError, UsageError

Line: TypeAlias = dict[str, Any]
_T = TypeVar("_T")
_RETRY_S, _MOST_RETRY_S = 0.1, 5.0  # of a database that is away


class Overtaken(LedgerError):  # noqa: N818 - it names the state
    """The lock was lost with the database, and others added `lines` before it could be had again: decide anew."""

    def __init__(self, lines: list[Line]) -> None:
        super().__init__("the study's database went away, and other workers have gone on since")
        self.lines = lines


class Log(Protocol):
    """The lines of one study. `where` is how messages name it; `hosts` whether several hosts may share it."""

    where: str
    hosts: bool

    def alone(self) -> Any:
        """Return a context in which nobody else adds; it yields the lines that were added since the last look."""

    def add(self, line: Line) -> None:
        """Add a line; only inside `alone`. It is with the kernel (or the server) when the context is left."""

    def close(self) -> None:
        """Give everything back; closing twice is fine."""


@final
class MemoryLog:
    """Lines that go with this process, which is the only one."""

    where = "memory"
    hosts = False

    @contextmanager
    def alone(self) -> Iterator[list[Line]]:
        """Yield no line: nobody else adds any."""
        yield []

    def add(self, line: Line) -> None:
        """Forget the line: the study itself holds it."""

    def close(self) -> None:
        """Nothing to give back."""


@final
class FileLog:
    """A file of JSON lines, locked while somebody decides; the lock goes with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"cannot open the study {path}: {error.strerror}") from None
        self.where = str(path)
        self.hosts = False
        self._read = 0  # bytes that were looked at
        self._count = 0  # lines

    @contextmanager
    def alone(self) -> Iterator[list[Line]]:
        """Yield what others added; a torn last line, of a worker that was killed, is cut off."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield self._news()
        finally:
            if self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def add(self, line: Line) -> None:
        """Append a line."""
        self._read += os.write(self._file, encoded(line))
        self._count += 1

    def close(self) -> None:
        """Give the file back; nothing can be added afterwards."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _news(self) -> list[Line]:
        size = os.fstat(self._file).st_size
        if size == self._read:
            return []
        data = os.pread(self._file, size - self._read, self._read)
        whole = data.rfind(b"\n") + 1
        lines = decoded(data[:whole].splitlines(), self.where, self._count)
        if not whole and not self._read and not data.startswith(b'{"kind"'):
            raise UsageError(f"{self.where} is not the journal of a study: it has no first line")
        if whole < len(data):
            os.ftruncate(self._file, self._read + whole)
        self._read += whole
        self._count += len(lines)
        return lines


@final
class DatabaseLog:
    """The rows of one study in a database; the first statement of `alone` takes the study's own row, and waits for it.

    What is added is sent when `alone` is left. A database that is away then, or when `alone` is entered, is waited for,
    `patience_s` at most. If others went on before this worker came back, what it was about to add does not hold: Overtaken.
    """

    def __init__(self, store: Store, name: str, patience_s: float = 600.0) -> None:
        self._store = store
        self._name = name
        self._patience_s = patience_s
        self.where = f"{store.where} (study {name})"
        self.hosts = store.shared
        self._count = 0
        self._added: list[Line] = []
        store.execute(
            insert("searches", ("name", "lines")) + " ON CONFLICT (name) DO NOTHING",
            {"name": name, "lines": 0},
        )

    @contextmanager
    def alone(self) -> Iterator[list[Line]]:
        """Yield what others added; what is added inside holds together or not at all."""
        held = ExitStack()
        texts = self._patiently(lambda: self._lock(held))
        self._added = []
        try:
            with held:
                news = decoded(texts, self.where, self._count)
                self._count += len(news)
                yield news
                self._insert()
        except LedgerAway:
            if self._added:
                self._patiently(self._insert_again)
        self._count += len(self._added)

    def add(self, line: Line) -> None:
        """Take a row down, to be inserted with all others of this context."""
        self._added.append(line)

    def close(self) -> None:
        """Give the connection back."""
        self._store.close()

    def _lock(self, held: ExitStack) -> list[str]:
        """Take the study's row for as long as `held` is open, and return the lines that others added."""
        with ExitStack() as trying:
            trying.enter_context(self._store.transaction())
            self._store.execute("UPDATE searches SET lines = lines WHERE name = :name", {"name": self._name})
            rows = self._store.query(
                "SELECT line FROM search_lines WHERE search = :search AND number > :number ORDER BY number",
                {"search": self._name, "number": self._count},
            )
            held.push(trying.pop_all())
        return [row["line"] for row in rows]

    def _insert(self) -> None:
        if not self._added:
            return
        self._store.execute(
            insert("search_lines", ("search", "number", "line")),
            *(
                {"search": self._name, "number": number, "line": _text(line)}
                for number, line in enumerate(self._added, self._count + 1)
            ),
        )
        self._store.execute(
            "UPDATE searches SET lines = :count WHERE name = :name",
            {"count": self._count + len(self._added), "name": self._name},
        )

    def _insert_again(self) -> None:
        """Insert what did not get through: unless it did, and only the answer was lost."""
        with ExitStack() as held:
            there = self._lock(held)
            if there[: len(self._added)] == [_text(line) for line in self._added]:
                return  # what others added behind it is read at the next look
            if there:
                self._count += len(there)
                raise Overtaken(decoded(there, self.where, self._count - len(there)))
            self._insert()

    def _patiently(self, attempt: Callable[[], _T]) -> _T:
        """Return what `attempt` does, once the database is there."""
        until_s, wait_s = time.monotonic() + self._patience_s, _RETRY_S
        told = False
        while True:
            try:
                return attempt()
            except LedgerAway as away:
                if time.monotonic() + wait_s > until_s:
                    raise LedgerError(
                        f"{away}; waited {self._patience_s:.0f} s for it. The study stands there as it was: the same command goes on"
                    ) from None
                if not told:
                    print(f"joulewise: {away}; waiting for it", file=sys.stderr)
                    told = True
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _MOST_RETRY_S)


def _text(line: Line) -> str:
    return encoded(line).decode().rstrip("\n")


def encoded(line: Line) -> bytes:
    """Return a line as it is written."""
    return (json.dumps(line, default=str) + "\n").encode()


def decoded(texts: list[Any], where: str, before: int = 0) -> list[Line]:
    """Return the lines that `texts` hold; `before` lines came before them. UsageError names one that is none."""
    lines: list[Line] = []
    for number, text in enumerate(texts, before + 1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or "kind" not in line:
            raise UsageError(f"{where} is damaged at line {number}; it is not a study's journal")
        lines.append(line)
    return lines
