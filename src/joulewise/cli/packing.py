"""Small jobs packed on few machines, and idle devices named with what they cost: `joulewise rightsize --pack`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joulewise import wiring
from joulewise.catalogue.pricing import footprint
from joulewise.cli.output import echo, echo_json, plain, table
from joulewise.cli.reading import BYTES, quantity, read_rows
from joulewise.measuring.accounting import Account
from joulewise.scheduling.consolidate import (
    Idle,
    Machine,
    Packed,
    Small,
    consolidate,
    idle_devices,
    measured,
    measured_run,
    standing,
)
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.quantities import JOULES_PER_KWH, format_bytes, format_si
from joulewise.vocabulary.recording import Component

COLUMNS = ("name", "cores", "memory", "gpu", "gpu_memory")
_DAY_S = 86400.0
_SEEN_S = 600.0  # a device that stood by for less is not named: it may have been between two jobs


def pack(
    texts: Sequence[str], machine: str | None, idle_w: float, fill: float, *, sliced: bool, as_json: bool
) -> int:
    """Pack what the files and runs used, print it, and return the exit code: 1 where a job fits no machine."""
    if not texts:
        raise UsageError("name what to pack: runs, or a CSV file with the columns " + ", ".join(COLUMNS))
    files = [text for text in texts if text.endswith(".csv")]
    accounts = [wiring.account(wiring.find(text)) for text in texts if not text.endswith(".csv")]
    jobs = [job for file in files for job in read_used(Path(file))] + _of_runs(accounts)
    kind = read_machine(machine, idle_w, sliced=sliced) if machine else _this_machine(idle_w, sliced=sliced)
    packed = consolidate(jobs, kind, fill)
    device, wall = _prices()
    idle = idle_devices(
        [
            (name, holder, busy, watts, _DAY_S)
            for account in accounts
            for name, holder, busy, watts, seconds in standing(account.recording)
            if seconds >= _SEEN_S
        ],
        g_per_kwh=device.carbon_g,
        price_per_kwh=device.money,
    )
    if as_json:
        echo_json(_fields(packed, kind, jobs, idle))
    else:
        echo(_text(packed, kind, jobs, idle, device, wall))
    return 1 if packed.unplaced else 0


def read_used(path: Path) -> list[Small]:
    """Return the jobs of a file; rows of one name are samples of one job."""
    samples: dict[str, list[tuple[float, ...]]] = {}

    def take(told: dict[str, str]) -> None:
        if "cores" not in told or "memory" not in told:
            raise UsageError("a job needs cores and memory, as they were measured")
        row = (
            quantity(told["cores"], {"": 1.0}, "cores"),
            quantity(told["memory"], BYTES, "memory"),
            quantity(told.get("gpu", "0"), {"": 1.0}, "gpu"),
            quantity(told.get("gpu_memory", "0"), BYTES, "gpu_memory"),
        )
        samples.setdefault(told["name"], []).append(row)

    read_rows(path, COLUMNS, take)
    if not samples:
        raise UsageError(f"{path} holds no job; write one a row below the line {','.join(COLUMNS)}")
    jobs = []
    for name, rows in samples.items():
        cores, memory, gpu, gpu_memory = zip(*rows, strict=True)
        jobs.append(measured(name, cores, memory, gpu=gpu, gpu_memory_bytes=gpu_memory))
    return jobs


def read_machine(text: str, idle_w: float, *, sliced: bool) -> Machine:
    """Return a kind of machine from `16,64GB` or, with GPUs and the memory of each, `16,64GB,2,40GB`."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 4):
        raise UsageError(
            f"cannot read --machine {plain(text, 40)!r}; write cores and memory, 16,64GB, and with GPUs 16,64GB,2,40GB"
        )
    cores = quantity(parts[0], {"": 1.0}, "--machine (cores)")
    memory = quantity(parts[1], BYTES, "--machine (memory)")
    gpus = quantity(parts[2], {"": 1.0}, "--machine (GPUs)") if len(parts) > 2 else 0.0
    gpu_memory = quantity(parts[3], BYTES, "--machine (GPU memory)") if len(parts) > 2 else 0.0
    return Machine(text, cores, memory, int(gpus), gpu_memory, idle_w, sliced)


def _this_machine(idle_w: float, *, sliced: bool) -> Machine:
    from joulewise.measuring.machine import machine

    here = machine()
    if here.cpus is None or here.memory_bytes is None:
        raise UsageError(
            "cores and memory of this machine are not known; give the machine, for instance --machine 16,64GB"
        )
    return Machine(here.host, here.cpus, here.memory_bytes, idle_w=idle_w, sliced=sliced)


def _of_runs(accounts: Sequence[Account]) -> list[Small]:
    names = Counter(account.recording.name for account in accounts)
    return [
        measured_run(a.recording, a.recording.name if names[a.recording.name] == 1 else a.recording.run_id)
        for a in accounts
    ]


@dataclass(frozen=True, slots=True)
class _Price:
    """What a kWh costs in grams and money, cooling included, and where the grams come from; None is unknown."""

    carbon_g: float | None
    money: float | None
    currency: str
    source: str

    def of(self, energy_j: float) -> str:
        """Return joules of a day in words."""
        kwh = energy_j / JOULES_PER_KWH
        carbon = "grams unknown" if self.carbon_g is None else format_si(kwh * self.carbon_g, "g")
        money = (
            "cost unknown (no tariff)" if self.money is None else f"{kwh * self.money:.2f} {self.currency}"
        )
        return f"{kwh:.3g} kWh, {carbon}, {money} a day"


def _prices() -> tuple[_Price, _Price]:
    """Return what a kWh costs here that a device draws (losses of the power supply included), and one at the wall."""
    kwh = Figure(JOULES_PER_KWH, JOULES_PER_KWH, JOULES_PER_KWH, Basis.ASSUMED, "a kilowatt-hour")
    place = wiring.place()
    cost = footprint({Component.GPU: kwh}, place, started_utc=datetime.now(UTC), duration_s=_DAY_S)
    carbon_g, money = (f.value if f else None for f in (cost.carbon_g, cost.cost))
    wall = JOULES_PER_KWH / cost.total_j.value if cost.total_j else 1.0
    currency = place.tariff.currency if place.tariff else ""
    source = cost.factors["intensity"].source if "intensity" in cost.factors else ""
    return (
        _Price(carbon_g, money, currency, source),
        _Price(
            None if carbon_g is None else carbon_g * wall,
            None if money is None else money * wall,
            currency,
            source,
        ),
    )


def _fields(packed: Packed, kind: Machine, jobs: Sequence[Small], idle: Sequence[Idle]) -> dict[str, Any]:
    return {
        "machine": asdict(kind),
        "jobs": [asdict(job) for job in jobs],
        "machines": [list(group) for group in packed.machines],
        "bound": packed.bound,
        "above_bound": packed.above_bound,
        "unplaced": list(packed.unplaced),
        "spared_w": packed.spared_w,
        "notes": list(packed.notes),
        "idle_per_day": [asdict(device) for device in idle],
    }


def _text(
    packed: Packed,
    kind: Machine,
    jobs: Sequence[Small],
    idle: Sequence[Idle],
    device: _Price,
    wall: _Price,
) -> str:
    used = {job.name: job for job in jobs}
    rows = [
        [
            str(number),
            *_sums([used[name] for name in group], kind),
            ", ".join(plain(name, 40) for name in group),
        ]
        for number, group in enumerate(packed.machines, 1)
    ]
    parts = []
    if rows:
        parts.append(
            table(rows, ("machine", "cores", "memory", "GPU", "GPU memory", "jobs"), right=(0, 1, 2, 3, 4))
        )
        count = len(packed.machines)
        said = (
            f"{len(jobs) - len(packed.unplaced)} jobs on {count} machine{'' if count == 1 else 's'} of {plain(kind.name, 60)}; "
            f"at least {packed.bound} are needed ({packed.above_bound:.0%} above)"
        )
        if packed.spared_w:
            said += f"; against a machine for each job, {wall.of(packed.spared_w * _DAY_S)} of standing by are spared"
        parts.append(said)
    parts += [f"left out: {plain(name, 60)} fits no such machine" for name in packed.unplaced]
    parts += [f"note: {note}" for note in packed.notes]
    if idle:
        parts.append(
            "\n".join(
                f"idle: {plain(d.name, 60)}, held by {plain(d.holder, 40)}: {device.of(d.energy_j)}"
                for d in idle
            )
        )
    if wall.source and (packed.spared_w or idle):
        parts.append(f"grams: {plain(wall.source, 120)}")
    return "\n\n".join(parts)


def _sums(group: Sequence[Small], kind: Machine) -> list[str]:
    gpu = sum(j.gpu for j in group)
    return [
        f"{sum(j.cores for j in group):.1f} of {kind.cores:g}",
        f"{format_bytes(sum(j.memory_bytes for j in group))} of {format_bytes(kind.memory_bytes)}",
        f"{gpu:.2f} of {kind.gpus}" if kind.gpus else "",
        format_bytes(sum(j.gpu_memory_bytes for j in group)) if kind.gpus else "",
    ]
