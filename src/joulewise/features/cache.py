"""Cached training data: what a deterministic recipe makes of a dataset, once, for every epoch, worker and experiment.

    data = cached(dataset, recipe, folder=...)      # joulewise.cached(dataset, recipe) binds the folder
    data[7]                                         # the same as recipe(dataset[7]), bit for bit
    data.then(augment)                              # random augmentation: at every read, never in the cache

An entry's name is the fingerprint of the data and the code. It is built in a folder of its own, put on the disk and
renamed into its place: nobody ever sees half of one. One process builds, others that want the same wait for it; a
killed builder's leftovers are taken away by the next. Mistakes are caught: a recipe that draws random numbers or gives
other values the second time is refused, a source that changes while it is read starts the build again, and an
entry whose sample no longer agrees is built anew. Where there is no room, the items are computed as they always were.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import random
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from joulewise.features.extras import need
from joulewise.features.fingerprint import code_fingerprint, fingerprint
from joulewise.features.items import LeafReader, LeafWriter, encoded, kinds, leaves, rebuilt, structure
from joulewise.ledger.files import process_start
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_bytes

LIMIT_BYTES = 20_000_000_000
_FORMAT = 1
_BUILDS = 3
_QUIET_S = 86_400.0
_TRIED_WHEN_BUILT = 16
_TRIED_WHEN_FOUND = 2
_AFTER = "leave random augmentation out of the cache, cached(dataset, recipe).then(augment)"
_LOG = logging.getLogger("joulewise")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a cache: its fingerprint, items, bytes, and when it was used last (seconds since 1970)."""

    name: str
    items: int
    bytes: int
    used_s: float


@final
class Cached(Sequence[Any]):
    """A dataset whose recipe has been applied: `data[i]` is a copy from the mapped file, cheap to send to workers.

    `hit` tells whether it was found; `why_not` why it is computed on the fly instead, "" where it is cached.
    """

    def __init__(
        self,
        folder: Path | None,
        live: Callable[[int], Any] | None,
        count: int,
        *,
        hit: bool,
        why_not: str = "",
    ) -> None:
        self.folder, self.hit, self.why_not = folder, hit, why_not
        self._live, self._count = live, count
        self._after: tuple[Callable[[Any], Any], ...] = ()
        self._readers: list[LeafReader] | None = None
        self._shape: Any = None
        self._held = -1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return (self[n] for n in range(self._count))

    def __getitem__(self, number: Any) -> Any:
        """Return one item; a slice gives a list of items."""
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(self._count))]
        number = int(number)
        if not -self._count <= number < self._count:
            raise IndexError(f"item {number} of {self._count}")
        item = self._item(number % self._count)
        for step in self._after:
            item = step(item)
        return item

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Return all items as one array, mapped and read-only unless another type or a copy is asked for."""
        import numpy as np

        whole = self.arrays[0] if len(self.arrays) == 1 and not self._after else None
        if whole is None:
            whole = np.stack([np.asarray(item) for item in self])
        return np.array(whole, dtype=dtype, copy=copy)

    @property
    def arrays(self) -> list[Any]:
        """The leaves of all items as read-only arrays, mapped into memory; None for a leaf whose shapes differ."""
        if self.folder is None:
            return [None]
        return [reader.whole for reader in self._open()]

    def then(self, step: Callable[[Any], Any]) -> Cached:
        """Return the same data with a step applied at every read: the place for random augmentation."""
        other = Cached(self.folder, self._live, self._count, hit=self.hit, why_not=self.why_not)
        other._after = (*self._after, step)
        other._held = os.dup(self._held) if self._held >= 0 else -1
        return other

    def close(self) -> None:
        """Let the entry be evicted; reading opens it again."""
        self._readers = None
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Send a worker the place of the data only, not the data."""
        live = self._live if self.folder is None else None
        return {**self.__dict__, "_live": live, "_readers": None, "_held": -1}

    def _item(self, number: int) -> Any:
        if self.folder is None:
            return self._live(number) if self._live is not None else None
        readers = self._open()
        return rebuilt(self._shape, (reader.get(number) for reader in readers))

    def _open(self) -> list[LeafReader]:
        if self._readers is None:
            assert self.folder is not None  # noqa: S101 - for the type checker
            told = json.loads((self.folder / "meta.json").read_text("utf-8"))
            self._shape = told["structure"]
            self._readers = [
                LeafReader(self.folder, n, leaf, told["items"]) for n, leaf in enumerate(told["leaves"])
            ]
        return self._readers


def cached(
    dataset: Any,
    recipe: Any,
    *,
    folder: str | Path,
    fingerprint: str | None = None,
    limit_bytes: float = LIMIT_BYTES,
    deterministic: bool = False,
    build: bool = True,
) -> Cached:
    """Return `recipe` applied to every item of `dataset`, from the cache in `folder` or built there first.

    `dataset` has a length and gives items by number (a list, an array, a PyTorch dataset); `recipe` is a function of an
    item, or a fitted scikit-learn transformer, which is given the whole dataset at once. `fingerprint` stands for the
    dataset where its content cannot be told; you change it when the data change. `deterministic=True` says that a recipe
    that draws random numbers seeds them itself and gives the same every time: its values are still compared.
    `limit_bytes` bounds the folder: entries that were not used for longest go first, never one that is in use.
    `build=False` only looks: what is not there is computed at every read, and `why_not` says so.
    """
    need("numpy")
    try:
        count = len(dataset)
    except TypeError:
        raise UsageError(
            f"cannot cache {type(dataset).__name__}: it has no length; give a dataset with a length and items by number"
        ) from None
    work = _Work(dataset, recipe, count, fingerprint)
    home = Path(folder)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "locks").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        return _on_the_fly(work, f"cannot write {home}: {error.strerror}")
    for _ in range(_BUILDS):
        name = work.name()
        try:
            with _alone(home, name):
                found = _found(home, name, work)
                if found is not None:
                    return found
                if not build:
                    return Cached(None, work.item, work.count, hit=False, why_not="it is not there yet")
                built = _build(home, name, work, limit_bytes, deterministic)
        except OSError as error:
            return _on_the_fly(work, f"cannot write {home}: {error.strerror}")
        if isinstance(built, str):
            return _on_the_fly(work, built)
        if built is not None:
            return built
    raise UsageError(
        f"the data changed while they were read, {_BUILDS} times; wait until they are written, then try again"
    )


def entries(folder: str | Path) -> list[Entry]:
    """Return the entries of a cache, the one used last first."""
    found = []
    for path in Path(folder).glob("[0-9a-f]*/meta.json"):
        try:
            told = json.loads(path.read_text("utf-8"))
            found.append(Entry(path.parent.name, told["items"], told["bytes"], path.stat().st_mtime))
        except (OSError, ValueError):  # evicted while we looked
            continue
    return sorted(found, key=lambda e: -e.used_s)


def evict(folder: str | Path, limit_bytes: float, *, keep: str = "") -> list[str]:
    """Delete the entries that were not used for longest until `limit_bytes` are kept; return their names.

    Entries in use, and `keep`, stay.
    """
    home, gone = Path(folder), []
    known = entries(home)
    size = sum(e.bytes for e in known)
    for entry in reversed(known):
        if size <= limit_bytes:
            break
        if entry.name == keep:
            continue
        with _alone(home, entry.name, wait=False) as ours:
            if ours:
                _take_away(home, entry.name)
                gone.append(entry.name)
                size -= entry.bytes
    return gone


@final
class _Work:
    """What is to be derived: the dataset, the recipe, and their fingerprint as it is now."""

    def __init__(self, dataset: Any, recipe: Any, count: int, told: str | None) -> None:
        self.dataset, self.recipe, self.count, self._told = dataset, recipe, count, told
        self.whole = not callable(recipe) and hasattr(recipe, "transform")
        if not self.whole and not callable(recipe):
            raise UsageError(
                f"the recipe is {recipe!r}, but must be a function of an item or have a method transform"
            )

    def code(self) -> str:
        """Return the fingerprint of the recipe alone."""
        return code_fingerprint(self.recipe, "recipe")

    def name(self) -> str:
        """Return the fingerprint of data and recipe as they are now."""
        data = f"told {self._told}" if self._told is not None else fingerprint(self.dataset, "dataset")
        # The code of the dataset is what makes an item; it counts even where its content was told.
        source = type(self.dataset).__qualname__ if self._told is not None else ""
        kind = code_fingerprint(type(self.dataset), "dataset")
        parts = [str(_FORMAT), data, source, kind, self.code(), str(self.count)]
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()

    def item(self, number: int) -> Any:
        if self.whole:
            return self.recipe.transform(self.dataset[number : number + 1])[0]
        return self.recipe(self.dataset[number])

    def items(self) -> Iterator[Any]:
        if self.whole:
            yield from self.recipe.transform(self.dataset)
            return
        for number in range(self.count):
            yield self.recipe(self.dataset[number])


def _on_the_fly(work: _Work, why: str) -> Cached:
    _LOG.warning("joulewise: not cached, computed at every read instead: %s", why)
    return Cached(None, work.item, work.count, hit=False, why_not=why)


def _found(home: Path, name: str, work: _Work) -> Cached | None:
    """Return the entry if it is whole and a sample of it is what the recipe gives now; take it away if not."""
    place = home / name
    try:
        told = json.loads((place / "meta.json").read_text("utf-8"))
        sizes = {p.name: p.stat().st_size for p in place.iterdir()}
    except (OSError, ValueError):
        if place.exists():
            _take_away(home, name)
        return None
    if told.get("format") != _FORMAT or any(sizes.get(n) != size for n, size in told["files"].items()):
        _take_away(home, name)
        return None
    data = Cached(place, work.item, told["items"], hit=True)
    data._held = _hold(home, name)  # noqa: SLF001 - one noun
    if not _agrees(data, work, _TRIED_WHEN_FOUND):
        _LOG.warning(
            "joulewise: the recipe gives other values than it did, from a cause its fingerprint does not see; cached anew"
        )
        data.close()
        _take_away(home, name)
        return None
    with suppress(OSError):  # somebody else's cache: read only
        os.utime(place / "meta.json")
    return data


def _build(
    home: Path, name: str, work: _Work, limit_bytes: float, deterministic: bool
) -> Cached | str | None:
    """Build an entry and return it; a text says why it is not cached, None that the data changed meanwhile."""
    for leftover in home.glob(f".building-{name}-*"):
        if _is_dead(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
    for attempt in range(2):
        fresh = home / f".building-{name}-{os.uname().nodename}-{_process()}-{secrets.token_hex(4)}"
        try:
            fresh.mkdir(mode=0o700)
            before, code = _random_states(), work.code()
            too_large = _write(fresh, work, limit_bytes)
            if too_large:
                return too_large
            drew = [n for n, state in _random_states().items() if n in before and state != before[n]]
            if drew and not deterministic:
                raise UsageError(
                    f"the recipe draws random numbers ({', '.join(drew)}): {_AFTER}; if it seeds them itself, "
                    "say deterministic=True"
                )
            if work.code() != code:
                raise UsageError(
                    f"the recipe changes while it is used (random numbers of its own, or a count?): {_AFTER}"
                )
            if work.name() != name:
                return None
            if not _agrees(Cached(fresh, work.item, work.count, hit=False), work, _TRIED_WHEN_BUILT):
                if work.name() != name:
                    return None
                raise UsageError(f"the recipe gives other values when it is computed twice: {_AFTER}")
            _sync(fresh)
            try:
                os.rename(fresh, home / name)
            except OSError:  # where files cannot be locked another was first: the same, and whole
                if (found := _found(home, name, work)) is None:
                    raise
                return found
            _sync(home)
            data = Cached(home / name, work.item, work.count, hit=False)
            data._held = _hold(home, name)  # noqa: SLF001 - one noun
            evict(home, limit_bytes, keep=name)
            return data
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            known = entries(home)
            if attempt or not known:
                return f"cannot write {home}: {error.strerror}"
            evict(home, sum(e.bytes for e in known) / 2)  # make room, once
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return "no room"


def _process(pid: int | None = None) -> str:
    """Return a process's name for the host's life: its id alone is used again."""
    pid = os.getpid() if pid is None else pid
    return f"{pid}.{process_start(pid)}"


def _is_dead(leftover: Path) -> bool:
    """Whether the process that was building there is gone; on another host, whether it was quiet for a day."""
    host, process, _ = leftover.name.rsplit("-", 2)
    if host.endswith(f"-{os.uname().nodename}"):
        return _process(int(process.partition(".")[0])) != process
    try:
        return time.time() - leftover.stat().st_mtime > _QUIET_S
    except OSError:
        return False


def _write(fresh: Path, work: _Work, limit_bytes: float) -> str:
    """Write all items into `fresh`; return why it was given up, "" if it was not."""
    shape: Any = None
    writers: list[LeafWriter] = []
    number = -1
    try:
        for number, item in enumerate(work.items()):
            told = structure(item, number)
            if number == 0:
                shape = told
                writers = [LeafWriter(fresh, n, kind) for n, kind in enumerate(kinds(shape))]
            elif told != shape:
                raise UsageError(
                    f"item {number} of the recipe is {_words(told)}, items before it were {_words(shape)}; give all the same"
                )
            for writer, leaf in zip(writers, leaves(item), strict=True):
                writer.put(leaf, number)
            if sum(w.bytes for w in writers) > limit_bytes:
                return f"it is larger than the cache may be ({format_bytes(limit_bytes)}); raise limit_bytes"
        if number + 1 != work.count:
            raise UsageError(
                f"the recipe gives {number + 1} items for {work.count}; it must give one for each"
            )
        finished = [w.finish() for w in writers]
        files = {p.name: p.stat().st_size for p in fresh.iterdir()}
        meta = {"format": _FORMAT, "items": work.count, "structure": shape, "leaves": finished, "files": files,
                "bytes": sum(files.values()), "built_s": time.time()}  # fmt: skip
        with (fresh / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(meta, file)
            file.flush()
            os.fsync(file.fileno())
    finally:
        for writer in writers:
            writer.close()
    return ""


def _agrees(data: Cached, work: _Work, tried: int) -> bool:
    """Whether a sample of the cached items is what the recipe gives now. Draws none of the program's random numbers."""
    chance = random.Random(secrets.randbits(64))  # noqa: S311 - a sample, no secret
    for number in sorted({chance.randrange(work.count) for _ in range(tried)} if work.count else ()):
        with _same_random_states():
            now = work.item(number)
        if not _same(now, data[number], exactly=not work.whole):
            return False
    return True


def _same(one: Any, other: Any, *, exactly: bool) -> bool:
    if structure(one, 0) != structure(other, 0):
        return False
    for here, there, kind in zip(leaves(one), leaves(other), kinds(structure(one, 0)), strict=True):
        (data, shape), (data_there, shape_there) = encoded(here, kind), encoded(there, kind)
        if shape != shape_there:
            return False
        if bytes(data) != bytes(data_there) and (exactly or not _close(here, there)):
            return False
    return True


def _close(one: Any, other: Any) -> bool:
    """Whether two arrays agree to rounding: a transformer adds up in another order for one row than for all."""
    import numpy as np

    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True))


def _random_states() -> dict[str, int]:
    """Return a digest of the state of each global source of random numbers that is loaded."""
    import numpy.random

    now: Any = numpy.random.get_state()  # noqa: NPY002 - what users draw from
    states = {"random": hash(random.getstate()), "numpy.random": hash((now[1].tobytes(), *now[2:]))}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_rng_state"):
        states["torch"] = hash(bytes(torch.get_rng_state().numpy()))
    return states


@contextmanager
def _same_random_states() -> Iterator[None]:
    """Give the program its random numbers back as they were; inside they are others than when the cache was built."""
    import numpy.random

    torch = sys.modules.get("torch")
    kept = random.getstate(), numpy.random.get_state(), torch.get_rng_state() if torch else None  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept[0])
        numpy.random.set_state(kept[1])  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(kept[2])


@contextmanager
def _alone(home: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Let one process at a time be here for an entry; yields whether it is ours (always, if we wait)."""
    descriptor = os.open(home / "locks" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        if not wait and _in_use(home, name):
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _hold(home: Path, name: str) -> int:
    """Return a descriptor that says, as long as it is open, that the entry is in use."""
    descriptor = os.open(home / "locks" / f"{name}.used", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _in_use(home: Path, name: str) -> bool:
    descriptor = os.open(home / "locks" / f"{name}.used", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take_away(home: Path, name: str) -> None:
    """Delete an entry: renamed first, so that nobody finds half of it."""
    gone = home / f".evicted-{name}-{secrets.token_hex(4)}"
    with suppress(OSError):
        os.rename(home / name, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _words(shape: Any) -> str:
    return shape if isinstance(shape, str) else json.dumps(shape)
