"""What the serving periods of a ledger tell of each model: their recordings' last points added up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from joulewise.ledger.summary import Summary
from joulewise.vocabulary.figures import Figure, shared_total
from joulewise.vocabulary.recording import EndState


@dataclass(frozen=True, slots=True)
class Served:
    """A model's serving periods together. None is unknown.

    `idle` is the share of the server's CPU time while no request was inside; `awake` the share of the time since the
    first period in which a server was there at all (the rest it slept); joules are the server's at its devices.
    """

    model: str
    periods: int
    running: bool
    requests: int
    energy_j: Figure | None
    unknown: int
    idle: float | None
    hits: float | None
    awake: float
    served_s: float
    variants: tuple[tuple[str, float], ...]
    latest: str

    @property
    def each_j(self) -> Figure | None:
        """Joules of the server for one request, standing by included."""
        return (
            self.energy_j.scaled(1 / self.requests) if self.energy_j is not None and self.requests else None
        )


def gather(periods: Sequence[Summary]) -> list[Served]:
    """Return the models of these serving periods, the most joules first."""
    by_model: dict[str, list[Summary]] = {}
    for one in periods:
        model = (one.params or {}).get("model")
        by_model.setdefault(model if isinstance(model, str) else one.name, []).append(one)
    found = [_served(model, ones) for model, ones in by_model.items()]
    return sorted(found, key=lambda s: -(s.energy_j.value if s.energy_j is not None else 0.0))


def _served(model: str, periods: Sequence[Summary]) -> Served:
    counts: dict[str, float] = {}
    for one in periods:
        for name, value in (one.last_point or {}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                counts[name] = counts.get(name, 0.0) + value
    requests = int(counts.get("requests", 0))
    busy_s, idle_s = counts.get("requests_cpu_s", 0.0), counts.get("standing_by_cpu_s", 0.0)
    known = [p.energy_j for p in periods if p.energy_j is not None]
    served_s = sum(p.duration_s for p in periods)
    begin = min(p.started_utc for p in periods)
    end = max(p.started_utc + timedelta(seconds=p.duration_s) for p in periods)
    rows = {n.removeprefix("rows:"): v for n, v in counts.items() if n.startswith("rows:")}
    all_rows = sum(rows.values())
    latest = max(periods, key=lambda p: p.started_utc)
    return Served(
        model,
        len(periods),
        any(p.state is EndState.RUNNING for p in periods),
        requests,
        shared_total(known) if known else None,
        len(periods) - len(known),
        idle_s / (busy_s + idle_s) if busy_s + idle_s > 0 else None,
        (counts.get("cache_hits", 0.0) + counts.get("cache_shared", 0.0)) / requests
        if requests and "cache_hits" in counts
        else None,
        min(1.0, served_s / max(1e-9, (end - begin).total_seconds())),
        served_s,
        tuple(sorted(((n, v / all_rows) for n, v in rows.items()), key=lambda p: -p[1])) if all_rows else (),
        latest.run_id,
    )
