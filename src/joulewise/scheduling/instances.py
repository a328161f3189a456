"""Which instance type is leanest for a piece of work: joules, grams and money *per job*.

    time on it = work / its throughput, from a probe run, never from peak TFLOPS
    joules     = time x watts (measured by the probe, else by its load) x PUE
    grams      = joules x intensity + embodied carbon x time / life
    money      = time x price an hour

A type that nobody probed is not ranked: the reason stands beside it. A power cap is a type of its own here: give the
capped type its probe and its watts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from joulewise.catalogue.embodied import embodied_share, expected_life, gpus_g, vcpus_g
from joulewise.catalogue.instances import InstanceType
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary, Figure, relative, total
from joulewise.vocabulary.quantities import JOULES_PER_KWH


class By(StrEnum):
    """What to rank by."""

    JOULES = "joules"
    GRAMS = "grams"
    MONEY = "money"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a short run on a type showed: units of work a second, its load (0 to 1), and watts where they were measured."""

    units_per_s: float
    load: float = 1.0
    watts: float | None = None

    def __post_init__(self) -> None:
        """Refuse a probe that did nothing."""
        if (
            not self.units_per_s > 0
            or not 0 <= self.load <= 1
            or (self.watts is not None and self.watts <= 0)
        ):
            raise UsageError(
                f"a probe of {self.units_per_s:g} units/s at load {self.load:g}: the rate and the watts must be above 0, "
                f"the load 0 to 1"
            )

    def power_w(self, kind: InstanceType) -> Figure:
        """Return the watts of the work on this type: measured (a twentieth either way), else by its load."""
        if self.watts is None:
            return kind.power_w(self.load)
        return relative(self.watts, 0.05, 0.05, Basis.MEASURED, f"probe on {kind.name}", Boundary.WALL)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One type's cost of the job: seconds, joules at the facility, grams, money an hour's price gives (None: unknown).

    `idle_share` is the part of the joules that the type would burn standing by.
    """

    type: InstanceType
    seconds: float
    energy_j: Figure
    carbon_g: Figure | None
    embodied_g: Figure
    cost: float | None
    idle_share: float

    @property
    def total_g(self) -> float | None:
        """Operational and embodied grams; None where the intensity is unknown."""
        return None if self.carbon_g is None else self.carbon_g.value + self.embodied_g.value


@dataclass(frozen=True, slots=True)
class Ranking:
    """Types from the best to the worst, and those that could not be ranked with the reason."""

    by: By
    ranked: tuple[Ranked, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def rank(
    work: float,
    probes: Mapping[str, Probe],
    types: Iterable[InstanceType],
    *,
    pue: Figure,
    intensity: Figure | None = None,
    prices_per_h: Mapping[str, float] | None = None,
    by: By = By.JOULES,
) -> Ranking:
    """Return the types ranked for `work` units; what lacks a probe, a price or an intensity is left out with the reason."""
    if not work > 0:
        raise UsageError(f"work is {work:g} units, but must be more than 0")
    ranked, left_out = [], []
    for kind in types:
        probe = probes.get(kind.name)
        if probe is None:
            left_out.append(
                (kind.name, "no probe: run the work on it for a minute and give --probe TYPE=RATE")
            )
            continue
        one = _cost(kind, work, probe, pue, intensity, (prices_per_h or {}).get(kind.name))
        if _key(one, by) is None:
            missing = (
                "no price: none in the SkyPilot catalogue" if by is By.MONEY else "no intensity: give --zone"
            )
            left_out.append((kind.name, missing))
            continue
        ranked.append(one)
    ranked.sort(key=lambda r: (_key(r, by) or 0.0, r.type.name))
    return Ranking(by, tuple(ranked), tuple(left_out))


def _cost(
    kind: InstanceType,
    work: float,
    probe: Probe,
    pue: Figure,
    intensity: Figure | None,
    price_per_h: float | None,
) -> Ranked:
    seconds = work / probe.units_per_s
    power = probe.power_w(kind)
    energy = power.scaled(seconds).times(pue)
    made = [g for g in (vcpus_g(kind.vcpus), gpus_g([kind.gpu_model] * kind.gpus)) if g is not None]
    return Ranked(
        kind,
        seconds,
        energy,
        None if intensity is None else energy.times(intensity).scaled(1 / JOULES_PER_KWH),
        embodied_share(total(made), seconds, 1.0, expected_life()),
        None if price_per_h is None else price_per_h * seconds / 3600,
        min(1.0, kind.idle_w / power.value) if power.value else 0.0,
    )


def _key(one: Ranked, by: By) -> float | None:
    if by is By.JOULES:
        return one.energy_j.value
    return one.total_g if by is By.GRAMS else one.cost
