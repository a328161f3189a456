"""`joulewise top`: who uses the machine now, who holds its GPUs, and what its idle hardware costs. Read-only.

Two samples of /proc and of the meters, a moment apart; `overview` computes what is shown from them and from nothing
else. A process's watts are its part of what the processors draw above standing by (in proportion to CPU seconds) and
of the GPUs that it uses; standing by is charged to nobody and shown as what it costs a day.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

import click

from joulewise import wiring
from joulewise.catalogue.place import Place
from joulewise.catalogue.pricing import footprint
from joulewise.cli.output import (
    UNKNOWN,
    echo,
    echo_json,
    figure_fields,
    figure_text,
    json_option,
    plain,
    table,
)
from joulewise.measuring.attribution import Attribution, DeviceSplit
from joulewise.measuring.counters import MachineCounters
from joulewise.measuring.machine import machine as this_machine
from joulewise.measuring.metadata import redacted
from joulewise.measuring.meters.nvml import work_share
from joulewise.measuring.meters.port import Meter, UsedMeter
from joulewise.measuring.process_tree import TICKS_PER_S, read_small
from joulewise.settings import Settings
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure, total
from joulewise.vocabulary.quantities import format_bytes, format_figure, format_money
from joulewise.vocabulary.recording import Component, Device, GpuUsage, Machine

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_DAY_S = 86_400.0
_LEAST_INTERVAL_S = 0.2
_DRAWN = (Component.CPU, Component.MEMORY, Component.GPU, Component.NODE)
_CLEAR = "\x1b[H\x1b[2J"


@dataclass(frozen=True, slots=True)
class Process:
    """One process at a moment: CPU seconds since it started, bytes in memory, whose it is."""

    pid: int
    uid: int
    started: int
    cpu_s: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything at one moment. `gpus` and `gpu_busy` are by device: its use, and each process's part of its time."""

    t_s: float
    energy_j: Mapping[str, float | None]
    counters: Mapping[str, float | None]
    processes: Mapping[int, Process]
    gpus: Mapping[str, GpuUsage] = field(default_factory=dict)
    gpu_busy: Mapping[str, Mapping[int, float] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses the machine, or holds a GPU: mean CPUs, watts above standing by (None: unknown)."""

    process: Process
    cpus: float
    power_w: Figure | None
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """A device now: watts, how much it is used (0 to 1), who holds it, and what standing by costs a day at the wall."""

    device: Device
    power_w: Figure | None
    used: float | None
    holders: tuple[int, ...] | None
    idle_w: Figure | None
    idle_day_j: Figure | None
    idle_day_cost: Figure | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Who uses and who holds what between two samples; `unseen_cpus` ran in processes that are not seen here."""

    span_s: float
    cpus: int | None
    busy_cpus: float | None
    power_w: Figure | None  # of all devices that count
    users: tuple[User, ...]
    unseen_cpus: float | None
    devices: tuple[Standing, ...]
    idle_w: Figure | None
    idle_day_j: Figure | None
    idle_day_cost: Figure | None
    currency: str
    cost_unknown: str


@click.command("top")
@click.option("--interval", metavar="SECONDS", type=float, help="Seconds between two looks (2).")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Look so many times, then end.")
@click.option("--once", is_flag=True, help="Look once, then end.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=15,
    show_default=True,
    help="Show so many processes at most.",
)
@json_option
def command(interval: float | None, count: int | None, once: bool, limit: int, as_json: bool) -> None:
    """Show who uses and who holds what now, and what standing by costs a day.

    Looks again and again on a terminal, until Ctrl-C; once where there is none, unless --interval or --count say
    otherwise. Read-only; all users' processes are shown where the system permits. With --json one look.
    """
    if interval is not None and not _LEAST_INTERVAL_S <= interval <= _DAY_S:
        raise UsageError(
            f"--interval is {interval:g}, but must be from {_LEAST_INTERVAL_S:g} to {_DAY_S:g} seconds"
        )
    if (once or as_json) and count not in (None, 1):
        raise UsageError(
            f"--count is {count}, but {'--once' if once else '--json'} looks once; leave one of them out"
        )
    terminal = sys.stdout.isatty()
    if once or as_json or (not terminal and interval is None and count is None):
        count = 1
    settings = wiring.settings()
    try:
        _look(settings, interval or 2.0, count, limit, as_json=as_json, clear=terminal and count != 1)
    except KeyboardInterrupt:
        return


def _look(
    settings: Settings, interval_s: float, count: int | None, limit: int, *, as_json: bool, clear: bool
) -> None:
    place = wiring.place(chosen=settings)
    here = this_machine()
    watcher = Watcher([m for _name, found in wiring.survey(settings, os.getpid()) for m in found.meters])
    try:
        before = watcher.sample()
        looked = 0
        while count is None or looked < count:
            time.sleep(interval_s)
            after = watcher.sample()
            seen = overview(before, after, watcher.devices, here, place, datetime.now(UTC))
            if as_json:
                echo_json(_fields(seen))
            else:
                echo(
                    f"{_CLEAR if clear else ''}{render(seen, limit)}{'' if clear or count == 1 else chr(10)}"
                )
                sys.stdout.flush()
            before, looked = after, looked + 1
    finally:
        watcher.close()


@runtime_checkable
class _Sharing(Protocol):
    """A meter that tells each process's part of its device's time."""

    def process_utilisation(self) -> dict[int, float] | None:
        """Return for each process id how much of the device's time it used since the last call."""


class Watcher:
    """Takes samples of the meters that draw power at all times, and of /proc."""

    def __init__(self, meters: Sequence[Meter], proc: str = "/proc") -> None:
        for meter in meters:
            if meter.device.component not in _DRAWN:
                meter.close()
        self._meters = [m for m in meters if m.device.component in _DRAWN]
        self._proc = proc
        self._counters = MachineCounters(os.getpid(), proc)
        self.devices = tuple(m.device for m in self._meters)

    def sample(self) -> Sample:
        """Return everything as it is now."""
        t_s = time.monotonic()
        readings = [meter.read() for meter in self._meters]
        counters = self._counters.sample(t_s)
        used = {m.device.id: m for m in self._meters if isinstance(m, UsedMeter)}
        return Sample(
            t_s,
            {r.device: r.energy_j for r in readings},
            counters,
            read_processes(self._proc),
            {name: meter.usage() for name, meter in used.items()},
            {n: m.process_utilisation() if isinstance(m, _Sharing) else None for n, m in used.items()},
        )

    def close(self) -> None:
        """Give the meters back."""
        for meter in self._meters:
            meter.close()


def read_processes(proc: str = "/proc") -> dict[int, Process]:
    """Return the processes that this user may see."""
    found = {}
    for name in filter(str.isdecimal, os.listdir(proc)):
        fields = read_small(f"{proc}/{name}/stat").rpartition(b")")[2].split()
        if len(fields) < 22:
            continue  # it has ended meanwhile
        found[int(name)] = Process(
            int(name),
            _uid(f"{proc}/{name}"),
            int(fields[19]),
            (int(fields[11]) + int(fields[12])) / TICKS_PER_S,
            int(fields[21]) * _PAGE_BYTES,
        )
    return found


def overview(
    before: Sample,
    after: Sample,
    devices: Sequence[Device],
    machine: Machine,
    place: Place,
    now_utc: datetime,
) -> Overview:
    """Return who uses and who holds what between two samples, and what standing by costs a day. Pure."""
    span_s = max(1e-3, after.t_s - before.t_s)
    used_s = _used(before, after)
    counted_s = _grown(before.counters, after.counters, "busy_cpu_s")
    busy_s = None if counted_s is None else max(counted_s, sum(used_s.values()))
    parts = _split(before, after, devices, machine, busy_s)
    above_j = _sum([p.work_j for p in parts if p.device.component is Component.CPU and p.device.counted])
    gpus = {p.device.id: p for p in parts if p.device.component is Component.GPU}
    users = []
    for pid, process in after.processes.items():
        holds = tuple(d for d in gpus if pid in (after.gpus[d].process_ids or ())) if gpus else ()
        cpu_s = used_s.get(pid, 0.0)
        if cpu_s > 0 or holds:
            joules = [above_j.scaled(cpu_s / busy_s)] if above_j is not None and busy_s else []
            joules += [j for d in holds if (j := _of_gpu(gpus[d], after, pid)) is not None]
            power_w = total(joules).scaled(1 / span_s) if joules else None
            users.append(User(process, cpu_s / span_s, power_w, holds))
    users.sort(key=lambda u: (-(u.power_w.value if u.power_w else 0.0), -u.cpus, u.process.pid))
    standing = [_standing(p, after, machine, busy_s, span_s, place, now_utc) for p in parts]
    idle = {
        c: f
        for c in Component
        if (f := _sum([s.idle_w for s in standing if s.device.component is c and s.device.counted]))
        is not None
    }
    day_j, cost = _per_day(idle, place, now_utc)
    return Overview(
        span_s=span_s,
        cpus=machine.cpus,
        busy_cpus=None if busy_s is None else busy_s / span_s,
        power_w=_sum([s.power_w for s in standing if s.device.counted]),
        users=tuple(users),
        unseen_cpus=None if busy_s is None else max(0.0, busy_s - sum(used_s.values())) / span_s,
        devices=tuple(standing),
        idle_w=_sum(list(idle.values())),
        idle_day_j=day_j,
        idle_day_cost=cost,
        currency=place.tariff.currency if place.tariff else "",
        cost_unknown=place.tariff_unknown,
    )


def _split(
    before: Sample, after: Sample, devices: Sequence[Device], machine: Machine, busy_s: float | None
) -> tuple[DeviceSplit, ...]:
    """Return each device's joules in use and standing by: all that is used counts as one work."""
    attribution = Attribution(devices, machine)
    began_s = before.counters.get("busy_cpu_s")
    for sample, used_s in ((before, 0.0), (after, busy_s)):
        busy = None if began_s is None or used_s is None else began_s + used_s
        memory = sample.counters.get("memory_used_bytes")
        gauges: dict[str, float | None] = {"resident_bytes": memory, "memory_used_bytes": memory}
        for device, usage in after.gpus.items():
            told = [before.gpus.get(device, usage).utilisation, usage.utilisation]
            known = [u for u in told if u is not None]
            gauges[f"gpu_utilisation:{device}"] = max(known, default=None)
            gauges[f"gpu_work_share:{device}"] = float(max(known) > 0) if known else None
        # the work's own seconds count from its beginning: here the first sample
        counters = {"work_cpu_s": used_s, "busy_cpu_s": busy}
        attribution.add(sample.t_s, sample.energy_j, counters, gauges, last=sample is after)
    return attribution.split().devices


def _standing(
    part: DeviceSplit,
    after: Sample,
    machine: Machine,
    busy_s: float | None,
    span_s: float,
    place: Place,
    now_utc: datetime,
) -> Standing:
    device = part.device
    usage = after.gpus.get(device.id)
    memory = after.counters.get("memory_used_bytes")
    used = None
    idle_w = part.idle_j.scaled(1 / span_s) if part.idle_j is not None else None
    if usage is not None:
        used = usage.utilisation
        idle_w = None if used is None else idle_w
    elif device.component is Component.CPU and busy_s is not None and machine.cpus:
        used = min(1.0, busy_s / span_s / machine.cpus)
    elif device.component is Component.MEMORY and memory is not None and machine.memory_bytes:
        used = min(1.0, memory / machine.memory_bytes)
    day_j, cost = _per_day({device.component: idle_w} if idle_w is not None else {}, place, now_utc)
    return Standing(
        device,
        part.total_j.scaled(1 / span_s) if part.total_j is not None else None,
        used,
        usage.process_ids if usage is not None else None,
        idle_w,
        day_j,
        cost,
    )


def _per_day(
    idle_w: Mapping[Component, Figure], place: Place, now_utc: datetime
) -> tuple[Figure | None, Figure | None]:
    """Return joules at the wall and money of a day of these watts."""
    if not idle_w:
        return None, None
    joules = {component: figure.scaled(_DAY_S) for component, figure in idle_w.items()}
    cost = footprint(joules, place, started_utc=now_utc, duration_s=_DAY_S)
    return cost.total_j, cost.cost


def _of_gpu(part: DeviceSplit, after: Sample, pid: int) -> Figure | None:
    device = part.device.id
    share = work_share(after.gpus[device].process_ids, (pid,), after.gpu_busy.get(device) or None)
    return None if share is None or part.work_j is None else part.work_j.scaled(share)


def _used(before: Sample, after: Sample) -> dict[int, float]:
    """Return the CPU seconds of each living process since the first sample (since its start if it is younger)."""
    used = {}
    for pid, now in after.processes.items():
        old = before.processes.get(pid)
        used[pid] = now.cpu_s - (old.cpu_s if old is not None and old.started == now.started else 0.0)
    return used


def _grown(before: Mapping[str, float | None], after: Mapping[str, float | None], name: str) -> float | None:
    old, new = before.get(name), after.get(name)
    return None if old is None or new is None else max(0.0, new - old)


def _sum(figures: Sequence[Figure | None]) -> Figure | None:
    known = [f for f in figures if f is not None]
    return total(known) if known else None


def render(seen: Overview, limit: int = 15, proc: str = "/proc") -> str:
    """Return an overview as text; the commands are read from `proc`."""
    busy = UNKNOWN if seen.busy_cpus is None else f"{seen.busy_cpus:.2f}"
    power = (
        f"{figure_text(seen.power_w, 'W')} {seen.power_w.basis.word}" if seen.power_w else f"power {UNKNOWN}"
    )
    parts = [f"{busy} of {UNKNOWN if seen.cpus is None else seen.cpus} CPUs busy · {power} at the devices"]
    rows = [_user_row(user, proc) for user in seen.users[:limit]]
    if len(seen.users) > limit:
        rest = seen.users[limit:]
        rows.append(["", "", f"{sum(u.cpus for u in rest):.2f}", "", "", "", f"{len(rest)} more processes"])
    if seen.unseen_cpus is not None and seen.unseen_cpus >= 0.005:
        rows.append(
            ["", "", f"{seen.unseen_cpus:.2f}", "", "", "", "ended meanwhile, or not seen by this user"]
        )
    heads = ("pid", "user", "CPUs", "power", "memory", "holds", "command")
    parts.append(table(rows, heads, right=(0, 2, 3, 4)) if rows else "No process used a CPU or holds a GPU.")
    heads = ("device", "basis", "power", "used", "held by", "stands by at", "a day at the wall")
    if seen.devices:
        rows = [_device_row(one, seen.users, seen.currency) for one in seen.devices]
        parts.append(table(rows, heads, right=(2, 3, 5)))
    if seen.idle_w is not None:
        day = _day_words(seen.idle_day_j, seen.idle_day_cost, seen.currency)
        why = f"; in money: {UNKNOWN}, {seen.cost_unknown}" if seen.idle_day_cost is None else ""
        parts.append(f"Standing by: {figure_text(seen.idle_w, 'W')}, {day} a day{why}")
    return "\n\n".join(parts)


def _user_row(user: User, proc: str) -> list[str]:
    return [
        str(user.process.pid),
        plain(_user_name(user.process.uid), 16),
        f"{user.cpus:.2f}",
        figure_text(user.power_w, "W"),
        format_bytes(user.process.resident_bytes),
        plain(" ".join(user.holds), 40),
        plain(command_of(user.process.pid, proc), 60),
    ]


def _device_row(one: Standing, users: Sequence[User], currency: str) -> list[str]:
    name = one.device.id if one.device.counted else f"{one.device.id} (not added)"
    used = "-" if one.used is None else f"{100 * one.used:.0f} %"
    return [
        plain(name, 40),
        one.device.basis.word,
        figure_text(one.power_w, "W"),
        used,
        _holders(one, users),
        "-" if one.idle_w is None else format_figure(one.idle_w, "W"),
        "-" if one.idle_w is None else _day_words(one.idle_day_j, one.idle_day_cost, currency),
    ]


def _holders(one: Standing, users: Sequence[User]) -> str:
    if one.device.component is not Component.GPU:
        return ""
    if one.holders is None:
        return "not told"
    owners = {u.process.pid: _user_name(u.process.uid) for u in users}
    named = [f"{pid} ({owners[pid]})" if pid in owners else str(pid) for pid in one.holders[:3]]
    return plain(", ".join(named) + (" ..." if len(one.holders) > 3 else "") or "nobody", 60)


def _day_words(joules: Figure | None, cost: Figure | None, currency: str) -> str:
    words = figure_text(joules, "J")
    return f"{words}, {format_money(cost, currency)}" if cost is not None else words


def command_of(pid: int, proc: str = "/proc") -> str:
    """Return a process's command without secrets; its name in brackets where it tells no command."""
    words = read_small(f"{proc}/{pid}/cmdline").rstrip(b"\0").decode("utf-8", "replace").split("\0")
    if words != [""]:
        return " ".join(redacted(words))
    stat = read_small(f"{proc}/{pid}/stat").decode("utf-8", "replace")
    return f"[{stat.partition('(')[2].rpartition(')')[0]}]"


def _uid(folder: str) -> int:
    """Return whose process it is: by its status, since the folder of some programs is root's."""
    for line in read_small(f"{folder}/status").splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[1])
    try:
        return os.stat(folder).st_uid
    except OSError:
        return -1


def _user_name(uid: int) -> str:
    from joulewise.cli.attach import user_name

    return user_name(uid) if uid >= 0 else UNKNOWN


def _fields(seen: Overview) -> dict[str, Any]:
    return {
        "span_s": seen.span_s,
        "cpus": seen.cpus,
        "busy_cpus": seen.busy_cpus,
        "power_w": figure_fields(seen.power_w),
        "processes": [
            {
                "pid": u.process.pid,
                "user": _user_name(u.process.uid),
                "command": plain(command_of(u.process.pid), 1000),
                "cpus": u.cpus,
                "power_w": figure_fields(u.power_w),
                "resident_bytes": u.process.resident_bytes,
                "holds": list(u.holds),
            }
            for u in seen.users
        ],
        "unseen_cpus": seen.unseen_cpus,
        "devices": [
            {
                "id": d.device.id,
                "component": d.device.component.value,
                "counted": d.device.counted,
                "basis": d.device.basis.word,
                "source": d.device.source,
                "power_w": figure_fields(d.power_w),
                "used": d.used,
                "held_by": None if d.holders is None else list(d.holders),
                "idle_w": figure_fields(d.idle_w),
                "idle_day_j": figure_fields(d.idle_day_j),
                "idle_day_cost": figure_fields(d.idle_day_cost),
            }
            for d in seen.devices
        ],
        "idle_w": figure_fields(seen.idle_w),
        "idle_day_j": figure_fields(seen.idle_day_j),
        "idle_day_cost": figure_fields(seen.idle_day_cost),
        "currency": seen.currency or None,
        "cost_unknown": seen.cost_unknown or None,
    }
