"""Poor scaling: several processes train one model, and what they gain in arithmetic they lose by waiting for one another.

Counterfactual: one process with the whole batch. Saved are the others' start-ups, their optimisers (each moves all weights),
their calls before any arithmetic, and the exchange of gradients. That exchange happens within the backward pass, whose
arithmetic is twice that of its forward pass (overhead.py): what it takes beyond is the exchange. The arithmetic itself stays
and moves into one process: where it is worth the others, the run would last longer, and the ranking leaves it out.

On GPUs the exchange hides behind kernels that spin: NVML's utilisation reads 100 % while little power is drawn. Claimed is the
time that the boards were not busy by SM activity or power; the remedy is a larger batch a board, or fewer boards.
"""

from __future__ import annotations

from collections import defaultdict

from joulewise.diagnosing.case import Case, Estimate, about, loop, train_batch
from joulewise.diagnosing.devices import gpus
from joulewise.diagnosing.overhead import BACKWARD, CALL_S
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

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
    lone = (count - 1) / count
    call_s = [CALL_S * view.steps for view in ranks]
    exchange_s = sum(
        _exchange(view.phase(Phase.FORWARD).cpu_s, view.phase(Phase.BACKWARD).cpu_s) for view in ranks
    )
    whole = (Phase.SETUP, Phase.IMPORT, Phase.OPTIMISER, Phase.OTHER, Phase.WAITING)
    repeated_s = sum(view.phase(p).cpu_s for view in ranks for p in whole)
    cpu_s = lone * (repeated_s + 3 * sum(call_s)) + exchange_s
    first = max(ranks, key=lambda v: v.duration_s)
    forward_s = first.phase(Phase.FORWARD).wall_s
    waited_s = _exchange(forward_s, first.phase(Phase.BACKWARD).wall_s)
    more_s = (count - 1) * (1 + BACKWARD) * max(0.0, forward_s - CALL_S * first.steps)
    wall_s = waited_s - more_s
    share = exchange_s / max(1e-9, sum(v.cpu_s for v in ranks))
    return Estimate(
        Cause.POOR_SCALING,
        about(cpu_s, 0.7 * cpu_s, 1.2 * cpu_s),
        about(wall_s, wall_s - 0.3 * abs(wall_s), wall_s + 0.3 * abs(wall_s)),
        f"{count} processes train one model in batches of {train_batch(first) or 0}; exchanging gradients took {100 * share:.0f} % of "
        f"their CPU time, and each started up for itself ({first.phase(Phase.IMPORT).cpu_s:.1f} CPU-seconds)",
        Remedy(RemedyKind.SETTING, f"one process with {count} times the batch"),
        "none: the same steps over the same batches, but for the order of sums",
        first.process,
        "scaling",
    )


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
