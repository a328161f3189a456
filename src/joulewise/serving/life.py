"""A model's whole life in joules per million requests, and from how many requests on serving outweighs making it. Pure.

Making is search, training and compressing (the folder's `[life]`), once. Serving periods are recordings: the joules of answers,
and what the server drew besides, standing by. What is not known is left out and named, never counted as 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from joulewise.serving.folder import Life

_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Period:
    """A serving period: requests, the joules of their answers, and all joules of the server."""

    requests: int
    answers_j: float | None
    all_j: float | None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a life: joules so far, and per million requests so far; None is not known."""

    name: str
    joules: float | None
    per_million_j: float | None


@dataclass(frozen=True, slots=True)
class WholeLife:
    """A life so far. `passes_at` is the number of requests at which serving and standing by pass making; None not known."""

    requests: int
    parts: tuple[Part, ...]
    passes_at: float | None
    unknown: tuple[str, ...]


def period(points: Iterable[Mapping[str, Any]], all_j: float | None) -> Period:
    """Return a serving period from the points of its recording and its joules.

    The first answers may come before their joules can be told: they count as the mean of the others.
    """
    last: Mapping[str, Any] = {}
    for values in points:
        last = values
    requests, answers = int(last.get("requests", 0)), last.get("answers_j")
    told = requests - int(last.get("joules_unknown", 0))
    if answers is None or (requests and not told):
        return Period(requests, None, all_j)
    return Period(requests, float(answers) * (requests / told if told else 1.0), all_j)


def whole(life: Life, periods: Iterable[Period]) -> WholeLife:
    """Return a model's whole life."""
    kept = list(periods)
    requests = sum(one.requests for one in kept)
    known = [one for one in kept if one.all_j is not None]
    answers_j = _sum(
        min(one.answers_j, one.all_j) for one in known if one.answers_j is not None and one.all_j is not None
    )
    all_j = _sum(one.all_j for one in known if one.all_j is not None)
    standing_j = None if all_j is None else all_j - (answers_j or 0.0)
    told = {
        "search": life.search_j,
        "training": life.training_j,
        "compressing": life.compressing_j,
        "answers": answers_j,
        "standing by": standing_j,
    }
    parts = tuple(
        Part(name, joules, joules / requests * _MILLION if joules is not None and requests else None)
        for name, joules in told.items()
    )
    made = _sum(
        joules for joules in (life.search_j, life.training_j, life.compressing_j) if joules is not None
    )
    served = sum(one.requests for one in known)
    each_j = all_j / served if all_j is not None and served else None
    passes_at = None if made is None or each_j is None else made / each_j if each_j > 0 else inf
    unknown = tuple(name for name, joules in told.items() if joules is None)
    if len(known) < len(kept):
        unknown += (f"the joules of {len(kept) - len(known)} serving periods",)
    return WholeLife(requests, parts, passes_at, unknown)


def _sum(values: Iterable[float]) -> float | None:
    kept = list(values)
    return sum(kept) if kept else None
