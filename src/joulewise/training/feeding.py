"""Feeding: shuffled batches of a training set, made a batch at a time, ahead of the loop, or by worker processes.

Tensors that lie in memory are gathered and transformed a whole batch at a time; a map-style dataset goes through torch's
DataLoader. `waited_s` is how long the loop stood waiting for batches: what `ahead` and `workers` are for, and on a GPU
what it idles. Which transforms can be made whole-batch: vectorising.py.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, final

from joulewise.vocabulary.errors import UsageError


def in_memory(data: Any) -> bool:
    """Return whether the data are tensors of equal length; refuse what is neither that nor a map-style dataset."""
    if isinstance(data, tuple | list) and data and all(hasattr(t, "shape") for t in data):
        lengths = {len(t) for t in data}
        if len(lengths) > 1:
            raise UsageError(
                f"the tensors have {' and '.join(map(str, sorted(lengths)))} rows; give one row for each"
            )
        if not len(data[0]):
            raise UsageError("the data are empty: there is nothing to train on")
        return True
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise UsageError(
            f"data is a {type(data).__name__}, but must be a tuple of tensors or a dataset with __len__ and __getitem__"
        )
    if not len(data):
        raise UsageError("the data are empty: there is nothing to train on")
    return False


def rows(data: Any) -> int:
    """Return how many samples there are."""
    return len(data[0]) if in_memory(data) else len(data)


@final
class Batches:
    """The batches of one epoch each time it is iterated over; the last, smaller one is left out.

    `transform` takes the inputs of a whole batch; `ahead` is how many batches a thread makes beforehand (0: none).
    Where `transforming` is false, the transform waits until it is set. `share` is (rank, ranks): of every batch this
    process gets its part, the others the rest, so that the batch that is learned from stays what it was.
    """

    def __init__(
        self,
        data: Any,
        batch_size: int,
        *,
        transform: Callable[[Any], Any] | None = None,
        workers: int = 0,
        ahead: int = 0,
        device: str = "cpu",
        channels_last: bool = False,
        seed: int = 0,
        transforming: bool = True,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        import torch

        self._tensors = in_memory(data)
        if batch_size < 1 or batch_size > rows(data):
            raise UsageError(
                f"batch_size is {batch_size}, but must be 1 to {rows(data)}, the number of samples"
            )
        rank, ranks = share
        if batch_size % ranks:
            raise UsageError(
                f"a batch of {batch_size} cannot be shared by {ranks} ranks; keep a batch_size that {ranks} divides"
            )
        if workers < 0 or ahead < 0:
            raise UsageError(f"workers is {workers} and ahead {ahead}, but both must be at least 0")
        self._torch = torch
        self._data, self._size, self._transform = data, batch_size, transform
        self._ahead, self._device, self._channels_last = ahead, device, channels_last
        self._draw = torch.Generator().manual_seed(seed)
        self._own = slice(rank * batch_size // ranks, (rank + 1) * batch_size // ranks)
        self._loader: Any = None
        if not self._tensors:
            drawn = (
                {"batch_sampler": _Drawn(self)} if ranks > 1 else {"batch_size": batch_size, "shuffle": True}
            )
            self._loader = torch.utils.data.DataLoader(
                data,
                **drawn,
                drop_last=ranks == 1,
                num_workers=workers,
                persistent_workers=workers > 0,
                generator=self._draw,
                pin_memory=device == "cuda",
            )
        self.transforming = transforming
        self.waited_s = 0.0

    def __len__(self) -> int:
        return rows(self._data) // self._size

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        made = self._gathered() if self._tensors else iter(self._loader)
        placed = map(self._place, made)
        source = _ahead(placed, self._ahead) if self._ahead else placed
        while True:
            started = time.perf_counter()
            batch = next(source, None)
            self.waited_s += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    def indices(self) -> Iterator[Any]:
        """Yield which samples each batch has, newly drawn: the part that this process gets."""
        order = self._torch.randperm(rows(self._data), generator=self._draw)
        for start in range(0, len(self) * self._size, self._size):
            yield order[start : start + self._size][self._own]

    def _gathered(self) -> Iterator[tuple[Any, ...]]:
        return (tuple(t[index] for t in self._data) for index in self.indices())

    def _place(self, batch: Any) -> tuple[Any, ...]:
        inputs, *rest = batch
        if self._transform is not None and self.transforming:
            inputs = self._transform(inputs)
        return (placed(inputs, self._device, self._channels_last), *(t.to(self._device) for t in rest))


def waiting(batches: Batches, step: Callable[..., object], *, steps: int = 32) -> float:
    """Return the share of the time (0 to 1) that training stands waiting for these batches: on a GPU, what it idles.

    `step(*batch)` is taken so many times after one that warms up, and must have ended when it returns: on a GPU it ends
    with `float(loss)`. Ask before and after a change of `ahead`, `workers` or the transform.
    """
    if steps < 1:
        raise UsageError(f"steps is {steps}, but must be at least 1")
    taken, began, waited_s = -1, 0.0, 0.0
    while True:
        for batch in batches:
            step(*batch)
            taken += 1
            if taken == 0:
                began, waited_s = time.perf_counter(), batches.waited_s
            elif taken == steps:
                return (batches.waited_s - waited_s) / (time.perf_counter() - began)


@final
class _Drawn:
    """The samples of each batch, as torch's DataLoader asks for them."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return (index.tolist() for index in self._batches.indices())


def placed(inputs: Any, device: str, channels_last: bool) -> Any:
    """Return the inputs on their device, pictures in the memory format of the model."""
    import torch

    inputs = inputs.to(device, non_blocking=True)
    if channels_last and getattr(inputs, "ndim", 0) == 4:
        return inputs.contiguous(memory_format=torch.channels_last)
    return inputs


def _ahead(source: Iterator[Any], depth: int) -> Iterator[Any]:
    """Yield what `source` yields, made by a thread up to `depth` items beforehand; its errors come out here."""
    made: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    over = threading.Event()

    def hand(item: Any, error: BaseException | None) -> None:
        while not over.is_set():
            try:
                made.put((item, error), timeout=0.1)
                return
            except queue.Full:
                continue

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in source:
                hand(item, None)
                if over.is_set():
                    return
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the batch is asked for
            error = raised
        hand(None, error)

    threading.Thread(target=make, name="joulewise-feeding", daemon=True).start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        over.set()
