"""Sharing a machine: what like runs used and how a job does now, from recordings; which GPUs may be shared, from the driver."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from joulewise.wiring.ledger import refresh

if TYPE_CHECKING:
    from joulewise.ledger.store import Store
    from joulewise.scheduling.floor import Sharing
    from joulewise.scheduling.sharing import Seen, Usage
    from joulewise.vocabulary.recording import Recording
    from joulewise.vocabulary.ticket import Ticket

LEAST_RUNS = 2  # one run may have been an odd one
_MOST_RUNS = 5
_GPU_TICKS = 30


def sharing(ledger: Store, gpu_count: int, say: Callable[[str], None]) -> Sharing:
    """Return how jobs may share this machine; what is wrong with its GPUs is said once."""
    from joulewise.launching.gpus import gpus
    from joulewise.scheduling.floor import Sharing
    from joulewise.scheduling.sharing import Device

    found = gpus(gpu_count)
    for fault in found.faults:
        say(fault)
    devices = tuple(Device(n, one.memory_bytes, bool(one.sharing)) for n, one in enumerate(found.devices))
    folders: dict[str, Path] = {}
    return Sharing(
        lambda ticket: usual(ledger, ticket),
        lambda _ticket, key: _look(ledger, key, folders),
        devices,
        found.environment if devices else None,
    )


def usual(ledger: Store, ticket: Ticket) -> Usage | None:
    """Return what the last finished runs of a ticket's command used; None where fewer than two were recorded."""
    from joulewise.ledger.files import read_recording
    from joulewise.ledger.index import like_runs
    from joulewise.measuring.metadata import redacted
    from joulewise.scheduling.consolidate import measured_run
    from joulewise.scheduling.sharing import Usage
    from joulewise.vocabulary.errors import LedgerError, UsageError

    refresh(ledger)
    used, rates = [], []
    for run in like_runs(ledger, shlex.join(redacted(ticket.argv))[:500], _MOST_RUNS):
        try:
            recording = read_recording(Path(run.folder))
            used.append(measured_run(recording))
        except (OSError, LedgerError, UsageError):  # pruned, or too short for a tick: it tells nothing
            continue
        rates.append(_rates(recording))
    if len(used) < LEAST_RUNS:
        return None
    return Usage(
        max(u.cores for u in used),
        max(u.memory_bytes for u in used),
        max(u.gpu for u in used),
        max(u.gpu_memory_bytes for u in used),
        {unit: median(r[unit] for r in rates) for unit in ("step", "cpu") if all(unit in r for r in rates)},
        len(used),
    )


def _look(ledger: Store, key: str, folders: dict[str, Path]) -> Seen | None:
    """Return how an attempt does, by its recording; None where it has none yet."""
    from joulewise.ledger.files import read_recording
    from joulewise.ledger.index import tagged_runs
    from joulewise.vocabulary.errors import LedgerError

    if key not in folders:
        refresh(ledger)
        runs = tagged_runs(ledger, f"job:{key}")
        if not runs:
            return None
        folders[key] = Path(runs[0].folder)
    try:
        return seen(read_recording(folders[key]))
    except (OSError, LedgerError):
        folders.pop(key)
        return None


def seen(recording: Recording) -> Seen | None:
    """Return a recording as it stands: its progress by unit, and how busy its GPUs were over the last half minute."""
    from joulewise.scheduling.sharing import Seen

    ticks = recording.ticks
    if not ticks.t_s:
        return None
    busy = [
        max(
            (value or 0.0) * (1.0 if share is None else share)
            for value, share in zip(values, shares, strict=True)
        )
        for name, told in ticks.gauges.items()
        if name.startswith("gpu_utilisation:") and any(v is not None for v in told)
        for values in [told[-_GPU_TICKS:]]
        for shares in [
            ticks.gauges.get(f"gpu_work_share:{name.partition(':')[2]}", [None] * len(told))[-len(values) :]
        ]
    ]
    return Seen(ticks.t_s[-1], _progress(recording), max(busy, default=None))


def _progress(recording: Recording) -> dict[str, float]:
    cpu_s = [v for v in recording.ticks.counters.get("work_cpu_s", []) if v is not None]
    steps = [v for p in recording.points if isinstance(v := p.values.get("step"), int | float)]
    told = {"cpu": cpu_s[-1]} if cpu_s else {}
    return told | ({"step": float(max(steps))} if steps else {})


def _rates(recording: Recording) -> dict[str, float]:
    length_s = recording.ticks.t_s[-1] if recording.ticks.t_s else 0.0
    return {unit: amount / length_s for unit, amount in _progress(recording).items()} if length_s > 0 else {}
