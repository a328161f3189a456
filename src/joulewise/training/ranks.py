"""Under `torchrun`: decisions are taken once, on rank 0, and every rank does as it says; how well the ranks scale.

    value = ranks.mean(accuracy_on_my_share)         # the same number on every rank ...
    decision = stopping.update(epoch, value)         # ... and decisions are pure: every rank decides the same

Outside a process group all of this is what one process does alone. Which group: torch.distributed's default one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from joulewise.vocabulary.errors import JoulewiseError

T = TypeVar("T")


def world() -> tuple[int, int]:
    """Return this process's rank, and of how many; (0, 1) outside a process group."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def once(decide: Callable[[], T]) -> T:
    """Return what `decide` says on rank 0; no other rank calls it. What it refuses there is raised on every rank."""
    rank, size = world()
    if size == 1:
        return decide()
    import torch

    said: list[Any] = [None, None]
    if rank == 0:
        try:
            said = [decide(), None]
        except JoulewiseError as error:
            said = [None, error]
    torch.distributed.broadcast_object_list(said, src=0)
    if said[1] is not None:
        raise said[1]
    decided: T = said[0]
    return decided


def mean(value: float) -> float:
    """Return the mean over all ranks, the same number on each: for a metric that each rank measured on its share."""
    _, size = world()
    return value if size == 1 else _reduced(value, "SUM") / size


def every(flag: bool) -> bool:
    """Return whether it is so on every rank."""
    return flag if world()[1] == 1 else _reduced(float(flag), "MIN") > 0


def _reduced(value: float, how: str) -> float:
    import torch

    held = torch.tensor([value], dtype=torch.float64)
    if torch.distributed.get_backend() == "nccl":
        held = held.cuda()
    torch.distributed.all_reduce(held, getattr(torch.distributed.ReduceOp, how))
    return float(held)


@dataclass(frozen=True, slots=True)
class Scaling:
    """How well the ranks work together: seconds of a step alone, and of the same step with gradients exchanged.

    `efficiency` is 1 where exchanging costs nothing: the speed of all ranks over as many times the speed of one alone.
    `run.log(**scaling.values)` keeps it with the recording.
    """

    ranks: int
    alone_s: float
    together_s: float

    @property
    def efficiency(self) -> float:
        """The share of the ranks' speed that is left when they work together."""
        return self.alone_s / self.together_s if self.together_s else 1.0

    @property
    def values(self) -> dict[str, float]:
        """The figures by name, as `run.log` takes them."""
        return {
            "ranks": self.ranks,
            "scaling_efficiency": round(self.efficiency, 4),
            "step_alone_s": self.alone_s,
            "step_together_s": self.together_s,
        }

    def __str__(self) -> str:
        return (
            f"{self.ranks} ranks at {self.efficiency:.0%} efficiency: {1e3 * self.together_s:.3g} ms a step, "
            f"{1e3 * self.alone_s:.3g} ms alone"
        )


def scaling(alone: Callable[[], None], together: Callable[[], None], *, steps: int = 8) -> Scaling:
    """Time a step's gradients on rank 0 alone, then on all ranks at once with their exchange; the same on every rank.

    `alone` computes one batch's gradients without an exchange, `together` with it.
    """
    rank, size = world()

    def timed(gradients: Callable[[], None]) -> float:
        gradients()  # sets up
        started = time.perf_counter()
        for _ in range(steps):
            gradients()
        return (time.perf_counter() - started) / steps

    alone_s = timed(alone) if rank == 0 else 0.0
    if size == 1:
        return Scaling(1, alone_s, alone_s)
    import torch

    torch.distributed.barrier()
    return Scaling(size, _reduced(alone_s, "MAX"), _reduced(timed(together), "MAX"))
