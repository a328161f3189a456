"""PyTorch's loaders: passes, batches, waiting, and what making and collating items takes, in their workers as well.

A loader counts its own batches; what it delivered is looked up when a batch is timed and when a pass ends.
"""

from __future__ import annotations

import functools
from _thread import get_ident
from typing import Any

from . import layout as at
from .prints import fingerprint
from .timeline import clock, process_cpu

TYPE_CHECKING = False  # the hooks know this module
if TYPE_CHECKING:
    from .torch_seen import TorchHooks

_TRACKED_ITEMS = 16
_MOST_PRINTS = 2048
_TIMED_FETCHES = 8


def wrap_loaders(hooks: TorchHooks, module: Any, fetching: Fetching) -> None:
    """Watch the loaders of a process: their passes and batches, and how long the loop waits for them."""
    loader_class, iterator_class = module.DataLoader, module._BaseDataLoaderIter  # noqa: SLF001 - where batches come from
    original_iter, original_next, original_index = (
        loader_class.__iter__,
        iterator_class.__next__,
        iterator_class._next_index,  # noqa: SLF001
    )
    line, grad_on = hooks.line, hooks.grad_on
    numbers = hooks.numbers

    def timed_index(self: Any) -> Any:
        """Stand in for `_next_index` where a batch is timed."""
        began_s = clock()
        try:
            return original_index(self)
        finally:
            line.page[self._joulewise + at.INDEX] += clock() - began_s

    def count(iterator: Any) -> None:
        """Count what was delivered since the last time: PyTorch does so itself."""
        line.page[iterator._joulewise + at.DELIVERED] += iterator._num_yielded - iterator._joulewise_told  # noqa: SLF001
        iterator._joulewise_told = iterator._num_yielded  # noqa: SLF001

    @functools.wraps(original_iter)
    def __iter__(self: Any) -> Any:  # noqa: N807
        if get_ident() != line.main or line.skip == 1:
            return original_iter(self)
        number, new = numbers.of(self)
        slot = at.LOADERS + number * at.PER_LOADER
        fetching.by_iterators()
        line.wake()
        if hooks.evaluating:
            hooks.end_evaluation()
        if hooks.new_metrics:
            hooks.safely(hooks.read_metrics)
        hooks.safely(hooks.see_epoch)
        before = line.enter(at.DATA if grad_on() else at.VALIDATION)
        began_s = line.page[at.SINCE]
        if number < at.MOST_LOADERS:
            if new:
                line.use(slot + at.PER_LOADER)
                hooks.safely(hooks.know_loader, self, number)
            numbers.worker = slot  # forked workers inherit it
        try:
            iterator = original_iter(self)
        finally:
            line.leave(before)
        if number < at.MOST_LOADERS:
            page = line.page
            if page[slot + at.PASSES] == 1:  # a data set that keeps what it has made is cheaper from here on
                line.facts.put(f"first_pass/{number}", page[slot + at.FETCHED : slot + at.PER_LOADER])
            page[slot + at.PASSES] += 1
            page[slot + at.WAIT] += page[at.SINCE] - began_s
            page[slot + at.FIRST_WAIT] += page[at.SINCE] - began_s
            mark = iterator.__dict__  # our marks on their iterator
            mark["_joulewise"], mark["_joulewise_told"] = slot, 0
            mark["_joulewise_first"], mark["_joulewise_size"] = True, None
        return iterator

    @functools.wraps(original_next)
    def __next__(self: Any) -> Any:  # noqa: N807
        if line.skip == 2 and grad_on():
            try:
                return original_next(self)
            except StopIteration:
                if get_ident() == line.main:
                    line.wake()
                    if "_joulewise" in self.__dict__:
                        count(self)
                raise
        slot = getattr(self, "_joulewise", None)
        if slot is None or get_ident() != line.main or line.skip == 1:
            return original_next(self)
        line.wake()
        page = line.page
        before = line.enter(at.DATA if grad_on() else at.VALIDATION)
        began_s = page[at.SINCE]
        numbers.worker = slot
        self._next_index = timed_index.__get__(self)
        fetcher = fetching.begin(self)
        try:
            batch = original_next(self)
            if self._joulewise_size is None:
                self._joulewise_size = hooks.safely(_bytes, batch) or 0
            page[at.BYTES + line.kind] += self._joulewise_size
            return batch
        finally:
            del self._next_index
            if fetcher is not None:
                del fetcher.fetch
            count(self)
            line.leave(before)
            waited_s = page[at.SINCE] - began_s
            page[slot + at.WAIT] += waited_s
            if self._joulewise_first:
                self._joulewise_first = False
                page[slot + at.FIRST_WAIT] += waited_s

    loader_class.__iter__ = __iter__
    iterator_class.__next__ = __next__


class Numbers:
    """The loaders of a process by number; `worker` is the page slot of the one that fetches now."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Any]] = {}
        self.worker = -1

    def of(self, loader: Any) -> tuple[int, bool]:
        """Return the loader's number and whether it is new. A loader of the same data set and size counts as the same."""
        key = hash((id(loader.dataset), loader.batch_size, loader.num_workers))
        known = self._known.get(key)
        if known is not None:
            return known[0], False
        number = len(self._known)
        self._known[key] = (number, loader.dataset)  # holds the data set, so that its id is not used again
        return number, True


def _bytes(batch: Any) -> int:
    if hasattr(batch, "element_size"):
        return int(batch.numel() * batch.element_size())
    if isinstance(batch, dict):
        return sum(map(_bytes, batch.values()))
    if isinstance(batch, (list, tuple)):
        return sum(map(_bytes, batch))
    return 0


class Fetching:
    """Time fetching and collating, and fingerprint some items; in loader workers this is what they do.

    A worker fetches for nobody that we see, so there the class is changed. A loop that iterates has only the fetcher of a
    timed batch changed, for as long as that lasts: a batch that is not timed costs nothing.
    """

    def __init__(self, hooks: TorchHooks, module: Any) -> None:
        self._class = module._MapDatasetFetcher  # noqa: SLF001 - where items are made
        self._original = self._class.fetch
        self._timed = _timed_fetch(hooks, self._original)
        self.everywhere()

    def everywhere(self) -> None:
        """Time whatever is fetched: this process may be a worker."""
        self._class.fetch = self._timed

    def by_iterators(self) -> None:
        """Time what timed batches fetch: this process has a loop of its own."""
        if self._class.fetch is self._timed:
            self._class.fetch = self._original

    def begin(self, iterator: Any) -> Any:
        """Time what an iterator fetches from now on, and return its fetcher; None where others fetch for it."""
        fetcher: Any = getattr(iterator, "_dataset_fetcher", None)
        if type(fetcher) is not self._class or self._class.fetch is not self._original:
            return None
        fetcher.fetch = functools.partial(self._timed, fetcher)
        return fetcher


def _timed_fetch(hooks: TorchHooks, original: Any) -> Any:
    line = hooks.line

    @functools.wraps(original)
    def fetch(self: Any, index: Any) -> Any:
        if line.skip == 2:
            return original(self, index)
        slot = hooks.numbers.worker
        hooks.fetches += 1
        if get_ident() != line.main or (
            hooks.fetches % _TIMED_FETCHES and hooks.quick and not hooks.is_worker and not line.fast
        ):
            return original(self, index)
        before = (
            line.enter(at.DATA) if line.kind == at.GAP else None
        )  # a worker, which has no loop of its own
        if slot < 0:
            try:
                return original(self, index)
            finally:
                if before is not None:
                    line.leave(before)
        collate = self.collate_fn
        spent = [0.0]

        def collating(samples: Any) -> Any:
            hooks.safely(_compare, hooks, self.dataset, index, samples, slot)
            began_s = clock()
            try:
                return collate(samples)
            finally:
                spent[0] += clock() - began_s

        began_s, began_cpu_s = clock(), process_cpu()
        if self.auto_collation:
            self.collate_fn = collating
        try:
            return original(self, index)
        finally:
            self.collate_fn = collate
            took_s, cpu_s = clock() - began_s, process_cpu() - began_cpu_s
            times = 1
            if line.fast and hooks.grad_on():
                times = line.stride  # one step in so many is timed at all
            elif hooks.quick and not hooks.is_worker and not line.fast:
                times = _TIMED_FETCHES
            items = len(index) if self.auto_collation else 1
            page = line.page
            page[slot + at.FETCHED] += items * times
            page[slot + at.FETCH] += took_s * times
            page[slot + at.FETCH_CPU] += cpu_s * times
            page[slot + at.COLLATE] += spent[0] * times
            hooks.quick = took_s < 3e-4
            if before is not None:
                line.leave(before)

    return fetch


def _compare(hooks: TorchHooks, dataset: Any, index: Any, samples: Any, slot: int) -> None:
    """Fingerprint a few items whenever they come up, to see whether making them again gives the same."""
    if hooks.prints >= _MOST_PRINTS or not isinstance(samples, list) or not isinstance(index, (list, tuple)):
        return
    stride = max(1, len(dataset) // _TRACKED_ITEMS) if hasattr(dataset, "__len__") else 1
    for number, item in zip(index, samples):  # noqa: B905 - Python 3.9
        if isinstance(number, int) and number % stride == 0:
            hooks.prints += 1
            hooks.line.facts.add(f"items/{(slot - at.LOADERS) // at.PER_LOADER}", [number, fingerprint(item)])
