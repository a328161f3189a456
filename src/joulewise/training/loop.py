"""Stopping for a plain training loop: two lines, and the frameworks' callbacks are built on the same object.

    stopping = joulewise.stopping("val_accuracy", horizon=30, samples=5000)
    for epoch in range(1, 31):
        train_one_epoch(...)
        decision = stopping.update(epoch, evaluate(...))
        if stopping.improved:
            torch.save(model.state_dict(), "best.pt")
        if decision.stops:
            break

`print(decision)` says in one line why.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import final

from joulewise.curves.curve import Curve
from joulewise.training.schedule import Schedule
from joulewise.training.stopping import Decision, Move, Rule, decide
from joulewise.vocabulary.errors import UsageError

# Words in a metric's name that say which way is better.
_HIGHER = {
    "acc",
    "accuracy",
    "auc",
    "auroc",
    "f1",
    "map",
    "ndcg",
    "precision",
    "r2",
    "recall",
    "score",
    "ssim",
    "bleu",
}
_LOWER = {
    "loss",
    "error",
    "err",
    "perplexity",
    "ppl",
    "wer",
    "cer",
    "mse",
    "rmse",
    "mae",
    "logloss",
    "nll",
    "entropy",
}


def direction(metric: str, higher_is_better: bool | None = None) -> bool:
    """Return whether a higher value of this metric is better, by its name; refuse a direction that contradicts it.

    A name that says nothing needs `higher_is_better`.
    """
    words = set(re.split(r"[^a-z0-9]+", metric.casefold()))
    lower, higher = bool(words & _LOWER), bool(words & _HIGHER)
    if lower == higher:
        if higher_is_better is None:
            raise UsageError(
                f"metric {metric!r} does not say which way is better; give higher_is_better=True or False"
            )
        return higher_is_better
    if higher_is_better is not None and higher_is_better != higher:
        said = "higher" if higher_is_better else "lower"
        raise UsageError(
            f"metric {metric!r} is said to be better {said}, and its name says the opposite; rename it or leave out "
            "higher_is_better"
        )
    return higher


@final
class Stopping:
    """Watches one metric and says when to stop; remembers the curve, so that the decision can be replayed."""

    def __init__(
        self, metric: str, higher_is_better: bool, schedule: Schedule, rule: Rule, samples: int | None
    ) -> None:
        self.metric = metric
        self.schedule = schedule
        self.rule = rule
        self.samples = samples
        self.curve = Curve((), (), higher_is_better)
        self._decision: Decision | None = None

    def update(self, step: float, value: float) -> Decision:
        """Add an evaluation and return what to do."""
        try:
            at, number = float(step), float(value)
        except (TypeError, ValueError):
            raise UsageError(
                f"metric {self.metric!r} is {value!r} at step {step!r}, but both must be numbers"
            ) from None
        self.curve = self.curve.and_then(at, number)
        self._decision = decide(self.curve, self.schedule, self.rule, self.samples)
        return self._decision

    def dropped(self, step: float) -> None:
        """Say that the next planned drop was brought forward to `step`, the last one evaluated or later."""
        planned = self.schedule.next_drop(step)
        if planned is None or planned not in self.schedule.drops:
            raise UsageError(
                f"no drop of the learning rate is planned after step {step:g}, so none was brought forward"
            )
        rest = tuple(s for s in self.schedule.drops if s != planned)
        self.schedule = replace(self.schedule, drops=(*rest, step))

    @property
    def decision(self) -> Decision:
        """The last decision; refuses where the metric was never logged."""
        if self._decision is None:
            raise UsageError(
                f"metric {self.metric!r} was never logged; call update(step, value) after each evaluation"
            )
        return self._decision

    @property
    def improved(self) -> bool:
        """Whether the last evaluation is the best so far: the moment to keep the weights."""
        return bool(len(self.curve)) and self.curve.best == len(self.curve) - 1

    @property
    def should_drop(self) -> bool:
        """Whether the learning rate's next drop should come now."""
        return self.decision.move is Move.DROP_NOW


def stopping(
    metric: str,
    *,
    horizon: float | None = None,
    higher_is_better: bool | None = None,
    samples: int | None = None,
    schedule: Schedule | None = None,
    tolerance: float = 0.01,
    doubt: float = 0.08,
    least_gain: float = 0.0,
    joules_per_unit: float | None = None,
    joules_per_step: float | None = None,
    target: float | None = None,
) -> Stopping:
    """Return what to ask after each evaluation whether to stop.

    `horizon` is the last step planned (or give a whole `schedule`); `samples` the size of the validation set where the
    metric is a share of answers; `tolerance` the share of the gain, and `least_gain` the gain in the metric's
    unit, not worth training for (the larger counts); `joules_per_unit` what a unit
    of the metric is worth, with `joules_per_step`; `target` the quality with which the run may end at once.
    """
    if schedule is not None and horizon is not None:
        raise UsageError(
            "horizon and schedule are both given; the schedule has the horizon: give one of them"
        )
    return Stopping(
        metric,
        direction(metric, higher_is_better),
        schedule or Schedule(horizon=horizon),
        Rule(tolerance, doubt, least_gain, joules_per_unit, joules_per_step, target),
        samples,
    )
