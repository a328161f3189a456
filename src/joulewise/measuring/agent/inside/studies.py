"""Optuna: the trials of a study, as its own loop ran them: what each took, what it said, and how it ended."""

from __future__ import annotations

import functools
from _thread import get_ident
from typing import Any

from .timeline import Timeline, clock, process_cpu, thread_cpu

MODULE = "optuna.study._optimize"
_MOST = 1000


class Studies:
    """The studies of one process, each with its trials as [CPU seconds, wall seconds, value, reports, how it ended]."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._seen: dict[str, int] = {}

    def wrap(self, module: Any) -> None:
        """Time the objective of each trial."""
        original = module._run_trial  # noqa: SLF001 - what `optimize` calls for each

        @functools.wraps(original)
        def _run_trial(study: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            return original(study, self._timed(study, func), *args, **kwargs)

        module._run_trial = _run_trial  # noqa: SLF001

    def _timed(self, study: Any, func: Any) -> Any:
        @functools.wraps(func)
        def objective(trial: Any) -> Any:
            cpu = process_cpu if get_ident() == self._line.main else thread_cpu
            began_s, began_cpu_s = clock(), cpu()
            value, ended = None, "failed"
            try:
                value = func(trial)
                ended = "complete"
            except Exception as error:
                ended = "pruned" if type(error).__name__ == "TrialPruned" else "failed"
                raise
            finally:
                self._tell(study, trial, [cpu() - began_cpu_s, clock() - began_s, _number(value)], ended)
            return value

        return objective

    def _tell(self, study: Any, trial: Any, told: list[Any], ended: str) -> None:
        facts = self._line.facts
        try:
            number = self._seen.get(study.study_name)
            if number is None:
                number = self._seen[study.study_name] = len(self._seen)
                direction = "+".join(d.name.lower() for d in study.directions)
                facts.put(
                    f"study/{number}", [type(study.sampler).__name__, type(study.pruner).__name__, direction]
                )
            if trial.number < _MOST:
                reports = len(trial._cached_frozen_trial.intermediate_values)  # noqa: SLF001 - no question to a storage
                facts.add(f"trials/{number}", [*told, reports, ended])
        except Exception as error:  # noqa: BLE001 - another version of Optuna: the trial has its own end
            facts.add("faults", f"optuna: {type(error).__name__}: {error}"[:300])


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
