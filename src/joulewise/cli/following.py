"""Follow what the recorded program logs through `joulewise.track`, while it runs.

Its points are in files of their own in the folder of the recording (`joined-*.jsonl`), so that no file has two
writers. `look` reads what was added since the last look; a line that is not whole yet waits for the next.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from joulewise.ledger.files import decode
from joulewise.vocabulary.recording import Point

_MOST_BYTES = 4_000_000  # per file and look: a program that logs every step must not keep us busy


@dataclass(slots=True)
class _Part:
    read_bytes: int = 0
    mono_s: float | None = None
    rest: bytes = field(default=b"")


@final
class Following:
    """The points of a recording in `folder`, as they come; `started_s` is the monotonic time of its beginning."""

    def __init__(self, folder: str, started_s: float) -> None:
        self._folder = folder
        self._started_s = started_s
        self._parts: dict[str, _Part] = {}

    def look(self) -> list[Point]:
        """Return the points that came since the last look, in the order of their time."""
        points: list[Point] = []
        try:
            names = os.listdir(self._folder)
        except OSError:
            return points
        for name in names:
            if name.startswith("joined-") and name.endswith(".jsonl"):
                points += self._read(name)
        points.sort(key=lambda p: p.t_s)
        return points

    def _read(self, name: str) -> list[Point]:
        part = self._parts.setdefault(name, _Part())
        try:
            with open(os.path.join(self._folder, name), "rb") as file:
                file.seek(part.read_bytes)
                data = file.read(_MOST_BYTES)
        except OSError:
            return []
        part.read_bytes += len(data)
        *lines, part.rest = (part.rest + data).split(b"\n")
        points = []
        for line in lines:
            entry = decode(line)
            if entry is None:
                continue
            if entry.get("k") == "head":
                part.mono_s = float(entry.get("mono", self._started_s))
            elif entry.get("k") == "point":
                points.append(self._point(part, entry, name))
        return points

    def _point(self, part: _Part, entry: Mapping[str, Any], name: str) -> Point:
        began_s = self._started_s if part.mono_s is None else part.mono_s
        return Point(began_s - self._started_s + float(entry["t"]), entry["values"], name)
