"""Targets: what they may say, and where they land."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.moments import months_between
from joulewise.vocabulary.target import Course, Target, land, parse

FILE = """
[[target]]
project = "vision"
what = "grams"
baseline = "2026-06"
reduce = "20%"
by = "2026-12"

[[target]]
what = "joules/samples"
value = "2J"
by = "2027-03"

[[budget]]
person = "ada"
monthly = "40kWh"
"""


def test_file():
    """A file tells targets and budgets, in joules and grams."""
    (grams, each), (budget,) = parse(FILE, "targets.toml")

    assert grams == Target("grams", "2026-12", project="vision", baseline="2026-06", reduce=0.2)
    assert (each.per, each.value, each.who) == ("samples", 2.0, "everybody")
    assert (budget.limit, budget.unit, budget.who) == (144e6, "J", "ada")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[target", "cannot read"),
        ("[[goal]]\n", "unknown table"),
        ("target = 3", "[[target]]"),
        ('[[target]]\nby = "2026"\nvalue = "1J"', "must be a month"),
        ('[[target]]\nby = "2026-12"', "one of value and reduce"),
        ('[[target]]\nby = "2026-12"\nreduce = "20%"', "names no baseline"),
        ('[[target]]\nby = "2026-12"\nvalue = "1J"\nwhat = "watts"', "what is 'watts'"),
        ('[[target]]\nby = "2026-12"\nvalue = "1kg"', "its unit must be"),
        ('[[target]]\nby = "2026-12"\nvalue = 1', "must be text"),
        ('[[target]]\nby = "2026-12"\nvalue = "1J"\nteam = "x"', "unknown key"),
        ('[[budget]]\nproject = "a"\nperson = "b"\nmonthly = "1J"', "project and a person"),
        ("[[budget]]\n", "needs a limit"),
        ('[[budget]]\ndevice = "a"\nzone = "b"\nmonthly = "1J"', "device and a zone"),
        ('[[target]]\nzone = "a"\nvalue = "1J"\nby = "2026-12"', "unknown key"),
    ],
)
def test_wrong_files(text, said):
    """What a file may not say is told with its name."""
    with pytest.raises(UsageError, match=r"targets\.toml") as refused:
        parse(text, "targets.toml")
    assert said in str(refused.value)


def months(*values: float) -> list[tuple[str, float]]:
    names = months_between("2026-01", "2027-12")[: len(values)]
    return list(zip(names, values, strict=True))


def test_lands():
    """What falls by a tenth of its beginning each month lands where the line says, and is on course."""
    target = Target("joules/samples", "2026-08", value=40.0)
    landed = land(target, months(100, 90, 80, 70), None)

    assert landed.expected.value == pytest.approx(30)
    assert landed.course is Course.ON_COURSE


def test_days_do_not_count_as_a_trend():
    """The same every day is the same course in a short month."""
    days = (31, 28, 31, 30)
    landed = land(Target("grams", "2026-12", value=3099.0), months(*(100.0 * d for d in days)), None)

    assert landed.expected.value == pytest.approx(3100)
    assert landed.course is Course.MISSED


def test_cannot_tell():
    """Two months make no line, and a baseline that nobody knows no goal."""
    target = Target("joules", "2026-12", baseline="2025-01", reduce=0.2)

    assert land(target, months(1, 2), 5.0).course is Course.UNKNOWN
    assert "not known" in land(target, months(1, 2, 3), None).reason


def test_noise_leaves_it_open():
    """A target within the noise of the months is open."""
    assert (
        land(Target("joules/x", "2026-07", value=100.0), months(90, 115, 95, 105, 98), None).course
        is Course.OPEN
    )


@given(st.lists(st.floats(0, 1e9), min_size=3, max_size=12), st.floats(0, 1e9))
def test_the_interval_holds_its_value(values, goal):
    """Whatever the months were: the landing is no less than nothing and lies in its interval."""
    landed = land(Target("joules", "2027-06", value=goal), months(*values), None)

    assert 0 <= landed.expected.low <= landed.expected.value <= landed.expected.high
