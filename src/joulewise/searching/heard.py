"""What a running program tells of its metric, whichever way it tells it: one value an epoch.

    printed   a line that names the metric with a number: `val_accuracy: 0.91`, `val_accuracy=91%`, `{"val_accuracy": 0.91}`
    logged    `joulewise.track().log(val_accuracy=0.91)` inside the program
    seen      by the phases hook (measuring/agent): what Keras, Lightning and Transformers know at the end of an epoch, and
              what a training loop in PyTorch calls its numbers when it has evaluated

The way that tells the metric first is listened to, the others no longer: a program that prints a value and logs it, too,
has told it once. What is seen twice at one step of an epoch counts once; the training loss, which is seen at many steps, counts
as it stood at the epoch's end.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import final

from joulewise.measuring.agent.curve import Curve, CurvePoint
from joulewise.measuring.progress import Followed

_LOOK_S = 0.05  # for what is told beside the output
_NUMBER = r"([-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)\b)(\s?%)?"
_MOST_NAMES = 8


def printed(metric: str) -> re.Pattern[str]:
    """Return what finds the metric, and a percent sign behind it, in a printed line."""
    return re.compile(rf"(?<![\w.-])[\"']?{re.escape(metric)}[\"']?\s*[:=]\s*{_NUMBER}", re.IGNORECASE)


def in_line(pattern: re.Pattern[str], line: str) -> float | None:
    """Return the value that a line tells, by `printed`; None if it tells none."""
    found = pattern.search(line)
    return float(found[1].replace("_", "")) / (100 if found[2] else 1) if found else None


@final
class Heard:
    """What one program tells. `folder` is where what runs inside it writes; it need not write anything."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, metric: str) -> None:
        self._process = process
        self._metric = metric
        self._pattern = printed(metric)
        self._logged = Followed(folder, "")
        self._curve = Curve(folder)
        self._source = ""
        self._at: tuple[float | None, int] = (None, 0)  # epoch and step that were seen last
        self._passing: float | None = None  # the training loss of that epoch so far
        self._named: dict[str, None] = {}

    @property
    def named(self) -> tuple[str, ...]:
        """The other numbers that the program logged, or that were seen in it."""
        return tuple(self._named)[:_MOST_NAMES]

    def values(self) -> Iterator[float]:
        """Yield the metric whenever it is told, until the program ends."""
        assert self._process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        output = self._process.stdout.fileno()
        torn, ended = b"", False
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not ended:
                ended = _is_gone(self._process)  # looked at first: what it wrote last is read below
                data = b""
                if selector.select(0.0 if ended else _LOOK_S):
                    data = os.read(output, 65536)
                    if data:
                        ended = False
                    else:  # it may go on without an output
                        selector.unregister(output)
                *lines, torn = (torn + data).replace(b"\r", b"\n").split(b"\n")
                if ended:
                    lines.append(torn)
                for line in lines:
                    value = in_line(self._pattern, line.decode(errors="replace"))
                    if value is not None and self._from("printed"):
                        yield value
                yield from self._beside()
        if self._passing is not None:
            yield self._passing

    def _beside(self) -> Iterator[float]:
        for point in self._logged.new_points():
            value = self._named_in(point)
            if value is not None and self._from("logged"):
                yield value
        for seen in self._curve.new_points():
            value = self._named_in(seen.values)
            if value is not None and (not seen.passing or seen.epoch is not None):
                yield from self._seen(seen, value)

    def _seen(self, point: CurvePoint, value: float) -> Iterator[float]:
        if not self._from(point.process):
            return
        if self._passing is not None and point.epoch != self._at[0]:
            yield self._passing
        self._passing = value if point.passing else None
        at = (point.epoch, point.step)
        if not point.passing and (point.epoch is None or at != self._at):
            yield value
        self._at = at

    def _from(self, source: str) -> bool:
        """Return whether this source is the one that is listened to: the first that told the metric."""
        self._source = self._source or source
        return self._source == source

    def _named_in(self, values: object) -> float | None:
        """Return the metric among named values, whatever its case; the others' names are remembered."""
        found = None
        for name, value in dict(values).items():  # type: ignore[call-overload]
            if str(name).lower() == self._metric.lower():
                found = float(value)
            else:
                self._named.setdefault(str(name))
        return found


def _is_gone(process: subprocess.Popen[bytes]) -> bool:
    """Return whether the program has ended; its exit code stays to be asked for."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
