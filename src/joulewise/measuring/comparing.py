"""The difference between two recordings, in which what they have in common cancels.

Two runs on one machine share most of their error: a counter that reads 5 % high reads both high, and watts at full
load or at idle that are guessed are guessed alike. Said of each run alone, that error makes 100 J (30-210) and 60 J
(18-126), which seem not to differ; their difference is known much better. Per device that both runs have in common
(same source, same machine or, where it is modelled, same model of processor) the difference b - a lies between

    b_low - a_low   and   b_high - a_high          what is shared errs in both runs alike

and, in quadrature, what each run has for itself: 10 % of the joules that were split between it and others, and, for a
modelled processor, 16 % (90 % of the curve's error of 7.7 % on average) in proportion to how far apart the loads are.
Factors to the wall, the facility, grams and money that are the same for both multiply the difference. Where a device or
a factor is not the same, nothing cancels: both intervals count in full, and `caveats` says so.

How much a run repeated would differ by itself is not in it: one recording each cannot tell. Repeat runs to know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import hypot

from joulewise.measuring.accounting import Account, DeviceAccount
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.footprint import Footprint
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.recording import Component

_SHAPE_ARM = 0.16
_UNEQUAL_SECONDS = 0.10  # see attribution.py
_FAR_APART = 0.5  # of utilisation: from here on the curve's errors at two loads have nothing in common


@dataclass(frozen=True, slots=True)
class Difference:
    """What the second run used more than the first (negative: less). None is unknown.

    `energy_j` is at the wall. `cancels` says whether common error could be taken out of it; `caveats` are sentences
    on what makes the two runs unlike.
    """

    energy_j: Figure | None
    carbon_g: Figure | None
    cost: Figure | None
    time_s: float
    cpu_s: float | None
    cancels: bool
    caveats: tuple[str, ...]


def difference(first: Account, second: Account) -> Difference:
    """Return second minus first. Pure."""
    one, other = first.footprint, second.footprint
    one_sided, unlike = _caveats(first, second)
    caveats = [*one_sided, *unlike]
    energy_j = None
    devices_j = None if unlike else _devices_j(first, second)
    same_uplift = one.factors.get("uplift") == other.factors.get("uplift")
    if devices_j is not None and same_uplift:
        energy_j = _times(devices_j, one.factors["uplift"])
    cancels = energy_j is not None
    if energy_j is None:
        energy_j = _apart(one.total_j, other.total_j)
        if not caveats and energy_j is not None:
            caveats.append("the two runs share no device or no way to the wall: their errors do not cancel")
    grams = cost = None
    if cancels and energy_j is not None and one.factors.get("pue") == other.factors.get("pue"):
        facility_kwh = _times(energy_j, one.factors["pue"]).scaled(1 / JOULES_PER_KWH)
        grams = _shared(facility_kwh, one, other, "intensity")
        cost = _shared(facility_kwh, one, other, "price")
    return Difference(
        energy_j=energy_j,
        carbon_g=grams or _apart(one.carbon_g, other.carbon_g),
        cost=(cost or _apart(one.cost, other.cost)) if one.currency == other.currency else None,
        time_s=second.recording.duration_s - first.recording.duration_s,
        cpu_s=_minus(second.usage.cpu_s, first.usage.cpu_s),
        cancels=cancels,
        caveats=tuple(caveats),
    )


def _caveats(first: Account, second: Account) -> tuple[list[str], list[str]]:
    """Return which components only one run knows, and of which the basis or the boundary differs."""
    one_sided, unlike = [], []
    one, other = _by_component(first), _by_component(second)
    for component in dict.fromkeys((*one, *other)):
        name = component.value
        if component not in one or component not in other:
            there = "first" if component in one else "second"
            one_sided.append(f"the energy of {name} is known in the {there} run only, and left out")
            continue
        for what, of in _UNLIKE:
            seen, then = of(one[component]), of(other[component])
            if seen != then:
                unlike.append(f"the {what} of {name} differs: {seen} in the first run, {then} in the second")
    return one_sided, unlike


def _basis(devices: list[DeviceAccount]) -> str:
    return max(d.device.basis for d in devices).word


def _boundary(devices: list[DeviceAccount]) -> str:
    return ", ".join(sorted({d.device.boundary.value for d in devices}))


_UNLIKE: tuple[tuple[str, Callable[[list[DeviceAccount]], str]], ...] = (
    ("basis", _basis),
    ("boundary", _boundary),
)


def _by_component(account: Account) -> dict[Component, list[DeviceAccount]]:
    found: dict[Component, list[DeviceAccount]] = {}
    for device in account.devices:
        if device.device.counted and device.work_j is not None:
            found.setdefault(device.device.component, []).append(device)
    return found


def ratio(first: Account, second: Account) -> Figure | None:
    """Return second over first in joules, with what errs alike in both taken out; None where nothing cancels. Pure.

    An error of proportion (a counter that reads 5 % high) is in both and cancels whole; what a wrong idle power, a
    wrong split or two unlike loads can do to the ratio makes its interval.
    """
    if _caveats(first, second)[1] or first.footprint.factors.get("uplift") != second.footprint.factors.get(
        "uplift"
    ):
        return None
    pairs = _pairs(first, second)
    if pairs is None:
        return None
    base, then = (sum(_known(pair[side]).value for pair in pairs) for side in (0, 1))
    if base <= 0 or then <= 0:
        return None
    value, below, above, basis = then / base, 0.0, 0.0, Basis.MEASURED
    apart = _load_apart(first, second)
    for pair in pairs:
        one, other = map(_known, pair)
        moved = [
            (then - other.value + at) / (base - one.value + was) - value
            for at, was in ((other.low, one.low), (other.high, one.high))
            if base - one.value + was > 0
        ]
        own = [
            value * (_own_arm(run) / total + _curve_arm(run, apart) * _known(run).value / total)
            for run, total in zip(pair, (base, then), strict=True)
        ]
        below = hypot(below, -min(0.0, *moved), *own)
        above = hypot(above, max(0.0, *moved), *own)
        basis = max(basis, one.basis, other.basis)
    return Figure(value, max(0.0, value - below), value + above, basis, "ratio")


def _pairs(first: Account, second: Account) -> list[tuple[DeviceAccount, DeviceAccount]] | None:
    """Return each device in both runs, over the components that both know.

    None unless each device of these in one run is a device of the other, read in the same way.
    """
    both = _by_component(first).keys() & _by_component(second).keys()
    ones, others = (
        {d.device.id: d for d in run.devices if d.device.component in both and d.device.counted}
        for run in (first, second)
    )
    if not ones or ones.keys() != others.keys():
        return None
    here, there = first.recording.machine, second.recording.machine
    same_host = here.host == there.host
    alike = same_host or (
        bool(here.cpu_model) and here.cpu_model == there.cpu_model and here.cpus == there.cpus
    )
    for key, one in ones.items():
        other = others[key]
        if one.work_j is None or other.work_j is None or one.device.source != other.device.source:
            return None
        if not (same_host or (alike and one.device.basis is not Basis.MEASURED)):
            return None
    return [(one, others[key]) for key, one in ones.items()]


def _devices_j(first: Account, second: Account) -> Figure | None:
    """Return the difference of the devices' joules over the components that both runs know; None if it is not known."""
    pairs = _pairs(first, second)
    if pairs is None:
        return None
    apart = _load_apart(first, second)
    value, below, above, basis = 0.0, 0.0, 0.0, Basis.MEASURED
    for pair in pairs:
        before, after = map(_known, pair)
        change = after.value - before.value
        ends = (change, after.low - before.low, after.high - before.high)
        own = [_own_arm(run) + _curve_arm(run, apart) * _known(run).value for run in pair]
        value += change
        below = hypot(below, change - min(ends), *own)
        above = hypot(above, max(ends) - change, *own)
        basis = max(basis, before.basis, after.basis)
    return Figure(value, value - below, value + above, basis, "difference")


def _known(run: DeviceAccount) -> Figure:
    """Return the joules of the work on a device of a pair."""
    assert run.work_j is not None  # noqa: S101 - `_pairs` leaves out what is not known
    return run.work_j


def _curve_arm(run: DeviceAccount, apart: float) -> float:
    """Return the share by which a modelled curve may be wrong at one load and not at the other."""
    modelled = run.device.component is Component.CPU and run.device.meter == "modelled"
    return _SHAPE_ARM * apart if modelled else 0.0


def _own_arm(run: DeviceAccount) -> float:
    """Return the joules by which the split between this work and others may be wrong in this run alone."""
    work, others = run.work_j, run.others_j
    if work is None or others is None or work.value + others.value <= 0:
        return 0.0
    return _UNEQUAL_SECONDS * work.value * others.value / (work.value + others.value)


def _load_apart(first: Account, second: Account) -> float:
    one, other = first.usage.machine_utilisation, second.usage.machine_utilisation
    if one is None or other is None:
        return 1.0
    return min(1.0, abs(one - other) / _FAR_APART)


def _apart(one: Figure | None, other: Figure | None) -> Figure | None:
    """Return other minus one where nothing cancels."""
    if one is None or other is None or one.boundary is not other.boundary:
        return None
    value = other.value - one.value
    below = hypot(other.value - other.low, one.high - one.value)
    above = hypot(other.high - other.value, one.value - one.low)
    return Figure(
        value, value - below, value + above, max(one.basis, other.basis), "difference", one.boundary
    )


def _shared(amount: Figure, one: Footprint, other: Footprint, factor: str) -> Figure | None:
    mine, its = one.factors.get(factor), other.factors.get(factor)
    return _times(amount, mine) if mine is not None and mine == its else None


def _times(amount: Figure, factor: Figure) -> Figure:
    """Return an amount of either sign times a factor of at least 0; one that excludes zero still does so."""
    if amount.low >= 0:
        return amount.times(factor)
    if amount.high <= 0:
        return _mirrored(_mirrored(amount).times(factor))
    value = amount.value * factor.value
    down, up = (
        (factor.value - factor.low) * abs(amount.value),
        (factor.high - factor.value) * abs(amount.value),
    )
    below = hypot((amount.value - amount.low) * factor.value, down if value >= 0 else up)
    above = hypot((amount.high - amount.value) * factor.value, up if value >= 0 else down)
    basis = max(amount.basis, factor.basis)
    return Figure(value, value - below, value + above, basis, amount.source, factor.boundary)


def _mirrored(figure: Figure) -> Figure:
    return replace(figure, value=-figure.value, low=-figure.high, high=-figure.low)


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
