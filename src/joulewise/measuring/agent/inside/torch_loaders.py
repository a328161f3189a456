"""PyTorch's loaders: passes, batches, waiting, and what making and collating items takes, in their workers as well.

A loader counts its own batches; what it delivered is looked up when a batch is timed and when a pass ends.

While steps go by untimed, an iterator without workers is of a class that has PyTorch's own `__next__` in our place: a
batch costs nothing then. Workers can keep a loop waiting at any time, so there the clock is read for each batch.
"""

from __future__ import annotations

import functools
import weakref  # torch has imported it
from _thread import get_ident
from typing import Any

from . import layout as at
from .prints import fingerprint
from .timeline import UNTIMED, clock, process_cpu

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
    loops = hooks.loops = Loops(hooks, module)

    def timed_index(self: Any) -> Any:
        """Stand in for `_next_index` where a batch is timed."""
        began_s = clock()
        try:
            return original_index(self)
        finally:
            hooks.index_s += clock() - began_s

    @functools.wraps(original_iter)
    def __iter__(self: Any) -> Any:  # noqa: N807
        if get_ident() != line.main or line.skip == 1:
            return original_iter(self)
        number, new = numbers.of(self)
        slot = at.LOADERS + number * at.PER_LOADER
        fetching.by_iterators()
        line.wake_between()
        if hooks.evaluating:
            hooks.end_evaluation()
        if hooks.new_metrics:
            hooks.safely(hooks.read_metrics)
        hooks.safely(hooks.see_epoch)
        before = line.enter(at.DATA if grad_on() else at.VALIDATION)
        began_s = line.page[at.SINCE]
        if number < at.MOST_LOADERS:
            if new:
                hooks.safely(hooks.know_loader, self, number)
            numbers.worker = slot  # forked workers inherit it
        try:
            iterator = original_iter(self)
        finally:
            line.leave(before)
        if number < at.MOST_LOADERS:
            page = line.page
            if page[slot + at.PASSES] == 1:  # a data set that keeps what it has made is cheaper from here on
                line.facts.put(f"first_pass/{number}", list(page[slot + at.FETCHED : slot + at.PER_LOADER]))
            page[slot + at.PASSES] += 1
            page[slot + at.WAIT] += page[at.SINCE] - began_s
            page[slot + at.FIRST_WAIT] += page[at.SINCE] - began_s
            mark = iterator.__dict__  # our marks on their iterator
            size = self.batch_size if isinstance(self.batch_size, int) else None
            mark["_joulewise"], mark["_joulewise_loop"] = slot, Loop(iterator, slot, size)
            mark["_joulewise_first"], mark["_joulewise_size"] = True, None
        return iterator

    @functools.wraps(original_next)
    def __next__(self: Any) -> Any:  # noqa: N807
        if line.skip == UNTIMED and grad_on():
            began_s = clock()
            try:
                return original_next(self)
            except StopIteration:
                if get_ident() == line.main:
                    loops.ended(self)
                raise
            finally:
                waited_s = clock() - began_s
                if waited_s > line.long_s() and get_ident() == line.main and "_joulewise" in self.__dict__:
                    line.apart(at.DATA, waited_s)
                    line.page[self._joulewise + at.WAIT] += waited_s
        slot = getattr(self, "_joulewise", None)
        if slot is None or get_ident() != line.main or line.skip == 1:
            return original_next(self)
        line.wake()
        page = line.page
        trains = grad_on()
        before = line.enter(at.DATA if trains else at.VALIDATION)
        began_s = page[at.SINCE]
        numbers.worker = slot
        loop = self._joulewise_loop
        weight = 1
        if trains:
            loops.training = loop
            weight = line.weight
        hooks.index_s = 0.0
        self._next_index = timed_index.__get__(self)
        fetcher = fetching.begin(self)
        try:
            batch = original_next(self)
            if self._joulewise_size is None:
                self._joulewise_size = hooks.safely(_bytes, batch) or 0
            page[at.BYTES + line.kind] += self._joulewise_size * weight
            return batch
        finally:
            del self._next_index
            if fetcher is not None:
                del fetcher.fetch
            loop.count(page)
            line.leave(before)
            waited_s = page[at.SINCE] - began_s
            if self._joulewise_first:
                self._joulewise_first = False
                weight = 1
                page[slot + at.FIRST_WAIT] += waited_s
            if trains and line.waited(waited_s) and line.stride > 1:
                weight = 1  # those beside it that were as long told themselves
                line.apart(at.DATA, waited_s)
            page[slot + at.WAIT] += waited_s * weight
            page[slot + at.INDEX] += hooks.index_s * weight

    loader_class.__iter__ = __iter__
    iterator_class.__next__ = loops.hooked = __next__


class Loop:
    """One pass over a loader: what it has delivered, on the loader's row of the page and by itself."""

    __slots__ = ("_iterator", "_slot", "_taken", "_told", "_yielded", "batch_size")

    def __init__(self, iterator: Any, slot: int, batch_size: int | None) -> None:
        self._iterator: Any = weakref.ref(iterator)
        self._slot = slot
        self._told = self._taken = self._yielded = 0
        self.batch_size = batch_size

    def iterator(self) -> Any:
        """Return the pass' iterator; None where it is gone."""
        return self._iterator()

    def count(self, page: Any) -> None:
        """Count what was delivered since the last time: PyTorch does so itself."""
        iterator = self._iterator()
        if iterator is not None:
            self._yielded = iterator._num_yielded  # noqa: SLF001
        page[self._slot + at.DELIVERED] += self._yielded - self._told
        self._told = self._yielded

    def take(self, page: Any) -> int:
        """Return how many batches came since this was asked last."""
        self.count(page)
        new, self._taken = self._yielded - self._taken, self._yielded
        return new

    def left(self) -> int:
        """Return how many batches have not been taken."""
        return self._yielded - self._taken

    def end(self, page: Any) -> None:
        """Let go of the iterator."""
        self.count(page)
        self._iterator = _gone


def _gone() -> None:
    """Stand in for a reference to what is no more."""


class Loops:
    """The pass that trains now, and the class of its iterator while steps go by untimed."""

    def __init__(self, hooks: TorchHooks, module: Any) -> None:
        self._line = hooks.line
        self.training: Loop | None = None
        self._base = module._BaseDataLoaderIter  # noqa: SLF001
        self._timed = module._SingleProcessDataLoaderIter  # noqa: SLF001
        body = {n: getattr(self._timed, n) for n in ("__module__", "__qualname__", "__doc__")}
        self.hooked: Any = None  # our `__next__`, once it is in place
        body["__next__"] = self._base.__next__
        body["__del__"] = lambda iterator: hooks.safely(self.ended, iterator)
        self._untimed = type(self._timed.__name__, (self._timed,), body)

    def now(self) -> Loop | None:
        """Return the pass that trains; None where there is none, or none any more."""
        loop = self.training
        if loop is not None and loop.iterator() is None and not loop.left():
            self.training = loop = None
        return loop

    def sleep(self) -> None:
        """Give the iterator PyTorch's own `__next__`."""
        iterator = None if self.training is None else self.training.iterator()
        if (
            type(iterator) is self._timed
            and "__next__" not in vars(self._timed)
            and self._base.__next__ is self.hooked
        ):
            iterator.__class__ = self._untimed

    def wake(self) -> None:
        """Give the iterator our `__next__` again."""
        iterator = None if self.training is None else self.training.iterator()
        if type(iterator) is self._untimed:
            iterator.__class__ = self._timed

    def ended(self, iterator: Any) -> None:
        """Take in the end of a pass whose last batches were not timed."""
        loop = iterator.__dict__.get("_joulewise_loop")
        if loop is not None and get_ident() == self._line.main:
            loop.end(self._line.page)
            self._line.wake_between()


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
        if line.skip == UNTIMED:
            return original(self, index)
        slot = hooks.numbers.worker
        hooks.fetches += 1
        if get_ident() != line.main or (
            hooks.fetches % _TIMED_FETCHES and hooks.quick and not hooks.is_worker and line.stride == 1
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
            if line.stride > 1 and hooks.grad_on():
                times = line.weight  # so many steps are told by this one
            elif hooks.quick and not hooks.is_worker and line.stride == 1:
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
