"""An experiment looked over as a whole: which of its joules bought nothing, and the front of quality and energy.

    repeated   the same code, arguments, data and seeds as an earlier run that finished: its result was known
    failed     ended by an error or a signal; what a run stopped by its budget had learnt is not counted as lost
    dominated  another run was at least as good with less energy. Known only afterwards, so it is shown beside the
               waste and is no part of it: searching means to try what does not win

A run without seeds may differ from its repetition, and a run whose fingerprints are not whole is never called one.
On the front is every run with a quality, stopped by its budget or not, that no other run beats: none has less energy at the
same quality, or more quality for the same energy. Runs without that metric cannot be rated, and are counted as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from joulewise.diagnosing.quality import Quality, quality
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.observed import ProcessView
from joulewise.vocabulary.recording import EndState

_FAILED = (EndState.FAILED, EndState.KILLED, EndState.LOST)
_RATED = (EndState.FINISHED, EndState.STOPPED)


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run of an experiment: its joules, how it ended, its quality, and what it was (None: cannot be told)."""

    run_id: str
    energy_j: float
    state: EndState
    quality: Quality | None
    identity: tuple[str, ...] | None
    carbon_g: float | None = None
    cost: float | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Worth:
    """Joules with their grams and money; these are None unless they are known of every run (and in one currency)."""

    energy_j: float
    carbon_g: float | None
    cost: float | None
    currency: str


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A run that no cheaper run matched."""

    run_id: str
    energy_j: float
    quality: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment's joules and what became of them; `repeated` holds (run, the earlier run that it repeats)."""

    runs: int
    total_j: float
    repeated: tuple[tuple[str, str], ...]
    repeated_j: float
    failed: tuple[str, ...]
    failed_j: float
    dominated: tuple[str, ...]
    dominated_j: float
    metric: str
    front: tuple[FrontPoint, ...]
    total: Worth
    wasted: Worth  # repeated and failed
    unrated: int = 0  # finished runs whose quality is not known, or is of another metric

    @property
    def wasted_j(self) -> float:
        """Joules of repeated and failed runs."""
        return self.repeated_j + self.failed_j


def ended_runs(seen: Iterable[tuple[Account, Sequence[ProcessView]]]) -> list[RunLine]:
    """Return the runs that have ended and whose joules are known, oldest first."""
    lines = []
    for account, views in seen:
        total = account.footprint.total_j
        recording = account.recording
        if recording.end.state is EndState.RUNNING or total is None:
            continue
        logged = [p.values for p in recording.points]
        carbon_g, cost = account.footprint.carbon_g, account.footprint.cost
        lines.append(
            RunLine(
                recording.run_id,
                total.value,
                recording.end.state,
                quality(views, logged),
                identity(views),
                None if carbon_g is None else carbon_g.value,
                None if cost is None else cost.value,
                account.footprint.currency,
            )
        )
    return sorted(lines, key=lambda r: r.run_id)


def identity(views: Sequence[ProcessView]) -> tuple[str, ...] | None:
    """Return what a run was: fingerprints of code, arguments and data, and its seeds; None unless all are known."""
    main = next((v for v in views if v.kind == "main"), None)
    if main is None or not (main.code and main.arguments and main.seeds):
        return None
    return (main.code, main.arguments, main.data, *main.seeds)


def look_over(runs: Sequence[RunLine]) -> Experiment:
    """Return what became of an experiment's joules. Pure."""
    first: dict[tuple[str, ...], str] = {}
    repeated: list[tuple[RunLine, str]] = []
    failed = [r for r in runs if r.state in _FAILED]
    for run in runs:
        if run.state is not EndState.FINISHED or run.identity is None:
            continue
        if run.identity in first:
            repeated.append((run, first[run.identity]))
        else:
            first[run.identity] = run.run_id
    metric, rated = _rated(runs)
    front = _front(rated)
    on_front = {p.run_id for p in front}
    counted = {r.run_id for r, _ in repeated}
    dominated = [r for r in rated if r.run_id not in on_front and r.run_id not in counted]
    return Experiment(
        runs=len(runs),
        total_j=sum(r.energy_j for r in runs),
        repeated=tuple((r.run_id, of) for r, of in repeated),
        repeated_j=sum(r.energy_j for r, _ in repeated),
        failed=tuple(r.run_id for r in failed),
        failed_j=sum(r.energy_j for r in failed),
        dominated=tuple(r.run_id for r in dominated),
        dominated_j=sum(r.energy_j for r in dominated),
        metric=metric,
        front=front,
        total=_worth(runs),
        wasted=_worth([*(r for r, _ in repeated), *failed]),
        unrated=sum(r.state in _RATED for r in runs) - len(rated),
    )


def _worth(runs: Sequence[RunLine]) -> Worth:
    grams, costs = [r.carbon_g for r in runs], [r.cost for r in runs]
    currencies = {r.currency for r in runs if r.cost is not None}
    known_g, known_cost = [g for g in grams if g is not None], [c for c in costs if c is not None]
    return Worth(
        sum(r.energy_j for r in runs),
        sum(known_g) if len(known_g) == len(runs) else None,
        sum(known_cost) if len(known_cost) == len(runs) and len(currencies) < 2 else None,
        next(iter(currencies), ""),
    )


def _rated(runs: Sequence[RunLine]) -> tuple[str, list[RunLine]]:
    """Return the metric that most runs tell that finished or were stopped by their budget, and those runs."""
    finished = [r for r in runs if r.state in _RATED and r.quality is not None]
    names = [r.quality.name for r in finished if r.quality]
    if not names:
        return "", []
    metric = max(dict.fromkeys(names), key=names.count)
    return metric, [r for r in finished if r.quality and r.quality.name == metric]


def _front(rated: Sequence[RunLine]) -> tuple[FrontPoint, ...]:
    """Return the runs that no other beats, cheapest first; twins of equal energy and quality are both on it."""
    told = [(r.energy_j, -r.quality.sign * r.quality.value, r) for r in rated if r.quality is not None]
    front: list[FrontPoint] = []
    last: tuple[float, float] | None = None
    for energy_j, worse, run in sorted(told, key=lambda t: (t[0], t[1], t[2].run_id)):
        if last is None or worse < last[1] or (energy_j, worse) == last:
            last = (energy_j, worse)
            front.append(FrontPoint(run.run_id, run.energy_j, run.quality.value if run.quality else 0.0))
    return tuple(front)
