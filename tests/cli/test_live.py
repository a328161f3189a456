"""The live view: what it says, and that it gives the terminal back."""

from __future__ import annotations

import os

import pytest

from joulewise.cli.live import PlainLines, StatusLine, live_view, status, write_if_read
from joulewise.cli.watching import Look
from joulewise.vocabulary.budget import Budget, Expected, Spent, Verdict
from joulewise.vocabulary.figures import Basis, relative


def figure(value):
    return relative(value, 0.1, 0.1, Basis.MODELLED)


def look(now_s=10.0, joules=1000.0, **changes):
    spent = Spent(now_s, figure(joules), figure(0.1), None)
    fields = {
        "spent": spent,
        "counted": spent,
        "power_w": 100.0,
        "share": 0.25,
        "per_step_j": 2.0,
        "step": "step",
        "expected": Expected(figure(40.0), figure(4000.0)),
        "verdict": Verdict(),
    }
    return Look(now_s=now_s, **{**fields, **changes})


class Screen:
    """A terminal that remembers what was written."""

    def __init__(self, columns=100, rows=30) -> None:
        self.size = (columns, rows)
        self.written: list[str] = []

    def write(self, text, _patience):
        self.written.append(text)
        return True


def test_says_how_it_stands():
    """Time, power, joules, the budget's bar, progress, forecast and joules per step stand in one line."""
    line = status(look(), Budget(energy_j=2000.0), 200)

    assert line == (
        "joulewise 10.0 s · 100 W · 1.00 kJ · [#####-----] 50 % of 2.00 kJ · 25 % done · "
        "30.0 s left, 4.0 kJ in all (±10 %) · 2.00 J/step"
    )


@pytest.mark.parametrize("columns", [20, 40, 60, 80])
def test_fits(columns):
    """A narrow terminal gets the parts that matter most."""
    line = status(look(), Budget(energy_j=2000.0), columns)

    assert len(line) <= columns
    assert line.startswith("joulewise 10.0 s")


def test_nearest_limit_is_shown():
    """Of several limits the bar shows the one that ends first."""
    assert "80 % of 12.5 s" in status(look(), Budget(energy_j=1e9, time_s=12.5), 200)


def test_unknown_is_left_out():
    """What is not known is not shown as zero."""
    line = status(
        look(spent=Spent(10.0), counted=Spent(10.0), power_w=None, share=None, per_step_j=None), None, 200
    )

    assert line == "joulewise 10.0 s"


def test_plain_lines_grow_rare():
    """Without a terminal a line comes after 10 s, 30 s, 1 min, 5 min, then every ten minutes."""
    screen = Screen()
    view = PlainLines(None, screen.write)
    for second in range(2000):
        view.show(look(now_s=float(second)))

    assert [line.split(" · ")[0] for line in screen.written] == [
        "joulewise 10.0 s",
        "joulewise 30.0 s",
        "joulewise 1m 00s",
        "joulewise 5m 00s",
        "joulewise 10m 00s",
        "joulewise 20m 00s",
        "joulewise 30m 00s",
    ]


def test_the_screen_is_given_back():
    """Closing resets the scroll region and clears the row; closing again does nothing."""
    screen = Screen()
    view = StatusLine(None, lambda: screen.size, screen.write)
    view.show(look())
    assert "\x1b[1;29r" in screen.written[0]
    assert "\x1b[30;1H" in screen.written[0]

    view.close()
    view.close()

    assert screen.written[1:] == ["\x1b7\x1b[r\x1b[30;1H\x1b[2K\x1b8"]


def test_nothing_is_drawn_while_the_terminal_is_the_programs():
    """While the terminal must be left alone nothing is drawn, and the region is given back without clearing."""
    screen = Screen()
    sizes = iter([screen.size, None, None])
    view = StatusLine(None, lambda: next(sizes), screen.write)
    for second in (3.0, 5.0, 7.0):
        view.show(look(now_s=second))

    assert screen.written[1:] == ["\x1b7\x1b[r\x1b8"]


def test_short_programs_are_not_disturbed():
    """In the first two seconds nothing is drawn."""
    screen = Screen()
    StatusLine(None, lambda: screen.size, screen.write).show(look(now_s=1.0))

    assert screen.written == []


@pytest.mark.parametrize(
    ("how", "terminal", "term", "nested", "kind"),
    [
        ("auto", True, "xterm", False, StatusLine),
        ("auto", True, "dumb", False, PlainLines),
        ("auto", False, "xterm", False, PlainLines),
        ("auto", True, "xterm", True, type(None)),
        ("off", True, "xterm", False, type(None)),
        ("line", False, "xterm", False, PlainLines),
        ("plain", True, "xterm", False, PlainLines),
    ],
)
def test_which_view(how, terminal, term, nested, kind):
    """The view degrades to plain lines without a terminal, and can be turned off."""
    assert isinstance(live_view(how, None, terminal, term, nested), kind)


def test_nobody_reads():
    """A full pipe that nobody reads does not hold us up."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while write_if_read("x" * 4096, 0.0, write_end):
            pass
        assert not write_if_read("more", 0.01, write_end)
    finally:
        os.close(read_end)
        os.close(write_end)
    assert not write_if_read("gone", 0.0, write_end)
