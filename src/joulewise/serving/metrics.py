"""Counters of a serving period, and their text for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
    joules: float = 0.0  # of the answers whose joules were known
    grams: float = 0.0
    unknown: int = 0  # answers whose joules were not known

    def answered(self, status: int, joules: float | None, grams: float | None) -> None:
        """Count one response and what it cost."""
        self.responses[status] = self.responses.get(status, 0) + 1
        if joules is None:
            self.unknown += 1
        else:
            self.joules += joules
        if grams is not None:
            self.grams += grams

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
