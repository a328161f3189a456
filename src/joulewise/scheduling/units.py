"""Units: what a machine has is counted in one unit, a processor, so that what is planned fits whichever is scarce."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from joulewise.vocabulary.ticket import Needs


def units_of(needs: Needs, room: Needs) -> int:
    """Return how many processors a job counts as where there is `room`: its largest share of what there is."""
    units = max(1, needs.cpus)
    if needs.gpus:
        units = max(units, ceil(needs.gpus / max(1, room.gpus) * room.cpus))
    if needs.memory_bytes and room.memory_bytes:
        units = max(units, ceil(needs.memory_bytes / room.memory_bytes * room.cpus - 1e-9))
    return units


def nodes_within(cpus: int, nodes: Sequence[Needs]) -> tuple[int, ...]:
    """Return the processors of each node, as far as they are the workers' to fill."""
    found = []
    for node in nodes:
        if cpus > 0 and node.cpus:
            found.append(min(cpus, node.cpus))
            cpus -= found[-1]
    return tuple(found)
