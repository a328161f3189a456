"""Count the statements that a served model runs on its database, so that joins in the request path can be named.

    connection = Counting(sqlite3.connect("shop.db"))       # or DuckDB's, or psycopg's
    ...                                                     # serve
    request_joins(connection.queries())

Values are not kept, only the text of each statement, how often it ran, and the thread's CPU seconds until it answered
(not those of a server elsewhere).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, final

from joulewise.features.hygiene import Query

_MOST = 1000  # statements with their values written into the text could be without end


@final
class Counting:
    """A database connection (or cursor) that counts; everything else is the connection's own."""

    def __init__(self, connection: Any, counts: dict[str, list[float]] | None = None) -> None:
        self._connection = connection
        self._counts = {} if counts is None else counts
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> Counting:
        self._connection.__enter__()
        return self

    def __exit__(self, *raised: object) -> Any:
        return self._connection.__exit__(*raised)

    def __iter__(self) -> Any:
        return iter(self._connection)

    def cursor(self, *arguments: Any, **options: Any) -> Counting:
        """Return a cursor that counts into the same place."""
        return Counting(self._connection.cursor(*arguments, **options), self._counts)

    def execute(self, sql: Any, *arguments: Any, **options: Any) -> Any:
        """Run a statement and count it."""
        return self._counted(self._connection.execute, sql, arguments, options)

    def executemany(self, sql: Any, *arguments: Any, **options: Any) -> Any:
        """Run a statement for many values and count it once."""
        return self._counted(self._connection.executemany, sql, arguments, options)

    def queries(self) -> list[Query]:
        """Return what was run so far, the dearest first."""
        with self._lock:
            found = [Query(sql, int(calls), cpu_s) for sql, (calls, cpu_s) in self._counts.items()]
        return sorted(found, key=lambda q: -q.cpu_s)

    def _counted(self, run: Callable[..., Any], sql: Any, arguments: Any, options: dict[str, Any]) -> Any:
        began_s = time.thread_time()
        try:
            return run(sql, *arguments, **options)
        finally:
            spent_s = time.thread_time() - began_s
            with self._lock:
                text = str(sql)
                if text in self._counts or len(self._counts) < _MOST:
                    count = self._counts.setdefault(text, [0, 0.0])
                    count[0] += 1
                    count[1] += spent_s
