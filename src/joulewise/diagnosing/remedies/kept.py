"""Items that are made once and kept in the program's memory, within a budget of bytes.

Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import copy
import operator
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .alike import make, restore, same, states

_SHARE = 0.5  # of the memory that is free
_TENSOR_BYTES = 500  # beside its numbers: the object, its storage, the allocator's own
_ARRAY_BYTES = 120
_ENTRY_BYTES = 100  # of a dictionary, with its number
_WHOLE = (int, float, str, bytes, bool, complex, type(None))  # nobody can write into them
_LOOKED_AT = 2  # items in each pass


class Budget:
    """The bytes that all kept items of this process may take."""

    def __init__(self, left: float) -> None:
        self.left = left


class Items:
    """A data set that makes each item once, as long as the budget lasts; each of `holders` processes has what is kept here."""

    def __init__(self, dataset: Any, budget: Budget, holders: int = 1) -> None:
        self.dataset = dataset
        self.whole: Callable[[], None] | None = None  # called once, when all items are kept
        self._kept: dict[int, Any] = {}
        self._budget, self._holders = budget, holders
        self._passes = 0

    def get(self, number: Any) -> Any:
        """Return an item, which is not to be written into."""
        try:
            return self._kept[number]
        except (KeyError, TypeError):
            return self._made([number])[0]

    def get_many(self, numbers: Sequence[Any]) -> list[Any]:
        """Return items, which are not to be written into."""
        kept = self._kept
        try:
            return [kept[number] for number in numbers]
        except (KeyError, TypeError):
            pass
        asked = [(number, _index(number)) for number in numbers]
        known = [kept.get(index) if index in kept else None for _, index in asked]  # before more are kept
        missing = [place for place, (_, index) in enumerate(asked) if index not in kept]
        known_of = dict(zip(missing, self._made([numbers[place] for place in missing])))  # noqa: B905 - Python 3.9
        return [known_of.get(place, item) for place, item in enumerate(known)]

    def fill(self) -> None:
        """Make all items, as far as the budget goes."""
        for number in range(len(self.dataset)):
            if self._budget.left <= 0:
                return
            self.get(number)

    def has_changed(self) -> bool:
        """Say whether the data set gives other items now than it did; to be asked before each pass."""
        self._passes += 1
        if not self._kept:
            return False
        numbers = list(self._kept)
        before = states()
        try:
            for n in range(_LOOKED_AT):
                number = numbers[(self._passes * 7919 + n * len(numbers) // _LOOKED_AT) % len(numbers)]
                if not same(make(self.dataset, [number])[0], self._kept[number]):
                    return True
            return states() != before
        finally:
            restore(before)

    def _made(self, numbers: Sequence[Any]) -> list[Any]:
        made = make(self.dataset, numbers)
        for number, item in zip(numbers, made):  # noqa: B905 - Python 3.9
            index = _index(number)
            if index is None or index in self._kept:
                continue
            size = self._holders * (bytes_of(item) + _ENTRY_BYTES)
            if size > self._budget.left:
                continue
            self._kept[index] = item
            self._budget.left -= size
            if self.whole is not None and len(self._kept) == len(self.dataset):
                then, self.whole = self.whole, None
                then()
        return made


class Kept:
    """What is fetched from instead of a data set; `copied` says whether who gets an item may write into it."""

    def __init__(self, items: Items, *, copied: bool) -> None:
        self._items, self._copied = items, copied

    def __len__(self) -> int:
        return len(self._items.dataset)

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: Any) -> Any:
        item = self._items.get(number)
        return copy_of(item) if self._copied else item

    def __getitems__(self, numbers: Sequence[Any]) -> list[Any]:  # what a loader asks for a batch
        found = self._items.get_many(numbers)
        return [copy_of(item) for item in found] if self._copied else found


def copy_of(item: Any) -> Any:
    """Return a copy of an item that may be changed as the item itself might."""
    kind = type(item)
    if kind in _WHOLE:
        return item
    if kind is tuple or kind is list:
        return kind([copy_of(part) for part in item])
    if kind is dict:
        return {k: copy_of(v) for k, v in item.items()}
    if hasattr(item, "element_size"):
        return item.clone()
    return item.copy() if hasattr(item, "nbytes") else copy.deepcopy(item)


def bytes_of(item: Any) -> float:
    """Return the memory that an item takes, with the objects around its numbers; infinite where nobody can tell."""
    kind = type(item)
    if kind in _WHOLE:
        return sys.getsizeof(item)
    if kind is tuple or kind is list:
        return sys.getsizeof(item) + sum(map(bytes_of, item))
    if kind is dict:
        return sys.getsizeof(item) + sum(map(bytes_of, item.values()))
    if hasattr(item, "element_size"):
        return float(item.numel() * item.element_size()) + _TENSOR_BYTES
    if hasattr(item, "nbytes"):
        return float(item.nbytes) + _ARRAY_BYTES
    try:
        return float(len(pickle.dumps(item, protocol=5)))
    except Exception:  # noqa: BLE001 - any object of the program's
        return float("inf")


def may_be_kept() -> float:
    """Return the bytes that this process may keep: processes of one job on a machine share half of what is free."""
    beside = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return _SHARE * free_bytes() / max(1, int(beside) if beside.isdecimal() else 1)


def free_bytes() -> float:
    """Return the memory that this process may still take: of the machine, and within its control group."""
    free = [_lines("/proc/meminfo").get("MemAvailable:", float("inf"))]
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            free += _group(f"/sys/fs/cgroup{path}", "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            free += _group(
                f"/sys/fs/cgroup/memory{path}",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
    return max(0.0, min(free))


def _group(folder: str, limit: str, used: str, cached: str) -> list[float]:
    """Return what a control group, and each above it, has left: what files are cached for it can be given back."""
    found = []
    while folder.startswith("/sys/fs/cgroup"):
        most, now = _text(f"{folder}/{limit}").strip(), _text(f"{folder}/{used}").strip()
        if most.isdecimal() and now.isdecimal():
            found.append(float(most) - float(now) + _lines(f"{folder}/memory.stat").get(cached, 0.0))
        folder = os.path.dirname(folder.rstrip("/"))
    return found


def _lines(path: str) -> dict[str, float]:
    """Return the numbers of a file of names and numbers, in bytes."""
    found = {}
    for line in _text(path).splitlines():
        name, *rest = line.split()
        if rest and rest[0].isdecimal():
            found[name] = float(rest[0]) * (1024 if rest[1:] == ["kB"] else 1)
    return found


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _index(number: Any) -> int | None:
    """Return the number of an item; None for what is no number, which data sets may use as well."""
    try:
        return operator.index(number)
    except TypeError:
        return None
