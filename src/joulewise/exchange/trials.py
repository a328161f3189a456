"""Joules of each trial, as attributes of the trial: for Optuna studies and Ray Tune as they are.

    with joulewise.trial_joules("sweep") as joules:
        study.optimize(joules(objective), n_trials=50, callbacks=[joules.callback])
    study.trials[3].user_attrs["joulewise:energy_j"]

    tuner = tune.Tuner(joulewise.tuned(train), ...)         # results have the column joulewise_energy_j

A trial's joules are what the process used from its beginning to its end, at the wall, with the interval of the meters. Two
trials at once in one process (`n_jobs`) cannot be told apart: they get no joules, and say how many ran. For a search that
decides by joules see `joulewise.search` and `joulewise.optuna_plug`; these only tell.

A Tune trial is a process of its own, perhaps on another machine, where a callback of the driver sees nothing: so it is the
trainable that is wrapped. Each trial is recorded there under the name `tune-<trial id>`, and every result that it reports says
what the trial has used so far.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from joulewise import wiring
from joulewise.vocabulary.budget import Spent
from joulewise.vocabulary.figures import Figure

if TYPE_CHECKING:
    from joulewise.searching.ordering import Equipment

PREFIX = "joulewise:"


@final
class TrialJoules:
    """Wraps objectives of Optuna so that each trial tells its joules; its `callback` tells the study the sum."""

    def __init__(self, own: Equipment) -> None:
        self._own = own
        self._lock = threading.Lock()
        self._inside = 0
        self._begun = 0  # trials that began: grows while one runs if another joins it

    def __call__(self, objective: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the objective; its trials get `joulewise:energy_j` (and `_low_j`, `_high_j`), `:basis`, `:carbon_g`, `:time_s`."""

        @functools.wraps(objective)
        def measured(trial: Any) -> Any:
            with self._lock:
                self._inside += 1
                self._begun += 1
                alone, number = self._inside == 1, self._begun
            before = self._own.measure()
            try:
                return objective(trial)
            finally:
                after = self._own.measure()
                with self._lock:
                    alone = alone and self._begun == number
                    together, self._inside = self._inside, self._inside - 1
                told = (
                    used(before, after)
                    if alone
                    else {"time_s": after.time_s - before.time_s, "shared": together}
                )
                for name, value in told.items():
                    trial.set_user_attr(PREFIX + name, value)

        return measured

    def callback(self, study: Any, trial: Any) -> None:
        """Log a trial that ended as a point of the recording, and tell the study what it has used so far."""
        joules = trial.user_attrs.get(f"{PREFIX}energy_j")
        values = {f"value{n or ''}": v for n, v in enumerate(trial.values or ())}
        if self._own.told is not None:
            self._own.told(trial=trial.number + 1, state=trial.state.name.lower(), trial_j=joules, **values)
        total = self._own.measure().energy_j
        if total is not None:
            study.set_user_attr(f"{PREFIX}energy_j", total.value)


def used(before: Spent, after: Spent) -> dict[str, Any]:
    """Return what was used between two readings of one meter, by name; what is unknown is left out."""
    told: dict[str, Any] = {"time_s": after.time_s - before.time_s}
    joules = _since(before.energy_j, after.energy_j)
    if joules is not None:
        told |= {"energy_j": joules.value, "energy_low_j": joules.low, "energy_high_j": joules.high}
        told["basis"] = joules.basis.word
    grams = _since(before.carbon_g, after.carbon_g)
    if grams is not None:
        told["carbon_g"] = grams.value
    return told


def _since(before: Figure | None, after: Figure | None) -> Figure | None:
    """Return the difference of two readings of one meter, whose error is a share of it."""
    if after is None or after.value <= 0:
        return None
    grown = max(0.0, after.value - (before.value if before is not None else 0.0))
    return after.scaled(grown / after.value)


@contextmanager
def trial_joules(name: str = "optuna", *, zone: str | None = None) -> Iterator[TrialJoules]:
    """Return a context in which Optuna's trials are metered; the study is recorded as a run of this name."""
    with wiring.metered(name, zone) as own:
        yield TrialJoules(own)


def tuned(trainable: Any, *, zone: str | None = None) -> Any:
    """Return a trainable of Ray Tune (a function or a class) whose results hold `joulewise_energy_j` and its interval."""
    return _tuned_class(trainable, zone) if isinstance(trainable, type) else _tuned_function(trainable, zone)


def _tuned_function(trainable: Callable[..., Any], zone: str | None) -> Callable[..., Any]:
    @functools.wraps(trainable)
    def measured(config: Mapping[str, Any]) -> Any:
        from ray import tune

        with wiring.metered(f"tune-{tune.get_context().get_trial_id()}", zone) as own:
            before = own.measure()
            with _reporting(lambda: _columns(before, own.measure())):
                told = trainable(config)
            return {**told, **_columns(before, own.measure())} if isinstance(told, dict) else told

    return measured


def _tuned_class(trainable: type[Any], zone: str | None) -> type[Any]:
    class Measured(trainable):  # type: ignore[misc]  # whatever class the user has
        """The user's trainable, metered from its set-up to its clean-up."""

        def setup(self, config: Mapping[str, Any]) -> None:
            self._metered = wiring.metered(f"tune-{self.trial_id}", zone)
            self._own = self._metered.__enter__()
            self._before = self._own.measure()
            super().setup(config)

        def step(self) -> Any:
            told = super().step()
            return {**told, **_columns(self._before, self._own.measure())} if isinstance(told, dict) else told

        def cleanup(self) -> None:
            super().cleanup()
            self._metered.__exit__(None, None, None)

    Measured.__name__, Measured.__qualname__ = trainable.__name__, trainable.__qualname__
    return Measured


def _columns(before: Spent, after: Spent) -> dict[str, Any]:
    return {f"joulewise_{name}": value for name, value in used(before, after).items()}


@contextmanager
def _reporting(told: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Return a context in which all that this process reports to Tune holds what `told` adds.

    `tune.report` and the names that users have imported it by all end in the session's `report`.
    """
    from ray.train._internal.session import get_session

    session: Any = get_session()
    report = session.report

    def measured(metrics: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return report({**metrics, **told()}, *args, **kwargs)

    session.report = measured
    try:
        yield
    finally:
        session.report = report
