"""A footprint is what a piece of work cost: joules by component, grams of CO2e and money, each with its basis.

    components (device) --uplift--> wall --PUE--> facility --intensity--> operational grams
                                                     `------price-------> money
    hardware made for it x share of its life x share of it owned --------> embodied grams

A footprint is computed when asked for, from joules, place and time (`catalogue.pricing`), so that a better
intensity never needs a new run. Every factor that went in stands in `factors` with its own basis, because
measured joules times a yearly mean are not measured grams; what could not be known stands in `unknown` with
the reason. Standing by (`idle_j`) is shown apart and is in no other figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from joulewise.vocabulary.figures import Basis, Figure, shared_total, total
from joulewise.vocabulary.recording import Component, Missing


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a piece of work cost, and how each part of that is known.

    `energy_j` holds the work's share by component; its `other` is the uplift from the devices to the wall
    (power supply, fans, board) and is part of `total_j`. `machine_j` is everything the machine's devices used
    meanwhile, `idle_j` the part of it that was standing by for this work. None means unknown: `unknown` says why.
    `factors` are those applied: `joules`, `uplift`, `pue` (ratios), `intensity` (g/kWh), `embodied` (g for the
    whole hardware), `price` (currency per kWh).
    """

    energy_j: Mapping[Component, Figure]
    total_j: Figure | None  # at the wall
    facility_j: Figure | None  # with cooling and distribution (PUE)
    carbon_g: Figure | None  # operational: from electricity
    embodied_g: Figure | None  # this work's share of making the hardware
    cost: Figure | None
    currency: str = ""
    idle_j: Figure | None = None
    machine_j: Figure | None = None
    missing: tuple[Missing, ...] = ()
    factors: Mapping[str, Figure] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def device_j(self) -> Figure | None:
        """The sum of the components without the uplift: what the meters saw; None when none could be read."""
        parts = [f for c, f in self.energy_j.items() if c not in (Component.OTHER, Component.NODE)]
        return assumed_total(parts) if parts else None

    @property
    def total_carbon_g(self) -> Figure | None:
        """Operational and embodied grams together; None when either is unknown (a sum hides no missing part)."""
        if self.carbon_g is None or self.embodied_g is None:
            return None
        return total((self.carbon_g, self.embodied_g.within(self.carbon_g.boundary)))

    @property
    def complete(self) -> bool:
        """Whether no component is missing and every figure is known."""
        return not self.missing and None not in (self.total_j, self.carbon_g, self.embodied_g, self.cost)


def assumed_total(figures: Iterable[Figure]) -> Figure:
    """Return the sum of figures of one boundary, in which those that rest on one assumption add linearly.

    Figures that are not measured and name the same source share that source's error; groups are independent
    of each other and of what was measured, and add in quadrature.
    """
    groups: dict[object, list[Figure]] = {}
    for number, figure in enumerate(figures):
        independent = figure.basis is Basis.MEASURED or not figure.source
        groups.setdefault(number if independent else figure.source, []).append(figure)
    return total(shared_total(group) for group in groups.values())


def combined(footprints: Iterable[Footprint]) -> Footprint:
    """Return the footprint of several pieces of work together.

    Grams, money and the way to the wall rest on the same zone, PUE, uplift and tariff in most lists of runs, so
    they add linearly: never narrower than the truth. What is unknown in one is unknown in the sum; factors are
    kept where all agree.
    """
    parts = list(footprints)
    if not parts:
        raise ValueError("nothing to add up: an empty sum is unknown, not zero")
    currencies = {p.currency for p in parts if p.currency}
    unknown = {name: why for p in parts for name, why in p.unknown.items()}
    cost = _linear([p.cost for p in parts])
    if len(currencies) > 1:
        cost, unknown["cost"] = None, f"different currencies: {', '.join(sorted(currencies))}"
    present = {c: None for p in parts for c in p.energy_j}  # a dict keeps the order
    energy_j = {c: assumed_total([p.energy_j[c] for p in parts if c in p.energy_j]) for c in present}
    missing = {m: None for p in parts for m in p.missing}
    first = parts[0].factors
    return Footprint(
        energy_j=energy_j,
        total_j=_linear([p.total_j for p in parts]),
        facility_j=_linear([p.facility_j for p in parts]),
        carbon_g=_linear([p.carbon_g for p in parts]),
        embodied_g=_linear([p.embodied_g for p in parts]),
        cost=cost,
        currency=currencies.pop() if len(currencies) == 1 else "",
        idle_j=_linear([p.idle_j for p in parts]),
        machine_j=_linear([p.machine_j for p in parts]),
        missing=tuple(missing),
        factors={name: f for name, f in first.items() if all(p.factors.get(name) == f for p in parts)},
        unknown=unknown,
    )


def _linear(figures: list[Figure | None]) -> Figure | None:
    known = [f for f in figures if f is not None]
    return shared_total(known) if known and len(known) == len(figures) else None
