"""Slow transforms: items of a data set made anew in every epoch although they come out bit for bit the same.

Counterfactual: every item is made once and kept; saved is what making it again took, down to the price of handing out
an item that lies in memory. The agent fingerprints items that come up again: where they differ (random augmentation)
nothing is claimed, nor where all items would not fit into half of the memory. What is made again is priced by the passes behind the first,
where those are told apart: a data set may keep what it has made.

If the same files are opened again for it, the cause is named `rereading_input`.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, around, is_remedied
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import LoaderView, Phase, ProcessView
from joulewise.vocabulary.quantities import format_bytes

_HANDED_OUT_S = 3e-6  # indexing, a tuple, a call of __getitem__: what a cached item still costs
_FILES = 50  # that were opened once for each pass are the items
_SURE = 4  # repeated items compared, at least


def estimate(case: Case) -> list[Estimate]:
    """Return what making items again took, for each training process."""
    return [found for view in case.views if (found := _of(case, view))]


def _of(case: Case, view: ProcessView) -> Estimate | None:
    cpu_s = wall_s = again = 0.0
    worst: LoaderView | None = None
    for loader in view.loaders:
        if not is_made_again(loader) or is_remedied(view, "cache", f"{loader.dataset}: "):
            continue
        if loader.compared_items < _SURE or loader.same_items < loader.compared_items:
            continue
        repeated = loader.fetched - (loader.items or 0)
        each_cpu_s, each_s = _each(loader)
        beside = max(1, loader.workers)  # workers make items beside the loop: it waits for them at most
        waited_s = loader.wait_s * repeated / loader.fetched
        cpu_s += repeated * each_cpu_s
        wall_s += min(repeated * each_s, waited_s) if loader.workers else repeated * each_s / beside
        again += repeated
        if worst is None or loader.fetch_s > worst.fetch_s:
            worst = loader
    if worst is None or cpu_s <= 0 or not _fits(case, view, worst):
        return None
    reopened = [f.opens - 1 for f in view.files if f.opens > 1]
    opened = sum(reopened)
    passes_again = worst.fetched / (worst.items or 1) - 1
    # the agent follows the first hundreds of files: their openings go with the passes, or all of them with the items
    rereads = opened >= 0.5 * again or (
        len(reopened) >= _FILES and opened >= 0.5 * passes_again * len(reopened)
    )
    each_us = 1e6 * (worst.item_s or 0.0)
    again_bytes = sum(f.again_bytes for f in view.files if f.opens > 1)
    reads = f"; {opened} files were opened again for it ({format_bytes(again_bytes)})" if rereads else ""
    return Estimate(
        Cause.REREADING_INPUT if rereads else Cause.SLOW_TRANSFORMS,
        around(cpu_s, 0.12),
        around(wall_s, 0.2),
        f"each item of {worst.dataset} takes {each_us:.0f} µs to make and was made {worst.fetched / (worst.items or 1):.1f} "
        f"times, the same every time ({worst.same_items} of {worst.compared_items} compared){reads}",
        Remedy(
            RemedyKind.DIFF,
            f"make the items of {worst.dataset} once, before the first epoch, and let __getitem__ return them",
        ),
        "none: the items are the same bit for bit",
        view.process,
        f"{view.process}:items",
    )


def is_made_again(loader: LoaderView) -> bool:
    """Whether items of a loader's data set are made more than once."""
    return bool(loader.items) and not loader.in_memory and loader.fetched > (loader.items or 0)


def made_again_cpu_s(loader: LoaderView) -> float:
    """Return the CPU seconds that making items again took; 0 where none was."""
    return (loader.fetched - (loader.items or 0)) * _each(loader)[0] if is_made_again(loader) else 0.0


def _each(loader: LoaderView) -> tuple[float, float]:
    """Return the CPU and wall seconds of making an item again, beyond those of handing out a kept one."""
    fetched, fetch_s, fetch_cpu_s, collate_s = _later(loader)
    made = 1 - collate_s / fetch_s if fetch_s > 0 else 0.0  # both by the wall clock
    return max(0.0, made * fetch_cpu_s / fetched - _HANDED_OUT_S), max(
        0.0, (fetch_s - collate_s) / fetched - _HANDED_OUT_S
    )


def _later(loader: LoaderView) -> tuple[int, float, float, float]:
    """Return what the passes behind the first fetched: a data set that keeps its items makes them in the first only."""
    first = loader.first_pass
    if first is None or first[0] >= loader.fetched:
        first = (0, 0.0, 0.0, 0.0)
    fetched, fetch_s, fetch_cpu_s, collate_s = first
    return (
        loader.fetched - fetched,
        max(0.0, loader.fetch_s - fetch_s),
        max(0.0, loader.fetch_cpu_s - fetch_cpu_s),
        max(0.0, loader.collate_s - collate_s),
    )


def _fits(case: Case, view: ProcessView, loader: LoaderView) -> bool:
    """Say whether all items would fit into half of the memory; where sizes are unknown, they do."""
    memory = case.recording.machine.owned_memory_bytes or case.recording.machine.memory_bytes
    delivered = view.phase(Phase.DATA).bytes
    fetched = sum(one.fetched for one in view.loaders)
    if not memory or not delivered or not fetched:
        return True
    return delivered / fetched * (loader.items or 0) <= memory / 2
