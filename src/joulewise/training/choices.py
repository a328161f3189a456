"""A recipe for training: what was chosen, out of which options, by what was measured; values only.

`probing.recipe` measures and chooses, `trainer.Trainer` carries it out. Each knob can be refused: what the user keeps is
not probed. Joules per sample and losses are of this machine, this model and these data, and hold nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joulewise.vocabulary.errors import UnknownName, UsageError

KNOBS = {
    "threads": "processor threads within one operation",
    "memory_format": "contiguous or channels_last",
    "precision": "fp32, tf32, bf16 or fp16",
    "compile": "whether torch.compile pays on a run of this length",
    "batch_size": "samples a step",
    "optimiser": "schedule-free, one-cycle, wsd or muon",
    "learning_rate": "at its highest",
    "transform": "always, or later: only once the model would learn its samples by heart",
    "workers": "processes that make the batches (0: the training process itself)",
}
LEAST_GAIN = 0.03  # an option must be better than a simpler one by more than what a short probe mistakes


@dataclass(frozen=True, slots=True)
class Option:
    """One value of a knob and what was measured of it; `why` says why it was not measured or ruled out."""

    value: Any
    joules_per_sample: float | None = None
    seconds_per_sample: float | None = None
    loss: float | None = None
    why: str = ""

    def __str__(self) -> str:
        parts = []
        if self.joules_per_sample is not None:
            parts.append(f"{1e3 * self.joules_per_sample:.3g} mJ")
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4g}")
        if self.why:
            parts.append(self.why)
        return f"{_said(self.value)} {', '.join(parts)}".rstrip()


@dataclass(frozen=True, slots=True)
class Choice:
    """What was taken for a knob, and the reason; the options in the order in which they were tried."""

    knob: str
    taken: Any
    reason: str
    options: tuple[Option, ...] = ()

    def __str__(self) -> str:
        text = f"{self.knob:14} {_said(self.taken):>13}  {self.reason}"
        others = "; ".join(map(str, self.options))
        return f"{text} [{others}]" if others else text


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: the value of each knob, why, and what finding it cost (joules, with their source).

    `steps` is the planned length, None for an open end; `samples_probed` counts what the probe trained on.
    """

    choices: tuple[Choice, ...]
    device: str
    steps: int | None
    probe_j: float
    joules_per_sample: float
    samples_probed: int
    source: str

    def __getitem__(self, knob: str) -> Any:
        """Return what was taken for a knob."""
        for choice in self.choices:
            if choice.knob == knob:
                return choice.taken
        raise UnknownName("knob", knob, KNOBS, f"known are {', '.join(KNOBS)}")

    def __str__(self) -> str:
        lines = [str(choice) for choice in self.choices]
        lines.append(
            f"{1e3 * self.joules_per_sample:.3g} mJ a sample; the probe cost {self.probe_j:.3g} J over "
            f"{self.samples_probed} samples ({self.source})"
        )
        planned_j = self.steps * self["batch_size"] * self.joules_per_sample if self.steps else 0.0
        if 0 < planned_j < self.probe_j:
            lines.append(
                f"the probe cost {self.probe_j / planned_j:.2g} times what the whole run will ({planned_j:.3g} J): it pays "
                "where such a run is repeated; give what it chose as keep= then"
            )
        return "\n".join(lines)


def kept(keep: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the knobs that the user keeps; refuse names that are none."""
    keep = dict(keep or {})
    for name in keep:
        if name not in KNOBS:
            raise UnknownName("knob", name, KNOBS, f"known are {', '.join(KNOBS)}")
    for name in ("threads", "batch_size"):
        if name in keep and not (isinstance(keep[name], int) and keep[name] >= 1):
            raise UsageError(f"keep has {name} {keep[name]!r}, but must be a whole number of at least 1")
    if keep.get("memory_format", "contiguous") not in ("contiguous", "channels_last"):
        raise UsageError(
            f"keep has memory_format {keep['memory_format']!r}, but must be contiguous or channels_last"
        )
    if keep.get("transform", "always") not in ("always", "later"):
        raise UsageError(f"keep has transform {keep['transform']!r}, but must be always or later")
    return keep


def cheapest(options: list[Option], least_gain: float = LEAST_GAIN) -> Option:
    """Return the first option that no other beats by more than `least_gain` in joules per sample. Pure.

    Options stand simplest first, so that what does not pay is not taken.
    """
    measured = [o for o in options if o.joules_per_sample is not None]
    if not measured:
        raise UsageError(f"none of {', '.join(_said(o.value) for o in options)} could be measured")
    best = min(o.joules_per_sample or 0.0 for o in measured)
    return next(o for o in measured if (o.joules_per_sample or 0.0) <= best / (1 - least_gain))


def _said(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
