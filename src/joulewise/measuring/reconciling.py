"""Several recordings together, without counting a device twice.

Two recorders on one machine, or several ranks of one job, each record the machine's devices; each is right alone.
Read together, a device (told by its uuid, so also from other containers) counts once for every moment: its time is
covered by the first recording that has it, and the others add only what lies outside. What each work used is its
own, and adds up, unless one work ran inside another (its recorder was a process of the other's tree): then it is
part of the other and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from joulewise.measuring.accounting import Account
from joulewise.vocabulary.figures import Figure, shared_total, total
from joulewise.vocabulary.footprint import Footprint, combined
from joulewise.vocabulary.recording import Device, Recording


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Recordings together: the footprint of all work, the machines' joules with each device once, what was left out.

    `overlapping` names the devices that more than one recording saw at the same time; `inside` the run ids that
    are part of another run here.
    """

    footprint: Footprint
    devices: tuple[tuple[Device, Figure], ...]
    machine_j: Figure | None
    overlapping: tuple[str, ...]
    inside: tuple[str, ...]


def reconcile(accounts: Sequence[Account]) -> Reconciled:
    """Return several accounts as one. Raises ValueError when there is none."""
    inside = frozenset(_inside([a.recording for a in accounts]))
    own = [a for a in accounts if a.recording.run_id not in inside]
    parts: dict[str, list[tuple[Account, Device, Figure]]] = {}
    for account in sorted(accounts, key=lambda a: a.recording.started_utc):
        for device in account.devices:
            if device.total_j is not None and device.device.counted:
                key = device.device.uuid or f"{account.recording.machine.host}:{device.device.id}"
                parts.setdefault(key, []).append((account, device.device, device.total_j))
    devices, overlapping = [], []
    for seen in parts.values():
        figure, doubled = _once([(a.recording, d, f) for a, d, f in seen])
        devices.append((seen[0][1], figure))
        if doubled:
            overlapping.append(seen[0][1].id)
    sums: dict[str, list[Figure]] = {}
    for _device, figure in devices:
        sums.setdefault(figure.source, []).append(figure)
    return Reconciled(
        footprint=combined([a.footprint for a in own]),
        devices=tuple(devices),
        machine_j=total(shared_total(g) for g in sums.values()) if sums else None,
        overlapping=tuple(overlapping),
        inside=tuple(sorted(inside)),
    )


def _once(seen: Sequence[tuple[Recording, Device, Figure]]) -> tuple[Figure, bool]:
    """Return a device's joules over the union of its recordings' time, and whether any time was seen twice."""
    covered: list[tuple[float, float]] = []
    figures: list[Figure] = []
    doubled = False
    for recording, device, figure in seen:
        times = recording.ticks.t_s
        joules = recording.ticks.energy_j[device.id]
        begin = recording.started_utc.timestamp()
        new = 0.0
        for at in range(1, len(times)):
            one, other = joules[at - 1], joules[at]
            if one is None or other is None:
                continue
            start, end = begin + times[at - 1], begin + times[at]
            fresh = _uncovered(start, end, covered)
            doubled = doubled or fresh < (end - start) * 0.999
            new += max(0.0, other - one) * (fresh / (end - start) if end > start else 0.0)
        if figure.value > 0:
            figures.append(figure.scaled(min(1.0, new / figure.value)))
        if times:
            covered.append((begin + times[0], begin + times[-1]))
    return (shared_total(figures) if figures else seen[0][2]), doubled


def _uncovered(start: float, end: float, covered: Iterable[tuple[float, float]]) -> float:
    """Return how many seconds of a stretch no earlier recording covered."""
    free = [(start, end)]
    for begin, stop in covered:
        free = [
            piece for a, b in free for piece in ((a, min(b, begin)), (max(a, stop), b)) if piece[1] > piece[0]
        ]
    return sum(b - a for a, b in free)


def _inside(recordings: Sequence[Recording]) -> Iterable[str]:
    """Return the run ids whose recorder was a process of another recording's work."""
    ids = {r.run_id for r in recordings}
    return (r.run_id for r in recordings if r.metadata.get("inside_run") in ids)
