"""Items of a data set are made once: kept on the disk by `joulewise.features.cached`, or in this process's memory.

On the disk they serve every worker, epoch and experiment; that takes joulewise in the program's own Python, and a data
set whose content can be told by a fingerprint. In memory they are kept as they come, for loaders without workers.
A few items are made twice first: what comes out different, or draws random numbers, is never kept. Equal fits of estimators
are kept, too (fits.py).
Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import functools
import importlib
import random
import sys
from typing import Any

from .fits import Fits
from .loaders import MODULE

NAME = "cache"
_TRIED = 3
_MEMORY = 0.5  # of what is available


def attach(hand: Any, _value: str) -> None:
    """Let loaders fetch from kept items, the program's own data set object stays what it is; keep equal fits of estimators."""
    kept: dict[int, tuple[Any, Any]] = {}  # by the data set's id: the data set, and what is fetched from
    hand.line.instead = Fits(hand, NAME, _available_bytes()).call
    hand.when("torch.utils.data._utils.fetch", functools.partial(_fetch_from, kept))
    hand.when(MODULE, functools.partial(_prepare, hand, kept))


def _fetch_from(kept: dict[int, tuple[Any, Any]], module: Any) -> None:
    fetcher = module._MapDatasetFetcher  # noqa: SLF001 - where items are made
    original = fetcher.__init__

    @functools.wraps(original)
    def __init__(self: Any, dataset: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, dataset, *args, **kwargs)
        _, instead = kept.get(id(dataset), (None, None))
        if instead is not None:
            self.dataset = instead

    fetcher.__init__ = __init__


def _prepare(hand: Any, kept: dict[int, tuple[Any, Any]], module: Any) -> None:
    loader_class = module.DataLoader
    original = loader_class.__iter__

    @functools.wraps(original)
    def __iter__(self: Any) -> Any:  # noqa: N807
        dataset = self.dataset
        if id(dataset) not in kept and hasattr(dataset, "__getitem__"):
            kept[id(dataset)] = (dataset, None)  # whatever happens now: it is tried once
            kept[id(dataset)] = (dataset, _instead(hand, dataset, self.num_workers))
        return original(self)

    loader_class.__iter__ = __iter__


def _instead(hand: Any, dataset: Any, workers: int) -> Any:
    """Return what is to be fetched from instead of the data set; None for the data set itself."""
    name = type(dataset).__name__
    if name == "TensorDataset" or not hasattr(dataset, "__len__") or not len(dataset):
        return None
    why_not = _differs(dataset)
    if why_not:
        hand.left(NAME, f"{name}: {why_not}")
        return None
    if not hand.trial:  # which must not make all items first
        found, why_not = _on_disk(dataset)
        if found is not None:
            hand.changed(
                NAME, f"{name}: {len(dataset)} items kept on the disk ({'found' if found.hit else 'made'})"
            )
            return found
    if workers:
        hand.left(NAME, f"{name}: {workers} workers share no memory{f', and {why_not}' if why_not else ''}")
        return None
    size = len(dataset) * _bytes(dataset[0])
    if size > _MEMORY * _available_bytes():
        hand.left(NAME, f"{name}: its items need {size / 1e9:.1f} GB, more than half of the free memory")
        return None
    hand.changed(NAME, f"{name}: {len(dataset)} items kept in memory ({size / 1e6:.0f} MB)")
    return Kept(dataset)


class Kept:
    """A data set that makes each item once; it hands out copies, since a program may write into what it gets."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._items: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> Any:
        number = int(number)
        if number not in self._items:
            self._items[number] = self._dataset[number]
        return _copied(self._items[number])


def _on_disk(dataset: Any) -> tuple[Any, str]:
    try:
        prints = importlib.import_module("joulewise.features.fingerprint")
        before = prints.fingerprint(dataset), prints.code_fingerprint(type(dataset))
        dataset[0]
        if (prints.fingerprint(dataset), prints.code_fingerprint(type(dataset))) != before:
            return None, "the data set changes while it is read, so nothing on the disk would be found again"
        found = importlib.import_module("joulewise.wiring").cached(dataset, _itself)
    except ImportError:
        return None, "joulewise is not installed in the program's own Python"
    except Exception as error:  # noqa: BLE001 - any data set that cannot be told or kept
        return None, str(error)[:120]
    return (None, found.why_not[:120]) if found.why_not else (found, "")


def _itself(item: Any) -> Any:
    return item


def _differs(dataset: Any) -> str:
    """Return why items must not be kept, "" if making them twice gives the same and draws no random numbers."""
    count = len(dataset)
    before = _states()
    try:
        for number in sorted({0, count // 2, count - 1})[:_TRIED]:
            one = dataset[number]
            if _states() != before:
                return "its items draw random numbers (augmentation), so they are made anew"
            if not _same(one, dataset[number]):
                return "its items come out different each time, so they are made anew"
    finally:
        _restore(before)
    return ""


def _states() -> list[Any]:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    states: list[Any] = [random.getstate()]
    if numpy is not None:
        name, keys, *rest = numpy.random.get_state()
        states.append((name, keys.tolist(), *rest))
    if torch is not None:
        states.append(torch.get_rng_state().tolist())
    return states


def _restore(states: list[Any]) -> None:
    left = list(states)
    random.setstate(left.pop(0))
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.set_state(left.pop(0))
    if torch is not None and left:
        torch.set_rng_state(torch.tensor(left.pop(0), dtype=torch.uint8))


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if hasattr(one, "shape") and hasattr(one, "dtype"):
        return bool(one.shape == other.shape and ((one == other) | (one != one)).all())  # noqa: PLR0124 - NaN is not itself
    return bool(one == other)


def _copied(item: Any) -> Any:
    if isinstance(item, (tuple, list)) and type(item) in (tuple, list):
        return type(item)(map(_copied, item))
    if isinstance(item, dict):
        return {k: _copied(v) for k, v in item.items()}
    for method in ("clone", "copy"):
        if hasattr(item, method):
            return getattr(item, method)()
    return item


def _bytes(item: Any) -> int:
    if isinstance(item, dict):
        return sum(map(_bytes, item.values()))
    if isinstance(item, (tuple, list)):
        return sum(map(_bytes, item))
    if hasattr(item, "element_size"):
        return int(item.numel() * item.element_size()) + 100
    return int(getattr(item, "nbytes", sys.getsizeof(item)))


def _available_bytes() -> float:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        return float("inf")
    return float("inf")
