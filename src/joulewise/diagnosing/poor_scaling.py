"""Poor scaling: several processes train one model, and what they gain in arithmetic they lose by waiting for one another.

Counterfactual: one process with the whole batch. Saved are the other processes, but for their arithmetic, which moves into the
one, and the exchange of gradients. That exchange happens within the backward pass, whose arithmetic is twice that of its
forward pass (overhead.py): what it takes beyond is the exchange. How much of a forward pass is arithmetic is known to two bounds:
all but the least that a call costs, and, of dense layers, their products at a slow core's rate; the saving lies between. In wall
time the first counts alone: where the arithmetic may be worth the others, the run would last longer, and nothing is said.

On GPUs the exchange hides behind kernels that spin: NVML's utilisation reads 100 % while little power is drawn. Claimed is the
time that the boards were not busy by SM activity or power; the remedy is a larger batch a board, or fewer boards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import prod

from joulewise.diagnosing.case import Case, Estimate, about, loop, train_batch
from joulewise.diagnosing.devices import gpus
from joulewise.diagnosing.overhead import BACKWARD, CALL_S
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_SLOW_FLOPS = 5e9  # a second, of one core on small matrices
_RESIDENT = 0.8  # NVML's utilisation, at least, where boards spin
_MOST_BUSY = 0.6


def estimate(case: Case) -> list[Estimate]:
    """Return what training with fewer processes would have saved, for each group that trains one model."""
    groups: dict[int, list[ProcessView]] = defaultdict(list)
    for view in case.trainers:
        if view.world > 1:
            groups[view.world].append(view)
    found = []
    for world, ranks in groups.items():
        if len(ranks) >= 2:
            on_gpu = ranks[0].device.startswith("cuda")
            estimate = _on_gpus(case, ranks, world) if on_gpu else _on_cpus(ranks)
            found += [estimate] if estimate else []
    return found


def _on_cpus(ranks: list[ProcessView]) -> Estimate | None:
    count = len(ranks)
    low_s, high_s = (_saved(ranks, arithmetic) for arithmetic in (_most_arithmetic, _dense_arithmetic))
    cpu_s = (low_s + high_s) / 2
    exchange_s = sum(_exchange(_most_arithmetic(v), v.phase(Phase.BACKWARD).cpu_s) for v in ranks)
    first = max(ranks, key=lambda v: v.duration_s)
    forward_s = first.phase(Phase.FORWARD).wall_s
    waited_s = _exchange(forward_s, first.phase(Phase.BACKWARD).wall_s)
    more_s = (count - 1) * (1 + BACKWARD) * max(0.0, forward_s - CALL_S * first.steps)
    wall_s = waited_s - more_s
    share = exchange_s / max(1e-9, sum(v.cpu_s for v in ranks))
    return Estimate(
        Cause.POOR_SCALING,
        about(cpu_s, 0.95 * low_s, 1.05 * high_s),
        about(wall_s, wall_s - 0.3 * abs(wall_s), wall_s + 0.3 * abs(wall_s)),
        f"{count} processes train one model in batches of {train_batch(first) or 0}; exchanging gradients took at least {100 * share:.0f} % "
        f"of their CPU time, and each started up for itself ({first.phase(Phase.IMPORT).cpu_s:.1f} CPU-seconds)",
        Remedy(RemedyKind.SETTING, f"one process with {count} times the batch"),
        "none: the same steps over the same batches, but for the order of sums",
        first.process,
        "scaling",
    )


def _saved(ranks: list[ProcessView], arithmetic: Callable[[ProcessView], float]) -> float:
    """Return CPU seconds that one process with the whole batch would not use, where a forward pass computes so much."""
    lone = (len(ranks) - 1) / len(ranks)
    saved_s = 0.0
    for view in ranks:
        forward_s = arithmetic(view)
        exchange_s = _exchange(forward_s + CALL_S * view.steps, view.phase(Phase.BACKWARD).cpu_s)
        saved_s += exchange_s + lone * max(0.0, view.cpu_s - exchange_s - (1 + BACKWARD) * forward_s)
    return saved_s


def _most_arithmetic(view: ProcessView) -> float:
    """Return what the forward passes can have computed at most: all but the least that a call costs."""
    return max(0.0, view.phase(Phase.FORWARD).cpu_s - CALL_S * view.steps)


def _dense_arithmetic(view: ProcessView) -> float:
    """Return what dense layers compute for these items at a slow core's rate; at most what can have been computed."""
    if not view.shapes or any(len(shape) != 2 for shape in view.shapes):
        return _most_arithmetic(view)
    products = sum(prod(shape) for shape in view.shapes) * view.samples
    return min(_most_arithmetic(view), 2 * products / _SLOW_FLOPS)


def _exchange(forward_s: float, backward_s: float) -> float:
    return max(0.0, backward_s - BACKWARD * forward_s)


def _on_gpus(case: Case, ranks: list[ProcessView], world: int) -> Estimate | None:
    first = max(ranks, key=lambda v: v.duration_s)
    from_s, to_s = loop(first)
    used = [u for u in gpus(case, from_s, to_s) if u.busy is not None and u.held_bytes > 0]
    told = [u.utilisation for u in used if u.utilisation is not None]
    if len(used) < 2 or not told or min(told) < _RESIDENT:
        return None
    busy = [u.busy for u in used if u.busy is not None]
    value, low, high = (sum(getattr(b, part) for b in busy) / len(busy) for part in ("value", "low", "high"))
    if value > _MOST_BUSY:
        return None
    spun = [max(0.0, (1 - b) * (to_s - from_s) - first.phase(Phase.DATA).wall_s) for b in (high, value, low)]
    return Estimate(
        Cause.POOR_SCALING,
        about(0.0, 0.0, spun[1]),
        about(0.7 * spun[1], 0.4 * spun[0], spun[2]),
        f"{world} GPUs were {100 * value:.0f} % busy by their {used[0].known_by} while NVML's utilisation said "
        f"{100 * min(told):.0f} %: kernels that wait for the other boards",
        Remedy(
            RemedyKind.SETTING,
            f"a larger batch for each GPU, gradients exchanged every few steps (no_sync), or fewer than {world} GPUs",
        ),
        "a larger global batch needs its learning rate set anew",
        first.process,
        "scaling",
    )
