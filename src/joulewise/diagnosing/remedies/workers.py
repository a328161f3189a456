"""As many loader workers as asked for, for every DataLoader that the program makes.

Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

from typing import Any

from .loaders import MODULE, name_of, rewrite

NAME = "workers"


def attach(hand: Any, value: str) -> None:
    """Change `num_workers`, and what depends on it. A stream is not given to several workers: each would read it whole."""
    count = int(value)

    def change(arguments: dict[str, Any]) -> bool:
        before = arguments.get("num_workers", 0)
        if before == count:
            return False
        if count > 1 and not hasattr(arguments["dataset"], "__getitem__"):
            hand.left(NAME, f"{name_of(arguments)} is a stream: each worker would read all of it")
            return False
        arguments["num_workers"] = count
        if count == 0:
            arguments.update(timeout=0, multiprocessing_context=None, persistent_workers=False)
            if "prefetch_factor" in arguments:
                arguments["prefetch_factor"] = None
        hand.changed(NAME, f"num_workers={count} instead of {before} for {name_of(arguments)}")
        return True

    hand.when(MODULE, lambda module: rewrite(module.DataLoader, change))
