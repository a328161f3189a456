"""Optuna's trials as histories of ours: those of the same settings that go on with each other are one.

What the plug knows of a trial beyond what Optuna does stands in attributes, `joulewise:...`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import final

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from joulewise.searching.deciding import Rules
from joulewise.searching.history import State, Trial
from joulewise.searching.optuna_space import inner, parameter
from joulewise.searching.space import Space

VALUES, COSTS, RESUMES, BEGAN, UNTIL, CHECKPOINT, SPENT = (
    f"joulewise:{name}" for name in ("values", "costs", "resumes", "began", "until", "checkpoint", "spent")
)


@final
class Told:
    """An Optuna study's trials as histories: those of the same settings that go on with each other are one."""

    def __init__(
        self,
        study: optuna.Study,
        distributions: Mapping[str, BaseDistribution],
        rules: Rules,
        *,
        without: int = -1,
        going_on: int = -1,
    ) -> None:
        self.space = Space({name: parameter(d) for name, d in distributions.items()})
        minimise = study.directions[0] == optuna.study.StudyDirection.MINIMIZE
        self.rules = replace(rules, minimise=minimise, pareto=len(study.directions) == 2)
        self.trials: list[Trial] = []
        self._last: list[FrozenTrial] = []
        self._places: dict[int, int] = {}  # Optuna's number: place in `trials`
        for trial in study.get_trials(deepcopy=False):
            whole = all(name in trial.params for name in distributions)
            if trial.number != without and whole and trial.state != TrialState.WAITING:
                self._take(trial, distributions, on=trial.number == going_on)

    def last(self, place: int) -> FrozenTrial:
        """Return the latest of Optuna's trials that one of ours consists of."""
        return self._last[place]

    def _take(self, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution], *, on: bool) -> None:
        place = self._places.get(trial.user_attrs.get(RESUMES, -1), len(self.trials))
        if place == len(self.trials):
            inside = {name: inner(d, trial.params[name]) for name, d in distributions.items()}
            self.trials.append(Trial(place, self.space.point(inside), key=self.space.key(inside)))
            self._last.append(trial)
        self._places[trial.number] = place
        self._last[place] = trial
        before = self.trials[place]
        values, costs = _curve(trial, self.rules)
        began = trial.user_attrs.get(BEGAN, 0)
        new = began + len(values) - before.epoch
        if new > 0:
            values, costs = (*before.values, *values[-new:]), (*before.costs_j, *costs[-new:])
        else:
            values, costs = before.values, before.costs_j
        kept = trial.user_attrs.get(CHECKPOINT, [0])[0] >= len(values)
        state = _STATES[trial.state] if not on else State.PAUSED
        why = "" if state is not State.FAILED else "it failed in Optuna"
        self.trials[place] = replace(
            before, values=values, costs_j=costs, state=state, why=why, resumable=on or kept
        )


_STATES = {
    TrialState.RUNNING: State.RUNNING,
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PAUSED,
    TrialState.FAIL: State.FAILED,
}


def varied(study: optuna.Study) -> dict[str, BaseDistribution]:
    """Return the parameters that all trials so far have, those with one value left out."""
    told = study.get_trials(deepcopy=False)
    found = optuna.search_space.intersection_search_space(told, include_pruned=True)
    return {name: d for name, d in found.items() if not d.single()}


def values_of(trial: FrozenTrial) -> list[float]:
    """Return what a trial has reported itself, an epoch each, in order."""
    told = trial.user_attrs.get(VALUES)
    return list(told) if told is not None else [v for _, v in sorted(trial.intermediate_values.items())]


def _curve(trial: FrozenTrial, rules: Rules) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return values (more is better) and costs of the epochs; of a trial that reported none, its end stands for all."""
    values = values_of(trial)
    if not values and trial.state == TrialState.COMPLETE:
        values = [trial.values[0]] * rules.epochs
    values = values[: next((i for i, v in enumerate(values) if not isfinite(v)), len(values))]
    took_s = trial.duration.total_seconds() if trial.duration else 1.0
    costs = [*trial.user_attrs.get(COSTS, [])] or [max(took_s, 1e-6) / max(len(values), 1)]
    costs += [costs[-1]] * (len(values) - len(costs))
    return tuple(-v if rules.minimise else v for v in values), tuple(costs[: len(values)])
