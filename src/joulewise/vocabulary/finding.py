"""A finding is one waste in one run: its evidence, the saving that a remedy promises, and what the remedy risks.

    Finding
      ├── cause      one of a closed list of names
      ├── evidence   plain words with the numbers that were seen
      ├── saving     joules, CPU seconds, grams, money, and wall time; each a Figure with its 90 % interval
      ├── risk       what the remedy may do to quality
      └── remedy     a command, a setting or a diff

A saving is a promise about the same run without the waste, and it is kept: `settled` says what was realised.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from joulewise.vocabulary.figures import Figure


class Cause(StrEnum):
    """Why a run used more than its result needed."""

    OVER_TRAINING = "over_training"
    OVERSIZED_MODEL = "oversized_model"
    SLOW_TRANSFORMS = "slow_transforms"
    REPEATED_PREPROCESSING = "repeated_preprocessing"
    REREADING_INPUT = "rereading_input"
    SMALL_BATCH = "small_batch"
    TOO_MANY_LOADER_WORKERS = "too_many_loader_workers"
    TOO_FEW_LOADER_WORKERS = "too_few_loader_workers"
    THREAD_OVERSUBSCRIPTION = "thread_oversubscription"
    VALIDATION_TOO_OFTEN = "validation_too_often"
    CHECKPOINT_TOO_OFTEN = "checkpoint_too_often"
    LOGGING_OVERHEAD = "logging_overhead"
    UNBATCHED_INFERENCE = "unbatched_inference"
    BUSY_IDLE_SERVICE = "busy_idle_service"
    IDLE_HOLDER = "idle_holder"
    EXHAUSTIVE_SEARCH = "exhaustive_search"
    REPEATED_EXPERIMENTS = "repeated_experiments"
    COSTLY_SHUFFLE = "costly_shuffle"
    PRECISION_UNUSED = "precision_unused"
    POOR_SCALING = "poor_scaling"
    HOST_BOUND_DEVICE = "host_bound_device"
    REQUEST_TIME_JOIN = "request_time_join"
    VIEW_NOBODY_READS = "view_nobody_reads"
    VALUES_TOO_FRESH = "values_too_fresh"
    DERIVED_TWICE = "derived_twice"

    @property
    def words(self) -> str:
        """Return the name as it is read: `validation too often`."""
        return self.value.replace("_", " ")


class RemedyKind(StrEnum):
    """The form in which a remedy is given."""

    COMMAND = "command"
    SETTING = "setting"
    DIFF = "diff"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do: a command to type, a setting to change, or a change to the program."""

    kind: RemedyKind
    text: str


@dataclass(frozen=True, slots=True)
class Saving:
    """What the run would not have used without the waste. None is unknown, which is not zero.

    `wall_s` is how much shorter the run would be; below zero it would last longer. The shares are of the whole run.
    """

    cpu_s: Figure
    wall_s: Figure
    cpu_share: float
    wall_share: float
    energy_j: Figure | None = None
    energy_share: float | None = None
    carbon_g: Figure | None = None
    cost: Figure | None = None
    currency: str = ""

    @property
    def share(self) -> float:
        """The share of the run that is saved, in the unit that says most: joules, else the larger of CPU and wall time."""
        if self.energy_share is not None:
            return self.energy_share
        return max(self.cpu_share, self.wall_share)


@dataclass(frozen=True, slots=True)
class Finding:
    """One waste of one run, with what its remedy would save."""

    cause: Cause
    evidence: str
    saving: Saving
    remedy: Remedy
    risk: str  # to quality, in words; "none: ..." where there is none
    process: str = ""  # where it was seen


@dataclass(frozen=True, slots=True)
class Settlement:
    """What was promised against what was realised, between two runs of the same work.

    `promised_share` and `realised_share` are of the earlier run's value in `unit` ("J" or "cpu_s"). `noise_share` is
    the 90 % half-width of the realised share. `equal_quality` is None where neither run tells its quality.
    """

    before: str
    after: str
    cause: Cause | None  # None: the earlier run had no finding
    unit: str
    promised_share: Figure | None
    realised_share: Figure
    realised: Figure
    wall_share: float
    equal_quality: bool | None
    quality: str  # in words: which metric, before and after

    @property
    def kept(self) -> bool | None:
        """Whether promise and outcome agree within both intervals; None without a promise or at unequal quality."""
        if self.promised_share is None or self.equal_quality is False:
            return None
        return (
            self.promised_share.low <= self.realised_share.high
            and self.realised_share.low <= self.promised_share.high
        )
