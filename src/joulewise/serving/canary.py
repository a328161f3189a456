"""Whether a canary takes over: quality and joules of two variants that answer side by side, compared; pure.

The canary answers a share of the requests. Some of those the incumbent computes, too, unseen by the client: how often both
say the same is the canary's quality here, on the requests that really come, where no label is known. The canary is
rolled back as soon as its agreement, errors or joules are credibly worse than allowed, and promoted as soon as all of them
are credibly good; until then it goes on. Intervals are Wilson's, at 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

_Z = 1.96


class Course(StrEnum):
    """What becomes of the canary."""

    GO_ON = "goes on"
    PROMOTE = "is promoted"
    ROLL_BACK = "is rolled back"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a canary must reach."""

    agreement: float = 0.98  # of its answers with the incumbent's
    errors: float = 0.01  # more than the incumbent's, as a share of requests
    joules: float = 1.1  # of the incumbent's, for a row: CPU time is no better known than that
    least: int = 200  # answers, before joules are compared


@dataclass(frozen=True, slots=True)
class Side:
    """What one variant has done since the canary began."""

    answers: int = 0
    errors: int = 0
    rows: int = 0
    model_cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both sides, and how often they agreed when both computed the same request."""

    incumbent: Side
    canary: Side
    compared: int = 0
    agreed: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of the canary, and why."""

    course: Course
    why: str


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927): 0 to 1 without a trial."""
    if trials <= 0:
        return 0.0, 1.0
    share, z2 = successes / trials, _Z * _Z
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    arm = _Z * sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    return max(0.0, middle - arm), min(1.0, middle + arm)


def judge(seen: Comparison, bar: Bar) -> Judgement:
    """Return what becomes of the canary."""
    low, high = wilson(seen.agreed, seen.compared)
    if high < bar.agreement:
        return Judgement(
            Course.ROLL_BACK,
            f"it agrees in {seen.agreed} of {seen.compared} answers ({low:.3f} to {high:.3f}), below {bar.agreement}",
        )
    ours = wilson(seen.canary.errors, seen.canary.answers + seen.canary.errors)
    usual = wilson(seen.incumbent.errors, seen.incumbent.answers + seen.incumbent.errors)
    if ours[0] > usual[1] + bar.errors:
        return Judgement(Course.ROLL_BACK, f"{seen.canary.errors} of its answers are errors")
    if (
        min(seen.canary.answers, seen.incumbent.answers) < bar.least
        or not seen.incumbent.rows
        or not seen.canary.rows
    ):
        return Judgement(Course.GO_ON, f"{seen.canary.answers} answers so far")
    ratio = (seen.canary.model_cpu_s / seen.canary.rows) / (seen.incumbent.model_cpu_s / seen.incumbent.rows)
    if ratio > bar.joules:
        return Judgement(Course.ROLL_BACK, f"a row takes {ratio:.2f} times the incumbent's joules")
    if low >= bar.agreement:
        return Judgement(
            Course.PROMOTE,
            f"it agrees in {seen.agreed} of {seen.compared} answers, at {ratio:.2f} times the joules",
        )
    return Judgement(Course.GO_ON, f"agreement is {low:.3f} to {high:.3f}, at {ratio:.2f} times the joules")
