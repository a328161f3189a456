"""What was run before: trials of an earlier study, and recorded runs that say their settings and what they reached.

They stand at the head of a new study's lines as complete trials: its models and its choice of the first rung begin with
them, none of their settings is run again, and the best of them is what is to be beaten. A run belongs to the space if it
names every parameter that applies, within its range; others are left out, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from joulewise.searching.history import State
from joulewise.searching.journal import Known, space_of
from joulewise.searching.log import Line
from joulewise.searching.space import Space
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.recording import Recording


@dataclass(frozen=True, slots=True)
class Past:
    """One earlier run: its settings, a value an epoch as it was reported, what each epoch cost (empty: unknown)."""

    params: Mapping[str, Any]
    values: tuple[float, ...]
    costs: tuple[float, ...]
    source: str


def of_study(name: str, lines: Sequence[Line]) -> list[Past]:
    """Return the trials of an earlier study that told anything and did not fail."""
    known = Known()
    for line in lines:
        known.take(line)
    space, sign = space_of(lines[0]["space"]), -1 if lines[0]["rules"]["minimise"] else 1
    return [
        Past(
            space.configuration(t.point),
            tuple(sign * v for v in t.values),
            t.costs_j,
            f"{name}, trial {t.number}",
        )
        for t in known.trials
        if t.epoch and t.state is not State.FAILED
    ]


def of_recording(recording: Recording, metric: str, total: float | None) -> Past | None:
    """Return a recorded run whose points tell `metric`; `total` is what all of it cost. None if they do not."""
    values = [float(p.values[metric]) for p in recording.points if _is_number(p.values.get(metric))]
    if not values or not recording.params:
        return None
    costs = (total / len(values),) * len(values) if total else ()
    return Past(recording.params, tuple(values), costs, recording.run_id)


def fitting(past: Iterable[Past], space: Space) -> list[Past]:
    """Return those that belong to the space, with the parameters that apply only; one of each settings, the longest."""
    kept: dict[str, Past] = {}
    for run in past:
        told = {n: run.params[n] for n in space.names if n in run.params}
        try:
            space.check(told)
            point = space.point(told)
        except (UsageError, TypeError, ValueError):
            continue
        applying = space.configuration(point)
        if set(applying) - set(told):
            continue
        key = space.key(applying)
        if key not in kept or len(kept[key].values) < len(run.values):
            kept[key] = Past(applying, run.values, run.costs, run.source)
    return list(kept.values())


def lines_of(past: Sequence[Past], space: Space, epochs: int, *, minimise: bool) -> list[Line]:
    """Return the lines with which a study begins that knows of `past`, all of which fit."""
    sign = -1 if minimise else 1
    return [
        {
            "kind": "past",
            "trial": number,
            "params": dict(run.params),
            "point": [None if v != v else float(v) for v in space.point(run.params)],  # noqa: PLR0124 - not a number: it does not apply
            "values": [sign * v for v in run.values[:epochs]],
            "costs": list(run.costs[:epochs]),
            "source": run.source,
        }
        for number, run in enumerate(past)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
