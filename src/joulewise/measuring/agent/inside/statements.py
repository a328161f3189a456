"""Which questions a program asks its databases: the text of each SELECT, how often, and what it took.

Drivers are watched where they can be: sqlite3 by a connection class of our own (the program's own `factory` is left alone),
DuckDB and psycopg by their `execute`. What a row costs when it is fetched later is seen for sqlite3's `fetchall` only.
Values are not kept: literals in the text become `?`, and parameters are only told apart, by a hash that stays in this process.
"""

from __future__ import annotations

import sys
import time
from _thread import allocate_lock

from .timeline import STRIDE, Timeline, clock

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MOST = 200  # statements
_MOST_TEXT = 2000
_MOST_PARAMETERS = 4096  # beyond, nobody knows how many were asked before
_SERVERS = (
    "uvicorn", "hypercorn", "granian", "gunicorn", "waitress", "flask", "aiohttp.web", "tornado.web", "grpc", "ray.serve",
    "bentoml", "litserve", "mlserver", "http.server", "socketserver",
)  # fmt: skip
_ALL_TIMED = 256  # calls of a statement; beyond them one in STRIDE is timed and stands for the others
_FACTORY = 5  # its place among the arguments of sqlite3.connect


class Statements:
    """The statements of this process, as facts: `statement/N` is [text, calls, wall_s, cpu_s, different parameters or None]."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._lock = allocate_lock()
        self.reset()

    def reset(self) -> None:
        """Forget, as a forked child must."""
        self._by_given: dict[str, tuple[str, list[Any], set[int]]] = {}
        self._by_text: dict[str, tuple[str, list[Any], set[int]]] = {}

    def wrap(self, module: Any) -> None:
        """Watch a driver that was imported."""
        name = module.__name__
        if name == "sqlite3":
            self._wrap_sqlite(module)
        elif name == "duckdb":
            self._wrap_execute(
                module.DuckDBPyConnection, time.process_time
            )  # it computes in threads of its own
        elif name == "psycopg":
            self._wrap_execute(module.Cursor, time.thread_time)

    def asked(self, sql: Any, given: Any, wall_s: float, cpu_s: float, *, again: bool = False) -> None:
        """Count a statement; `again` adds to what its last call took. Whatever goes wrong is ours, not the program's."""
        if type(sql) is not str:
            return
        try:
            self._count(sql, given, wall_s, cpu_s, again=again)
        except Exception as error:  # noqa: BLE001 - it would be raised in the program's own statement
            self._line.facts.add("faults", f"statements: {type(error).__name__}: {error}"[:300])

    def light(self, sql: Any, given: Any) -> bool:
        """Count one of many calls that are not timed; False for one that is to be timed."""
        if type(sql) is not str:
            return False
        known = self._by_given.get(sql)
        if known is None or known[1][1] < _ALL_TIMED or known[1][1] % STRIDE == 0:
            return False
        known[1][1] += 1
        _tell_apart(known[1], known[2], given)
        return True

    def _count(self, sql: str, given: Any, wall_s: float, cpu_s: float, *, again: bool) -> None:
        with self._lock:
            known = self._by_given.get(sql) or self._new(sql)
            if known is None:
                return
            key, entry, seen = known
            stands_for = STRIDE if entry[1] >= _ALL_TIMED + again else 1
            entry[2] += wall_s * stands_for
            entry[3] += cpu_s * stands_for
            if not again:
                entry[1] += 1
                _tell_apart(entry, seen, given)
        facts = self._line.facts
        facts.put(key, entry)
        now = clock()
        if now > facts.due_s:
            facts.write(now)

    def _new(self, sql: str) -> tuple[str, list[Any], set[int]] | None:
        if not sql.lstrip()[:6].upper().startswith(("SELECT", "WITH")):
            return None
        text = without_values(sql[:_MOST_TEXT])
        known = self._by_text.get(text)
        if known is None:
            if len(self._by_text) >= _MOST:
                return None
            self._line.facts.put("server", next((name for name in _SERVERS if name in sys.modules), ""))
            known = self._by_text[text] = (f"statement/{len(self._by_text)}", [text, 0, 0.0, 0.0, 0], set())
        if len(self._by_given) < 10 * _MOST:
            self._by_given[sql] = known
        return known

    def _wrap_execute(self, owner: Any, cpu: Callable[[], float]) -> None:
        original, asked, light = owner.execute, self.asked, self.light

        def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            if light(query, args[0] if args else kwargs or None):
                return original(self, query, *args, **kwargs)
            began_s, cpu_s = clock(), cpu()
            try:
                return original(self, query, *args, **kwargs)
            finally:
                asked(query, args[0] if args else kwargs or None, clock() - began_s, cpu() - cpu_s)

        execute.__doc__, execute.__wrapped__ = original.__doc__, original  # type: ignore[attr-defined]
        owner.execute = execute

    def _wrap_sqlite(self, module: Any) -> None:
        original, asked, light, cpu = module.connect, self.asked, self.light, time.thread_time

        class Cursor(module.Cursor):  # type: ignore[misc]
            _asked = None

            def execute(self, sql: Any, *parameters: Any) -> Any:
                if light(sql, parameters[0] if parameters else None):
                    self._asked = None
                    return super().execute(sql, *parameters)
                began_s, cpu_s = clock(), cpu()
                try:
                    return super().execute(sql, *parameters)
                finally:
                    self._asked = sql
                    asked(sql, parameters[0] if parameters else None, clock() - began_s, cpu() - cpu_s)

            def fetchall(self) -> Any:
                if self._asked is None:
                    return super().fetchall()
                began_s, cpu_s = clock(), cpu()
                try:
                    return super().fetchall()
                finally:
                    asked(self._asked, None, clock() - began_s, cpu() - cpu_s, again=True)

        class Connection(module.Connection):  # type: ignore[misc]
            def cursor(self, factory: Any = Cursor) -> Any:
                return super().cursor(factory)

            def execute(self, *args: Any) -> Any:
                return self.cursor().execute(*args)

        for ours in (Cursor, Connection):
            ours.__module__, ours.__qualname__ = "sqlite3", ours.__name__

        def connect(*args: Any, **kwargs: Any) -> Any:
            if len(args) <= _FACTORY and "factory" not in kwargs:
                kwargs["factory"] = Connection
            return original(*args, **kwargs)

        connect.__doc__, connect.__wrapped__ = original.__doc__, original  # type: ignore[attr-defined]
        module.connect = connect
        if hasattr(module, "dbapi2"):
            module.dbapi2.connect = connect


def _tell_apart(entry: list[Any], seen: set[int], given: Any) -> None:
    """Count the different parameters: None where nobody knows."""
    if entry[4] is None:
        return
    try:
        seen.add(hash(tuple(given.items()) if isinstance(given, dict) else tuple(given or ())))
    except TypeError:
        entry[4] = None
        return
    entry[4] = len(seen) if len(seen) < _MOST_PARAMETERS else None


def without_values(sql: str) -> str:
    """Return a statement with `?` for each literal, in one line; by hand, for `re` may not be loaded in the program."""
    out: list[str] = []
    at, end = 0, len(sql)
    while at < end:
        letter = sql[at]
        if letter == "'":
            at += 1
            while at < end and (sql[at] != "'" or sql[at + 1 : at + 2] == "'"):
                at += 2 if sql[at] == "'" else 1
            out.append("?")
            at += 1
        elif letter == '"':  # a name
            end_of_name = sql.find('"', at + 1)
            name = sql[at : end_of_name + 1 if end_of_name > 0 else end]
            out.append(name)
            at += len(name)
        elif letter.isdigit() and not (out and (out[-1].isalnum() or out[-1] in "_$:?")):
            while at < end and (sql[at].isalnum() or sql[at] == "."):
                at += 1
            out.append("?")
        elif letter.isspace():
            while at < end and sql[at].isspace():
                at += 1
            out.append(" ")
        else:
            out.append(letter)
            at += 1
    return "".join(out).strip()
