"""What a call of a framework costs before it computes anything.

A forward pass costs a + b x items: a is dispatch, allocation and Python, b the arithmetic. Both are known where the same
process ran the model at a small and at a large batch. Where it did not, only a lower bound of `a` is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass

from joulewise.vocabulary.observed import ProcessView

CALL_S = 40e-6  # a forward pass of the smallest networks on a CPU takes 40 to 150 µs
BATCH_S = 30e-6  # a DataLoader's batch, its items left out
LOOP_S = 50e-6  # the loop's own Python for a step: sums, prints, the loss taken out
GRADIENT = 1.25  # a forward pass that keeps its activations, and the loss, over one that does not
BACKWARD = 2.0  # arithmetic of a backward pass over that of its forward pass
_LEAST_PART = 0.2  # of an evaluated item that is arithmetic, at least


@dataclass(frozen=True, slots=True)
class Item:
    """What one item costs in a forward pass without gradient at a large batch, its loading left out."""

    cpu_s: float
    wall_s: float
    batch: float


def load_item(view: ProcessView, at_least: float) -> Item | None:
    """Return what the loop's own loaders take for an item in batches of `at_least`; None if no loader has such batches."""
    large = [
        one for one in view.loaders if one.fetched and not one.workers and (one.batch_size or 0) >= at_least
    ]
    if not large:
        return None
    best = min(large, key=lambda one: one.fetch_cpu_s / one.fetched)
    return Item(best.fetch_cpu_s / best.fetched, best.fetch_s / best.fetched, float(best.batch_size or 0))


def item_arithmetic(view: ProcessView, at_least: float) -> Item | None:
    """Return the cost of an item in the cheapest evaluation with a batch of `at_least`; None if there was none."""
    large = [e for e in view.evaluations if e.batch_size >= at_least and e.cpu_s > 0 and e.wall_s > 0]
    if not large:
        return None
    best = min(large, key=lambda e: e.cpu_s / e.items)
    loads = [one for one in view.loaders if one.evaluates and one.fetched]
    fetched = sum(one.fetched for one in loads)
    load_s = sum(one.fetch_s for one in loads if not one.workers) / fetched if fetched else 0.0
    load_cpu_s = sum(one.fetch_cpu_s for one in loads if not one.workers) / fetched if fetched else 0.0
    cpu_s, wall_s = best.cpu_s / best.items, best.wall_s / best.items
    return Item(
        max(_LEAST_PART * cpu_s, cpu_s - load_cpu_s),
        max(_LEAST_PART * wall_s, wall_s - load_s),
        best.batch_size,
    )
