"""Fine-tuning a few weights instead of all: whether adapters reach the same at a low fidelity, and what joules they save.

    ways = {"full": lambda: load(), "lora 8": lambda: lora(load(), rank=8, whole=("head",))}
    print(compare(ways, data, held, loss=F.cross_entropy, epochs=9))

Adapters (LoRA, Hu et al. 2022; the package `peft`) save memory and checkpoints, and joules often not: the forward pass grows,
the backward pass goes through every layer all the same. So nothing is assumed: each way gets a recipe of its own (adapters
want higher rates), is trained for a ninth of the run, and is weighed in training and per request, adapters merged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joulewise.training.choices import Recipe
from joulewise.training.ladder import FIDELITY, Rung, climb
from joulewise.training.probing import recipe as probe
from joulewise.training.spending import Spending
from joulewise.vocabulary.errors import UsageError


def lora(
    model: Any, *, rank: int = 8, targets: Sequence[str] | str = "all-linear", whole: Sequence[str] = ()
) -> Any:
    """Return the model with low-rank adapters on the named layers; `whole` names modules that are trained themselves."""
    try:
        import peft
    except ModuleNotFoundError:
        raise UsageError("adapters need the package peft; pip install joulewise[peft]") from None
    if rank < 1:
        raise UsageError(f"rank is {rank}, but must be at least 1")
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=list(whole) or None,
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise UsageError(f"the adapters do not fit this model: {str(error).splitlines()[0]}") from None


def merged(model: Any) -> Any:
    """Return the model with its adapters folded into its weights: what answers requests."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


@dataclass(frozen=True, slots=True)
class Way:
    """One way to fine-tune: how many weights it trains, its rung (error, joules a sample and a request), its recipe."""

    name: str
    trained: int
    rung: Rung
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ways, full fine-tuning first, and which to take: the cheapest in training within the tolerance of full."""

    ways: tuple[Way, ...]
    taken: Way
    tolerance: float

    def __str__(self) -> str:
        full = self.ways[0].rung
        lines = []
        for way in self.ways:
            training, request = (
                1 - own / whole if whole else 0.0
                for own, whole in (
                    (way.rung.training_j, full.training_j),
                    (way.rung.request_j, full.request_j),
                )
            )
            saved = (
                f"; saves {training:.0%} of the joules in training, {request:.0%} of a request's"
                if way is not self.ways[0]
                else ""
            )
            lines.append(
                f"{way.name}: {way.trained} weights trained, error {way.rung.error:.3g}, "
                f"{1e3 * way.rung.training_j:.3g} mJ a sample{saved}"
            )
        why = (
            "no other way is cheaper and stays"
            if self.taken is self.ways[0]
            else "the cheapest in training that stays"
        )
        lines.append(
            f"take {self.taken.name}: {why} within {self.tolerance:g} at a ninth of the run; confirm it with a whole one"
        )
        return "\n".join(lines)


def compare(
    ways: Mapping[str, Callable[[], Any]],
    data: Any,
    held: tuple[Any, Any],
    *,
    loss: Callable[[Any, Any], Any],
    epochs: float,
    tolerance: float = 0.01,
    keep: Mapping[str, Any] | None = None,
    counter: Spending | None = None,
    seed: int = 0,
) -> Comparison:
    """Probe, train for a ninth of `epochs` and weigh each way; the first named is full fine-tuning, the others are held to it.

    `ways` name functions that make a model; `held` are inputs and labels that train nothing; `keep` as for `recipe`.
    """
    if len(ways) < 2:
        raise UsageError(
            f"{len(ways)} ways are no comparison; give full fine-tuning first and at least one more"
        )
    if not tolerance >= 0:
        raise UsageError(
            f"tolerance is {tolerance:g}, but must be at least 0: how much more error still holds"
        )
    found = []
    for name, make in ways.items():
        model = make()
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        own = probe(
            model, data, loss=loss, epochs=max(epochs * FIDELITY, 1e-9), keep=keep, counter=counter, seed=seed
        )
        (rung,) = climb(
            {name: make}, own, data, held, loss=loss, epochs=epochs, counter=counter, seed=seed, finish=merged
        )
        found.append(Way(name, trained, rung, own))
    full = found[0]
    staying = [w for w in found if w.rung.error <= full.rung.error + tolerance]
    return Comparison(tuple(found), min(staying, key=lambda w: w.rung.training_j), tolerance)
