"""The live view: how a run stands, on the terminal's bottom line or as a plain line now and then.

The program owns the terminal; the status line only borrows its last row, as package managers do: a scroll region
(DECSTBM) keeps the program's output above it, every drawing saves and restores the cursor and is one write, so it
cannot fall between two writes of the program. The row is given back when the program ends, stops, or takes the
terminal for itself (raw mode: an editor, a prompt, a password), and while the job is in the background.

Everything goes to standard error, never to standard output; nothing is written to a reader that does not read.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import final

from joulewise.cli.watching import Look
from joulewise.vocabulary.budget import Budget, Spent
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import format_duration, format_si

_LEAST_COLUMNS, _LEAST_ROWS = 40, 8
_PLAIN_AT_S = (10.0, 30.0, 60.0, 300.0)
_PLAIN_EVERY_S = 600.0
_SAVE, _RESTORE = "\x1b7", "\x1b8"
_BAR = 10
_PATIENCE_S = 1.0  # for giving the screen back
STDERR = 2


def write_if_read(text: str, patience_s: float = 0.0, fd: int = STDERR) -> bool:
    """Write `text` if whoever reads `fd` takes it within `patience_s`; returns whether it did. Never raises."""
    data = text.encode("utf-8", "replace")
    poll = select.poll()
    try:
        poll.register(fd, select.POLLOUT)
        while data:  # a pipe that polls writable takes 4096 bytes without waiting
            if not poll.poll(patience_s * 1000):
                return False
            data = data[os.write(fd, data[:4096]) :]
    except OSError:
        return False
    return True


def status(look: Look, limits: Budget | None, columns: int) -> str:
    """Return the status in at most `columns` characters: the parts that matter most come first and stay longest."""
    spent, counted = look.spent, look.counted
    parts = [f"joulewise {format_duration(look.now_s)}"]
    if look.power_w is not None:
        parts.append(format_si(look.power_w, "W"))
    if spent.energy_j is not None:
        parts.append(format_si(spent.energy_j.value, "J"))
    if limits is not None and (bar := _bar(limits, counted)):
        parts.append(bar)
    if look.share is not None:
        parts.append(f"{100 * look.share:.0f} % done")
    if look.share is not None and look.share < 1 and (rest := _forecast(look)):
        parts.append(rest)
    if look.per_step_j is not None:
        parts.append(f"{format_si(look.per_step_j, 'J')}/{look.step}")
    text = parts[0]
    for part in parts[1:]:
        if len(text) + 3 + len(part) <= columns:
            text += f" · {part}"
    return text[:columns]


def _forecast(look: Look) -> str:
    expected = look.expected
    words = []
    if expected.time_s:
        words.append(f"{format_duration(max(0.0, expected.time_s.value - look.now_s))} left")
    if expected.energy_j:
        figure = expected.energy_j
        spread = (figure.high - figure.low) / 2 / figure.value if figure.value else 0.0
        words.append(f"{format_si(figure.value, 'J', 2)} in all (±{100 * spread:.0f} %)")
    return ", ".join(words)


def _bar(limits: Budget, counted: Spent) -> str:
    """Return the bar of the limit that is nearest to its end."""
    energy_j = counted.energy_j.value if counted.energy_j else None
    pairs = [
        (limits.energy_j, energy_j, format_si(limits.energy_j or 0, "J")),
        (limits.carbon_g, _counted(limits, counted.carbon_g), format_si(limits.carbon_g or 0, "g")),
        (limits.cost, _counted(limits, counted.cost), f"{limits.cost or 0:g} {limits.currency}"),
        (limits.time_s, counted.time_s, format_duration(limits.time_s or 0)),
        (limits.trials, counted.trials, f"{limits.trials or 0} trials"),
    ]
    shares = [(used / limit, name) for limit, used, name in pairs if limit is not None and used is not None]
    if not shares:
        return ""
    share, name = max(shares)
    full = min(_BAR, int(share * _BAR))
    return f"[{'#' * full}{'-' * (_BAR - full)}] {100 * share:.0f} % of {name}"


def _counted(limits: Budget, figure: Figure | None) -> float | None:
    if figure is None:
        return None
    return figure.high if limits.assume_high else figure.value


@final
class PlainLines:
    """Plain lines at growing intervals: after 10 s, 30 s, 1 min, 5 min, then every ten minutes."""

    def __init__(self, limits: Budget | None, write: Callable[[str, float], bool] = write_if_read) -> None:
        self._limits, self._write = limits, write
        self._due_s = _PLAIN_AT_S[0]

    def wait_s(self, now_s: float) -> float:
        """Return in how many seconds the next line is due."""
        return max(0.0, self._due_s - now_s)

    def show(self, look: Look) -> None:
        """Write a line if one is due."""
        if look.now_s < self._due_s:
            return
        self._write(status(look, self._limits, 200) + "\n", 0.0)
        later = [at for at in _PLAIN_AT_S if at > look.now_s]
        self._due_s = later[0] if later else (look.now_s // _PLAIN_EVERY_S + 1) * _PLAIN_EVERY_S

    def suspend(self) -> None:
        """Nothing is on the screen."""

    resume = resize = close = suspend


@final
class StatusLine:
    """A status line in the last row of the terminal, redrawn every second from `after_s` on.

    `terminal` tells columns and rows, or None while the terminal must be left alone.
    """

    def __init__(
        self,
        limits: Budget | None,
        terminal: Callable[[], tuple[int, int] | None],
        write: Callable[[str, float], bool] = write_if_read,
        after_s: float = 2.0,
    ) -> None:
        self._limits, self._terminal, self._write = limits, terminal, write
        self._due_s = after_s
        self._rows = 0  # of the terminal while its last row is ours; 0 while it is not
        self._stopped = False
        self._last: Look | None = None

    def wait_s(self, now_s: float) -> float:
        """Return in how many seconds the line is to be drawn again."""
        return max(0.0, self._due_s - now_s)

    def show(self, look: Look) -> None:
        """Draw the line, if it is due and the terminal may be drawn on."""
        self._last = look
        if look.now_s < self._due_s or self._stopped:
            return
        self._due_s = look.now_s + 1.0
        size = self._terminal()
        if size is None or size[0] < _LEAST_COLUMNS or size[1] < _LEAST_ROWS:
            self._let_go()
            return
        columns, rows = size
        take = "" if rows == self._rows else self._take(rows)
        text = status(look, self._limits, columns - 1)
        if self._write(f"{take}{_SAVE}\x1b[{rows};1H\x1b[2K{text}{_RESTORE}", 0.0):
            self._rows = rows

    def suspend(self) -> None:
        """Clear the row and give it back: the program stops, and the shell takes the terminal."""
        self._stopped = True
        self.close()

    def resume(self) -> None:
        """Draw again from the next look on."""
        self._stopped = False

    def resize(self) -> None:
        """Take the last row of the terminal's new size."""
        if self._rows and self._last is not None:
            self._due_s = 0.0
            self.show(self._last)

    def close(self) -> None:
        """Clear the row and give the whole screen back; does nothing if nothing was taken."""
        if self._rows:
            rows, self._rows = self._rows, 0
            self._write(f"{_SAVE}\x1b[r\x1b[{rows};1H\x1b[2K{_RESTORE}", _PATIENCE_S)

    def _take(self, rows: int) -> str:
        """Return what makes room: one line further (the screen may be full), and a region above the last row."""
        old = f"{_SAVE}\x1b[r\x1b[{self._rows};1H\x1b[2K{_RESTORE}" if self._rows else ""
        return f"{old}\x1bD\x1b[A{_SAVE}\x1b[1;{rows - 1}r{_RESTORE}"

    def _let_go(self) -> None:
        """Give the screen back but clear nothing: what is in the last row now may be the program's."""
        if self._rows:
            self._rows = 0
            self._write(f"{_SAVE}\x1b[r{_RESTORE}", _PATIENCE_S)


def terminal_size(fd: int = STDERR) -> tuple[int, int] | None:
    """Return columns and rows of the terminal at `fd`; None if it is none, or is not to be drawn on now.

    Not to be drawn on: while the job is in the background, and while the program reads keys by itself or hides them
    (raw mode, no echo).
    """
    import termios

    try:
        modes = termios.tcgetattr(fd)[3]
        if not modes & termios.ICANON or not modes & termios.ECHO or os.tcgetpgrp(fd) != os.getpgrp():
            return None
        size = os.get_terminal_size(fd)
    except (OSError, termios.error):
        return None
    return size.columns, size.lines


def live_view(
    how: str, limits: Budget | None, terminal: bool, term: str, nested: bool
) -> StatusLine | PlainLines | None:
    """Return the view that `how` asks for: `auto` is a line on a terminal that can draw one, else plain lines.

    None shows nothing: `off`, and inside another recorded run, which shows itself.
    """
    if how == "off" or (how == "auto" and nested):
        return None
    able = terminal and term not in ("", "dumb")
    if how == "line" or (how == "auto" and able):
        return StatusLine(limits, terminal_size) if able else PlainLines(limits)
    return PlainLines(limits)
