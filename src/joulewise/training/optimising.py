"""Optimisers with their schedules, under one face: take a step, and show the weights to be judged.

`schedule-free`  AdamW whose averaged weights need no horizon (Defazio et al. 2024; the package `schedulefree`)
`one-cycle`      AdamW, rising to its rate and falling to 0 by the planned end (Smith 2018)
`wsd`            AdamW by warm-up, stable, decay: can be landed from wherever it is (landing.py)
`muon`           Muon (Jordan 2024; `torch.optim.Muon`) on the hidden matrices and AdamW on the rest, by the same schedule

A run without a planned end judges averaged weights, which are about what a decay would land at: schedule-free its own,
the others the average of their steps with polynomial weights (Shamir and Zhang 2013), most of it from the last tenth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, final

from joulewise.training.landing import Landing
from joulewise.vocabulary.errors import UnknownName, UsageError

OPTIMISERS = ("schedule-free", "one-cycle", "wsd", "muon")
_MUON_FITS = 0.5  # share of the weights in hidden matrices from which Muon is worth a try
_RISE = 0.25  # of the one-cycle's steps


def hidden_matrices(model: Any) -> list[Any]:
    """Return the two-dimensional weights that Muon is made for: neither the first layer, the last, nor an embedding."""
    from torch import nn

    embedded = {
        id(p)
        for m in model.modules()
        if isinstance(m, nn.Embedding | nn.EmbeddingBag)
        for p in m.parameters()
    }
    weighty = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    return [p for p in weighty[1:-1] if p.ndim == 2 and id(p) not in embedded]


def fitting(model: Any) -> dict[str, str]:
    """Return for each optimiser why it cannot be had for this model here; empty where it can."""
    from torch import nn, optim

    ours = sum(p.numel() for p in hidden_matrices(model))
    whole = sum(p.numel() for p in model.parameters() if p.requires_grad) or 1
    missing = "" if find_spec("schedulefree") else "the package schedulefree is not installed"
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):  # noqa: SLF001 - torch's own test
        missing = missing or "its averaged weights do not go with BatchNorm's statistics"
    if not hasattr(optim, "Muon"):
        muon = "this torch has no Muon"
    else:
        muon = "" if ours / whole >= _MUON_FITS else f"{ours / whole:.0%} of the weights are hidden matrices"
    return {"schedule-free": missing, "one-cycle": "", "wsd": "", "muon": muon}


@final
class Optimiser:
    """A model's optimiser and its schedule.

    `steps` is the planned length (None: open; a one-cycle needs it). `landing` is the schedule of `wsd` and `muon`, to
    be replaced by what `land` returns.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        learning_rate: float,
        *,
        steps: int | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        if name not in OPTIMISERS:
            raise UnknownName("optimiser", name, OPTIMISERS, f"known are {', '.join(OPTIMISERS)}")
        if not learning_rate > 0:
            raise UsageError(f"learning_rate is {learning_rate:g}, but must be above 0")
        if name == "one-cycle" and steps is None:
            raise UsageError(
                "a one-cycle schedule needs the number of steps; take wsd or schedule-free without"
            )
        why = fitting(model)[name]
        if why and not (name == "muon" and hidden_matrices(model)):
            raise UsageError(f"optimiser {name!r} cannot be had: {why}")
        self.name = name
        self.learning_rate = learning_rate
        self.steps = steps
        self.step_count = 0
        self.landing = Landing(20) if steps is None else Landing.planned(steps)
        self._parts = _parts(name, model, learning_rate, weight_decay, steps)
        self._model = model
        self._averaged = _Averaged(model) if steps is None and name != "schedule-free" else None
        self._training(True)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """All groups of parameters, as torch's optimisers show them."""
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Take one step with the schedule's rate."""
        factor = self.factor
        for part in self._parts:
            for group in part.param_groups:
                if self.name != "schedule-free":
                    group["lr"] = group["base"] * factor
            part.step()
        self.step_count += 1
        if self._averaged is not None and not self.landing.begun(self.step_count):
            self._averaged.add(self.step_count)

    @property
    def factor(self) -> float:
        """What the learning rate is multiplied by at the next step."""
        if self.name == "schedule-free":
            return 1.0
        if self.name == "one-cycle":
            done = self.step_count / (self.steps or 1)
            return 0.1 + 0.9 * done / _RISE if done < _RISE else max(0.0, (1 - done) / (1 - _RISE))
        return self.landing.factor(self.step_count)

    @property
    def over(self) -> bool:
        """Whether the schedule has nothing left to give: its rate is 0 from here on."""
        if self.name == "one-cycle":
            return self.step_count >= (self.steps or 0)
        return self.name != "schedule-free" and self.landing.over(self.step_count)

    @property
    def steps_left(self) -> int | None:
        """How many steps the schedule still has; None where its end is open."""
        end = self.landing.ends_at if self.name in ("wsd", "muon") else self.steps
        return None if end is None else end - self.step_count

    @contextmanager
    def evaluating(self) -> Iterator[Any]:
        """Show the model with the weights to be judged, in its evaluation mode; both go back afterwards."""
        was = self._model.training
        averaged = None if self.landing.begun(self.step_count) else self._averaged
        self._training(False)
        if averaged is not None:
            averaged.swap()
        self._model.eval()
        try:
            yield self._model
        finally:
            self._model.train(was)
            if averaged is not None:
                averaged.swap()
            self._training(True)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {
            "name": self.name,
            "step_count": self.step_count,
            "landing": (self.landing.lands_at, self.landing.ends_at),
            "parts": [p.state_dict() for p in self._parts],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same optimiser."""
        if state.get("name") != self.name:
            raise UsageError(
                f"the checkpoint is of optimiser {state.get('name')!r}, and this run has {self.name!r}"
            )
        self.step_count = state["step_count"]
        lands_at, ends_at = state["landing"]
        self.landing = Landing(self.landing.warm_up, self.landing.decay, lands_at, ends_at)
        for part, kept in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(kept)

    def _training(self, training: bool) -> None:
        if self.name == "schedule-free":
            for part in self._parts:
                part.train() if training else part.eval()


@final
class _Averaged:
    """A model's weights and statistics, averaged over its steps: step t counts as t to the eighth."""

    _POWER = 8
    _EVERY = 2

    def __init__(self, model: Any) -> None:
        import torch

        self._torch = torch
        self._own = [t for t in model.state_dict().values() if t.is_floating_point()]
        self._mean = [t.clone() for t in self._own]

    def add(self, step: int) -> None:
        """Take in the weights after a step."""
        if step % self._EVERY and step > self._EVERY:
            return
        share = min(1.0, self._EVERY * (self._POWER + 1) / (step + self._POWER))
        with self._torch.no_grad():
            for mean, own in zip(self._mean, self._own, strict=True):
                mean.lerp_(own, share)

    def swap(self) -> None:
        """Exchange the model's weights and the averaged ones."""
        with self._torch.no_grad():
            for mean, own in zip(self._mean, self._own, strict=True):
                kept = own.clone()
                own.copy_(mean)
                mean.copy_(kept)


def _parts(name: str, model: Any, learning_rate: float, weight_decay: float, steps: int | None) -> list[Any]:
    from torch import optim

    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise UsageError(
            f"{type(model).__name__} has no parameter that wants a gradient: nothing can be trained"
        )
    if name == "schedule-free":
        import schedulefree

        warm_up = 20 if steps is None else max(1, steps // 20)
        return [
            schedulefree.AdamWScheduleFree(
                parameters, lr=learning_rate, weight_decay=weight_decay, warmup_steps=warm_up
            )
        ]
    parts: list[Any] = []
    if name == "muon":
        matrices = hidden_matrices(model)
        ours = {id(p) for p in matrices}
        parameters = [p for p in parameters if id(p) not in ours]
        # the rate of AdamW serves both: Muon's update is scaled to AdamW's size (Liu et al. 2025)
        parts.append(
            optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    parts.append(optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True))
    for part in parts:
        for group in part.param_groups:
            group["base"] = group["lr"]
    return parts
