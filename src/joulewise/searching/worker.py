"""A worker: decides and trains, epoch by epoch, within the study's budget; the shell around `decide`.

The budget is looked at before every epoch, and no other worker begins one at that moment: an epoch is not begun if it,
and those that other workers have begun, are expected to pass a limit. An epoch is expected to need what the dearest epoch
of its trial needed (of any trial, if it is new), so a limit is passed at most by what the epochs in progress, one a
worker, need beyond that. A worker that is killed has its epoch counted as expected. What an epoch costs is counted in
joules; where none are known, in seconds.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, final

from threadpoolctl import threadpool_limits

from joulewise.ledger.files import boot_id, process_start
from joulewise.searching.curves import Beliefs
from joulewise.searching.deciding import decide
from joulewise.searching.history import Decision, State, Step
from joulewise.searching.hours import Hours
from joulewise.searching.journal import decided
from joulewise.searching.objective import Driver, Handle, TrialFailed
from joulewise.searching.spending import Measure, ahead, nearly, together, told
from joulewise.searching.study import Study
from joulewise.vocabulary.budget import Budget, Spent, judge
from joulewise.vocabulary.errors import JoulewiseError, UsageError
from joulewise.vocabulary.figures import Figure

_HOPELESS = 5  # trials that fail before any has reported: the objective is broken, not the settings
_WAIT_S, _MOST_WAIT_S = 0.02, 1.0  # for what other workers are about to tell
_NAP_S, _SAY_S = 1.0, 300.0  # of a worker that rests: how long at once, and how often it says so
_numbers = itertools.count(1)


@final
class Worker:
    """One process working on a study: its objective, its meter and the trials that it keeps frozen."""

    def __init__(
        self,
        study: Study,
        objective: Callable[[Any], Any],
        budget: Budget,
        measure: Measure,
        target: float | None = None,
        *,
        told: Callable[..., None] | None = None,
        keep: int | None = None,
        stopped: Callable[[Study], str] | None = None,
        shown: Callable[[Study], None] | None = None,
        hours: Hours | None = None,
    ) -> None:
        self._study = study
        self._objective = objective
        self._budget = replace(budget, trials=None)  # counted by the rules: those begun may be finished
        self._meter = measure
        self._hours = hours
        self._rested_s = 0.0
        self._target = target
        self._told = told
        self._keep = keep
        self._stopped = stopped
        self._shown = shown
        self._deciding_s = 0.0
        self._drivers: dict[int, Driver] = {}
        self._restored: set[int] = set()  # those that begin with a checkpoint which nobody has read yet
        self._distrusted: set[int] = (
            set()
        )  # those whose checkpoint did not work; a second time they have failed
        self._beliefs: Beliefs | None = None
        self._before = 0.0
        self._offset_s = 0.0
        self._reason = ""
        self._whole = False  # whether the reason holds for all workers
        self._process = {
            "host": os.uname().nodename,
            "boot": boot_id(),
            "pid": os.getpid(),
            "started": process_start(os.getpid()),
        }
        self.name = f"{self._process['host']}-{os.getpid()}-{self._process['started']}-{next(_numbers)}"

    def go(self) -> None:
        """Decide and act until there is a reason to end; what was held is let go of, however it ends."""
        study = self._study
        study.agreed(self._join)
        self._before = self._counted(self._measure())
        try:
            waited_s = _WAIT_S
            while not self._reason:
                if self._next():
                    waited_s = _WAIT_S
                elif not self._reason:
                    time.sleep(waited_s)
                    waited_s = min(2 * waited_s, _MOST_WAIT_S)
            self._write("end", reason=self._reason, whole=self._whole)
        finally:
            for driver in self._drivers.values():
                if complaint := driver.close():
                    study.notes.append(complaint)
            with suppress(JoulewiseError):  # a store out of reach must not hide why this worker ends
                self._write("parted", spent=told(self._measure()), deciding_s=self._deciding_s)

    def _join(self) -> None:
        study = self._study
        study.bury(self.name)
        self._offset_s = study.spent.get("time_s", 0.0)
        self._write("joined", process=self._process, rules=asdict(study.rules), utc=_now())

    def _next(self) -> bool:
        """Decide, and train what was decided; False if there is nothing to do until others tell more."""
        made = self._study.agreed(self._decide)
        if made is None:
            return True
        decision, beliefs = made
        if decision.step is Step.WAIT:
            return False
        self._beliefs = beliefs
        if decision.step is Step.STOP:
            self._reason = decision.reason
        else:
            self._train(self._driver(decision.trial), decision.trial, decision.until)
        return True

    def _decide(self) -> tuple[Decision, Beliefs | None] | None:
        """Return what is to be done and what is believed then; None if this worker is to end."""
        study = self._study
        study.bury(self.name)
        if self._called_off() or self._is_spent():
            return None
        began_s = time.process_time()
        with threadpool_limits(1, "blas"):  # small matrices: more threads only wait for each other
            made = decide(study.space, study.trials, self._beliefs, study.rules, self.name)
        self._deciding_s += time.process_time() - began_s
        if made[0].step is not Step.WAIT:
            study.write(decided(made[0], study.space, self.name))
        return made

    def _driver(self, number: int) -> Driver:
        """Return what drives a trial: the one kept here, unless another worker took the trial further."""
        held = self._drivers.get(number)
        stands_at = (
            self._study.trials[number].epoch if self._study.rules.shares else self._study.saved_at(number)
        )
        if held is not None and held.resumes_at >= stands_at:
            return held
        if held is not None:
            self._let_go(number)
        params = self._study.space.configuration(self._study.trials[number].point)
        rules = self._study.rules
        handle = Handle(number, params, rules.epochs, rules.shares)
        self._study.restore(handle)
        if handle.saved_at:
            self._restored.add(number)
        self._drivers[number] = Driver(self._objective, handle)
        return self._drivers[number]

    def _train(self, driver: Driver, number: int, until: int) -> None:
        resumed_at = epoch = driver.resumes_at

        def ready() -> bool:
            waited_s = _WAIT_S
            self._rest()
            while not self._reason and not self._begin(number, epoch + 1):
                if not self._reason:
                    time.sleep(waited_s)
                    waited_s = min(2 * waited_s, _MOST_WAIT_S)
            return not self._reason

        def take(value: float) -> bool:
            nonlocal epoch
            epoch += 1
            self._restored.discard(number)
            after = self._measure()
            signed = -value if self._study.rules.minimise else value
            if not self._tell("epoch", trial=number, epoch=epoch, value=signed, spent=told(after), utc=_now(),
                              cost=max(0.0, self._counted(after) - self._before)):  # fmt: skip
                return False
            if self._told is not None:
                self._told(trial=number, epoch=epoch, value=value)
            if self._shown is not None:
                self._shown(self._study)
            if self._target is not None and self._reached(value, self._target):
                self._reason = f"the target {self._target:g} is reached by trial {number}: {value:.6g}"
                self._whole = True
                return False
            return epoch < until

        try:
            driver.advance(ready, take)
        except TrialFailed as failure:
            from_saved = number in self._restored or driver.begins_from_saved
            if from_saved and epoch == resumed_at and number not in self._distrusted:
                self._start_again(number, str(failure))
            else:
                self._fail(number, str(failure))
            return
        self._leave(number, driver)

    def _leave(self, number: int, driver: Driver) -> None:
        """Freeze a trial, or let it go: it is complete, or too many are frozen here."""
        study = self._study
        trial = study.trials[number]
        complete = driver.ended or trial.epoch >= study.rules.epochs
        state = State.COMPLETE if complete else State.PAUSED
        # what is trained anew for each share stands in no memory: any worker can go on with it
        resumable = driver.resumes_at >= trial.epoch and not study.rules.shares
        if not self._tell("left", trial=number, state=state.value, resumable=resumable):
            return
        if complete:
            self._let_go(number)
        for other in [n for n in self._drivers if study.trials[n].state in (State.COMPLETE, State.FAILED)]:
            self._let_go(other)
        if self._keep is not None and len(self._drivers) > self._keep:
            worst = min(self._drivers, key=lambda n: (study.trials[n].best, n))
            self._let_go(worst)
            if study.trials[worst].free_for(self.name):
                kept = study.saved_at(worst) >= study.trials[worst].epoch
                self._write("left", trial=worst, state=State.PAUSED.value, resumable=kept)

    def _start_again(self, number: int, why: str) -> None:
        """Go on without a checkpoint that did not work: its epochs stand, and are repeated if it is promoted."""
        self._study.notes.append(f"the checkpoint of trial {number} is not used again: {why}")
        self._distrusted.add(number)
        self._let_go(number)
        self._study.write({"kind": "saved", "trial": number, "epoch": 0, "state": "", "path": False})
        self._write("left", trial=number, state=State.PAUSED.value, resumable=False)

    def _fail(self, number: int, why: str) -> None:
        self._write("failed", trial=number, why=why)
        self._let_go(number)
        trials = self._study.own
        if len(trials) >= _HOPELESS and all(t.state is State.FAILED and not t.epoch for t in trials):
            reason = (
                f"the first {len(trials)} trials all failed before they reported anything; the last: {why}"
            )
            self._write("end", reason=reason, whole=True, broken=True)
            raise UsageError(reason)

    def _let_go(self, number: int) -> None:
        self._restored.discard(number)
        driver = self._drivers.pop(number)
        if complaint := driver.close():
            self._study.notes.append(complaint)

    def _begin(self, number: int, epoch: int) -> bool:
        """Begin an epoch, if the budget has room for it and for those that other workers have begun."""
        return self._study.agreed(lambda: self._may_begin(number, epoch))

    def _may_begin(self, number: int, epoch: int) -> bool:
        if self._called_off():
            return False
        next_cost = self._next_cost(number)
        now = self._measure()
        own, total = self._counted(now), self._total(now)
        if self._stops(total):
            return False
        counted = self._counted(total)
        each_s = now.time_s / own if own > 0 else 0.0
        for others in (0.0, self._study.known.reserved(self.name)):
            share = (next_cost + others) / counted if counted > 0 else 0.0
            after = ahead(total, share, next_cost * each_s)
            if (verdict := judge(self._budget, after)).stops:
                if not others:
                    self._reason = nearly(self._budget, verdict.limit, total)
                return False
        self._before = own
        self._write("began", trial=number, epoch=epoch, expected=next_cost, utc=_now())
        return True

    def _rest(self) -> None:
        """Rest until the plan has a clean hour; others hear of it now and then, lest they give this worker up."""
        if self._hours is None:
            return
        told_s = -_SAY_S
        while not self._reason and (wait_s := self._hours.wait_s(self._left_s())) > 0:
            began_s = time.monotonic()
            if began_s - told_s >= _SAY_S:
                told_s = began_s
                self._write("rests", seconds=round(wait_s), utc=_now())
            time.sleep(min(wait_s, _NAP_S))
            self._rested_s += time.monotonic() - began_s
            self._study.look()
            self._called_off()

    def _left_s(self) -> float | None:
        """Return the seconds of work that the budget leaves, at the rates so far; None before anything was spent."""
        total, left = self._total(self._measure()), []
        for limit in ("time_s", "energy_j", "carbon_g", "cost"):
            most, used = getattr(self._budget, limit), getattr(total, limit)
            amount = used.value if isinstance(used, Figure) else used
            if most is not None and amount:
                left.append((most - amount) * total.time_s / amount)
        return min(left, default=None)

    def _measure(self) -> Spent:
        """Return what this worker has used; the time that it rested is not counted."""
        told = self._meter()
        return replace(told, time_s=told.time_s - self._rested_s)

    def _is_spent(self) -> bool:
        return self._stops(self._total(self._measure()))

    def _stops(self, total: Spent) -> bool:
        verdict = judge(self._budget, total)
        if verdict.stops:
            self._reason = verdict.reason
        return verdict.stops

    def _called_off(self) -> bool:
        """Return whether this worker must end: the study is over, somebody says so, or it was given up for lost."""
        known = self._study.known
        if known.over:
            self._reason = known.reason
        elif self._hours is not None and self._hours.over:
            self._reason = f"the deadline is reached ({self._hours.deadline_utc:%Y-%m-%d %H:%M} UTC)"
        elif self._stopped is not None and (why := self._stopped(self._study)):
            self._reason = why
        return bool(self._reason) or self._is_lost()

    def _is_lost(self) -> bool:
        member = self._study.known.members.get(self.name)
        if member is not None and member.active:
            return False
        self._reason = "this worker was given up for lost; what it trained goes on elsewhere"
        return True

    def _total(self, now: Spent) -> Spent:
        return together(now, self._study.known.spent_without(self.name), self._offset_s)

    def _next_cost(self, number: int) -> float:
        trial = self._study.trials[number]
        if trial.costs_j:
            return trial.dearest_j
        return max((c for t in self._study.trials for c in t.costs_j), default=0.0)

    def _counted(self, spent: Spent) -> float:
        if self._study.rules.unit == "s":
            return spent.time_s
        return spent.energy_j.value if spent.energy_j is not None else 0.0

    def _reached(self, value: float, target: float) -> bool:
        return value <= target if self._study.rules.minimise else value >= target

    def _tell(self, kind: str, **values: Any) -> bool:
        """Write a line, unless this worker was given up for lost; return whether it was written."""

        def tell() -> bool:
            if self._is_lost():
                return False
            self._write(kind, **values)
            return True

        return self._study.agreed(tell)

    def _write(self, kind: str, **values: Any) -> None:
        self._study.write({"kind": kind, "worker": self.name, **values})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
