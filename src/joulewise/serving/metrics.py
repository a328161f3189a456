"""Counters of a serving period, and their text for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joulewise.serving.app import Service

_PARTS = (("row", "a"), ("call", "b"))
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Counters:
    """What was counted since the server began."""

    responses: dict[int, int] = field(default_factory=dict)  # by status
    hits: int = 0
    shared: int = 0
    misses: int = 0
    batches: int = 0
    rows: int = 0
    refused: int = 0  # by the model, or a fault of ours
    model_cpu_s: float = 0.0
    joules: float = 0.0  # of the answers whose joules were known
    grams: float = 0.0
    money: float = 0.0
    unknown: int = 0  # answers whose joules were not known

    def answered(
        self, status: int, joules: float | None, grams: float | None, money: float | None = None
    ) -> None:
        """Count one response and what it cost."""
        self.responses[status] = self.responses.get(status, 0) + 1
        if joules is None:
            self.unknown += 1
        else:
            self.joules += joules
        if grams is not None:
            self.grams += grams
        if money is not None:
            self.money += money

    @property
    def requests(self) -> int:
        """How many responses were given."""
        return sum(self.responses.values())


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name without the prefix, kind, help, and samples as (labels, value). None is left out."""

    name: str
    kind: str  # counter or gauge
    help: str
    samples: Iterable[tuple[Mapping[str, str], float | None]]


# fmt: off
def shown(service: Service) -> Iterator[Metric]:
    """Yield what a service tells of itself."""
    count, tally, rate = service.counters, service.tally, service.rate()
    none: dict[str, str] = {}
    joules = rate.joules if rate else None
    yield Metric("responses_total", "counter", "Responses by status.", [({"status": str(s)}, n) for s, n in sorted(count.responses.items())])
    yield Metric("inside", "gauge", "Requests inside the server.", [(none, tally.inside)])
    yield Metric("cpu_seconds_total", "counter", "CPU seconds by use; standing_by is while no request was inside.", [({"use": "requests"}, tally.busy_s), ({"use": "model"}, tally.model_s), ({"use": "standing_by"}, tally.standing_by_s)])
    yield Metric("joules_total", "counter", "Joules at the wall of the answers whose joules are known.", [(none, count.joules)])
    yield Metric("gco2e_total", "counter", "Grams of CO2e of those.", [(none, count.grams)])
    priced = [({"currency": rate.currency}, count.money)] if rate and rate.money is not None else []
    yield Metric("cost_total", "counter", "What their electricity costs; nothing where no tariff is set.", priced)
    yield Metric("joules_unknown_total", "counter", "Answers whose joules are not known.", [(none, count.unknown)])
    yield Metric("joules_per_cpu_second", "gauge", "What a CPU second costs at the wall now.", [(none, joules)])
    models = [({"model": name}, one) for name, one in service.endpoints.items()]
    yield Metric("cache_total", "counter", "Predictions by what the cache did.", [({**labels, "result": result}, getattr(one.counters, field)) for labels, one in models for result, field in (("hit", "hits"), ("shared", "shared"), ("miss", "misses"))])
    yield Metric("cache_bytes", "gauge", "Bytes that the cache holds.", [(labels, one.cache.held_bytes) for labels, one in models])
    variants = [({**labels, "variant": name}, one) for labels, model in models for name, one in model.hosted.items()]
    yield Metric("loaded", "gauge", "Whether the variant is in memory.", [(labels, float(one.model is not None)) for labels, one in variants])
    yield Metric("batches_total", "counter", "Batches that the model computed.", [(labels, one.counters.batches) for labels, one in variants])
    yield Metric("rows_total", "counter", "Rows that the model computed.", [(labels, one.counters.rows) for labels, one in variants])
    yield Metric("model_cpu_seconds_total", "counter", "CPU seconds of the model's batches.", [(labels, one.counters.model_cpu_s) for labels, one in variants])
    choosers = [(labels, model.variants) for labels, model in models if model.variants is not None]
    yield Metric("variant_switches_total", "counter", "Times that another variant began to answer.", [(labels, one.switches) for labels, one in choosers])
    yield Metric("answers", "gauge", "Whether the variant answers what names none.", [({**labels, "variant": name}, float(name == model.default)) for labels, model in models for name in model.hosted])
    engines = [(labels, one.engine) for labels, one in variants if one.engine is not None]
    yield Metric("batch_rows_most", "gauge", "The largest batch that is worth running now.", [(labels, one.most) for labels, one in engines])
    yield Metric("waiting", "gauge", "Requests in the queue.", [(labels, one.load().waiting) for labels, one in engines])
    lines = [(labels, one.seconds.line(), one.cpu_seconds.line()) for labels, one in engines]
    yield Metric("batch_seconds", "gauge", "Fitted seconds of a batch: per row, and per call.", [({**labels, "part": part}, getattr(line, letter)) for labels, line, _cpu in lines if line for part, letter in _PARTS])
    yield Metric("batch_joules", "gauge", "Fitted joules of a batch: per row, and per call.", [({**labels, "part": part}, joules * getattr(line, letter)) for labels, _s, line in lines if line and line.fitted and joules is not None for part, letter in _PARTS])
    yield from (Metric(f"{name}_total", "counter", f"{name.replace('_', ' ').capitalize()}.", [(none, value)]) for name, value in service.more().items())
# fmt: on


def exposition(service: Service) -> str:
    """Return what a service tells of itself, as Prometheus reads it."""
    return text(shown(service), {})


def text(metrics: Iterable[Metric], labels: Mapping[str, str]) -> str:
    """Return metrics as Prometheus reads them, each sample with the common labels; unknown values have no line."""
    lines: list[str] = []
    for metric in metrics:
        name = f"joulewise_serve_{metric.name}"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        for own, value in metric.samples:
            if value is not None:
                pairs = ",".join(f'{key}="{_escaped(word)}"' for key, word in {**labels, **own}.items())
                lines.append(f"{name}{{{pairs}}} {value:.10g}")
    return "\n".join(lines) + "\n"


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
