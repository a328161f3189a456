"""The five wastes, and how the findings of one run divide its joules between them. Pure.

A finding says which share of the run its remedy would save, as if it were the only one. Several of one run may speak of
the same seconds: to drop half of the epochs and half of the validations saves three quarters of the validation, not all
of it. So shares are taken one after another, the largest first, each of what is left:

    part_i = share_i x (1 - share_1) ... (1 - share_(i-1))        rest = (1 - share_1) ... (1 - share_n)

The parts and the rest add up to the run, whatever the overlap. What is not known is told by the interval: a waste's upper end
is what it would save alone, its lower end what is left for it when all the others were taken first at their upper ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from types import MappingProxyType

from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Cause, Finding

REVISION = 1  # of the estimators: a higher one has every recording looked into again


class Waste(StrEnum):
    """Where joules go that bought nothing."""

    OVER_TRAINING = "over_training"
    OVERSIZED_MODELS = "oversized_models"
    DATA_MOVEMENT = "data_movement"
    UNDERUSED_HARDWARE = "underutilised_hardware"
    ALWAYS_ON_SERVING = "always_on_serving"

    @property
    def words(self) -> str:
        """Return the name as it is read: `always-on serving`."""
        return self.value.replace("always_on", "always-on").replace("over_t", "over-t").replace("_", " ")


WASTE_OF: Mapping[Cause, Waste] = MappingProxyType(
    {
        # work that the result did not need
        Cause.OVER_TRAINING: Waste.OVER_TRAINING,
        Cause.VALIDATION_TOO_OFTEN: Waste.OVER_TRAINING,
        Cause.EXHAUSTIVE_SEARCH: Waste.OVER_TRAINING,
        Cause.REPEATED_EXPERIMENTS: Waste.OVER_TRAINING,
        # more or wider arithmetic than the task asks for
        Cause.OVERSIZED_MODEL: Waste.OVERSIZED_MODELS,
        Cause.PRECISION_UNUSED: Waste.OVERSIZED_MODELS,
        # reading, deriving, shuffling, copying and writing again
        Cause.SLOW_TRANSFORMS: Waste.DATA_MOVEMENT,
        Cause.REPEATED_PREPROCESSING: Waste.DATA_MOVEMENT,
        Cause.REREADING_INPUT: Waste.DATA_MOVEMENT,
        Cause.TOO_MANY_LOADER_WORKERS: Waste.DATA_MOVEMENT,
        Cause.COSTLY_SHUFFLE: Waste.DATA_MOVEMENT,
        Cause.CHECKPOINT_TOO_OFTEN: Waste.DATA_MOVEMENT,
        Cause.LOGGING_OVERHEAD: Waste.DATA_MOVEMENT,
        Cause.REQUEST_TIME_JOIN: Waste.DATA_MOVEMENT,
        Cause.VIEW_NOBODY_READS: Waste.DATA_MOVEMENT,
        Cause.VALUES_TOO_FRESH: Waste.DATA_MOVEMENT,
        Cause.DERIVED_TWICE: Waste.DATA_MOVEMENT,
        # devices that wait, or that do little at a time
        Cause.SMALL_BATCH: Waste.UNDERUSED_HARDWARE,
        Cause.UNBATCHED_INFERENCE: Waste.UNDERUSED_HARDWARE,
        Cause.THREAD_OVERSUBSCRIPTION: Waste.UNDERUSED_HARDWARE,
        Cause.TOO_FEW_LOADER_WORKERS: Waste.UNDERUSED_HARDWARE,
        Cause.POOR_SCALING: Waste.UNDERUSED_HARDWARE,
        Cause.HOST_BOUND_DEVICE: Waste.UNDERUSED_HARDWARE,
        Cause.IDLE_HOLDER: Waste.UNDERUSED_HARDWARE,
        # standing by for requests that do not come
        Cause.BUSY_IDLE_SERVICE: Waste.ALWAYS_ON_SERVING,
    }
)


@dataclass(frozen=True, slots=True)
class Part:
    """A share of a whole (0 to 1) with its interval."""

    share: float
    low: float
    high: float


def divide(findings: Iterable[Finding], standing_by: Part | None = None) -> dict[Waste | None, Part]:
    """Return the share of a run that went to each waste, and to none (key None); all shares add up to 1.

    `standing_by` is what a serving period drew while no request was inside, by its own count.
    """
    claims = [(WASTE_OF[f.cause], _share(f)) for f in findings]
    if standing_by is not None:  # a polling server's finding is part of its standing by
        claims = [c for c in claims if c[0] is not Waste.ALWAYS_ON_SERVING or c[1].share > standing_by.share]
        if not any(waste is Waste.ALWAYS_ON_SERVING for waste, _ in claims):
            claims.append((Waste.ALWAYS_ON_SERVING, standing_by))
    claims.sort(key=lambda claim: -claim[1].share)
    shares: dict[Waste, float] = {}
    left = 1.0
    for waste, part in claims:
        shares[waste] = shares.get(waste, 0.0) + part.share * left
        left *= 1 - part.share
    made: dict[Waste | None, Part] = {}
    for waste, share in shares.items():
        own = [part for other, part in claims if other is waste]
        others = [part for other, part in claims if other is not waste]
        high = 1 - prod(1 - part.high for part in own)
        low = (1 - prod(1 - part.low for part in own)) * prod(1 - part.high for part in others)
        made[waste] = Part(share, min(low, share), max(high, share))
    least = 1 - min(1.0, sum(part.high for part in made.values()))
    most = 1 - max((part.low for _, part in claims), default=0.0)
    made[None] = Part(left, min(least, left), max(most, left))
    return made


def _share(finding: Finding) -> Part:
    """Return a finding's share of the run with its interval: that of its joules, else of the time that it saves most of."""
    saving = finding.saving
    share = min(1.0, max(0.0, saving.share))
    figure: Figure = saving.cpu_s if saving.cpu_share >= saving.wall_share else saving.wall_s
    if saving.energy_share is not None and saving.energy_j is not None:
        figure = saving.energy_j
    if figure.value <= 0:
        return Part(share, share, share)
    low, high = (min(1.0, max(0.0, share * end / figure.value)) for end in (figure.low, figure.high))
    return Part(share, min(low, share), max(high, share))


__all__ = ["REVISION", "WASTE_OF", "Part", "Waste", "divide"]
