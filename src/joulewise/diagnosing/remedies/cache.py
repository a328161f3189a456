"""Items of a data set are made once, where keeping them is cheaper than making them: that is measured, on a few items.

They are kept in this process's memory as they come; for a loader with workers they are made before these fork, each of which is
counted as if it had a copy. Where making is ten times dearer than keeping on the disk (writing, reading back, telling the data
set by its fingerprint), later runs find them there, too (`joulewise.features.cached`). Where there is no room in memory, the
disk serves if it pays within two passes. A few items are made twice first: what comes out different, or draws random
numbers, is never kept, and a few are made again before each pass. Equal fits of estimators are kept, too (fits.py).
Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from .alike import Made
from .fits import Fits
from .kept import Budget, Items, Kept, bytes_of, copy_of, free_bytes, may_be_kept
from .loaders import MODULE

NAME = "cache"
_WORTH = 0.5  # of what making an item takes: handing it out must cost no more
_LOOKED_UP_S = 1e-6  # a kept item
_DEAR = 0.1  # of it: what the disk may cost where memory would do
_DEAR_S = 2.0  # a data set that is made faster is not worth the disk
_WHOLE_PASS = 0.9  # of the items: a pass over fewer does not say that all of them will be wanted
_HASHED_PER_S, _PROGRAM_BYTES = (
    5e8,
    1e9,
)  # how fast data are told by their bytes; what a program has beside them


def attach(hand: Any, _value: str) -> None:
    """Let loaders fetch from kept items, the program's own data set object stays what it is; keep equal fits of estimators."""
    caching = Caching(hand)
    hand.line.instead = Fits(hand, NAME, free_bytes()).call
    hand.when("torch.utils.data._utils.fetch", caching.fetch_from_kept)
    hand.when(MODULE, caching.look_at_passes)
    if hand.trial:
        hand.first = caching.make_before


class Caching:
    """The data sets of this process, each with what is fetched from instead of it."""

    def __init__(self, hand: Any) -> None:
        self._hand = hand
        self._budget: Budget | None = None
        # by the data set's id: the data set, the items kept of it, and a source of items on the disk
        self._known: dict[int, tuple[Any, Items | None, Any]] = {}

    def fetch_from_kept(self, module: Any) -> None:
        """Give what makes batches the kept items: copies, unless PyTorch's own collating copies them anyway."""
        fetcher = module._MapDatasetFetcher  # noqa: SLF001 - where items are made
        original = fetcher.__init__

        @functools.wraps(original)
        def __init__(made: Any, dataset: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it stands in for theirs
            original(made, dataset, *args, **kwargs)
            _, items, stored = self._known.get(id(dataset), (None, None, None))
            if stored is not None:
                made.dataset = stored
            elif items is not None:
                made.dataset = Kept(items, copied=_copied(made.auto_collation, made.collate_fn))

        fetcher.__init__ = __init__

    def look_at_passes(self, module: Any) -> None:
        """Choose before the first pass over a data set how its items are kept; later, that they are still the same."""
        loader_class = module.DataLoader
        original = loader_class.__iter__

        @functools.wraps(original)
        def __iter__(loader: Any) -> Any:  # noqa: N807 - it stands in for theirs
            if loader._dataset_kind == module._DatasetKind.Map:  # noqa: SLF001 - nothing else tells streams
                try:
                    self._begin(loader)
                except Exception as error:  # noqa: BLE001 - the program's own data set: it goes on as it was
                    self._known[id(loader.dataset)] = (loader.dataset, None, None)
                    self._left(loader.dataset, f"{type(error).__name__}: {error}")
            return original(loader)

        loader_class.__iter__ = __iter__

    def make_before(self, loader: Any, batches: Sequence[Any]) -> None:
        """Make the items that a trial will fetch, before workers fork."""
        _, items, _ = self._known.get(id(loader.dataset), (None, None, None))
        if items is not None and loader.num_workers:
            items.get_many([number for batch in batches for number in batch])

    def _begin(self, loader: Any) -> None:
        dataset = loader.dataset
        if id(dataset) in self._known:
            _, items, _ = self._known[id(dataset)]
            if items is not None and items.has_changed():
                self._known[id(dataset)] = (dataset, None, None)
                self._left(
                    dataset,
                    "its items are others than in an earlier pass, so from here on they are made anew",
                )
            return
        self._known[id(dataset)] = (dataset, None, None)  # whatever happens now: it is tried once
        if type(dataset).__name__ != "TensorDataset" and hasattr(dataset, "__len__") and len(dataset):
            items, stored = self._chosen(loader, dataset)
            self._known[id(dataset)] = (dataset, items, stored)

    def _chosen(self, loader: Any, dataset: Any) -> tuple[Items | None, Any]:
        """Return the items kept in memory, or what is fetched from on the disk; neither where the data set stays as it is."""
        few = Made(dataset)
        if few.why_not:
            self._left(dataset, few.why_not)
            return None, None
        handed_s = _handed_out_s(few.items, copied=_copied(loader._auto_collation, loader.collate_fn))  # noqa: SLF001 - nothing else tells whether it collates
        if few.make_s < handed_s / _WORTH:
            self._left(
                dataset,
                f"an item is made in {1e6 * few.make_s:.1f} µs, and handing out a kept one takes {1e6 * handed_s:.1f}",
            )
            return None, None
        if loader.num_workers and (why_not := _not_shared(loader)):
            self._left(dataset, f"{loader.num_workers} workers share no memory: {why_not}")
            return None, None
        if self._budget is None:
            self._budget = Budget(may_be_kept())
        count, holders = len(dataset), 1 + loader.num_workers
        each = sum(map(bytes_of, few.items)) / len(few.items)
        fits = holders * count * each <= self._budget.left
        disk, no_disk = (
            (None, "") if self._hand.trial else _disk(dataset, few, fits=fits)
        )  # which must not make all first
        if disk is not None and disk.found is not None:
            self._changed(dataset, "kept on the disk (found)")
            return None, disk.found
        if not fits:
            if disk is not None and _whole_pass(loader):
                self._changed(dataset, "kept on the disk (made)")
                return None, disk.keep(Items(dataset, Budget(0)))
            self._left(
                dataset,
                f"its items need {holders * count * each / 1e9:.1f} GB{f' for {holders} processes' if holders > 1 else ''}, more than "
                f"half of the free memory{f', and {no_disk}' if no_disk else ''}",
            )
            return None, None
        items = Items(dataset, self._budget, holders)
        if disk is not None:
            items.whole = functools.partial(self._write, dataset, items, disk)
        if loader.num_workers and not self._hand.trial:
            items.fill()
        workers = f", made before {loader.num_workers} workers fork" if loader.num_workers else ""
        self._changed(dataset, f"kept in memory ({count * each / 1e6:.0f} MB){workers}")
        return items, None

    def _write(self, dataset: Any, items: Items, disk: Disk) -> None:
        """Leave all items on the disk for later runs."""
        try:
            disk.keep(items)
            self._changed(dataset, "written to the disk for later runs")
        except Exception as error:  # noqa: BLE001 - it stays in memory
            self._left(dataset, f"not kept on the disk for later runs: {error}")

    def _changed(self, dataset: Any, how: str) -> None:
        self._hand.changed(NAME, f"{type(dataset).__name__}: {len(dataset)} items {how}")

    def _left(self, dataset: Any, why: str) -> None:
        self._hand.left(NAME, f"{type(dataset).__name__}: {why}")


class Disk:
    """A data set's place on the disk: what was `found` there, None where nothing was."""

    def __init__(self, dataset: Any, told: str, found: Any) -> None:
        self._dataset, self._told, self.found = dataset, told, found

    def keep(self, items: Items) -> Any:
        """Write items, and return what is fetched from; raises ValueError where they cannot be kept."""
        if _told(self._dataset) != self._told:
            raise ValueError(
                "the data set changes while it is read, so nothing on the disk would be found again"
            )
        found = _cached(items, self._told)
        if found.why_not:
            raise ValueError(found.why_not[:120])
        return found


def _disk(dataset: Any, few: Made, *, fits: bool) -> tuple[Disk | None, str]:
    """Return the data set's place on the disk where that is worth its price; None, and why not.

    Beside memory it must cost next to nothing, since it serves later runs only; alone it must pay within two passes.
    """
    count = len(dataset)
    all_s = count * few.make_s
    if all_s < _DEAR_S:
        return None, f"they are made in {all_s:.1f} s, which the disk would not make faster"
    try:
        write_s, read_s = importlib.import_module("joulewise.features.items").keeping_s(few.items)
        most_s = _DEAR * few.make_s if fits else few.make_s
        left_s = count * (most_s - write_s - read_s * (1 if fits else 2))
        why_not = f"the disk takes {1e6 * write_s:.0f} µs to write an item and {1e6 * read_s:.0f} to read it, making it {1e6 * few.make_s:.0f}"
        if left_s <= 0 or _held_bytes() - _PROGRAM_BYTES > left_s * _HASHED_PER_S:
            return None, why_not
        importlib.import_module("joulewise.features.fingerprint")
        began_s = time.thread_time()  # neighbours are no part of its price
        told = _told(dataset)
        if 2 * (time.thread_time() - began_s) > left_s:  # here, and when they are written
            return None, why_not
        found = _cached(Items(dataset, Budget(0)), told, build=False)
    except ImportError:
        return None, "joulewise is not installed in the program's own Python"
    except Exception as error:  # noqa: BLE001 - any data set that cannot be told or kept
        return None, str(error)[:120]
    return Disk(dataset, told, None if found.why_not else found), ""


def _told(dataset: Any) -> str:
    """Return what tells a data set from others: its content and its code."""
    prints = importlib.import_module("joulewise.features.fingerprint")
    return f"{prints.fingerprint(dataset)} {prints.code_fingerprint(type(dataset))}"


def _cached(items: Items, told: str, *, build: bool = True) -> Any:
    wiring = importlib.import_module("joulewise.wiring")
    return wiring.cached(Kept(items, copied=False), _itself, fingerprint=told, build=build)


def _itself(item: Any) -> Any:
    return item


def _copied(auto_collation: Any, collate: Any) -> bool:
    """Whether kept items are handed out as copies: PyTorch's own collating puts them into new tensors anyway."""
    return not (auto_collation and collate is sys.modules["torch.utils.data._utils.collate"].default_collate)


def _handed_out_s(few: list[Any], *, copied: bool) -> float:
    """Return the seconds that handing out an item takes."""
    took_s = []
    for _ in range(2):  # the first time is none to go by
        began_s = time.perf_counter()
        for item in few:
            if copied:
                copy_of(item)
        took_s.append(time.perf_counter() - began_s)
    return _LOOKED_UP_S + min(took_s) / len(few)


def _not_shared(loader: Any) -> str:
    """Return why workers would not have what their parent keeps, "" where they fork and pass over all items."""
    multiprocessing = importlib.import_module("multiprocessing")
    context = loader.multiprocessing_context or multiprocessing
    if context.get_start_method() != "fork":
        return f"they are started by {context.get_start_method()}"
    return "" if _whole_pass(loader) else "a pass fetches some of the items only"


def _whole_pass(loader: Any) -> bool:
    """Whether a pass fetches nearly all items, as far as the loader knows."""
    try:
        return len(loader.sampler) >= _WHOLE_PASS * len(loader.dataset)
    except (TypeError, NotImplementedError):
        return False


def _held_bytes() -> float:
    """Return the memory of this process, in which its data are, too."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return 4096.0 * int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return float("inf")
