"""How far a study has come, to be watched: best so far against joules, how many trials reached which rung, what was saved."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from joulewise.searching.deciding import next_rung
from joulewise.searching.study import Study
from joulewise.vocabulary.budget import Budget
from joulewise.vocabulary.quantities import format_duration, format_si

_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = 12


def status(study: Study, limits: Budget) -> str:
    """Return one line: trials, epochs, the best and how it grew with what was spent, rungs, what was saved."""
    trials, best = study.own, study.best
    parts = [f"{len(trials)} trials, {sum(t.epoch for t in trials)} epochs"]
    if best is not None:
        parts.append(f"best {study.best_value:.5g} (trial {best.number}) {bars(study)}")
    spent = study.spent
    if "energy_j" in spent:
        limit = f" of {format_si(limits.energy_j, 'J')}" if limits.energy_j else ""
        parts.append(f"{format_si(spent['energy_j'], 'J')}{limit}")
    elif "time_s" in spent:
        parts.append(format_duration(spent["time_s"]))
    if best is not None:
        parts.append(rungs(study))
        used, full = sum(t.spent_j for t in trials), study.in_full
        if full:
            parts.append(f"{100 * (1 - used / full):.0f} % saved")
    return " · ".join(parts)


def rungs(study: Study) -> str:
    """Return how many trials came how far: `1:20 3:12 6:7`, the epochs where trials may pause."""
    at, marks = 1, [1]
    while at < study.rules.epochs:
        at = next_rung(at, study.rules)
        marks.append(at)
    reached = [(mark, sum(t.epoch >= mark for t in study.trials)) for mark in marks]
    return "epoch:trials " + " ".join(f"{mark}:{count}" for mark, count in reached if count)


def bars(study: Study) -> str:
    """Return the best value so far as bars, from the first to all that was spent in equal steps."""
    points = [(line["cost"], line["value"]) for line in study.lines if line["kind"] == "epoch"]
    if len(points) < 2:
        return ""
    spent = list(accumulate(cost for cost, _ in points))
    best = list(accumulate((value for _, value in points), max))
    steps = [_at(spent, best, spent[-1] * (i + 1) / _COLUMNS) for i in range(_COLUMNS)]
    low, high = best[0], best[-1]
    if high <= low:
        return _BARS[0] * _COLUMNS
    return "".join(_BARS[round((len(_BARS) - 1) * (v - low) / (high - low))] for v in steps)


def _at(spent: Sequence[float], best: Sequence[float], until: float) -> float:
    value = best[0]
    for amount, reached in zip(spent, best, strict=True):
        if amount > until * (1 + 1e-9):
            break
        value = reached
    return value
