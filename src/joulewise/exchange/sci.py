"""Software carbon intensity (ISO/IEC 21031:2024): SCI = (E x I + M) per R, with the disclosure that the standard asks for.

E counts the reserved hardware, standing by included, and the building's share (PUE); I is location-based; M is the share of
making the hardware: TE x (time reserved / expected life) x (resources reserved / all resources). R is the functional unit.
Offsets are never counted. The standard asks for no interval; ours stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joulewise import __version__
from joulewise.measuring.accounting import Account, work_done
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.footprint import assumed_total
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.text import plain

STANDARD = "ISO/IEC 21031:2024"


def statement(accounts: Sequence[Account], unit: str = "", units: float | None = None) -> dict[str, Any]:
    """Return the statement as JSON fields; `unit` names R (what the runs counted, or `run`), `units` how many there were.

    Raises UsageError where a part of the equation is unknown, or the runs count no such thing.
    """
    unit, amount = _functional_unit(accounts, unit, units)
    energies, operational, embodied = [], [], []
    for account in accounts:
        energy_kwh = _reserved_kwh(account)
        made_g = account.footprint.embodied_g
        if made_g is None:
            raise UsageError(
                f"{account.recording.run_id}: making the hardware is unknown ({account.footprint.unknown.get('embodied', 'no hardware told')}), and SCI needs it"
            )
        energies.append(energy_kwh)
        operational.append(energy_kwh.times(account.footprint.factors["intensity"]))
        embodied.append(made_g)
    o_g, m_g = assumed_total(operational), assumed_total(embodied)
    whole = assumed_total([o_g, m_g.within(o_g.boundary)])
    return {
        "standard": STANDARD,
        "sci": _figure(whole.scaled(1 / amount), f"gCO2eq per {unit}"),
        "functional_unit": {"unit": unit, "amount": amount, "of": f"{len(accounts)} recording(s)"},
        "operational": _figure(o_g, "gCO2eq"),
        "embodied": _figure(m_g, "gCO2eq"),
        "energy": _figure(assumed_total(energies), "kWh"),
        "disclosure": {
            "software_boundary": _boundary(accounts),
            "reserved_hardware": "standing by while reserved is counted in E",
            "intensity": _sources(accounts, "intensity"),
            "intensity_kind": "location-based average",
            "pue": _sources(accounts, "pue"),
            "uplift_to_the_wall": _sources(accounts, "uplift"),
            "embodied": _sources(accounts, "embodied"),
            "not_measured": sorted({f"{m.source}: {m.why}" for a in accounts for m in a.recording.missing}),
            "offsets": "none counted",
            "intervals": "90 %",
            "made_by": f"joulewise {__version__}",
        },
        "recordings": [a.recording.run_id for a in accounts],
    }


def _functional_unit(accounts: Sequence[Account], unit: str, units: float | None) -> tuple[str, float]:
    if units is not None:
        if not 0 < units < 1e18:
            raise UsageError(f"--units is {units:g}, but must be above 0")
        return plain(unit, 60) or "unit", units
    if unit in ("", "run"):
        return "machine-learning run", float(len(accounts))
    done = [work_done(a.recording) for a in accounts]
    lacking = [a.recording.run_id for a, d in zip(accounts, done, strict=True) if unit not in d]
    if lacking:
        known = ", ".join(sorted(set.intersection(*(set(d) for d in done)))) or "nothing"
        raise UsageError(
            f"{lacking[0]} counted no {unit!r}; all runs counted {known}. Give the number: --unit {unit} --units N"
        )
    return unit, sum(d[unit] for d in done)


def _reserved_kwh(account: Account) -> Figure:
    """Return the kWh of the work and of what stood by for it, at the facility."""
    cost = account.footprint
    device_j, idle_j = cost.device_j, cost.idle_j
    if device_j is None or "intensity" not in cost.factors:
        raise UsageError(
            f"{account.recording.run_id}: its energy is unknown ({cost.unknown.get('joules', 'nothing was read')}), and SCI needs it"
        )
    parts = [device_j] if idle_j is None else [device_j, idle_j]
    return (
        assumed_total(parts)
        .times(cost.factors["uplift"])
        .times(cost.factors["pue"])
        .scaled(1 / JOULES_PER_KWH)
    )


def _boundary(accounts: Sequence[Account]) -> str:
    parts = sorted({c.value for a in accounts for c in a.footprint.energy_j if c.value != "other"})
    return f"{', '.join(parts)} of the machines that ran the recordings; the way to the wall and the building as factors"


def _sources(accounts: Sequence[Account], factor: str) -> list[dict[str, Any]]:
    seen = {}
    for account in accounts:
        figure = account.footprint.factors.get(factor)
        if figure is not None:
            seen[figure.source, figure.value] = {**_figure(figure, ""), "source": plain(figure.source, 300)}
    return list(seen.values())


def _figure(figure: Figure, unit: str) -> dict[str, Any]:
    fields = {"value": figure.value, "low": figure.low, "high": figure.high, "basis": figure.basis.word}
    return {**fields, "unit": unit} if unit else fields
