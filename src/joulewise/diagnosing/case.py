"""A case is one run laid before the estimators: its recording, what the agent saw in it, and its account.

Estimators answer with an `Estimate` in CPU seconds and wall seconds; `ranking` prices it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from joulewise.measuring.accounting import Account
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.finding import Cause, Remedy
from joulewise.vocabulary.observed import Phase, ProcessView
from joulewise.vocabulary.recording import Recording

LEAST_SHARE = 0.05  # of a run, for a saving to be shown
HOOK_S = 5e-6  # CPU time of the agent for a hooked call that is timed (bench/agent_overhead.py: 22 µs a step of four or five)
_UNTIMED = 0.15  # of that, for a call that is only counted
_STEP_PHASES = (Phase.DATA, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER)
_DEPENDENT = re.compile(
    r"generate|generating|generation|generator|decod|rollout|episode|\bact\b|act_|policy|agent|play|beam|autoreg|simulat|recursive|stream|online"
    r"|handle|request|serve|env|collect|sampl|teacher|target|distil|pseudo",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One run: everything that an estimator may look at."""

    recording: Recording
    views: tuple[ProcessView, ...]
    account: Account
    requests: int | None = None  # that a server answered by its own log or metrics; None: nobody told

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the whole run, without what the agent itself took: nobody would have used those."""
        seen = sum(v.cpu_s for v in self.views)
        return max(self.account.usage.cpu_s or 0.0, seen) - sum(hooks_s(v, *Phase) for v in self.views)

    @property
    def wall_s(self) -> float:
        """Wall seconds of the whole run."""
        return self.recording.duration_s

    @property
    def cpus(self) -> float:
        """CPUs that the run could use; 1 where it is not known."""
        machine = self.recording.machine
        return machine.owned_cpus or machine.cpus or 1.0

    @property
    def trainers(self) -> tuple[ProcessView, ...]:
        """The processes that made training steps."""
        return tuple(v for v in self.views if v.steps > 0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one waste cost: seconds that the same run would not have used without it.

    `claim` names the seconds that are claimed; of several estimates with one claim the largest is kept.
    """

    cause: Cause
    cpu_s: Figure
    wall_s: Figure
    evidence: str
    remedy: Remedy
    risk: str
    process: str
    claim: str


@dataclass(frozen=True, slots=True)
class Said:
    """A waste in words: the same, whether a run or a whole store of features is looked at."""

    evidence: str
    remedy: Remedy
    risk: str


def about(value: float, low: float, high: float) -> Figure:
    """Return an estimated figure; an interval that does not hold its value is widened to it."""
    return Figure(value, min(low, value), max(high, value), Basis.MODELLED, "counterfactual estimate")


def around(value: float, arm: float) -> Figure:
    """Return an estimated figure with a relative arm on both sides: `around(10, 0.2)` is 10 (8 to 12)."""
    spread = abs(value) * arm
    return about(value, value - spread, value + spread)


def train_batch(view: ProcessView) -> float | None:
    """Return the batch size that trained most samples; None where none was seen."""
    if not view.batch_sizes:
        return None
    return max(view.batch_sizes, key=lambda size: size * view.batch_sizes[size])


def mean_batch(view: ProcessView) -> float | None:
    """Return samples per forward pass of training; None where none was seen."""
    calls = sum(view.batch_sizes.values())
    return sum(s * n for s, n in view.batch_sizes.items()) / calls if calls else None


def epochs_made(view: ProcessView) -> int | None:
    """Return the epochs of all models that the process trained one after another; None where none are known.

    `view.epochs` counts those of one loader, or the values of one variable; five folds of ten epochs are fifty.
    """
    if not view.epochs:
        return None
    passes = sum(one.passes for one in view.loaders if not one.evaluates)
    named, last = 0, -1.0
    for point in view.curve:
        if point.epoch is not None and point.epoch != last:
            named, last = named + 1, point.epoch
    return max(view.epochs, passes, named)


def hooks_s(view: ProcessView, *phases: Phase) -> float:
    """Return CPU seconds that the agent took within these phases."""
    calls = sum(view.phase(p).calls for p in phases)
    return HOOK_S * calls * (1 - (1 - _UNTIMED) * view.sampled_share)


def loop(view: ProcessView) -> tuple[float, float]:
    """Return when a process was ready, and when its work ended, in seconds since the start of the recording."""
    ready_s = view.start_s + view.phase(Phase.SETUP).wall_s + view.phase(Phase.IMPORT).wall_s
    return ready_s, view.start_s + view.duration_s - view.phase(Phase.IDLE).wall_s


def loop_cpu_s(view: ProcessView) -> float:
    """Return CPU seconds of the program's own code between hooked calls of its loop; the interpreter's end is none of it."""
    return max(0.0, view.phase(Phase.OTHER).cpu_s - view.tail_cpu_s)


def loop_wall_s(view: ProcessView) -> float:
    """Return wall seconds of the same."""
    return max(0.0, view.phase(Phase.OTHER).wall_s - view.tail_wall_s)


def step_cpu_s(view: ProcessView) -> float:
    """Return CPU seconds of all training steps, data included."""
    return sum(view.phase(p).cpu_s for p in _STEP_PHASES)


def step_wall_s(view: ProcessView) -> float:
    """Return wall seconds of all training steps, data included."""
    return sum(view.phase(p).wall_s for p in _STEP_PHASES)


def is_remedied(view: ProcessView, knob: str, what: str = "") -> bool:
    """Say whether a remedy was at work there already (`run --with`): counts of calls and passes do not show it."""
    return any(text.startswith(f"{knob}: {what}") for text in view.changed)


def is_dependent(where: str, model: str = "") -> bool:
    """Say whether forward passes there probably wait for one another or for the world: generation, play, requests."""
    return bool(_DEPENDENT.search(where) or _DEPENDENT.search(model))
