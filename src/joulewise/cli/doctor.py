"""`joulewise doctor`: what can be measured here, how well, and what it would take to measure more.

Changes nothing and always ends with exit code 0: a machine on which little can be read is no error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click

from joulewise import wiring
from joulewise.catalogue.tariffs import Tariff
from joulewise.catalogue.zones import find_zone, world_range
from joulewise.cli.config import shown
from joulewise.cli.output import UNKNOWN, echo, echo_json, json_option, plain, table
from joulewise.measuring.machine import limits_of, machine
from joulewise.measuring.meters.port import Found
from joulewise.measuring.process_tree import read_small
from joulewise.settings import Settings
from joulewise.vocabulary.errors import JoulewiseError
from joulewise.vocabulary.quantities import format_bytes
from joulewise.vocabulary.recording import Component, Device, Machine, Missing


@dataclass(frozen=True, slots=True)
class Family:
    """One family of meters as it is here: what it can give, what it reads, what it cannot, and whether it is used."""

    name: str
    components: tuple[str, ...]
    devices: tuple[Device, ...]
    missing: tuple[Missing, ...]
    used: bool

    @property
    def words(self) -> str:
        """What there is to say of it, in one line."""
        if self.devices:
            more = "" if self.used else " (a better source is used)"
            return f"reads {', '.join(d.id for d in self.devices[:4])}{_more(len(self.devices), 4)}{more}"
        if self.missing:
            return f"cannot: {self.missing[0].why}{_more(len(self.missing), 1)}"
        return "nothing of this kind here"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: whether it is as it should be (None: neither good nor bad), and what to do."""

    name: str
    good: bool | None
    words: str
    remedy: str = ""


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Say what can be measured here, what it would take to measure more, and what error to expect.

    Changes nothing; the exit code is 0 whatever is found.
    """
    settings = wiring.settings()
    families, used = look_for_meters(settings)
    here = machine()
    checks = [*host_checks(here), *setting_checks(settings)]
    remedies = _remedies(families, checks)
    if as_json:
        echo_json(
            {
                "machine": _machine_fields(here),
                "families": [_family_fields(f) for f in families],
                "components": [_device_fields(d) for d in used],
                "unread": [c.value for c in unread(used)],
                "checks": [
                    {"name": c.name, "good": c.good, "what": c.words, "remedy": c.remedy or None}
                    for c in checks
                ],
                "remedies": [{"for": what, "do": line} for what, line in remedies],
            }
        )
        return
    echo(_machine_words(here))
    echo("\nMeters, best first")
    echo(table([[f.name, " ".join(f.components), plain(f.words, 160)] for f in families], _FAMILY_HEADS))
    echo("\nWhat a recording reads, and the error to expect (90 % interval)")
    rows = [_expectation(d) for d in used] + [[c.value, UNKNOWN, "-", _NOT_SEEN] for c in unread(used)]
    echo(table(rows, ("component", "basis", "error", "source")))
    echo("\nMachine and settings")
    echo(table([[c.name, _MARKS[c.good], plain(c.words, 160)] for c in checks], ("what", "", "found")))
    if remedies:
        echo("\nWhat it would take")
        for what, line in remedies:
            echo(f"{what}\n    {line}")


_FAMILY_HEADS = ("family", "can give", "here")
_NOT_SEEN = "none is seen here; if there is one, it is missing from every sum, not zero in it"
_MARKS = {True: "ok", False: "no", None: "-"}
_EXPECTED = (Component.CPU, Component.MEMORY, Component.GPU, Component.STORAGE, Component.NETWORK)


def look_for_meters(settings: Settings) -> tuple[list[Family], list[Device]]:
    """Return every family as it is here, and the devices that a recording would read."""
    own = os.getpid()
    used: dict[str, list[Device]] = {}
    for name, found in wiring.survey(settings, own):
        used.setdefault(name, []).extend(_devices(found))
    families = []
    for family in wiring.families(settings):
        try:
            found = family.find(settings, own)
        except JoulewiseError as error:
            found = Found((), (Missing(family.name, str(error)),))
        devices = tuple(_devices(found))
        components = tuple(c.value for c in Component if c in family.components)
        families.append(Family(family.name, components, devices, found.missing, bool(used.get(family.name))))
    order = list(Component)
    return families, sorted(
        (d for ds in used.values() for d in ds), key=lambda d: (order.index(d.component), d.id)
    )


def unread(devices: Iterable[Device]) -> list[Component]:
    """Return the components of which nothing is read."""
    seen = {device.component for device in devices}
    return [component for component in _EXPECTED if component not in seen]


def host_checks(here: Machine, proc: str = "/proc") -> list[Check]:
    """Return what the kernel tells: what we own, pressure, delay accounting."""
    limits = limits_of("self", proc)
    quota = f"{limits.cpus:g} CPUs" if limits.cpus is not None else "none seen"
    memory = format_bytes(limits.memory_bytes) if limits.memory_bytes is not None else "none seen"
    checks = [
        Check("cgroup", None, f"CPU quota: {quota}; memory limit: {memory}"),
        _pressure(proc),
        _delay_accounting(proc),
    ]
    if here.virtual:
        checks.append(
            Check("virtual", None, "a virtual machine: which part of its host it is given is not told")
        )
    return checks


def setting_checks(settings: Settings) -> list[Check]:
    """Return whether grams and money can be known, and whether recordings and ledger can be kept."""
    return [_zone(settings), _tariff(settings), _runs(settings.runs), _ledger(settings.ledger)]


def _pressure(proc: str) -> Check:
    seen = [k for k in ("cpu", "io", "memory") if b"total=" in read_small(f"{proc}/pressure/{k}")]
    if len(seen) == 3:
        return Check("pressure", True, "PSI for cpu, io and memory")
    return Check(
        "pressure",
        False,
        f"PSI for {', '.join(seen)} only" if seen else "the kernel tells no PSI",
        "start the kernel with psi=1 (Linux 4.20 or later)",
    )


def _delay_accounting(proc: str) -> Check:
    text = read_small(f"{proc}/sys/kernel/task_delayacct").strip()
    if text == b"1":
        return Check("I/O wait", True, "delay accounting is on: the wait of each process is known")
    stands_in = "I/O wait of a process is unknown; pressure stands in where there is PSI"
    if text == b"0":
        return Check(
            "I/O wait",
            False,
            f"delay accounting is off: {stands_in}",
            "sudo sysctl kernel.task_delayacct=1  # for programs that start afterwards",
        )
    return Check(
        "I/O wait", False, f"delay accounting is not told: {stands_in}", "start the kernel with delayacct"
    )


def _zone(settings: Settings) -> Check:
    if settings.zone == "auto":
        return Check("zone", None, "auto: the cloud's metadata service is asked when a recording starts")
    if settings.zone in ("", "unknown"):
        world = world_range()
        words = f"not set: grams are over the world's range, {world.low:.0f}–{world.high:.0f} g/kWh"
        return Check("zone", False, words, "export JOULEWISE_ZONE=DE  # joulewise zones lists them")
    try:
        zone = find_zone(settings.zone)
    except JoulewiseError as error:
        return Check("zone", False, str(error), "joulewise zones")
    figure = zone.intensity(3600.0)
    words = f"{zone.code}, {zone.name}: {figure.value:.0f} ({figure.low:.0f}–{figure.high:.0f}) g/kWh, {figure.source}"
    return Check("zone", True, words)


def _tariff(settings: Settings) -> Check:
    example = f"export JOULEWISE_TARIFF=0.30{settings.currency}/kWh"
    if not settings.tariff:
        return Check("tariff", False, "not set: the cost in money is unknown", example)
    try:
        return Check("tariff", True, str(Tariff.parse(settings.tariff)))
    except JoulewiseError as error:
        return Check("tariff", False, str(error), example)


def _runs(folder: str) -> Check:
    if not folder:
        return Check(
            "recordings",
            False,
            "no place: no home folder is known",
            "export JOULEWISE_HOME=/path/to/a/folder",
        )
    fault = unwritable(folder)
    if fault:
        return Check("recordings", False, f"{folder}: {fault}", "export JOULEWISE_RUNS=/path/to/a/folder")
    return Check("recordings", True, f"{folder} is writable")


def _ledger(place: str) -> Check:
    remedy = "export JOULEWISE_LEDGER=/path/to/ledger.db"
    if not place:
        return Check(
            "ledger", False, "no place: no home folder is known", "export JOULEWISE_HOME=/path/to/a/folder"
        )
    where = shown(place)
    if "://" not in place and not os.path.exists(place):
        fault = unwritable(os.path.dirname(os.path.abspath(place)))
        if fault:
            return Check("ledger", False, f"{where}: {fault}", remedy)
        return Check("ledger", True, f"{where} will be made when it is needed")
    if "://" not in place and not os.access(place, os.W_OK):
        return Check("ledger", False, f"{where} is not writable for this user", remedy)
    from joulewise.ledger.store import open_store

    try:
        open_store(place, wait_s=2.0).close()
    except JoulewiseError as error:
        return Check("ledger", False, str(error), remedy)
    return Check("ledger", True, f"{where} is writable")


def unwritable(folder: str) -> str:
    """Return why this user cannot write into a folder (or make it); "" if they can. Makes nothing."""
    path = os.path.abspath(folder)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        return f"{path} is no folder"
    if not os.access(path, os.W_OK | os.X_OK):
        return f"{path} is not writable for this user"
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return f"{path} is on a file system that is mounted read-only"
    return ""


def _devices(found: Found) -> list[Device]:
    devices = [meter.device for meter in found.meters]
    for meter in found.meters:
        meter.close()
    return devices


def _remedies(families: Iterable[Family], checks: Iterable[Check]) -> list[tuple[str, str]]:
    """Return what is not as it could be, with the exact line to run."""
    lines = [
        (f"{m.source}: {m.why}", m.remedy) for f in families for m in f.missing if m.remedy and not f.devices
    ]
    lines += [(f"{c.name}: {c.words}", c.remedy) for c in checks if c.remedy]
    return [(plain(what, 300), plain(line, 600)) for what, line in dict.fromkeys(lines)]


def _expectation(device: Device) -> list[str]:
    error = f"-{100 * device.error_low:.0f} % to +{100 * device.error_high:.0f} %"
    if device.model.get("arms_by_load"):
        error += " at full load, more below"
    component = device.component.value if device.counted else f"{device.component.value}, not added"
    return [component, device.basis.word, error, plain(f"{device.source} ({device.id})", 110)]


def _machine_words(here: Machine) -> str:
    cpus = "unknown" if here.cpus is None else str(here.cpus)
    owned = f", of which {here.owned_cpus:g} may be used" if here.owned_cpus is not None else ""
    memory = format_bytes(here.memory_bytes) if here.memory_bytes else "unknown"
    return f"{plain(here.host, 60)}: {plain(here.cpu_model, 80) or 'processor unknown'}, {cpus} CPUs{owned}, {memory} of memory"


def _more(count: int, shown_: int) -> str:
    return f" and {count - shown_} more" if count > shown_ else ""


def _machine_fields(here: Machine) -> dict[str, Any]:
    return {name: getattr(here, name) for name in here.__slots__}


def _family_fields(family: Family) -> dict[str, Any]:
    return {
        "name": family.name,
        "components": list(family.components),
        "used": family.used,
        "devices": [_device_fields(d) for d in family.devices],
        "missing": [{"source": m.source, "why": m.why, "remedy": m.remedy or None} for m in family.missing],
    }


def _device_fields(device: Device) -> dict[str, Any]:
    return {
        "id": device.id,
        "component": device.component.value,
        "basis": device.basis.word,
        "boundary": device.boundary.value,
        "counted": device.counted,
        "error_low": device.error_low,
        "error_high": device.error_high,
        "source": device.source,
        "note": device.note or None,
    }
