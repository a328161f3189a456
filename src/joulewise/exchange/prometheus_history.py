"""What a Prometheus has kept: the power of machines over days and months, as recordings, one a machine and stretch.

Presets are those of the meter (`dcgm`, `kepler`), and `ipmi` (the whole node's watts) and `rapl` (node_exporter's joules). Any
other expression is read in the unit and as the component that the user says. Watts are integrated between samples, counters
added up with their resets, a gap of more than five steps tells nothing. The sensor of a whole node stands as `other` with the
boundary `node`: import a node's sensor or its parts, not both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, final

from joulewise.exchange.imported import Imported
from joulewise.measuring.meters.counter import GrowingCounter, IntegratedPower
from joulewise.measuring.meters.prometheus import PRESETS, Place, Sample, Series, joules
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Boundary
from joulewise.vocabulary.recording import Component, Device

UNITS: Mapping[str, float | None] = {"W": None, "J": 1.0, "mJ": 1e-3, "Wh": 3.6e3, "kWh": 3.6e6}
HOST_LABELS = (
    "Hostname", "node_name", "nodename", "node", "instance", "exported_instance", "kubernetes_node", "host",
)  # fmt: skip
_OWN = {
    "ipmi": ("ipmi_dcmi_power_consumption_watts", Component.OTHER, "W"),
    "rapl": ("node_rapl_package_joules_total", Component.CPU, "J"),
}
_MOST_SAMPLES = 10_000  # a series in one answer: Prometheus gives at most 11,000
_GAP_STEPS = 5
_IMPOSSIBLE_W = 50_000.0
_ARMS = {
    "dcgm": 0.05,
    "kepler": 0.05,
    "rapl": 0.05,
}  # as our own counters; else the sensor's error is not known
_UNKNOWN_ARM = 0.10


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask: an expression, what makes devices of its samples, and the error of the instrument behind it."""

    expression: str
    series: Callable[[Iterable[Sample], Place], dict[str, Series]]
    arm: float

    @property
    def key(self) -> str:
        """What tells it from another question to the same server."""
        return self.expression


def question(query: str, unit: str = "W", component: Component = Component.OTHER) -> Question:
    """Return a preset by name, or a user's own expression in `unit` as `component`."""
    if unit not in UNITS:
        raise UnknownName("unit", unit, UNITS)
    if query in PRESETS:
        names, series = PRESETS[query]
        return Question(" or ".join(names), series, _ARMS[query])
    if query in _OWN:
        expression, component, unit = _OWN[query]
        return Question(expression, _plain(component, unit), _ARMS.get(query, _UNKNOWN_ARM))
    return Question(query, _plain(component, unit), _UNKNOWN_ARM)


def _plain(component: Component, unit: str) -> Callable[[Iterable[Sample], Place], dict[str, Series]]:
    node = component is Component.OTHER
    counted = joules(component)
    boundary = Boundary.NODE if node else Boundary.DEVICE

    def series(samples: Iterable[Sample], place: Place) -> dict[str, Series]:
        found = counted(samples, place)
        return {
            key: replace(one, device=replace(one.device, boundary=boundary), unit_j=UNITS[unit])
            for key, one in found.items()
        }

    return series


def windows(start: datetime, end: datetime, step_s: float) -> Iterator[tuple[datetime, datetime]]:
    """Yield the stretches in which a server can be asked, each with at most so many samples a series."""
    longest = timedelta(seconds=step_s * _MOST_SAMPLES)
    while start < end:
        yield start, min(end, start + longest)
        start = min(end, start + longest)


def without(
    start: datetime, end: datetime, covered: Iterable[tuple[datetime, datetime]]
) -> list[tuple[datetime, datetime]]:
    """Return what is left of a stretch when the `covered` ones are taken out: what was imported before is not again."""
    free = [(start, end)]
    for begin, stop in covered:
        free = [
            piece for a, b in free for piece in ((a, min(b, begin)), (max(a, stop), b)) if piece[1] > piece[0]
        ]
    return free


def samples_of(answer: Any) -> dict[str, dict[float, list[Sample]]]:
    """Return the samples of an answer to query_range by machine and time; UsageError for an answer that is none."""
    try:
        if answer["status"] != "success":
            raise UsageError(f"Prometheus says: {' '.join(str(answer.get('error', answer['status'])).split())}")  # fmt: skip
        if answer["data"]["resultType"] != "matrix":
            raise UsageError(
                f"the answer is a {answer['data']['resultType']}, but the query must give a series over time"
            )
        rows = [(row["metric"], row["values"]) for row in answer["data"]["result"]]
    except (TypeError, KeyError) as error:
        raise UsageError("the answer is not a Prometheus server's (is the URL right?)") from error
    found: dict[str, dict[float, list[Sample]]] = {}
    for metric, values in rows:
        host = next((str(metric[label]) for label in HOST_LABELS if label in metric), "prometheus")
        labels = {k: v for k, v in metric.items() if k != "__name__"}
        at = found.setdefault(host, {})
        for t_s, text in values:
            value = float(text)
            if math.isfinite(value):
                at.setdefault(float(t_s), []).append(Sample(metric.get("__name__", ""), labels, value))
    return found


def record(
    host: str,
    samples: Mapping[float, Sequence[Sample]],
    asked: Question,
    source: str,
    stretch: tuple[datetime, datetime],
    step_s: float,
) -> Imported | None:
    """Return the record of one machine over a stretch; None where it was not seen twice."""
    place = Place(host, host)
    devices: dict[str, Device] = {}
    used: dict[str, _Used] = {}
    ticks: list[tuple[float, dict[str, float]]] = []
    begin_s = stretch[0].timestamp()
    for t_s in sorted(samples):
        now: dict[str, float] = {}
        for key, one in asked.series(samples[t_s], place).items():
            devices.setdefault(key, _whole(one.device, asked.arm))
            now[key] = used.setdefault(key, _Used()).add(one, t_s, _GAP_STEPS * step_s)
        ticks.append((t_s - begin_s, now))
    if len(ticks) < 2:
        return None
    names = list(devices)
    return Imported(
        tool="prometheus",
        name=host.partition(":")[0] or "prometheus",
        started_utc=stretch[0],
        duration_s=(stretch[1] - stretch[0]).total_seconds(),
        energy_j={},
        machine={"host": host},
        metadata={"prometheus": source, "query": asked.expression},
        params={"tags": [series_tag(host, asked, source)], "step_s": step_s},
        identity=f"{series_tag(host, asked, source)} {stretch[0].isoformat()} {stretch[1].isoformat()}",
        devices=tuple(devices.values()),
        series=tuple((t_s, tuple(now.get(name) for name in names)) for t_s, now in ticks),
    )


def series_tag(host: str, asked: Question, source: str) -> str:
    """Return the tag by which a machine's imports of one question are found again."""
    import hashlib

    told = json.dumps([source, asked.key, host])
    return f"prometheus-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


@final
class _Used:
    """One device's joules over a stretch: what a counter says, and before there was one, watts integrated."""

    def __init__(self) -> None:
        self._counter: GrowingCounter | None = None
        self._power: IntegratedPower | None = None
        self._before_j = 0.0  # of powers that ended at a gap
        self._at_s = -math.inf

    def add(self, one: Series, t_s: float, gap_s: float) -> float:
        """Take in a sample and return the joules so far; over a gap watts tell nothing, a counter tells all."""
        gap = t_s - self._at_s > gap_s
        self._at_s = t_s
        if one.unit_j is not None:
            if self._counter is None:
                self._counter = GrowingCounter(one.value, t_s, unit_j=one.unit_j, limit_w=_IMPOSSIBLE_W)
            else:
                self._counter.add(one.value, t_s)
        elif self._counter is None:
            if self._power is None or gap:
                self._before_j += self._power.used_j if self._power else 0.0
                self._power = IntegratedPower(one.value, t_s)
            else:
                self._power.add(one.value, t_s)
        parts = (part.used_j for part in (self._counter, self._power) if part is not None)
        return self._before_j + sum(parts)


def _whole(device: Device, arm: float) -> Device:
    return replace(
        device, error_low=arm, error_high=arm, meter="imported", model={**device.model, "whole": True}, note=""
    )  # fmt: skip


def utc(moment: datetime) -> str:
    """Return a moment as Prometheus takes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
