"""What cannot be a number on the page: a file to which a line is added when something new is seen.

A line is the `repr` of a dictionary: `{"set": {...}, "add": {...}}`, plain values only. The file is opened for each
write and closed again, so that a program that closes all descriptors does no harm. Writes are a tenth of the process's age
apart, at most half a second: what a process that ends hard has not told is the last of it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from typing import Any

EVERY_S = 0.5
_MOST_BYTES = 8_000_000  # of one process


class Facts:
    """The facts of this process. `put` replaces a value, `add` lengthens a series, `write` is called by whoever has time."""

    __slots__ = ("_add", "_began_s", "_limit", "_path", "_set", "due_s")

    def __init__(self, path: str, began_s: float) -> None:
        self._path = path
        self._began_s = began_s
        self._set: dict[str, Any] = {}
        self._add: dict[str, list[Any]] = {}
        self._limit = _MOST_BYTES
        self.due_s = 0.0

    def put(self, key: str, value: Any) -> None:
        """Replace a value."""
        self._set[key] = value

    def add(self, key: str, value: Any) -> None:
        """Add a value to a series."""
        self._add.setdefault(key, []).append(value)

    def write(self, now_s: float) -> None:
        """Append what is new to the file; what cannot be written is lost."""
        self.due_s = now_s + min(EVERY_S, 0.1 * (now_s - self._began_s))
        if not self._set and not self._add:
            return
        new_set, self._set = self._set, {}
        new_add, self._add = self._add, {}
        line = (repr({"set": new_set, "add": new_add}) + "\n").encode("utf-8", "backslashreplace")
        if len(line) > self._limit:
            return
        self._limit -= len(line)
        try:
            fd = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600
            )
        except OSError:
            return
        try:
            os.write(fd, line)
        except OSError:
            return
        finally:
            os.close(fd)
