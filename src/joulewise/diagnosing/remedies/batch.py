"""A larger batch for the loaders that train: those that shuffle. The learning rate stays as the program sets it.

Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

from typing import Any

from .loaders import MODULE, name_of, rewrite, shuffles

NAME = "batch"


def attach(hand: Any, value: str) -> None:
    """Change `batch_size` by a factor (`x4`) or to a number (`64`)."""
    made: dict[tuple[int, int], Any] = {}  # a framework makes a loader anew of the one that we have changed

    def size(before: int) -> int:
        return max(1, round(before * float(value[1:]))) if value.startswith("x") else int(value)

    def change(arguments: dict[str, Any]) -> bool:
        given = arguments.get("batch_sampler")
        owner = arguments["dataset"]
        before = arguments.get("batch_size") if given is None else getattr(given, "batch_size", None)
        if not isinstance(before, int) or (id(owner), before) in made:
            if given is not None and before is None:
                hand.left(NAME, f"{name_of(arguments)} has a batch sampler of its own")
            return False
        if not shuffles(arguments):
            hand.left(NAME, f"{name_of(arguments)} is not shuffled, so it is taken for an evaluation")
            return False
        after = size(before)
        if given is None:
            arguments["batch_size"] = after
        elif type(given).__name__ == "BatchSampler":
            given.batch_size = after
        else:
            hand.left(NAME, f"{name_of(arguments)} has a batch sampler of its own ({type(given).__name__})")
            return False
        made[id(owner), after] = owner
        hand.changed(
            NAME,
            f"batch_size={after} instead of {before} for {name_of(arguments)}; the learning rate is the program's",
        )
        return True

    hand.when(MODULE, lambda module: rewrite(module.DataLoader, change))
