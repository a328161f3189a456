"""The shell of a search: runs trials as decided, holds the budget, writes the journal.

    study = search(objective, space, "2MJ", measure=measure, epochs=27)
    study.best_params, study.best_value, study.reason

The budget is looked at before every epoch: one that is expected to pass a limit is not begun. It is expected to need
what the dearest epoch of its trial needed (of any trial, if it is new), so a limit is passed at most by what one
epoch needs beyond that. What an epoch costs is counted in joules; where none are known, in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, final

from threadpoolctl import threadpool_limits

from joulewise.searching.deciding import Rules, decide
from joulewise.searching.history import State, Step, Trial
from joulewise.searching.journal import Journal, Known, Line, check_same, decided, head, read
from joulewise.searching.objective import Driver, Handle, TrialFailed
from joulewise.searching.space import Configuration, Space
from joulewise.vocabulary.budget import Budget, Spent, judge
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import format_duration, format_si

Measure: TypeAlias = Callable[[], Spent]
_HOPELESS = 5  # trials that fail before any has reported: the objective is broken, not the settings


@final
class Study:
    """What a search found, tried and decided. Made by `search`."""

    def __init__(self, name: str, space: Space, rules: Rules, path: Path | None = None) -> None:
        self.name = name
        self.space = space
        self.rules = rules
        self.path = path
        self.lines: list[Line] = []
        self.deciding_s = 0.0  # CPU seconds that the decisions took
        self.notes: list[str] = []
        self._known = Known()
        self._journal = Journal(path)
        try:
            self._open()
        except UsageError:
            self._journal.close()
            raise

    def _open(self) -> None:
        """Begin the journal, or take in what it says already."""
        first = head(self.name, self.space, self.rules)
        if self.path is None or not self.path.stat().st_size:
            self.write(first)
            return
        before = read(self.path)
        check_same(self.path, before, self.space, self.rules)
        for line in before:
            self.lines.append(line)
            self._known.take(line)
        self.write({"kind": "resumed", "rules": first["rules"]})

    def saved_at(self, number: int) -> int:
        """Return the epoch after which a trial last saved a checkpoint that outlives its memory; 0 for never."""
        return self._known.saved_at(number)

    def restore(self, handle: Handle) -> None:
        """Give a trial what an earlier process saved for it, and note down what it saves from now on."""

        def keep(epoch: int, state: str | Path) -> None:
            self.write({"kind": "saved", "trial": handle.number, "epoch": epoch,
                        "state": str(state), "path": isinstance(state, Path)})  # fmt: skip

        _, saved = self._known.saved.get(handle.number, (0, None))
        handle.remember(keep, saved, self.saved_at(handle.number), self.trials[handle.number].values)

    def close(self) -> None:
        """Let other processes go on with this study."""
        self._journal.close()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order of their start; their values are turned so that more is better."""
        return tuple(self._known.trials)

    @property
    def best(self) -> Trial | None:
        """The trial that reached the best value at any epoch; None if none has reported."""
        begun = [t for t in self._known.trials if t.epoch]
        return max(begun, key=lambda t: t.best, default=None)

    @property
    def best_value(self) -> float | None:
        """The best value, as it was reported."""
        best = self.best
        return None if best is None else (-best.best if self.rules.minimise else best.best)

    @property
    def best_params(self) -> Configuration | None:
        """The settings of the best trial."""
        best = self.best
        return None if best is None else self.space.configuration(best.point)

    @property
    def reason(self) -> str:
        """Why the study ended; empty while it runs."""
        return self._known.reason

    @property
    def spent(self) -> dict[str, float]:
        """What this study has used, by all processes that worked on it: time_s and what else is known."""
        return dict(self._known.spent)

    @property
    def in_full(self) -> float | None:
        """What the same trials would have cost, trained in full, by their own mean epochs; failed ones as far as they came."""
        if not any(t.epoch for t in self._known.trials):
            return None
        return sum(
            t.spent_j / t.epoch * (self.rules.epochs if t.state is State.PAUSED else t.epoch)
            for t in self._known.trials
            if t.epoch
        )

    def report(self) -> str:
        """Return the outcome in a few lines: the best, what it cost, what freezing saved, why it ended."""
        best = self.best
        lines = [f"{self.name}: {len(self.trials)} trials, {sum(t.epoch for t in self.trials)} epochs"]
        if best is not None:
            params = ", ".join(f"{k}={_short(v)}" for k, v in (self.best_params or {}).items())
            lines.append(f"best {self.best_value:.6g} (trial {best.number}, epoch {best.epoch}): {params}")
        used, full = sum(t.spent_j for t in self.trials), self.in_full
        if full:
            show = format_duration if self.rules.unit == "s" else lambda v: format_si(v, "J")
            lines.append(
                f"the epochs used {show(used)} of the {show(full)} that these trials need in full ({100 * (1 - used / full):.0f} % saved); decisions took {self.deciding_s:.2f} CPU-s"
            )
        if "energy_j" in self.spent:
            lines.append(
                f"spent {format_si(self.spent['energy_j'], 'J')} in {format_duration(self.spent['time_s'])}, decisions and start included"
            )
        failed = [t for t in self.trials if t.state is State.FAILED]
        lines += [f"trial {t.number} failed: {t.why}" for t in failed[:3]]
        if len(failed) > 3:
            lines.append(f"and {len(failed) - 3} more failed")
        return "\n".join([*lines, *self.notes, f"ended: {self.reason}"])

    def run(
        self,
        objective: Callable[[Any], Any],
        budget: Budget,
        measure: Measure,
        target: float | None = None,
        log: Callable[..., None] | None = None,
        keep: int | None = None,
    ) -> None:
        """Search until the budget is spent, the target reached, or nothing is left that is worth its joules."""
        Worker(self, objective, budget, measure, target, log, keep).go()

    def write(self, line: Line) -> None:
        """Add a line to the journal, and know what it says."""
        self.lines.append(line)
        self._journal.add(line)
        self._known.take(line)


@final
class Worker:
    """One process working on a study: its objective, its meter and the trials that it keeps frozen."""

    def __init__(
        self,
        study: Study,
        objective: Callable[[Any], Any],
        budget: Budget,
        measure: Measure,
        target: float | None,
        log: Callable[..., None] | None,
        keep: int | None,
    ) -> None:
        self._log = log
        self._keep = keep
        self._study = study
        self._objective = objective
        self._budget = replace(
            budget, trials=None
        )  # trials are counted by the rules: those begun may be finished
        self._measure = measure
        self._target = target
        self._drivers: dict[int, Driver] = {}
        self._beliefs: Any = None
        self._earlier = study.spent
        self._began = self._now(measure())
        self._reason = ""

    def go(self) -> None:
        """Decide and act until there is a reason to end; what was held is let go of, however it ends."""
        try:
            while not self._reason:
                self._look(0.0)
                if not self._reason:
                    self._next()
            self._study.write({"kind": "end", "reason": self._reason})
        finally:
            for driver in self._drivers.values():
                if complaint := driver.close():
                    self._study.notes.append(complaint)

    def _next(self) -> None:
        study = self._study
        began_s = time.process_time()
        with threadpool_limits(1, "blas"):  # small matrices: more threads only wait for each other
            decision, self._beliefs = decide(study.space, study.trials, self._beliefs, study.rules)
        study.deciding_s += time.process_time() - began_s
        study.write(decided(decision, study.space))
        if decision.step is Step.STOP:
            self._reason = decision.reason
            return
        if decision.trial not in self._drivers:
            params = study.space.configuration(study.trials[decision.trial].point)
            handle = Handle(decision.trial, params, study.rules.epochs)
            self._drivers[decision.trial] = Driver(self._objective, handle)
            if not self._drivers[decision.trial].is_generator:
                study.restore(handle)
        self._train(self._drivers[decision.trial], decision.trial, decision.until)

    def _train(self, driver: Driver, number: int, until: int) -> None:
        write = self._study.write
        epoch = driver.resumes_at
        before = self._began

        def ready() -> bool:
            nonlocal before
            spent = self._look(self._next_cost(number))
            before = spent
            return not self._reason

        def take(value: float) -> bool:
            nonlocal epoch
            epoch += 1
            after = self._measure()
            signed = -value if self._study.rules.minimise else value
            write({"kind": "epoch", "trial": number, "epoch": epoch, "value": signed,
                   "cost": max(0.0, self._now(after) - before), "spent": _told(after)})  # fmt: skip
            if self._log is not None:
                self._log(trial=number, epoch=epoch, value=value)
            if self._target is not None and self._reached(value):
                self._reason = f"the target {self._target:g} is reached by trial {number}: {value:.6g}"
                return False
            return epoch < until

        try:
            driver.advance(ready, take)
        except TrialFailed as failure:
            self._fail(number, str(failure))
            return
        trial = self._study.trials[number]
        state = State.COMPLETE if driver.ended or trial.epoch >= self._study.rules.epochs else State.PAUSED
        write(
            {
                "kind": "left",
                "trial": number,
                "state": state.value,
                "resumable": driver.resumes_at >= trial.epoch,
            }
        )
        if state is State.COMPLETE:
            self._let_go(number)
        elif self._keep is not None and len(self._drivers) > self._keep:
            worst = min(self._drivers, key=lambda n: (self._study.trials[n].best, n))
            self._let_go(worst)
            kept = self._study.saved_at(worst) >= self._study.trials[worst].epoch
            write({"kind": "left", "trial": worst, "state": State.PAUSED.value, "resumable": kept})

    def _fail(self, number: int, why: str) -> None:
        self._study.write({"kind": "failed", "trial": number, "why": why})
        self._let_go(number)
        trials = self._study.trials
        if len(trials) >= _HOPELESS and all(t.state is State.FAILED and not t.epoch for t in trials):
            self._study.write({"kind": "end", "reason": f"the first {len(trials)} trials failed"})
            raise UsageError(
                f"the first {len(trials)} trials all failed before they reported anything; the last: {why}"
            )

    def _let_go(self, number: int) -> None:
        driver = self._drivers.pop(number)
        if complaint := driver.close():
            self._study.notes.append(complaint)

    def _look(self, next_cost: float) -> float:
        """Judge the budget as it would stand after the next epoch; return what is counted now."""
        now = self._measure()
        counted = self._now(now)
        spent = _plus(now, self._earlier)
        verdict = judge(self._budget, spent)
        if verdict.stops:
            self._reason = verdict.reason
        elif next_cost > 0 and self._now(spent) > 0:
            ahead = judge(self._budget, _ahead(spent, 1 + next_cost / self._now(spent)))
            if ahead.stops:
                self._reason = f"{judge(replace(self._budget, soft=1e-9), spent).reason}; the next epoch would pass the budget"
        return counted

    def _next_cost(self, number: int) -> float:
        trial = self._study.trials[number]
        if trial.costs_j:
            return max(trial.costs_j)
        return max((c for t in self._study.trials for c in t.costs_j), default=0.0)

    def _now(self, spent: Spent) -> float:
        if self._study.rules.unit == "s":
            return spent.time_s
        return spent.energy_j.value if spent.energy_j is not None else 0.0

    def _reached(self, value: float) -> bool:
        assert self._target is not None  # noqa: S101 - for the type checker
        return value <= self._target if self._study.rules.minimise else value >= self._target


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
    path: Path | None = None,
    log: Callable[..., None] | None = None,
    keep: int | None = None,
) -> Study:
    """Return the study of a search of `space` within `budget`; `measure` tells what was used since the search began.

    `epochs` is a full training. The search also ends when a trial reaches `target`. With `path`, every decision is
    written there, and a study that is there already goes on: what it spent counts, what it tried is not run again.
    `log` is told every epoch (`trial`, `epoch`, `value`). With `keep`, no more trials than that stay frozen in memory:
    the worst is let go, and starts again from its checkpoint or from nothing if it is promoted after all.
    """
    limits = Budget.parse(budget) if isinstance(budget, str) else budget
    if limits.plateau is not None:
        raise UsageError("a search has no plateau rule; leave plateau out of its budget, it ends by itself")
    if keep is not None and keep < 1:
        raise UsageError(f"keep is {keep}, but at least 1 trial must be kept")
    unit = "s" if measure().energy_j is None else "J"
    if limits.energy_j is not None and unit == "s":
        raise UsageError(
            "the budget is in joules, but no meter tells any here; run 'joulewise doctor', or give a budget in time"
        )
    rules = Rules(epochs, seed, most_trials=limits.trials, minimise=minimise, unit=unit)
    study = Study(name, space, rules, path)
    try:
        study.run(objective, limits, measure, target, log, keep)
    finally:
        study.close()
    return study


def _told(spent: Spent) -> dict[str, float | None]:
    return {
        "time_s": spent.time_s,
        "energy_j": spent.energy_j.value if spent.energy_j else None,
        "carbon_g": spent.carbon_g.value if spent.carbon_g else None,
        "cost": spent.cost.value if spent.cost else None,
    }


def _plus(now: Spent, earlier: dict[str, float]) -> Spent:
    """Return what was spent now and earlier; earlier amounts are taken as they were written down."""
    return replace(
        now,
        time_s=now.time_s + earlier.get("time_s", 0.0),
        energy_j=_moved(now.energy_j, earlier.get("energy_j", 0.0)),
        carbon_g=_moved(now.carbon_g, earlier.get("carbon_g", 0.0)),
        cost=_moved(now.cost, earlier.get("cost", 0.0)),
    )


def _moved(figure: Figure | None, by: float) -> Figure | None:
    if figure is None:
        return None
    return replace(figure, value=figure.value + by, low=figure.low + by, high=figure.high + by)


def _ahead(spent: Spent, factor: float) -> Spent:
    """Return what will be spent when everything has grown by `factor`: grams and money go with what is counted."""
    return replace(
        spent,
        time_s=spent.time_s * factor,
        energy_j=spent.energy_j.scaled(factor) if spent.energy_j else None,
        carbon_g=spent.carbon_g.scaled(factor) if spent.carbon_g else None,
        cost=spent.cost.scaled(factor) if spent.cost else None,
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
