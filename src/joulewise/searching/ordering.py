"""`search`: from an objective, a space and a budget to a study, by one worker or a crew of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from threadpoolctl import threadpool_limits

from joulewise.searching.crew import Crew, orphaned, share, size, visible_gpus
from joulewise.searching.deciding import Rules
from joulewise.searching.hours import Hours
from joulewise.searching.log import Log, MemoryLog
from joulewise.searching.past import Past, fitting
from joulewise.searching.space import Space
from joulewise.searching.spending import Measure
from joulewise.searching.study import Study, checked, unit_of
from joulewise.vocabulary.budget import Budget
from joulewise.vocabulary.errors import UsageError


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a worker brings: its meter, and who is told of its epochs."""

    measure: Measure
    told: Callable[..., None] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be searched: objective, space and limits; `rules` but for the unit; when to end, how many to keep."""

    name: str
    objective: Callable[[Any], Any]
    space: Space
    limits: Budget
    rules: Rules
    target: float | None = None
    keep: int | None = None
    past: Sequence[Past] = ()
    hours: Hours | None = None

    def with_unit(self, measure: Measure) -> Order:
        """Return the order that counts in joules, or in seconds where no meter tells any."""
        return replace(self, rules=replace(self.rules, unit=unit_of(self.limits, measure)))

    def open(self, log: Log) -> Study:
        """Return the study, with what was run before at its head if it is new."""
        return Study(self.name, self.space, self.rules, log, self.past)

    def work(self, log: Log, own: Equipment, **options: Any) -> Study:
        """Return the study, closed, after one worker has done what it could; its log says the rest."""
        study = self.open(log)
        try:
            study.run(
                self.objective,
                self.limits,
                own.measure,
                self.target,
                told=own.told,
                keep=self.keep,
                hours=self.hours,
                **options,
            )
        finally:
            study.close()
        return study


def carry_out(
    order: Order,
    workers: int,
    cpus: float,
    equip: Callable[[bool], AbstractContextManager[Equipment]],
    opened: Callable[[], Log],
    shown: Callable[[Study], None] | None = None,
    stopped: Callable[[Study], str] | None = None,
) -> Study:
    """Return the study of `order` by that many workers (0: as many as the machine has room for).

    `stopped` is asked before every epoch of a single worker, and ends it by a reason. `equip(True)` gives a worker its recorded meter, `equip(False)` one that leaves no trace; `opened` opens the log.
    """
    gpus = visible_gpus(os.environ)
    workers = workers or size(cpus, gpus)
    if workers == 1:
        with equip(True) as own:
            return order.with_unit(own.measure).work(opened(), own, shown=shown, stopped=stopped)
    log = opened()
    log.close()
    if isinstance(log, MemoryLog):
        raise UsageError(
            f"workers is {workers}, but several share a study in a file or a database only, and there is no place for one"
        )
    with equip(False) as own:
        order = order.with_unit(own.measure)
    parent = os.getpid()

    def look() -> Study:
        return order.open(opened())

    def work(place: int) -> None:
        os.environ.update(share(place, workers, cpus, gpus, os.environ))
        with threadpool_limits(max(1, int(cpus) // workers)), equip(True) as own:
            order.work(opened(), own, stopped=orphaned(parent))

    look().close()  # what is wrong with its name or space is said once, here
    return Crew(workers, work, look).go(shown)


def search(
    objective: Callable[[Any], Any],
    space: Space,
    budget: Budget | str,
    *,
    measure: Measure,
    epochs: int = 27,
    minimise: bool = False,
    target: float | None = None,
    seed: int = 0,
    name: str = "study",
    opened: Callable[[], Log] = MemoryLog,
    told: Callable[..., None] | None = None,
    keep: int | None = None,
    tolerance: float = 0.0,
    pareto: bool = False,
    past: Sequence[Past] = (),
    shares: Sequence[float] = (),
    workers: int = 1,
    cpus: float = 1.0,
    shown: Callable[[Study], None] | None = None,
) -> Study:
    """Return the study of a search of `space` within `budget`; `measure` tells what was used since the search began.

    `epochs` is a full training. The search also ends when a trial reaches `target`, or when the best is not expected to
    improve by more than `tolerance`. With `pareto` it looks for the front of values and joules of a full training.
    With `shares` (0.1, 0.3, 1) an epoch is a training of its own on that share of the data, or of the width: `trial.share`;
    the objective returns its value. `past` are earlier runs: what they tell is known from the start, and a new study runs none of them again. Every decision is written to the log
    that `opened` opens, and a study that is there already goes on: what it spent counts, what it tried is not run again;
    other workers may share it. `told` hears of every epoch (`trial`, `epoch`, `value`), `shown` of the study as it goes on.
    With `keep`, no more trials than that stay frozen in memory: the worst is let go, and starts again from its
    checkpoint or from nothing if it is promoted after all. With several `workers` (0: as many as `cpus` have room for)
    each is a process of its own, in which `measure` tells what that process used.
    """

    @contextmanager
    def equip(_recorded: bool) -> Iterator[Equipment]:
        yield Equipment(measure, told)

    order = ordered(
        objective,
        space,
        budget,
        epochs,
        minimise=minimise,
        target=target,
        seed=seed,
        name=name,
        keep=keep,
        tolerance=tolerance, pareto=pareto, past=past, shares=shares,
    )  # fmt: skip
    return carry_out(order, workers, cpus, equip, opened, shown)


def ordered(
    objective: Callable[[Any], Any],
    space: Space,
    budget: Budget | str,
    epochs: int,
    *,
    minimise: bool,
    target: float | None,
    seed: int,
    name: str,
    keep: int | None,
    tolerance: float = 0.0,
    pareto: bool = False,
    past: Sequence[Past] = (),
    shares: Sequence[float] = (),
) -> Order:
    """Return the order of a search; refuses what has no meaning for one."""
    limits = checked(budget, keep)
    rules = Rules(
        len(shares) or epochs, seed, most_trials=limits.trials, minimise=minimise, tolerance=tolerance,
        pareto=pareto, shares=tuple(shares),
    )  # fmt: skip
    return Order(name, objective, space, limits, rules, target, keep, fitting(past, space))
