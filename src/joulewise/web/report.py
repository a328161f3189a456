"""One file that tells about one run: what it cost, when, by which phase, and how each figure is known.

`render` is pure: the same account gives the same page. The page is one HTML file below 300 kB for a run of any
length. It asks nothing of any network, and its content security policy forbids that to whatever might have
slipped into it; it is read without JavaScript, which only adds the read-out under the pointer.

Start reading at `render`; charts.py has the drawing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

from markupsafe import Markup

from joulewise.measuring.accounting import Account, Usage, cumulative_at
from joulewise.measuring.attribution import tenants_by_tick
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.footprint import Footprint
from joulewise.vocabulary.quantities import (
    figure_digits,
    format_bytes,
    format_duration,
    format_figure,
    format_money,
    format_si,
)
from joulewise.vocabulary.recording import Component, EndState, Point, Recording
from joulewise.web import charts
from joulewise.web.charts import Axis, Bin
from joulewise.web.templating import capped, clip, drawn, environment, policy, text_of

_MOST_BINS, _MOST_ROWS, _MOST_LANES, _MOST_LISTED, _MOST_POINTS = 240, 40, 8, 40, 300
_MOST_METRICS, _SPLIT_S = 3, 1.0  # attribution splits over a second at least
_LONGEST_COMMAND = 2000
_TICK_HEIGHT = 4

# From the ground up: this work's parts in colour, then what was not this work's.
_LAYERS = {
    "cpu": "processor",
    "gpu": "GPU",
    "memory": "memory",
    "storage": "storage",
    "network": "network",
    "other": "other parts",
    "unsplit": "not attributed",
    "others": "other tenants",
    "idle": "idle",
}
_COMPONENTS = {
    Component.CPU: "processor",
    Component.GPU: "GPU",
    Component.MEMORY: "memory",
    Component.STORAGE: "storage",
    Component.NETWORK: "network",
    Component.OTHER: "from the devices to the wall",
    Component.NODE: "whole node (beside the parts)",
}
_ENDS = {
    EndState.FINISHED: "finished",
    EndState.FAILED: "failed",
    EndState.KILLED: "killed",
    EndState.STOPPED: "stopped by its budget",
    EndState.RUNNING: "still running",
    EndState.LOST: "lost: the recorder was killed, what it had seen until then is here",
}
_COUNTED = frozenset(
    {"epoch", "step", "steps", "samples", "examples", "images", "tokens", "requests", "batch"}
)
_FACTORS = {
    "joules": ("Joules at the devices", "what this work used of processor, memory, GPU, storage and network"),
    "uplift": ("Uplift to the wall", "times this: power supply, fans, board"),
    "pue": ("PUE", "times this: the building's cooling and distribution"),
    "intensity": (
        "Carbon intensity",
        "grams for each kWh: location-based, an average and not a marginal value",
    ),
    "embodied": ("Making the hardware", "all of it; this run bears its share of the hardware's life"),
    "price": ("Price", "for each kWh at the facility"),
}
_FACTS = {
    "cwd": "folder",
    "joulewise_platform": "system",
    "git_revision": "git revision",
    "git_branch": "git branch",
    "git_dirty": "uncommitted changes",
    "python_version": "Python",
    "packages": "packages",
    "zone": "zone",
}


@dataclass(frozen=True, slots=True)
class _Power:
    """Power over time, cut into bins: watts of each layer, and of the whole machine with its extremes."""

    layers: Mapping[str, list[float]]
    machine: list[Bin]
    digits: int  # as many as the machine's interval carries

    @property
    def peak_w(self) -> float:
        """The largest power that is drawn."""
        stacked = [sum(column) for column in zip(*self.layers.values(), strict=True)]
        return max([*stacked, *(b.high for b in self.machine if b.high is not None)], default=0.0)

    def words(self, watts: float | None) -> str:
        """Return watts with the digits that are known."""
        return "not read" if watts is None else format_si(watts, "W", self.digits)


def render(account: Account) -> str:
    """Return the page about a run: one HTML document, complete in itself."""
    style, script = text_of("report.css"), text_of("report.js")
    page = {
        "style": Markup(style),  # noqa: S704 - ours, from the package
        "script": Markup(script),  # noqa: S704 - ours, from the package
        "policy": policy(style, script),
        **content(account),
    }
    return environment().get_template("report.html").render(page)


def content(account: Account) -> dict[str, Any]:
    """Return what `report_body.html` shows of a run: texts, figures in words and paths, by name."""
    recording, cost = account.recording, account.footprint
    end_s = _end_s(recording)
    until = tenants_by_tick(recording)
    power = _power(account, until, _MOST_BINS)
    return {
        "name": recording.name or recording.run_id,
        "run_id": recording.run_id,
        "started": f"{recording.started_utc:%Y-%m-%d %H:%M:%S} UTC",
        "duration": format_duration(recording.duration_s),
        "host": recording.machine.host,
        "state": recording.end.state.value,
        "state_words": _ENDS[recording.end.state],
        "end_words": _end_words(recording),
        "headline": _headline(cost),
        "carbon_note": cost.unknown.get("zone", ""),
        "power": _power_chart(power, end_s),
        "power_table": _power_table(_power(account, until, _MOST_ROWS)),
        "lanes": _lanes(account, end_s),
        "phases": [_phase_row(p) for p in account.phases[:_MOST_LISTED]],
        "more_phases": max(0, len(account.phases) - _MOST_LISTED),
        "learning": _learning(account, end_s),
        "components": _components(cost),
        "chain": _chain(cost),
        "devices": _devices(account),
        "factors": _factors(cost),
        "unknown": [(name, why) for name, why in cost.unknown.items() if why],
        "missing": capped([(m.source, m.why, m.remedy) for m in recording.missing]),
        "usage": _usage(account.usage, recording),
        "machine": _machine(recording),
        "metadata": _metadata(recording.metadata),
        "params": _metadata(recording.params),
        "command": clip(_command(recording), _LONGEST_COMMAND),
        "notes": capped([(format_duration(n.t_s), n.kind, n.text) for n in recording.notes]),
        "damage": capped(list(recording.damage)),
    }


def render_svg(account: Account) -> str:
    """Return one picture of a run: its three figures above its power over time, as an SVG file of its own."""
    end_s = _end_s(account.recording)
    power = _power(account, tenants_by_tick(account.recording), _MOST_BINS)
    return (
        environment()
        .get_template("run.svg")
        .render(
            name=account.recording.name,
            duration=format_duration(account.recording.duration_s),
            headline=_headline(account.footprint),
            power=_power_chart(power, end_s),
            lanes=_lanes(account, end_s)[:4],
        )
    )


# --- what the templates are given ---------------------------------------------------------------------------


def _end_s(recording: Recording) -> float:
    return max([recording.duration_s, *recording.ticks.t_s[-1:]])


def _end_words(recording: Recording) -> str:
    end = recording.end
    parts = [_ENDS[end.state], f"after {format_duration(recording.duration_s)}"]
    if end.exit_code is not None:
        parts.append(f"with exit code {end.exit_code}")
    if end.signal is not None:
        parts.append(f"by signal {end.signal}")
    return " ".join(parts) + (f": {clip(end.reason)}" if end.reason else "")


def _parts(text: str) -> tuple[str, str]:
    """Return a printed figure's value and its interval: `4.2 kJ (3.1–5.6)` is `4.2 kJ` and `3.1–5.6`."""
    value, _, interval = text.partition(" (")
    return value, interval.removesuffix(")")


def _figure(title: str, figure: Figure | None, text: str, unknown: str, note: str = "") -> dict[str, Any]:
    value, interval = _parts(text)
    number, _, unit = value.partition(" ")
    top = figure.high if figure is not None and figure.high > 0 else 1.0
    shares = (figure.low / top, figure.value / top) if figure is not None and isfinite(top) else (0.0, 1.0)
    return {
        "title": title,
        "known": figure is not None,
        "number": number,
        "long": len(number) > 6,
        "unit": unit,
        "interval": interval,
        "basis": figure.basis.word if figure is not None else "unknown",
        "why": unknown,
        "note": note,
        "low": f"{100 * shares[0]:.1f}%",
        "width": f"{100 - 100 * shares[0]:.1f}%",
        "at": f"{100 * shares[1]:.1f}%",
    }


def _headline(cost: Footprint) -> list[dict[str, Any]]:
    facility = ""
    if cost.facility_j is not None:
        facility = f"at the wall; {format_figure(cost.facility_j, 'J')} with the building"
    embodied = "making the hardware: unknown"
    if cost.embodied_g is not None:
        embodied = f"from electricity; {format_figure(cost.embodied_g, 'g')} more for making the hardware"
    no_energy = cost.unknown.get("joules", "the energy is not known")
    price = ""
    if "price" in cost.factors:
        price = f"at {_price_words(cost.factors['price'], cost.currency)}, with the building"
    return [
        _figure("Energy", cost.total_j, _print(cost.total_j, "J"), no_energy, facility),
        _figure("Carbon", cost.carbon_g, _print(cost.carbon_g, "g CO₂e"), no_energy, embodied),
        _figure(
            "Money",
            cost.cost,
            format_money(cost.cost, cost.currency) if cost.cost is not None else "",
            cost.unknown.get("cost", no_energy),
            price,
        ),
    ]


def _print(figure: Figure | None, unit: str) -> str:
    return format_figure(figure, unit) if figure is not None else ""


def _power(account: Account, until: Mapping[str, list[float]], most: int) -> _Power:
    """Return the run's power in at most `most` bins: means by layer (joules are kept), extremes of the machine."""
    ticks, series = account.recording.ticks, account.power_series
    edges = charts.bin_edges(ticks.t_s, most, _SPLIT_S)
    spans = [(a, b, max(1e-9, ticks.t_s[b] - ticks.t_s[a])) for a, b in pairwise(edges)]
    layers = {
        name: [max(0.0, until[name][b] - until[name][a]) / span_s for a, b, span_s in spans]
        for name in _LAYERS
        if until.get(name) and until[name][-1] > 0
    }
    rates = [_known_sum(column) for column in zip(*series.watts.values(), strict=True)]
    machine = charts.downsample(ticks.t_s, rates, edges) if rates else []
    whole = account.footprint.machine_j
    return _Power(layers, machine, figure_digits(whole) if whole is not None else 2)


def _known_sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(v for v in known if v is not None)


def _power_chart(power: _Power, end_s: float) -> dict[str, Any] | None:
    """Return all that the templates need to draw power over time; None where there is nothing to draw."""
    bins = power.machine
    if not bins or not power.layers:
        return None
    watts = charts.value_axis(0.0, power.peak_w, charts.watt_label, _TICK_HEIGHT)
    time = charts.time_axis(end_s)
    sides = [(time.at(b.start_s), time.at(b.end_s)) for b in bins]
    stacked, below = [], [0.0] * len(bins)
    for name, column in power.layers.items():
        below = [a + b for a, b in zip(below, column, strict=True)]
        path = charts.steps([(*side, watts.at(w)) for side, w in zip(sides, below, strict=True)])
        stacked.append({"key": name, "label": _LAYERS[name], "path": drawn(path)})
    extremes = [
        (*side, watts.at(b.low), watts.at(b.high))
        for side, b in zip(sides, bins, strict=True)
        if b.low is not None and b.high is not None
    ]
    unread_s = sum((b.end_s - b.start_s) - b.known_s for b in bins)
    known = [b for b in bins if b.mean is not None]
    mean_w = _mean(known)
    peak_w = max((b.high for b in known if b.high is not None), default=None)
    return {
        "layers": stacked[::-1],
        "legend": [_legend(name, power, end_s) for name in power.layers],
        "extremes": drawn(charts.band(extremes)),
        "watts": ticks(watts),
        "time": ticks(time),
        "unread": f"{100 * unread_s / end_s:.0f} %" if end_s > 0 and unread_s > 0.005 * end_s else "",
        "words": f"The machine drew {power.words(mean_w)} on average and {power.words(peak_w)} at most "
        f"over {format_duration(end_s)}.",
        "data": {
            "end": end_s,
            "at": [round(b.end_s, 3) for b in bins],
            "times": [format_duration(b.end_s) for b in bins],
            "names": [_LAYERS[name] for name in power.layers],
            "keys": list(power.layers),
            "watts": [[power.words(w) for w in column] for column in power.layers.values()],
            "machine": [_range_words(power, b) for b in bins],
        },
    }


def _legend(name: str, power: _Power, end_s: float) -> dict[str, str]:
    seconds = [b.end_s - b.start_s for b in power.machine]
    joules = sum(w * s for w, s in zip(power.layers[name], seconds, strict=True))
    return {
        "key": name,
        "label": _LAYERS[name],
        "mean": power.words(joules / end_s) if end_s > 0 else "",
    }


def _mean(bins: Sequence[Bin]) -> float | None:
    known_s = sum(b.known_s for b in bins)
    return sum((b.mean or 0.0) * b.known_s for b in bins) / known_s if known_s > 0 else None


def _range_words(power: _Power, part: Bin) -> str:
    low, high = power.words(part.low), power.words(part.high)
    return low if low == high else f"{low} to {high}"


def ticks(axis: Axis) -> list[dict[str, Any]]:
    """Return the ticks of an axis; every second one may be left out where there is little room."""
    return [
        {
            "x": f"{100 * axis.at(t):.2f}%",
            "y": f"{100 - 100 * axis.at(t):.2f}%",
            "label": label,
            "minor": n % 2,
        }
        for n, (t, label) in enumerate(zip(axis.ticks, axis.labels, strict=True))
    ]


def _power_table(power: _Power) -> dict[str, Any]:
    rows = [
        [
            format_duration(b.end_s),
            *(power.words(c[n]) for c in power.layers.values()),
            _range_words(power, b),
        ]
        for n, b in enumerate(power.machine)
    ]
    return {"head": ["until", *(_LAYERS[n] for n in power.layers), "machine"], "rows": rows}


def _lanes(account: Account, end_s: float) -> list[dict[str, Any]]:
    """Return a lane for each of the longest phases, with its stretches on the chart's time axis."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for span in account.recording.spans:
        spans.setdefault(span.name, []).append((span.start_s, end_s if span.end_s is None else span.end_s))
    return [
        {
            "name": clip(p.name, 60),
            "tone": number % 4,
            "words": " · ".join(_phase_row(p)[2:]),
            "path": drawn(
                "".join(
                    f"M{charts.UNITS * left:.1f} 0h{charts.UNITS * width:.1f}v1h-{charts.UNITS * width:.1f}z"
                    for left, width in charts.stretches(spans.get(p.name, ()), end_s)
                )
            ),
        }
        for number, p in enumerate(account.phases[:_MOST_LANES])
    ]


def _phase_row(phase: Any) -> tuple[str, str, str, str]:
    joules = "unknown" if phase.energy_j is None else format_figure(phase.energy_j, "J")
    return clip(phase.name, 80), f"{phase.calls}", format_duration(phase.seconds), joules


def _learning(account: Account, end_s: float) -> dict[str, Any] | None:
    """Return the curves of what was logged, and the joules so far on the same time axis; None without points."""
    recording = account.recording
    lines = _metrics(recording.points)
    if not lines:
        return None
    time = charts.time_axis(end_s, 4)
    panels = [
        _panel(clip(name, 40), points, time, charts.number_label, "metric") for name, points in lines.items()
    ]
    t_s = recording.ticks.t_s
    work_j = _work_j(account)
    sentence = ""
    if t_s and work_j and work_j[-1] > 0:
        so_far = list(zip(t_s, work_j, strict=True))
        panels.append(_panel("joules so far, at the devices", so_far, time, charts.joule_label, "joules"))
        sentence = _bought(next(iter(lines.items())), t_s, work_j)
    last = recording.points[-1].values
    return {
        "panels": panels,
        "sentence": sentence,
        "last": [
            (clip(str(k), 40), clip(f"{v:.4g}" if isinstance(v, float) else str(v), 40))
            for k, v in list(last.items())[:8]
        ],
        "count": len(recording.points),
    }


def _work_j(account: Account) -> list[float]:
    """Return this work's joules at every tick, central, from the account's power."""
    t_s, watts = account.recording.ticks.t_s, account.power_series.work_watts
    until = [0.0]
    for (start_s, stop_s), power_w in zip(pairwise(t_s), watts, strict=False):
        until.append(until[-1] + (power_w or 0.0) * (stop_s - start_s))
    return until[: len(t_s)]


def _metrics(points: Sequence[Point]) -> dict[str, list[tuple[float, float]]]:
    """Return the first few numbers that were logged more than once and are no mere counts, each as a line over time."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        for name, value in point.values.items():
            number = not isinstance(value, bool) and isinstance(value, int | float) and isfinite(value)
            if number and name not in _COUNTED and (name in lines or len(lines) < 50):
                lines.setdefault(name, []).append((point.t_s, float(value)))
    several = {name: line for name, line in lines.items() if len(line) > 1}
    return dict(list(several.items())[:_MOST_METRICS])


def _panel(
    title: str, points: Sequence[tuple[float, float]], time: Axis, label: Any, kind: str
) -> dict[str, Any]:
    points = charts.thin(points, _MOST_POINTS)
    values = [v for _, v in points]
    axis = charts.value_axis(0.0 if kind == "joules" else min(values), max(values), label, 3)
    return {
        "title": title,
        "kind": kind,
        "path": drawn(charts.line([(time.at(t), axis.at(v)) for t, v in points])),
        "time": ticks(time),
        "values": ticks(axis),
        "x": f"{100 * time.at(points[-1][0]):.2f}%",
        "y": f"{100 - 100 * axis.at(points[-1][1]):.2f}%",
        "words": f"{title}: from {label(values[0], _step(axis))} to {label(values[-1], _step(axis))}",
    }


def _step(axis: Axis) -> float:
    return (axis.ticks[1] - axis.ticks[0]) / 10 if len(axis.ticks) > 1 else 1.0


def _bought(metric: tuple[str, list[tuple[float, float]]], t_s: list[float], work_j: list[float]) -> str:
    """Return how much of the joules nine tenths of the change of a number took, in one sentence; "" where it stood."""
    name, points = metric
    first, last = points[0][1], points[-1][1]
    if first == last:
        return ""
    reached_s = next(t for t, v in points if (v - first) / (last - first) >= 0.9)
    share = cumulative_at(t_s, work_j, reached_s) / work_j[-1]
    return (
        f"Nine tenths of the change in {clip(name, 40)} were there after {100 * share:.0f} % of the joules."
    )


def _components(cost: Footprint) -> list[dict[str, str]]:
    whole = cost.total_j.value if cost.total_j is not None else 0.0
    rows = sorted(cost.energy_j.items(), key=lambda item: -item[1].value)
    return [
        {
            "key": component.value,
            "name": _COMPONENTS[component],
            "figure": format_figure(figure, "J"),
            "basis": figure.basis.word,
            "share": f"{100 * figure.value / whole:.0f}" if whole > 0 else "0",
        }
        for component, figure in rows
    ]


def _chain(cost: Footprint) -> list[tuple[str, str, str]]:
    """Return the steps from joules to grams and money: name, figure in words, basis."""
    steps: list[tuple[str, Figure | None, str]] = [
        ("at the devices", cost.device_j, "J"),
        ("at the wall", cost.total_j, "J"),
        ("with the building (PUE)", cost.facility_j, "J"),
        ("carbon from electricity", cost.carbon_g, "g"),
        ("carbon of making the hardware", cost.embodied_g, "g"),
        ("carbon, both together", cost.total_carbon_g, "g"),
        ("standing by meanwhile (in no sum)", cost.idle_j, "J"),
        ("the whole machine meanwhile", cost.machine_j, "J"),
    ]
    rows = [(n, _print(f, u) or "unknown", f.basis.word if f else "unknown") for n, f, u in steps]
    money = format_money(cost.cost, cost.currency) if cost.cost is not None else "unknown"
    rows.insert(6, ("money", money, cost.cost.basis.word if cost.cost is not None else "unknown"))
    return rows


def _devices(account: Account) -> list[dict[str, str]]:
    return [
        {
            "name": clip(part.device.id, 80),
            "note": "" if part.device.counted else "shown, not added: contained in another figure",
            "work": _print(part.work_j, "J") or "unknown",
            "idle": _print(part.idle_j, "J") or "unknown",
            "others": _print(part.others_j, "J") or "unknown",
            "total": _print(part.total_j, "J") or "not read",
            "basis": part.total_j.basis.word if part.total_j else "unknown",
            "source": clip(part.device.source, 160),
        }
        for part in account.devices[:_MOST_LISTED]
    ]


def _factors(cost: Footprint) -> list[dict[str, str]]:
    rows = []
    for name, (title, does) in _FACTORS.items():
        figure = cost.factors.get(name)
        reason = cost.unknown.get({"price": "cost"}.get(name, name), "")
        rows.append(
            {
                "title": title,
                "does": does,
                "value": _factor_words(name, figure, cost.currency) if figure else "unknown",
                "basis": figure.basis.word if figure else "unknown",
                "source": clip(figure.source if figure else reason, 400),
            }
        )
    return rows


def _factor_words(name: str, figure: Figure, currency: str) -> str:
    if name in ("uplift", "pue"):
        return format_money(figure, "×")
    if name == "price":
        return _price_words(figure, currency)
    if name == "intensity":
        return format_money(figure, "g/kWh")
    return format_figure(figure, "J" if name == "joules" else "g")


def _price_words(figure: Figure, currency: str) -> str:
    """Return a price per kWh; a stated one as it was stated."""
    exact = figure.low == figure.high
    return f"{figure.value:g} {currency}/kWh" if exact else format_money(figure, f"{currency}/kWh")


def _usage(usage: Usage, recording: Recording) -> list[tuple[str, str]]:
    owned = recording.machine.owned_cpus or recording.machine.cpus
    rows: list[tuple[str, str | None]] = [
        ("CPU time", _known(usage.cpu_s, format_duration)),
        (f"CPUs busy, of {owned:g}" if owned else "CPUs busy", _known(usage.mean_cpus, "{:.2f}".format)),
        ("of its CPUs", _known(usage.cpu_utilisation, "{:.0%}".format)),
        ("of the whole machine, all tenants", _known(usage.machine_utilisation, "{:.0%}".format)),
        ("memory, peak", _known(usage.peak_resident_bytes, format_bytes)),
        ("waiting for I/O", f"{_known(usage.io_wait_share, '{:.0%}'.format)}; {usage.io_wait_source}"),
        ("waiting for a CPU", _known(usage.run_delay_s, format_duration)),
        ("read from storage", _known(usage.read_bytes, format_bytes)),
        ("written to storage", _known(usage.written_bytes, format_bytes)),
        (
            "received, sent",
            f"{_known(usage.received_bytes, format_bytes)}, {_known(usage.sent_bytes, format_bytes)}",
        ),
    ]
    rows += [
        (f"GPU busy, {clip(d, 60)}", f"{share:.0%}") for d, share in list(usage.gpu_utilisation.items())[:16]
    ]
    rows += [
        (f"GPU memory, {clip(d, 60)}", format_bytes(b)) for d, b in list(usage.gpu_memory_bytes.items())[:16]
    ]
    if usage.throughput_per_s is not None:
        rows.append((f"{clip(usage.throughput_of, 40)} per second", f"{usage.throughput_per_s:.3g}"))
    return [(name, words or "unknown") for name, words in rows]


def _known(value: float | None, words: Any) -> str:
    return "unknown" if value is None else str(words(value))


def _machine(recording: Recording) -> list[tuple[str, str]]:
    machine = recording.machine
    rows = [
        ("host", machine.host),
        ("processor", machine.cpu_model or "unknown"),
        (
            "CPUs, and of these for this work",
            f"{_known(machine.cpus, str)}, {_known(machine.owned_cpus, '{:g}'.format)}",
        ),
        ("memory", _known(machine.memory_bytes, format_bytes)),
        ("virtual machine", {True: "yes", False: "no", None: "unknown"}[machine.virtual]),
        ("one tick every", format_duration(recording.interval_s)),
        ("ticks", f"{len(recording.ticks.t_s)}"),
    ]
    return [(name, clip(text)) for name, text in rows]


def _metadata(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, value in list(facts.items())[:_MOST_LISTED]:
        if isinstance(value, Mapping):
            words = ", ".join(f"{k} {v}" for k, v in list(value.items())[:_MOST_LISTED])
        elif isinstance(value, bool):
            words = "yes" if value else "no"
        else:
            words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        if words:
            rows.append((_FACTS.get(str(key), clip(str(key), 60)), clip(words)))
    return rows


def _command(recording: Recording) -> str:
    return shlex.join(clip(word) for word in recording.command[:100])
