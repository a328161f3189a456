"""`settle`: what a plan really saved, once the hours have passed.

    allocated difference    what the average intensity gives to the run as it ran, against running now
    estimated consequence   the same by the marginal intensity, where there is one: what the shift changed
    share of the oracle     of what a planner who knew the actual hours would have saved, the share that was
    regret                  what that planner would have saved beyond this plan

Where the two signs differ, nothing is promised: `verdict` says so. A saving may be negative, and stays in the list:
a day that went wrong is shown like any other. Pure; the actual signals are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from joulewise.scheduling.ladder import FREE
from joulewise.scheduling.plan import DEFAULT_TERMS, Grid, Terms, place
from joulewise.scheduling.slots import Prices, Weights, window
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Duration, Placement, Plan, Stretch, after
from joulewise.vocabulary.settled import Report, Settled
from joulewise.vocabulary.signal import Kind, Signal


def settle(
    plan: Plan,
    actual: Mapping[str, Signal],
    marginal: Mapping[str, Signal] | None = None,
    prices: Mapping[str, Signal] | None = None,
    ran: Mapping[str, Sequence[Stretch]] | None = None,
    terms: Terms = DEFAULT_TERMS,
) -> Report:
    """Return what a plan really saved; `ran` holds by job name when it truly ran (else: as planned)."""
    ran = ran or {}
    return Report(
        tuple(
            settle_placement(p, actual, marginal, prices, ran.get(p.job.name), terms) for p in plan.placements
        )
    )


def settle_placement(
    placement: Placement,
    actual: Mapping[str, Signal],
    marginal: Mapping[str, Signal] | None = None,
    prices: Mapping[str, Signal] | None = None,
    ran: Sequence[Stretch] | None = None,
    terms: Terms = DEFAULT_TERMS,
) -> Settled:
    """Return what one placement really saved."""
    _refuse_wrong_kind(actual.values(), marginal)
    job, stretches = placement.job, tuple(ran or placement.stretches)
    origin = max(job.release_utc, _began(placement))
    work_s = _work(placement, stretches)
    nominal = (Stretch(origin, after(origin, work_s), job.paces[0].name, job.zones[0]),)
    now_g = _toll(placement, nominal, actual)
    ran_g = _toll(placement, stretches, actual)
    known = replace(job, duration=Duration.of(work_s), release_utc=origin)
    best = place(known, Grid(actual), origin, replace(terms, least_saving=0.0))
    oracle_g = now_g - best.predicted.carbon_g if isinstance(best, Placement) else now_g - ran_g
    consequence = None
    if marginal:
        consequence = _toll(placement, nominal, marginal) - _toll(placement, stretches, marginal)
    saved_cost = _toll(placement, nominal, prices) - _toll(placement, stretches, prices) if prices else None
    bought_j = max(0.0, _energy(placement, stretches) - job.power_w * work_s)
    return Settled(
        job.name,
        stretches[0].start_utc,
        placement.promised_g,
        now_g,
        ran_g,
        max(oracle_g, now_g - ran_g),
        consequence,
        saved_cost,
        bought_j,
        _verdict(now_g - ran_g, consequence, now_g),
    )


def _verdict(saved_g: float, consequence_g: float | None, now_g: float) -> str:
    small = 1e-6 * max(1.0, now_g)
    if (
        consequence_g is not None
        and saved_g * consequence_g < 0
        and min(abs(saved_g), abs(consequence_g)) > small
    ):
        return "the average says one thing and the marginal the other: nothing is promised"
    if saved_g > small:
        return "saved" if consequence_g is None else "saved by both measures"
    if saved_g < -small:
        return "worse than running now"
    return "no difference"


def _refuse_wrong_kind(actual: Iterable[Signal], marginal: Mapping[str, Signal] | None) -> None:
    for signal in actual:
        if signal.meaning.kind is not Kind.AVERAGE:
            raise UsageError(
                f"the actual signal of {signal.zone} is {signal.meaning.kind}; the allocated difference needs an average one"
            )
    for signal in (marginal or {}).values():
        if signal.meaning.kind is not Kind.MARGINAL:
            raise UsageError(
                f"the marginal signal of {signal.zone} is {signal.meaning.kind}; a consequence needs a marginal one"
            )


def _began(placement: Placement) -> datetime:
    """Return when running now would have begun: the plan's delay says by how much it finishes later than that."""
    expected_s = placement.job.duration.expected_s or 0.0
    return after(placement.end_utc, -placement.predicted.delay_s - expected_s)


def _paces(placement: Placement, stretch: Stretch) -> tuple[float, float]:
    pace = next((p for p in placement.job.paces if p.name == stretch.pace), placement.job.paces[0])
    return pace.speed, pace.power_w


def _resumed(stretches: Sequence[Stretch]) -> list[int]:
    return [n for n in range(1, len(stretches)) if stretches[n].start_utc > stretches[n - 1].end_utc]


def _work(placement: Placement, stretches: Sequence[Stretch]) -> float:
    """Return the seconds of work at the first pace that the stretches hold, dead time taken off."""
    dead_s = placement.job.interruptible.dead_s if placement.job.interruptible else 0.0
    done = sum(s.duration_s * _paces(placement, s)[0] for s in stretches)
    return max(1.0, done - sum(dead_s * _paces(placement, stretches[n])[0] for n in _resumed(stretches)))


def _energy(placement: Placement, stretches: Sequence[Stretch]) -> float:
    pause = placement.job.interruptible or FREE
    run_j = sum(s.duration_s * _paces(placement, s)[1] for s in stretches)
    rest_s = (
        (stretches[n].start_utc - stretches[n - 1].end_utc).total_seconds() for n in _resumed(stretches)
    )
    return run_j + sum(pause.energy_j + pause.idle_w * seconds for seconds in rest_s)


def _toll(placement: Placement, stretches: Sequence[Stretch], signals: Mapping[str, Signal]) -> float:
    """Return grams (or money) of the stretches by a signal per zone."""
    pause = placement.job.interruptible or FREE
    resumed = set(_resumed(stretches))
    total = 0.0
    for number, stretch in enumerate(stretches):
        zone = stretch.zone or placement.zone
        if zone not in signals:
            raise UsageError(f"no actual signal for {zone}: settling needs one for each zone that was used")
        signal = signals[zone]
        if signal.end_utc < stretch.end_utc:
            raise UsageError(
                f"the actual signal of {zone} ends {signal.end_utc:%Y-%m-%d %H:%M} UTC, before the job did "
                f"({stretch.end_utc:%Y-%m-%d %H:%M} UTC): settle it when the hours have passed"
            )
        prices = Prices(window(signal, stretch.start_utc, stretch.end_utc).slots, Weights())
        power_w = _paces(placement, stretch)[1]
        total += prices.between(0.0, prices.end_s) * power_w
        if number in resumed:
            total += pause.energy_j * prices.per_j[0]
            rest = Prices(window(signal, stretches[number - 1].end_utc, stretch.start_utc).slots, Weights())
            total += pause.idle_w * rest.between(0.0, rest.end_s)
    return total
