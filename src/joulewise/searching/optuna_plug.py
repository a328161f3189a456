"""Gain per joule inside an Optuna study: sampler, pruner and callback. Storages, dashboard and other tools keep working.

    plug = OptunaPlug(epochs=27, measure=measure, budget="2MJ")
    study = optuna.create_study(direction="maximize", sampler=plug.sampler, pruner=plug.pruner, storage=...)
    study.optimize(objective, callbacks=[plug.callback])

    def objective(trial):
        rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        begun = plug.begin(trial)                       # where an earlier, pruned trial of these settings stands
        model = load(begun.checkpoint) if begun.checkpoint else build()
        for epoch in range(begun.epoch + 1, 28):
            train(model, rate)
            plug.report(trial, accuracy(model), save(model))    # the checkpoint is optional
            if plug.should_prune(trial):
                raise optuna.TrialPruned
        return accuracy(model)

Optuna's trials end when they are pruned. Here a pruned trial is a frozen one: where going on with it promises the most
gain per joule, the sampler gives its settings out again, and `begin` tells where it stands. `report` and `should_prune` work
in studies of two objectives, too (value first, joules of a training second), where Optuna's own refuse; in studies of one
they are `trial.report` and `trial.should_prune` with the joules noted, and the plain ones do as well.

Everything is kept as attributes of Optuna's trials (`joulewise:...`), so processes on several hosts share a study, its
frozen trials and its budget through Optuna's storage.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from operator import itemgetter
from typing import Any, final

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from threadpoolctl import threadpool_limits

from joulewise.searching.curves import Beliefs
from joulewise.searching.deciding import Rules, decide
from joulewise.searching.fidelity import ladder
from joulewise.searching.history import Decision, Step
from joulewise.searching.optuna_space import outer
from joulewise.searching.optuna_trials import (
    BEGAN,
    CHECKPOINT,
    COSTS,
    RESUMES,
    SPENT,
    UNTIL,
    VALUES,
    Told,
    values_of,
    varied,
)
from joulewise.searching.spending import Measure, ahead, moved, nearly
from joulewise.searching.spending import told as spending
from joulewise.searching.study import checked, unit_of
from joulewise.vocabulary.budget import Budget, Spent, judge
from joulewise.vocabulary.errors import UsageError


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a trial begins: after `epoch`, from `checkpoint` (None: from nothing)."""

    epoch: int = 0
    checkpoint: str | None = None


@final
class OptunaPlug:
    """What an Optuna study needs to freeze and thaw its trials; `measure` tells what this process has used so far."""

    def __init__(
        self,
        *,
        epochs: int,
        measure: Measure,
        budget: Budget | str | None = None,
        seed: int = 0,
        cost_power: float = 1.0,
    ) -> None:
        self.limits = checked(budget, None) if budget is not None else Budget()
        unit = unit_of(self.limits, measure)
        self.rules = Rules(epochs, seed, cost_power=cost_power, most_trials=self.limits.trials, unit=unit)
        self._measure = measure
        self._before = self._counted()
        self._beliefs: dict[str, Beliefs | None] = {}  # by the space that is known
        self._me = f"{os.uname().nodename}-{os.getpid()}"
        self.reason = ""  # why the study was stopped
        self.sampler = _Sampler(self)
        self.pruner = _Pruner(self)

    def begin(self, trial: optuna.Trial) -> Begun:
        """Return where this trial begins: at the checkpoint of the pruned trial that it goes on with, or at nothing."""
        self._before = self._counted()
        told = trial.study.get_trials(deepcopy=False)
        # what the sampler noted stands in the storage; the live trial may be a copy of before
        number = next(t for t in told if t.number == trial.number).user_attrs.get(RESUMES)
        earlier = next((t for t in told if t.number == number), None)
        if earlier is None or CHECKPOINT not in earlier.user_attrs:
            return Begun()
        epoch, path = earlier.user_attrs[CHECKPOINT]
        trial.set_user_attr(BEGAN, epoch)
        trial.set_user_attr(CHECKPOINT, [epoch, path])
        return Begun(epoch, path)

    def report(
        self, trial: optuna.Trial, value: float, checkpoint: str | os.PathLike[str] | None = None
    ) -> None:
        """Report the value of the epoch that was just trained, and where its checkpoint is, if there is one."""
        values = [*trial.user_attrs.get(VALUES, []), float(value)]
        epoch = trial.user_attrs.get(BEGAN, 0) + len(values)
        trial.set_user_attr(VALUES, values)
        self._note(trial, trial.user_attrs, len(values))
        if checkpoint is not None:
            trial.set_user_attr(CHECKPOINT, [epoch, os.fspath(checkpoint)])
        if len(trial.study.directions) == 1:
            trial.report(value, epoch)

    def should_prune(self, trial: optuna.Trial) -> bool:
        """Return whether the trial is to be frozen: something else promises more gain per joule, or the budget is spent."""
        told = trial.study.get_trials(deepcopy=False)
        return self.freezes(trial.study, next(t for t in told if t.number == trial.number))

    def best(self, study: optuna.Study) -> tuple[float, FrozenTrial]:
        """Return the best value of any epoch of any trial, and that trial; Optuna's own `best_trial` knows complete trials only."""
        pick = min if study.directions[0] == optuna.study.StudyDirection.MINIMIZE else max
        values = [
            (pick(seen), t) for t in study.get_trials() if (seen := [v for v in values_of(t) if isfinite(v)])
        ]
        if not values:
            raise UsageError("no trial of the study has reported a value")
        return pick(values, key=itemgetter(0))

    def callback(self, study: optuna.Study, _trial: FrozenTrial) -> None:
        """Note what was spent, and stop the study when its budget is spent or nothing is worth its joules."""
        self._spend(study)
        if not self.reason and (verdict := judge(self.limits, self.spent(study))).stops:
            self.reason = verdict.reason
        if self.reason:
            study.set_user_attr("joulewise:reason", self.reason)
            study.stop()

    def spent(self, study: optuna.Study) -> Spent:
        """Return what all processes have spent on this study."""
        own = self._measure()
        others = [v for k, v in study.user_attrs.items() if k.startswith(SPENT) and k != self._key]
        sums = {n: sum(o.get(n, 0.0) for o in others) for n in ("energy_j", "carbon_g", "cost")}
        return replace(
            own,
            time_s=max([own.time_s, *(o["time_s"] for o in others)]),
            energy_j=moved(own.energy_j, sums["energy_j"]),
            carbon_g=moved(own.carbon_g, sums["carbon_g"]),
            cost=moved(own.cost, sums["cost"]),
        )

    def propose(
        self, study: optuna.Study, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the settings of the next trial: new ones, or those of a pruned trial that is worth going on with."""
        self.reason = ""
        self._before = self._counted()
        told = Told(study, distributions, self.rules, without=trial.number)
        decision = self._decide(told)
        if decision.step is Step.STOP:
            self.reason = decision.reason
        if decision.step in (Step.STOP, Step.WAIT):
            return {}
        frame = _frame(study, trial)
        frame.set_user_attr(UNTIL, decision.until)
        frame.set_user_attr("joulewise:why", decision.reason)
        if decision.step is Step.PROMOTE:
            frame.set_user_attr(RESUMES, told.last(decision.trial).number)
            return {name: told.last(decision.trial).params[name] for name in distributions}
        assert decision.point is not None  # noqa: S101 - for the type checker: a start has a point
        chosen = told.space.configuration(decision.point)
        return {name: outer(distributions[name], value) for name, value in chosen.items()}

    def freezes(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether a running trial is to be frozen after what it has reported."""
        values = values_of(trial)
        frame = _frame(study, trial)
        self._note(frame, trial.user_attrs, len(values))
        self._spend(study)
        epoch = trial.user_attrs.get(BEGAN, 0) + len(values)
        if self._passes(study, frame.user_attrs.get(COSTS) or [0.0]):
            return True
        rungs = ladder(self.rules.epochs)
        until = trial.user_attrs.get(UNTIL, rungs[min(1, len(rungs) - 1)])
        distributions = varied(study) or {n: d for n, d in trial.distributions.items() if not d.single()}
        if epoch >= self.rules.epochs or epoch < until or not distributions:
            return False
        told = Told(study, distributions, self.rules, going_on=trial.number)
        decision = self._decide(told)
        if decision.step is Step.PROMOTE and told.last(decision.trial).number == trial.number:
            frame.set_user_attr(UNTIL, decision.until)
            return False
        return True

    def _decide(self, told: Told) -> Decision:
        key = ",".join(told.space.names)
        with threadpool_limits(1, "blas"):
            decision, beliefs = decide(told.space, told.trials, self._beliefs.get(key), told.rules)
        self._beliefs[key] = beliefs
        return decision

    def _passes(self, study: optuna.Study, costs: Sequence[float]) -> bool:
        """Return whether the next epoch is expected to pass the budget."""
        total, own = self.spent(study), self._counted()
        counted = self._in_unit(total)
        next_cost = max(costs[1:] or costs)  # the first holds the start
        share = next_cost / counted if counted > 0 else 0.0
        each_s = self._measure().time_s / own if own > 0 else 0.0
        verdict = judge(replace(self.limits, trials=None), ahead(total, share, next_cost * each_s))
        if verdict.stops:
            self.reason = nearly(self.limits, verdict.limit, total)
        return verdict.stops

    def _note(self, frame: optuna.Trial, attributes: Mapping[str, Any], epochs: int) -> None:
        """Share what was used since the last look among the epochs that were reported since."""
        costs = list(attributes.get(COSTS, []))
        new = epochs - len(costs)
        if new > 0:
            now = self._counted()
            costs += [max(0.0, now - self._before) / new] * new
            self._before = now
            frame.set_user_attr(COSTS, costs)

    @property
    def _key(self) -> str:
        return f"{SPENT}:{self._me}"

    def _spend(self, study: optuna.Study) -> None:
        known = spending(self._measure())
        study.set_user_attr(self._key, {k: v for k, v in known.items() if v is not None})

    def _counted(self) -> float:
        return self._in_unit(self._measure())

    def _in_unit(self, spent: Spent) -> float:
        if self.rules.unit == "s":
            return spent.time_s
        return spent.energy_j.value if spent.energy_j is not None else 0.0


@final
class _Sampler(optuna.samplers.BaseSampler):
    """Asks the plug for settings; what it does not model (the first trial, parameters of some trials only) is random."""

    def __init__(self, plug: OptunaPlug) -> None:
        self._plug = plug
        self._random = optuna.samplers.RandomSampler(seed=plug.rules.seed)

    def infer_relative_search_space(
        self,
        study: optuna.Study,
        trial: FrozenTrial,  # noqa: ARG002 - Optuna names it
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that all trials so far have."""
        return varied(study)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what the plug proposes."""
        return self._plug.propose(study, trial, search_space) if search_space else {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a random value, or that of the pruned trial which this one goes on with."""
        resumed = next(
            (t for t in study.get_trials(deepcopy=False) if t.number == trial.user_attrs.get(RESUMES, -1)),
            None,
        )
        if resumed is not None and param_name in resumed.params:
            return resumed.params[param_name]
        return self._random.sample_independent(study, trial, param_name, param_distribution)


@final
class _Pruner(optuna.pruners.BasePruner):
    """Asks the plug whether a trial is to be frozen."""

    def __init__(self, plug: OptunaPlug) -> None:
        self._plug = plug

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return what the plug says."""
        return self._plug.freezes(study, trial)


def _frame(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """Return the live trial, to note attributes on; Optuna gives its own samplers and pruners the same id."""
    return optuna.trial.Trial(study, trial._trial_id)  # noqa: SLF001
