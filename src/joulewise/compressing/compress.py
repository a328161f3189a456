"""A model through both gates: candidates are made, judged on the user's rows, measured on this host; what passes is kept.

The quality gate comes first: what fails it is not measured. fp32 is always kept, and is what the others are beside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from joulewise.compressing import runtime
from joulewise.compressing.costing import Cost, Gauge, Run, cold_starts, measure
from joulewise.compressing.data import Data
from joulewise.compressing.gates import Gate, Span, break_even, energy_gate, quality_gate
from joulewise.compressing.metrics import Metric, Outputs, check_it_tells, compare
from joulewise.compressing.variants import VARIANTS, CannotMake, Maker, fixed_rows, inputs_of
from joulewise.vocabulary.errors import UnknownName, UsageError

BASE = "fp32"


@dataclass(frozen=True, slots=True)
class Drop:
    """How much worse a variant may be: in the metric's unit, or, `percent`, in points or as a share of fp32's value."""

    value: float
    percent: bool

    def most(self, metric: Metric, base: float) -> float:
        """Return it in the metric's unit."""
        return self.value * (abs(base) if self.percent and not metric.points else 1.0)


def parse_drop(text: str) -> Drop:
    """Return the drop that `0.5%` or `0.005` means. Raises UsageError."""
    told = re.fullmatch(r"(\d*\.?\d+)\s*(%?)", text.strip())
    if told is None:
        raise UsageError(f"max drop is {text!r}, but must be a number from 0, for instance 0.5% or 0.005")
    return Drop(float(told[1]) / (100 if told[2] else 1), bool(told[2]))


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for."""

    metric: Metric
    drop: Drop
    sizes: tuple[int, ...] = (1, 32)  # of batches expected
    variants: tuple[str, ...] = VARIANTS
    device: str = "cpu"
    threads: int = 1
    extra: Mapping[str, Path] = field(
        default_factory=dict
    )  # candidates that the user has made: pruned, distilled


@dataclass(frozen=True, slots=True)
class Kept:
    """A variant that passed both gates, or fp32: what it is worth and costs here."""

    name: str
    precision: str
    path: Path
    quality: Span
    drop: Span | None  # None for fp32
    cpu_s: Mapping[int, float]  # of a request, by batch size
    seconds: Mapping[int, float]  # of a batch
    joules: Mapping[int, float]  # of a request; empty where they are not known
    ratios: Mapping[int, Span]  # cost beside fp32's
    cold_start_s: float
    cold_start_j: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Compressed:
    """What compressing came to: variants, the cheapest first and fp32 last; what was left out, and why."""

    name: str
    metric: str
    lower_is_better: bool
    most_drop: float
    rows: int  # that judged
    device: str
    counted: bool  # joules by counters, else by CPU time
    kept: tuple[Kept, ...]
    left_out: Mapping[str, str]
    spent_j: float | None = None  # by compressing, tuning included
    pays_after: Mapping[int, float] = field(
        default_factory=dict
    )  # requests by batch size, for the first variant


def compress(base: Path, data: Data, ask: Ask, folder: Path, name: str, gauge: Gauge) -> Compressed:
    """Return which variants of the ONNX model `base` (fp32) are kept; their files are in `folder`. Raises UsageError."""
    session = runtime.session(base, ask.threads, ask.device)
    rows = fixed_rows(session)
    sizes = _sizes(ask.sizes, rows)
    for one in ask.variants:
        if one not in VARIANTS:
            raise UnknownName("variant", one, VARIANTS)
    calibration, held = data.split()
    reference = outputs(session, held, rows or max(sizes))
    scored = ask.metric.score(reference, held.targets, reference)
    most = ask.drop.most(ask.metric, scored.value())
    itself = compare(ask.metric, scored, scored, held.rows)  # refuses too few rows before anything is made
    check_it_tells(ask.metric, reference, held.targets)

    files, left_out = _candidates(base, folder, calibration, ask)
    runs: dict[str, Run] = {BASE: _run(session)}
    judged: dict[str, tuple[Span, Span, Gate]] = {}
    for one, path in files.items():
        try:
            other = runtime.session(path, ask.threads, ask.device, _precision(one))
            _alike(session, other, one)
            answers = outputs(other, held, rows or max(sizes))
            found = compare(ask.metric, scored, ask.metric.score(answers, held.targets, reference), held.rows)
        except UsageError as error:
            left_out[one] = str(error)
            continue
        gate = quality_gate(ask.metric.name, found.base.value, found.drop, most, points=ask.metric.points)
        if gate.passes:
            runs[one] = _run(other)
            judged[one] = found.other, found.drop, gate
        else:
            left_out[one] = gate.why
    costs = measure(runs, held, sizes, gauge)
    counted = gauge.counted_j() is not None
    if ask.device != "cpu" and not counted:
        left_out |= dict.fromkeys(
            judged, f"no meter here tells the joules of {ask.device}: CPU time is not its cost"
        )
        judged = {}
    gates = _energy(judged, costs, counted=counted)
    left_out |= {one: gate.why for one, gate in gates.items() if not gate.passes}
    passed = {BASE: base, **{one: files[one] for one, gate in gates.items() if gate.passes}}
    colds = cold_starts(passed, held, ask.device, ask.threads)
    rate = gauge.j_per_cpu_s()

    def keep(one: str) -> Kept:
        cost, cold = costs[one], colds[one]
        told = {size: cost.request_j(size, rate, counted=counted) for size in sizes}
        quality, drop, gate = judged.get(one, (itself.base, None, None))
        return Kept(
            one,
            _precision(one),
            passed[one],
            quality,
            drop,
            {size: _middle(cost.cpu_s[size]) for size in sizes},
            {size: _middle(cost.seconds[size]) for size in sizes},
            {size: joules for size, joules in told.items() if joules is not None},
            gates[one].ratios if one in gates else {},
            cold.seconds,
            None if rate is None else cold.cpu_s * rate,
            f"{gate.why}; {gates[one].why}" if gate else "what the others are beside",
        )

    kept = sorted(map(keep, passed), key=lambda one: _together(one.cpu_s if not counted else one.joules))
    kept.sort(key=lambda one: one.name == BASE)
    return Compressed(
        name,
        ask.metric.name,
        ask.metric.lower_is_better,
        most,
        held.rows,
        ask.device,
        counted,
        tuple(kept),
        left_out,
    )


def paid(told: Compressed, own_j: float | None, tuning_j: float | None = 0.0) -> Compressed:
    """Return the same with what it took, own and tuning (None: not known), and from how many requests on that is saved."""
    if own_j is None or tuning_j is None:
        return told
    spent_j = own_j + tuning_j
    first, base = told.kept[0], told.kept[-1]
    after = {
        size: break_even(spent_j, base.joules[size], joules)
        for size, joules in first.joules.items()
        if first is not base
    }
    return replace(told, spent_j=spent_j, pays_after=after)


def outputs(session: Any, data: Data, at_once: int) -> Outputs:
    """Return a model's outputs on all rows, so many at once. Raises UsageError."""
    names = [node.name for node in session.get_outputs()]
    parts: list[list[Any]] = []
    try:
        for first in range(0, data.rows, at_once):
            feed = data.feed(
                first, at_once
            )  # the last batch is filled up from the beginning: a model may want whole ones
            parts.append([np.asarray(one) for one in session.run(names, feed)])
    except runtime.runtime_errors() as error:
        raise UsageError(f"the model cannot take the data: {' '.join(str(error).split())[:300]}") from None
    whole = {}
    for place, name in enumerate(names):
        if any(part[place].ndim == 0 or len(part[place]) != at_once for part in parts):
            raise UsageError(f"output {name!r} has no row for each row of the inputs")
        values = np.concatenate([part[place] for part in parts])[: data.rows]
        if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
            raise UsageError(
                f"output {name!r} is not finite on {int(np.sum(~np.isfinite(values)))} numbers of the validation rows"
            )
        whole[name] = values
    return whole


def _candidates(
    base: Path, folder: Path, calibration: Data, ask: Ask
) -> tuple[dict[str, Path], dict[str, str]]:
    maker = Maker(base, folder, calibration, ask.device)
    files, left_out = dict(ask.extra), {}
    for one in ask.variants:
        try:
            files[one] = maker.make(one)
        except CannotMake as why:
            left_out[one] = str(why)
    return files, left_out


def _alike(base: Any, other: Any, name: str) -> None:
    told = [(inputs_of(one), [node.name for node in one.get_outputs()]) for one in (base, other)]
    if told[0] != told[1]:
        raise UsageError(
            f"{name} takes {', '.join(told[1][0])} and gives {', '.join(told[1][1])}: not what fp32 takes and gives"
        )


def _precision(name: str) -> str:
    return name.partition("-")[0] if name in VARIANTS else name


def _run(session: Any) -> Run:
    return lambda feed: session.run(None, dict(feed))


def _energy(judged: Mapping[str, Any], costs: Mapping[str, Cost], *, counted: bool) -> dict[str, Gate]:
    of = "joules" if counted else "CPU time"
    return {one: energy_gate(costs[one].ratios(costs[BASE]), of) for one in judged}


def _sizes(asked: Sequence[int], rows: int | None) -> tuple[int, ...]:
    if rows is None:
        return tuple(sorted(set(asked)))
    return (rows,)


def _middle(values: Sequence[float]) -> float:
    return float(np.median(values))


def _together(costs: Mapping[int, float]) -> float:
    """Return the cost over all sizes: the geometric mean."""
    return float(np.mean(np.log(list(costs.values()))))


def inputs(base: Path) -> dict[str, Any]:
    """Return the inputs of a model as ONNX Runtime sees them: the numpy type of each. Raises UsageError."""
    return inputs_of(runtime.session(base))
