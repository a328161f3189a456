"""Recordings made of a few numbers, for tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from joulewise.vocabulary.recording import (
    Device,
    End,
    EndState,
    Machine,
    Point,
    Recording,
    Span,
    Ticks,
)


def recording(
    devices: Sequence[Device],
    watts: Mapping[str, float],
    *,
    seconds: int = 10,
    work_cpus: float = 1.0,
    busy_cpus: float | None = None,
    gpu_share: float | None = None,
    spans: Sequence[Span] = (),
    points: Sequence[Point] = (),
    name: str = "test",
) -> Recording:
    """Return a recording of constant power, one tick a second, on a machine of four CPUs and 16 GB."""
    times = [float(t) for t in range(seconds + 1)]
    busy = work_cpus if busy_cpus is None else busy_cpus
    gauges: dict[str, list[float | None]] = {
        "resident_bytes": [1e9 for _ in times],
        "memory_used_bytes": [4e9 for _ in times],
    }
    for device in devices:
        if device.component == "gpu":
            gauges[f"gpu_work_share:{device.id}"] = [gpu_share for _ in times]
            gauges[f"gpu_utilisation:{device.id}"] = [0.9 for _ in times]
    return Recording(
        run_id="20261123T080000-test-000000",
        name=name,
        role="run",
        started_utc=datetime(2026, 11, 23, 8, tzinfo=UTC),
        process="host-1",
        command=("python", "train.py"),
        metadata={},
        params={},
        machine=Machine(
            "host", 4, 4.0, 16_000_000_000, None, "Test CPU", virtual=False, facts={"chassis": "server"}
        ),
        devices=tuple(devices),
        missing=(),
        ticks=Ticks(
            times,
            {d.id: [watts[d.id] * t for t in times] for d in devices},
            {"work_cpu_s": [work_cpus * t for t in times], "busy_cpu_s": [busy * t for t in times]},
            gauges,
        ),
        spans=tuple(spans),
        points=tuple(points),
        notes=(),
        end=End(EndState.FINISHED, float(seconds), exit_code=0),
        interval_s=1.0,
    )
