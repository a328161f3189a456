"""A study: what was tried and found, and the lines that it stands in. Several workers may share one.

    study = joulewise.search(objective, space, "2MJ", epochs=27)
    study.best_params, study.best_value, study.reason

What a study knows follows from its lines (journal.py); a worker (worker.py) trains and adds to them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, final

from joulewise.ledger.files import is_alive
from joulewise.searching.deciding import Rules
from joulewise.searching.front import front
from joulewise.searching.history import State, Trial
from joulewise.searching.importance import importance
from joulewise.searching.journal import Known, check_head, check_same, head
from joulewise.searching.log import FileLog, Line, Log, MemoryLog, Overtaken
from joulewise.searching.objective import Handle
from joulewise.searching.past import Past, lines_of
from joulewise.searching.space import Configuration, Space
from joulewise.searching.spending import Measure
from joulewise.vocabulary.budget import Budget
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_duration, format_si

_T = TypeVar("_T")
_SILENT_S = 600.0  # and ten of its epochs: after that a worker on another host counts as lost
_DEADLY = 3  # workers that were lost in the same epoch of a trial: its settings kill them


@final
class Study:
    """What a search found, tried and decided."""

    def __init__(
        self, name: str, space: Space, rules: Rules, log: Log | None = None, past: Sequence[Past] = ()
    ) -> None:
        self.name = name
        self.space = space
        self.rules = rules
        self.lines: list[Line] = []
        self.notes: list[str] = []
        self._known = Known()
        self._log = log or MemoryLog()
        self._within = False
        try:
            self.agreed(lambda: self._begin_or_join(past))
        except BaseException:
            self._log.close()
            raise

    @property
    def path(self) -> Path | None:
        """The journal's file, if it is one."""
        return Path(self._log.where) if isinstance(self._log, FileLog) else None

    @property
    def where(self) -> str:
        """What messages call the place of its lines."""
        return self._log.where

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Return a context in which no other worker decides; what others have done is known inside."""
        if self._within:
            yield
            return
        firm = len(self.lines)
        try:
            with self._log.alone() as news:
                for line in news:
                    self._take(line)
                firm = len(self.lines)
                self._within = True
                try:
                    yield
                finally:
                    self._within = False
        except Overtaken as others:
            lines, self.lines, self._known = [*self.lines[:firm], *others.lines], [], Known()
            for line in lines:
                self._take(line)
            raise

    def agreed(self, act: Callable[[], _T]) -> _T:
        """Return what `act` returns, done while no other worker decides; it is done again if others were faster after all."""
        while True:
            with suppress(Overtaken), self.alone():
                return act()

    def look(self) -> None:
        """Take in what others have done."""
        with self.alone():
            pass

    def write(self, line: Line) -> None:
        """Add a line to the journal, and know what it says."""

        def add() -> None:
            self._log.add(line)
            self._take(line)

        self.agreed(add)

    @property
    def known(self) -> Known:
        """What follows from the lines so far."""
        return self._known

    def bury(self, worker: str) -> None:
        """Write down which workers are gone without a word, and which trial has killed too many; called by `worker`."""
        host = os.uname().nodename
        now = datetime.now(UTC)
        for name, member in list(self._known.members.items()):
            if not member.active or name == worker:
                continue
            process = member.process
            if process["host"] == host:
                gone, why = not is_alive(**process), "its process is gone"
            else:
                silent_s = (now - datetime.fromisoformat(member.heard_utc)).total_seconds()
                gone, why = silent_s > _SILENT_S + 10 * member.slowest_s, f"silent for {silent_s:.0f} s"
                if not gone and not self._log.hosts:
                    raise UsageError(
                        f"the study {self._log.where} is being searched on {process['host']}, too; hosts share a study in a "
                        "database only: --store postgresql://USER@HOST/joulewise"
                    )
            if not gone:
                continue
            trial = member.trial
            self.write({"kind": "lost", "worker": name, "why": why})
            if trial >= 0 and (self._known.deaths.get((trial, self.trials[trial].epoch + 1), 0) >= _DEADLY):
                reason = f"{_DEADLY} workers died in its epoch {self.trials[trial].epoch + 1}"
                self.write({"kind": "failed", "worker": worker, "trial": trial, "why": reason})

    def saved_at(self, number: int) -> int:
        """Return the epoch after which a trial last saved a checkpoint that outlives its memory; 0 for never."""
        return self._known.saved_at(number)

    def restore(self, handle: Handle) -> None:
        """Give a trial what an earlier process saved for it, and note down what it saves from now on."""

        def keep(epoch: int, state: str | Path) -> None:
            self.write({"kind": "saved", "trial": handle.number, "epoch": epoch,
                        "state": str(state), "path": isinstance(state, Path)})  # fmt: skip

        if self.rules.shares:  # each share is trained anew; what is known of the trial is its values
            known = self.trials[handle.number].values
            handle.remember(keep, None, len(known), known)
            return
        _, saved = self._known.saved.get(handle.number, (0, None))
        handle.remember(
            keep,
            saved if self.saved_at(handle.number) else None,
            self.saved_at(handle.number),
            self.trials[handle.number].values,
        )

    def close(self) -> None:
        """Give the log back."""
        self._log.close()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order of their start; their values are turned so that more is better."""
        return tuple(self._known.trials)

    @property
    def own(self) -> tuple[Trial, ...]:
        """The trials that this study ran itself, those of before left out."""
        return tuple(t for t in self._known.trials if not t.past)

    @property
    def best(self) -> Trial | None:
        """The trial that reached the best value at any epoch; None if none has reported."""
        begun = [t for t in self._known.trials if t.epoch]
        return max(begun, key=lambda t: t.best, default=None)

    @property
    def front(self) -> tuple[tuple[float, float, int], ...]:
        """Complete trials that no cheaper one beats: joules of a full training, value as reported, trial; cheapest first."""
        done: dict[tuple[float, float], int] = {}
        for t in self._known.trials:
            if t.state is State.COMPLETE and t.costs_j:
                done.setdefault((self.rules.unit_j(t) * self.rules.units, t.best), t.number)
        sign = -1 if self.rules.minimise else 1
        return tuple((energy, sign * value, done[energy, value]) for energy, value in front(list(done)))

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
    def deciding_s(self) -> float:
        """CPU seconds that the decisions of all workers took that have come to their end."""
        return self._known.deciding_s

    @property
    def in_full(self) -> float | None:
        """What the same trials would have cost, trained in full, by their own mean epochs; failed ones as far as they came."""
        if not any(t.epoch for t in self.own):
            return None
        return sum(
            t.spent_j + (self.rules.unit_j(t) * self._ahead(t) if t.state is State.PAUSED else 0.0)
            for t in self.own
            if t.epoch
        )

    def _ahead(self, trial: Trial) -> float:
        """Return how many units lie ahead of a trial that goes on from where it stands."""
        return self.rules.missing(replace(trial, resumable=True))

    def report(self) -> str:
        """Return the outcome in a few lines: the best, what it cost, what freezing saved, what matters, why it ended."""
        best = self.best
        earlier = len(self.trials) - len(self.own)
        lines = [
            f"{self.name}: {len(self.own)} trials, {sum(t.epoch for t in self.own)} epochs"
            + (f", after {earlier} of before" if earlier else "")
        ]
        if best is not None:
            params = ", ".join(f"{k}={_short(v)}" for k, v in (self.best_params or {}).items())
            lines.append(
                f"best {self.best_value:.6g} ({best.why if best.past else f'trial {best.number}'}, epoch {best.epoch}): {params}"
            )
        if self.rules.pareto:
            lines += [
                f"front: {value:.6g} for {_amount(energy, self.rules.unit)} a training (trial {number})"
                for energy, value, number in self.front
            ]
        used, full = sum(t.spent_j for t in self.own), self.in_full
        if full:
            lines.append(
                f"the epochs used {_amount(used, self.rules.unit)} of the {_amount(full, self.rules.unit)} that these trials need in full ({100 * (1 - used / full):.0f} % saved); decisions took {self.deciding_s:.2f} CPU-s"
            )
        if "energy_j" in self.spent:
            lines.append(
                f"spent {format_si(self.spent['energy_j'], 'J')} in {format_duration(self.spent['time_s'])}, decisions and start included"
            )
        if matters := importance(self.space, self.trials, self.rules.epochs):
            lines.append(f"what matters: {_shares(matters.value)}; for the cost: {_shares(matters.cost)}")
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
        **options: Any,
    ) -> None:
        """Search until the budget is spent, the target reached, or nothing is left that is worth its joules."""
        from joulewise.searching.worker import Worker

        Worker(self, objective, budget, measure, target, **options).go()

    def _begin_or_join(self, past: Sequence[Past]) -> None:
        """Write the first lines of a new study; refuse one that is there with another space or other rules."""
        if not self.lines:
            self.write(head(self.name, self.space, self.rules))
            for line in lines_of(past, self.space, self.rules.epochs, minimise=self.rules.minimise):
                self.write(line)
        check_head(self._log.where, self.lines)
        check_same(self._log.where, self.lines, self.space, self.rules)

    def _take(self, line: Line) -> None:
        self.lines.append(line)
        self._known.take(line)


def checked(budget: Budget | str, keep: int | None) -> Budget:
    """Return the limits of a search; refuses what has no meaning for one."""
    limits = Budget.parse(budget) if isinstance(budget, str) else budget
    if limits.plateau is not None:
        raise UsageError("a search has no plateau rule; leave plateau out of its budget, it ends by itself")
    if keep is not None and keep < 1:
        raise UsageError(f"keep is {keep}, but at least 1 trial must be kept")
    return limits


def unit_of(limits: Budget, measure: Measure) -> str:
    """Return in what a study counts: joules, or seconds where no meter tells joules and no limit asks for them."""
    unit = "s" if measure().energy_j is None else "J"
    if limits.energy_j is not None and unit == "s":
        raise UsageError(
            "the budget is in joules, but no meter tells any here; run 'joulewise doctor', or give a budget in time"
        )
    return unit


def _shares(told: Mapping[str, float]) -> str:
    """Return the greatest shares in words; those below a twentieth are left out."""
    shown = [f"{name} {100 * share:.0f} %" for name, share in told.items() if share >= 0.05]
    return ", ".join(shown[:5]) or "nothing"


def _amount(value: float, unit: str) -> str:
    return format_duration(value) if unit == "s" else format_si(value, "J")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
