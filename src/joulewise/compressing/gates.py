"""The two gates that a variant must pass, and from how many requests on compressing pays. Pure; standard library only.

Quality: the drop of the user's metric has a 90 % interval, and all of it must lie within what is allowed. Energy: the cost of a
request beside fp32's, round by round, has an interval at each batch size expected; over all sizes the variant must certainly
save, and at none may it certainly cost more. What the rounds or the rows cannot tell does not pass, and the gate says so.

The interval of rounds is that of their order (the sign test's): it asks nothing of how times are distributed, and a disturbed
round is one round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import comb, exp, inf, log
from statistics import median


class Outcome(StrEnum):
    """What a gate says."""

    PASSES = "passes"
    FAILS = "fails"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Span:
    """A value and its 90 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate says of a variant, and why in one line."""

    outcome: Outcome
    why: str
    ratios: Mapping[int, Span] = field(
        default_factory=dict
    )  # cost beside fp32's by batch size; of the energy gate

    @property
    def passes(self) -> bool:
        """Whether it certainly passes."""
        return self.outcome is Outcome.PASSES


def quality_gate(metric: str, base: float, drop: Span, most: float, *, points: bool) -> Gate:
    """Return whether a drop (positive is worse, in the metric's own unit) is certainly at most `most`.

    `points` tells metrics between 0 and 1, whose drops are shown in percentage points.
    """

    def shown(value: float) -> str:
        return f"{100 * value:.2f}" if points else f"{value:.3g}"

    unit = " points" if points else ""
    told = f"{metric} drops by {shown(drop.value)}{unit} ({shown(drop.low)} to {shown(drop.high)}) from {base:.4g}"
    bound = f"at most {shown(most)} {'are' if points else 'is'} allowed"
    if drop.high <= most:
        return Gate(Outcome.PASSES, f"{told}; {bound}")
    if drop.low > most:
        return Gate(Outcome.FAILS, f"{told}; {bound}")
    return Gate(
        Outcome.CANNOT_TELL,
        f"{told}: that it is {bound.removesuffix(' allowed')} cannot be told from so few rows",
    )


def energy_gate(ratios: Mapping[int, Sequence[float]], of: str) -> Gate:
    """Return whether a request certainly costs less than with fp32; `ratios` of cost by batch size, a round each.

    `of` says what was counted: joules, or CPU time.
    """
    spans = {size: interval(rounds) for size, rounds in ratios.items()}
    count = min(len(rounds) for rounds in ratios.values())
    together = interval(
        [exp(sum(log(rounds[i]) for rounds in ratios.values()) / len(ratios)) for i in range(count)]
    )
    told = ", ".join(
        f"{span.value:.2f}x ({span.low:.2f} to {span.high:.2f}) at batch {size}"
        for size, span in spans.items()
    )
    text = f"{of} of a request beside fp32: {told}"
    dear = [size for size, span in spans.items() if span.low > 1]
    if dear or together.low >= 1:
        where = f" at batch {', '.join(map(str, dear))}" if dear and len(dear) < len(spans) else ""
        return Gate(Outcome.FAILS, f"it costs more than fp32{where}; {text}", spans)
    if together.high < 1:
        return Gate(Outcome.PASSES, text, spans)
    return Gate(Outcome.CANNOT_TELL, f"that it costs less than fp32 cannot be told; {text}", spans)


def interval(values: Sequence[float]) -> Span:
    """Return the median and its interval by order statistics: at least 90 %, or the whole range of few values."""
    ordered = sorted(values)
    n = len(ordered)
    below, cut = 0.0, 0
    while cut < (n - 1) // 2:
        below += comb(n, cut) / 2**n
        if below > 0.05:
            break
        cut += 1
    first = max(0, cut - 1)
    return Span(median(ordered), ordered[first], ordered[n - 1 - first])


def break_even(spent_j: float, base_j: float, variant_j: float) -> float:
    """Return the requests after which what was spent is saved: inf where a request saves nothing."""
    saved_j = base_j - variant_j
    return spent_j / saved_j if saved_j > 0 else inf
