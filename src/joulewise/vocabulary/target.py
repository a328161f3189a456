"""Targets and monthly budgets of a team, and where a target will land by what was used so far. Pure.

    [[target]]                      # in the file that the setting `targets` names
    project = "vision"              # or person = "ada"; neither: everybody
    what = "grams"                  # grams, joules, or joules per thing that runs count: "joules/samples"
    baseline = "2026-06"            # the month to compare with, or a value: "40kg"
    reduce = "20%"                  # or value = "32kg": what a month shall use at most
    by = "2026-12"

    [[budget]]
    project = "vision"              # or person, device ("NVIDIA H100"), zone ("DE"); none of them: everybody
    monthly = "40kWh"               # joules (J, kWh) or grams

A landing is the ordinary line through the months so far (each a mean a day, so that months of 28 and of 31 days are
alike), read off at the month of the target. Its 90 % interval is that of a new month on that line, by Student's t; with
fewer than three whole months nothing is foretold. It holds if the work goes on as before: a forecast of habits, not of plans.
"""

from __future__ import annotations

import tomllib
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from typing import Any

from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.moments import MONTH
from joulewise.vocabulary.quantities import (
    ENERGY_UNITS,
    MASS_UNITS,
    format_figure,
    format_si,
    parse_share,
    split_quantity,
)
from joulewise.vocabulary.student import t95

LEAST_MONTHS = 3
_KEYS = {
    "target": ("project", "person", "what", "baseline", "reduce", "value", "by"),
    "budget": ("project", "person", "device", "zone", "monthly"),
}
_WHOSE = ("project", "person", "device", "zone")


@dataclass(frozen=True, slots=True)
class Target:
    """What a month of a project's or a person's work (of everybody's, with neither) shall use at most from `by` on."""

    what: str  # grams, joules, or joules/THING
    by: str
    project: str | None = None
    person: str | None = None
    baseline: str | float | None = None  # a month, or a value in joules or grams
    reduce: float | None = None  # share of the baseline
    value: float | None = None

    @property
    def per(self) -> str:
        """The counted thing of `joules/THING`, "" without."""
        return self.what.partition("/")[2]

    @property
    def unit(self) -> str:
        """The unit of its values."""
        return "g" if self.what == "grams" else "J"

    @property
    def who(self) -> str:
        """Whose work it is about, in words."""
        return self.project or self.person or "everybody"

    def goal(self, baseline: float | None) -> float | None:
        """Return what the month shall use at most, given the baseline's use; None where that is not known."""
        if self.value is not None:
            return self.value
        return None if baseline is None or self.reduce is None else baseline * (1 - self.reduce)


@dataclass(frozen=True, slots=True)
class MonthlyBudget:
    """What a month of a project's, a person's, a device's, a zone's or everybody's work may use."""

    limit: float
    unit: str  # J or g
    project: str | None = None
    person: str | None = None
    device: str | None = None
    zone: str | None = None

    @property
    def who(self) -> str:
        """Whose work it is about, in words."""
        return self.project or self.person or self.device or self.zone or "everybody"


class Course(StrEnum):
    """Whether a target will be met."""

    ON_COURSE = "on course"  # the whole interval is within it
    OPEN = "open"  # the interval holds it
    MISSED = "will be missed"  # the whole interval is above it
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a target lands: the month's use foretold (None: too few months), and the verdict with its reason."""

    target: Target
    goal: float | None
    baseline: float | None
    latest: tuple[str, float] | None  # the last whole month and its use
    expected: Figure | None
    course: Course
    reason: str


def parse(text: str, source: str) -> tuple[list[Target], list[MonthlyBudget]]:
    """Return the targets and budgets of a file's text; UsageError names the file and what is wrong in it."""
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"cannot read {source}: {error}") from None
    for name in told:
        if name not in _KEYS:
            raise UnknownName("table", name, _KEYS, f"(in {source})")
    targets = [_target(_checked("target", row, source), source) for row in _rows(told, "target", source)]
    budgets = [_budget(_checked("budget", row, source), source) for row in _rows(told, "budget", source)]
    return targets, budgets


def land(target: Target, months: Sequence[tuple[str, float]], baseline: float | None) -> Landing:
    """Return where a target lands; `months` are the whole months so far, oldest first, with what each used."""
    goal, latest = target.goal(baseline), months[-1] if months else None
    if goal is None:
        return Landing(
            target, goal, baseline, latest, None, Course.UNKNOWN, "the baseline's use is not known"
        )
    if len(months) < LEAST_MONTHS:
        short = f"{len(months)} whole months are known, a line needs {LEAST_MONTHS}"
        return Landing(target, goal, baseline, latest, None, Course.UNKNOWN, short)
    expected = _foretold([(m, v / _scale(target, m)) for m, v in months], target.by).scaled(
        _scale(target, target.by)
    )
    if expected.high <= goal:
        course = Course.ON_COURSE
    elif expected.low > goal:
        course = Course.MISSED
    else:
        course = Course.OPEN
    return Landing(target, goal, baseline, latest, expected, course, expected.source)


def budget_words(budget: MonthlyBudget, used: Figure | None) -> str:
    """Return what is left of a monthly budget, in words."""
    limit = format_si(budget.limit, budget.unit)
    if used is None:
        return f"{limit} a month; what was used is not known"
    left = budget.limit - used.value
    ends = sorted(budget.limit - end for end in (used.low, used.high))
    if left < 0:
        ends = [-ends[1], -ends[0]]
    said = f"({format_si(ends[0], budget.unit)} to {format_si(ends[1], budget.unit)})"
    word = f"{format_si(left, budget.unit)} left" if left >= 0 else f"over by {format_si(-left, budget.unit)}"
    return f"{format_figure(used, budget.unit)} of {limit} used, {word} {said}"


def landing_words(landing: Landing) -> str:
    """Return where a target lands, in words."""
    target = landing.target
    unit = target.unit
    per = f" per {target.per}" if target.per else " a month"
    goal = "not known" if landing.goal is None else f"{format_si(landing.goal, unit)}{per}"
    words = f"at most {goal} in {target.by}: {landing.course.value}"
    if landing.expected is not None:
        words += f"; lands at {format_figure(landing.expected, unit)}{per} by {landing.reason}"
    else:
        words += f", {landing.reason}"
    if landing.latest is not None:
        words += f"; {landing.latest[0]} used {format_si(landing.latest[1], unit)}"
    return words


def _scale(target: Target, month: str) -> float:
    """Return the days of a month; 1 for joules per unit of work, which do not grow with them."""
    return 1.0 if target.per else float(monthrange(int(month[:4]), int(month[5:]))[1])


def _foretold(months: Sequence[tuple[str, float]], by: str) -> Figure:
    xs, ys = [float(_number(m)) for m, _ in months], [v for _, v in months]
    count, at = len(xs), float(_number(by))
    mean_x, mean_y = sum(xs) / count, sum(ys) / count
    spread = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    value = mean_y + slope * (at - mean_x)
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    noise = sqrt(rest / (count - 2) * (1 + 1 / count + (at - mean_x) ** 2 / spread))
    arm = t95(count - 2) * noise
    value = max(0.0, value)
    return Figure(
        value, max(0.0, value - arm), value + arm, Basis.MODELLED, f"the line through {count} months"
    )


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:])


def _rows(told: Mapping[str, Any], name: str, source: str) -> list[Mapping[str, Any]]:
    rows = told.get(name, [])
    if not isinstance(rows, list):
        raise UsageError(f"{name} in {source} must be written as [[{name}]]")
    return rows


def _checked(kind: str, row: Mapping[str, Any], source: str) -> dict[str, str]:
    for key, value in row.items():
        if key not in _KEYS[kind]:
            raise UnknownName("key", key, _KEYS[kind], f"(of a {kind} in {source})")
        if not isinstance(value, str):
            raise UsageError(
                f'{key} of a {kind} is {value!r} in {source}, but must be text: {key} = "{value}"'
            )
    named = [key for key in _WHOSE if key in row]
    if len(named) > 1:
        raise UsageError(f"a {kind} in {source} names a {' and a '.join(named)}; let it name one")
    return dict(row)


def _target(row: Mapping[str, str], source: str) -> Target:
    what = row.get("what", "joules")
    if what not in ("grams", "joules") and not (what.startswith("joules/") and what != "joules/"):
        raise UsageError(
            f"what is {what!r} in {source}, but must be grams, joules or joules/THING (joules/samples)"
        )
    by = row.get("by", "")
    if not MONTH.fullmatch(by):
        raise UsageError(f"by is {by!r} in {source}, but must be a month: 2026-12")
    if ("value" in row) == ("reduce" in row):
        raise UsageError(f"a target in {source} needs one of value and reduce")
    if "reduce" in row and "baseline" not in row:
        raise UsageError(f"a target in {source} reduces, but names no baseline: a month (2026-06) or a value")
    unit = "g" if what == "grams" else "J"
    baseline: str | float | None = row.get("baseline")
    if baseline is not None and not MONTH.fullmatch(str(baseline)):
        baseline = _amount(str(baseline), unit, "baseline", source)
    return Target(
        what,
        by,
        row.get("project"),
        row.get("person"),
        baseline,
        parse_share(row["reduce"], f"reduce in {source}") if "reduce" in row else None,
        _amount(row["value"], unit, "value", source) if "value" in row else None,
    )


def _budget(row: Mapping[str, str], source: str) -> MonthlyBudget:
    if "monthly" not in row:
        raise UsageError(f'a budget in {source} needs a limit: monthly = "40kWh"')
    _, unit = split_quantity(row["monthly"])
    kind = "g" if unit in MASS_UNITS else "J"
    return MonthlyBudget(
        _amount(row["monthly"], kind, "monthly", source), kind, *(row.get(key) for key in _WHOSE)
    )


def _amount(text: str, unit: str, key: str, source: str) -> float:
    units = MASS_UNITS if unit == "g" else ENERGY_UNITS
    number, said = split_quantity(text)
    if said not in units:
        raise UsageError(f"{key} is {text!r} in {source}, but its unit must be one of {', '.join(units)}")
    return number * units[said]


__all__ = ["Course", "Landing", "MonthlyBudget", "Target", "budget_words", "land", "landing_words", "parse"]
