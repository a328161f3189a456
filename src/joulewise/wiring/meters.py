"""Which meters there are, and which of them this machine has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from joulewise.settings import Settings
from joulewise.vocabulary.errors import UnknownName
from joulewise.vocabulary.recording import Component

if TYPE_CHECKING:
    from joulewise.measuring.meters.port import Found


@dataclass(frozen=True, slots=True)
class Family:
    """A family of meters: its name, the components that it can give, and how its devices are found."""

    name: str
    components: frozenset[Component]
    find: Callable[[Settings, int], Found]


def _perf(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.perf import find_perf

    return find_perf()


def _powercap(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.rapl import find_powercap

    return find_powercap()


def _hwmon(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.hwmon import find_hwmon

    return find_hwmon()


def _cray(settings: Settings, root_pid: int) -> Found:
    if not os.path.isdir("/sys/cray"):  # spares every other machine the import
        from joulewise.measuring.meters.port import Found

        return Found()
    from joulewise.measuring.meters.cluster import find_cray

    return find_cray()


def _slurm(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.cluster import SlurmEnergyMeter
    from joulewise.measuring.meters.port import Found

    job_id = os.environ.get("SLURM_JOB_ID", "")
    return Found((SlurmEnergyMeter(job_id),)) if job_id else Found()


def _nvml(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.nvml import find_nvml

    return find_nvml()


def _prometheus(settings: Settings, root_pid: int) -> Found:
    if not settings.prometheus:
        from joulewise.measuring.meters.port import Found

        return Found()
    from joulewise.measuring.meters.prometheus import find_prometheus

    return find_prometheus(settings.prometheus, settings.prometheus_query)


def _modelled(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.modelled import find_modelled

    return find_modelled(network_pid=root_pid, full_load_w=settings.full_load_w or None)


# Best first: a family is asked only for components that none before it could give.
FAMILIES = (
    Family("perf", frozenset({Component.CPU, Component.MEMORY}), _perf),
    Family("powercap", frozenset({Component.CPU, Component.MEMORY}), _powercap),
    Family("cray", frozenset({Component.CPU, Component.MEMORY, Component.GPU}), _cray),
    Family("nvml", frozenset({Component.GPU}), _nvml),
    Family("hwmon", frozenset({Component.CPU, Component.GPU, Component.MEMORY}), _hwmon),
    Family("prometheus", frozenset({Component.CPU, Component.GPU, Component.MEMORY}), _prometheus),
    Family(
        "modelled",
        frozenset({Component.CPU, Component.MEMORY, Component.STORAGE, Component.NETWORK}),
        _modelled,
    ),
)


# Only where the settings name them: asking them costs others something.
ON_DEMAND = (Family("slurm", frozenset({Component.NODE}), _slurm),)


def families(settings: Settings) -> tuple[Family, ...]:
    """Return the families that the settings name: `auto` is all of ours; others join by their entry point's name."""
    ours = {f.name: f for f in (*FAMILIES, *ON_DEMAND)}
    names = [n.strip() for n in settings.meters.split(",") if n.strip()]
    chosen: list[Family] = []
    for name in names:
        if name == "auto":
            chosen += FAMILIES
        elif name in ours:
            chosen.append(ours[name])
        else:
            chosen.insert(0, _foreign(name, ours))  # whoever names a family wants it before ours
    return tuple(chosen)


def _foreign(name: str, ours: Mapping[str, Family]) -> Family:
    from importlib.metadata import entry_points

    points = {p.name: p for p in entry_points(group="joulewise.meters")}
    if name not in points:
        raise UnknownName("family of meters", name, [*ours, *points, "auto"], "(in the setting meters)")
    find = points[name].load()
    return Family(name, frozenset(Component), lambda _settings, _root_pid: find())


def survey(settings: Settings, root_pid: int) -> Iterator[tuple[str, Found]]:
    """Yield what each family found, best first, each component from one family only.

    A source that could not be read is told only if nothing measured stands in for it.
    """
    from joulewise.measuring.meters.port import Found
    from joulewise.vocabulary.figures import Basis

    covered: set[Component] = set()
    measured: set[Component] = set()
    complaints: list[tuple[Family, Found]] = []
    for family in families(settings):
        if family.components <= covered:
            continue
        found = family.find(settings, root_pid)
        kept = []
        for meter in found.meters:
            if meter.device.component in covered:
                meter.close()
            else:
                kept.append(meter)
        counted = [m.device for m in kept if m.device.counted]
        covered |= {d.component for d in counted}
        measured |= {d.component for d in counted if d.basis is Basis.MEASURED}
        if found.missing:
            complaints.append((family, Found((), found.missing)))
        if kept:
            yield family.name, Found(tuple(kept))
    for family, found in complaints:
        if not family.components & {Component.CPU, Component.GPU} <= measured:
            yield family.name, found
