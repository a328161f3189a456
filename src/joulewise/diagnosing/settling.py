"""Settling: what a finding promised against what the later run realised, at equal quality, with the noise.

The unit is joules where the error that both runs have in common cancels (`measuring.comparing`), else CPU seconds.
The noise has two parts, in quadrature: that of the measurement, which moves both runs together and leaves their ratio nearly as it
is, and that of running the same thing twice. The second is
taken from the runs themselves where a side has several, else 6 % of a run is assumed (and said).
Serving periods are compared for as many requests as the earlier ones answered: a quiet day saves nothing by being quiet.
A saving at lower quality is no saving: it is shown, and not counted as kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, sqrt
from statistics import mean, stdev

from joulewise.diagnosing.quality import Quality, equal
from joulewise.measuring.accounting import Account
from joulewise.measuring.comparing import difference
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.finding import Finding, Settlement
from joulewise.vocabulary.student import t95

REPEAT_ARM = 0.06  # 90 % half-width of one run's CPU seconds around its repeats, as seen on shared machines


def settle(
    before: Sequence[Account],
    after: Sequence[Account],
    promise: Finding | None,
    qualities: tuple[Quality | None, Quality | None],
) -> Settlement:
    """Return the settlement of a promise between the runs of before and those of after. Pure.

    Raises UsageError where neither joules nor CPU seconds are known for every run.
    """
    unit, ones, others, measured = _amounts(before, after)
    scale = _per_request(before, after)
    if scale is not None:
        ones, others = (
            [v * f for v, f in zip(side, scale[i], strict=True)] for i, side in enumerate((ones, others))
        )
        measured = (measured[0] * mean(scale[1]), measured[1] * mean(scale[1]))
    one, other = mean(ones), mean(others)
    if one <= 0:
        raise UsageError(f"the earlier run used {one:g} {unit}: nothing to settle against")
    noise = hypot(_repeat_arm(ones) * one, _repeat_arm(others) * other)
    saved = one - other
    down, up = hypot(noise, measured[0]), hypot(noise, measured[1])
    basis = Basis.MODELLED if unit == "J" else Basis.MEASURED
    realised = Figure(saved, saved - down, saved + up, basis, "realised")
    apart = _apart(before, after, scale) if unit == "J" else (saved / one, saved / one)
    arms = [
        hypot(noise / one, saved / one - min(saved / one, *apart)),
        hypot(noise / one, max(saved / one, *apart) - saved / one),
    ]
    share = Figure(saved / one, saved / one - arms[0], saved / one + arms[1], basis, "realised")
    walls = [mean(a.recording.duration_s for a in side) for side in (before, after)]
    return Settlement(
        before=before[0].recording.run_id,
        after=after[0].recording.run_id,
        cause=promise.cause if promise else None,
        unit=unit,
        promised_share=_promised(promise, unit) if promise else None,
        realised_share=share,
        realised=realised,
        wall_share=1 - walls[1] / walls[0] if walls[0] > 0 else 0.0,
        equal_quality=equal(*qualities),
        quality=_words(*qualities),
    )


def _amounts(
    before: Sequence[Account], after: Sequence[Account]
) -> tuple[str, list[float], list[float], tuple[float, float]]:
    """Return the unit, the amount of every run, and the measurement's arms of the saving (below, above)."""
    joules = [[a.footprint.total_j for a in side] for side in (before, after)]
    if all(f is not None and f.value > 0 for side in joules for f in side):
        change = difference(before[0], after[0])
        if change.cancels and change.energy_j is not None:
            ones, others = ([f.value for f in side if f is not None] for side in joules)
            figure = change.energy_j  # after - before: its upper arm is the saving's lower one
            return "J", ones, others, (figure.high - figure.value, figure.value - figure.low)
    seconds = [[a.usage.cpu_s for a in side] for side in (before, after)]
    if any(s is None for side in seconds for s in side):
        raise UsageError("neither joules nor CPU seconds are known for both runs: nothing can be settled")
    ones, others = ([s for s in side if s is not None] for side in seconds)
    return "cpu_s", ones, others, (0.0, 0.0)


def _apart(
    before: Sequence[Account], after: Sequence[Account], scale: tuple[list[float], list[float]] | None
) -> tuple[float, float]:
    """Return the saved share where all joules are at the low and at the high end of what they may be.

    What both runs have in common (the processor's curve, the way to the wall) moves them together, and the share hardly.
    """
    factors = scale or ([1.0] * len(before), [1.0] * len(after))

    def share(end: str) -> float:
        one, other = (
            mean(getattr(a.footprint.total_j, end) * f for a, f in zip(side, told, strict=True))
            for side, told in zip((before, after), factors, strict=True)
        )
        return 1 - other / one if one > 0 else share("value")

    return share("low"), share("high")


def _per_request(
    before: Sequence[Account], after: Sequence[Account]
) -> tuple[list[float], list[float]] | None:
    """Return by what each period's amount is multiplied, to stand for the requests of the earlier ones; None: no periods."""
    if not all(a.recording.role == "serve" for a in (*before, *after)):
        return None
    counts = [[_requests(a) for a in side] for side in (before, after)]
    if idle := [a.recording.run_id for side in (before, after) for a in side if not _requests(a)]:
        raise UsageError(f"{idle[0]} answered no request, so there is nothing to compare it for")
    alike = mean(counts[0])
    return [alike / n for n in counts[0]], [alike / n for n in counts[1]]


def _requests(account: Account) -> int:
    told = [p.values["requests"] for p in account.recording.points if "requests" in p.values]
    return int(told[-1]) if told else 0


def _repeat_arm(values: Sequence[float]) -> float:
    """Return the 90 % half-width of the mean of repeated runs, as a share of it."""
    if len(values) < 2:
        return REPEAT_ARM
    return t95(len(values) - 1) * stdev(values) / sqrt(len(values)) / mean(values)


def _promised(promise: Finding, unit: str) -> Figure:
    saving = promise.saving
    # the joules of both are uncertain together: the interval of the share is that of the seconds
    arms = (_ratio(saving.cpu_s.low, saving.cpu_s.value), _ratio(saving.cpu_s.high, saving.cpu_s.value))
    share = saving.energy_share if unit == "J" and saving.energy_share is not None else saving.cpu_share
    return Figure(share, min(share, share * arms[0]), max(share, share * arms[1]), Basis.MODELLED, "promised")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _words(before: Quality | None, after: Quality | None) -> str:
    if before is None or after is None:
        return "not known: neither a held-out metric nor a logged score was seen in both runs"
    if before.name != after.name:
        return f"not comparable: {before.name} before, {after.name} after"
    return f"{before.name} {before.value:.4g} before, {after.value:.4g} after"
