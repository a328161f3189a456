"""What libraries did for a process, as the agent saw it: rows asked one by one, steps of pipelines, boosting, polls, studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RowCalls:
    """All outermost calls of one estimator's method with a `few` rows (up to three), or with many (sixteen and more).

    `before_cpu_s` is the unhooked time directly before them, in which their rows were taken out of something. `under` is the
    library that called back the program's function around the first. `row_ns` bounds a row's arithmetic, where it is known.
    `fed` is how many of the first 64 got an input that holds the answer before it.
    """

    estimator: str
    method: str
    few: bool
    calls: int
    rows: int
    wall_s: float
    cpu_s: float
    before_cpu_s: float
    where: str = ""
    under: str = ""
    row_ns: float | None = None
    fed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One transformer's `fit_transform` inside of another estimator's call (a pipeline's, a search's), on one input.

    `objects` is how many Python objects its input and what it has learnt are made of (a vocabulary's words). `random`: it draws random numbers without a fixed state.
    """

    estimator: str
    fingerprint: str
    settings: str
    rows: int
    calls: int
    wall_s: float
    cpu_s: float
    in_bytes: int
    out_bytes: int
    objects: int = 0
    random: bool = False


@dataclass(frozen=True, slots=True)
class Boosting:
    """One training of XGBoost or LightGBM with evaluations: its rounds, and the last evaluated set's metrics.

    `curves` have the value of every `every`-th round. `trains` says of each set whether it is the training set itself.
    `eval_*` is what the evaluations took (LightGBM: the metrics; its trees meet the sets within a round).
    """

    library: str
    rounds: int
    rows: int
    set_rows: tuple[int, ...]
    trains: tuple[bool, ...]
    stops: bool
    wall_s: float
    cpu_s: float
    eval_wall_s: float
    eval_cpu_s: float
    every: int
    curves: Mapping[str, tuple[float, ...]]
    where: str = ""


@dataclass(frozen=True, slots=True)
class Polling:
    """One thread's looks for something to do that found nothing, one upon another, with the turns of their loop."""

    looks: int
    cpu_s: float
    wall_s: float
    where: str = ""


@dataclass(frozen=True, slots=True)
class StudyTrial:
    """One trial of a study: what it took, its value, how often it reported, and whether it is complete, pruned or failed."""

    cpu_s: float
    wall_s: float
    value: float | None
    reports: int
    ended: str


@dataclass(frozen=True, slots=True)
class StudyRun:
    """A study as its own loop ran it in this process."""

    sampler: str
    pruner: str
    direction: str
    trials: tuple[StudyTrial, ...]


def row_calls(told: Iterable[Mapping[str, Any]]) -> tuple[RowCalls, ...]:
    """Return what the agent told of calls by rows."""
    return tuple(RowCalls(**{k: v for k, v in one.items() if k != "number"}) for one in told)


def steps(told: Iterable[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Return what the agent told of steps of pipelines."""
    return tuple(Step(**{k: v for k, v in one.items() if k != "number"}) for one in told)


def boostings(told: Iterable[Mapping[str, Any]]) -> tuple[Boosting, ...]:
    """Return what the agent told of boosted trainings."""
    return tuple(
        Boosting(
            **{
                **one,
                "set_rows": tuple(one["set_rows"]),
                "trains": tuple(one["trains"]),
                "curves": {name: tuple(values) for name, values in one["curves"].items()},
            }
        )
        for one in told
    )


def pollings(told: Iterable[Mapping[str, Any]]) -> tuple[Polling, ...]:
    """Return what the agent told of threads that poll."""
    return tuple(Polling(**one) for one in told)


def studies(told: Iterable[tuple[Any, Iterable[Any]]]) -> tuple[StudyRun, ...]:
    """Return what the agent told of studies: for each its head and its trials."""
    found = []
    for (sampler, pruner, direction), ran in told:
        trials = tuple(StudyTrial(float(c), float(w), v, int(r), str(e)) for c, w, v, r, e in ran)
        found.append(StudyRun(str(sampler), str(pruner), str(direction), trials))
    return tuple(found)
