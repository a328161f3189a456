"""Sharing: jobs beside each other by what they were *measured* to use, and undone where one slows by over a tenth.

A job counts as what it asks for until its command was recorded twice; from then on as the processors and the share of a
GPU that like runs used (95th percentile, a tenth on top) and the memory that they touched at most. Never as more than
it asks for, and everything together fills a machine to nine tenths where it is filled by measures. Counts are in
hundredths of a processor and of a GPU.

    measured    count()         what a waiting or running job takes, for `decide` (queue.py)
    placed      device()        a GPU with room for it: the fullest that holds it, so that others stay empty
    watched     Watch.look()    progress per second (logged steps, else processor seconds) against its own alone
    undone      Watch.apart     both commands count as what they ask for again; `decide` then pauses what does not fit
    idle        Watch.look()    a GPU that its holder has not used for ten minutes is told, and given back where that is possible

What GPUs allow is the device's: jobs share one by time-slicing or MPS; a slice of MIG is a device of its own (gpus.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import final

from joulewise.vocabulary.ticket import Needs

WHOLE = 100  # hundredths
SLOWED = 0.10
IDLE_GPU = 0.02  # a GPU below this share does nothing
IDLE_AFTER_S = 600.0
_FILL = 0.9
_HEADROOM = 1.1
_LOOKS = 2  # slow in so many looks after another


@dataclass(frozen=True, slots=True)
class Usage:
    """What like runs used: processors, a GPU's share (0 to 1), bytes of both memories, and progress per second by unit.

    The units of progress are `step` (what the program logs) and `cpu` (processor seconds).
    """

    cores: float
    memory_bytes: float
    gpu: float = 0.0
    gpu_memory_bytes: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A job at one moment: seconds since it began, its progress by unit, and how busy its GPUs are (None: it has none)."""

    t_s: float
    progress: Mapping[str, float]
    gpu: float | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a slice of one, that jobs may have: its number, bytes, and whether several may have it at once."""

    number: int
    memory_bytes: float = 0.0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at a job found: by how much it is slower than alone (None: not known), and for how long its GPU idled."""

    slowed: float | None = None
    idle_s: float = 0.0


def count(needs: Needs, usage: Usage | None) -> Needs:
    """Return what a job counts as, in hundredths of processors and GPUs; what it asks for where `usage` is None."""
    asked = Needs(needs.cpus * WHOLE, needs.gpus * WHOLE, needs.memory_bytes)
    if usage is None:
        return asked
    cpus = min(asked.cpus, ceil(usage.cores * _HEADROOM / _FILL * WHOLE - 1e-9))
    gpus = asked.gpus
    if needs.gpus == 1 and usage.gpu > 0:  # several GPUs work in step: they are not shared
        gpus = min(asked.gpus, ceil(usage.gpu * _HEADROOM / _FILL * WHOLE - 1e-9))
    memory = ceil(usage.memory_bytes)
    if needs.memory_bytes:
        memory = min(memory, needs.memory_bytes)
    return Needs(max(1, cpus), gpus, memory)


def room_of(room: Needs) -> Needs:
    """Return what a machine has, in hundredths."""
    return Needs(room.cpus * WHOLE, room.gpus * WHOLE, room.memory_bytes)


def device(
    wanted: int, memory_bytes: float, devices: Sequence[Device], taken: Mapping[int, tuple[int, float, bool]]
) -> int | None:
    """Return the GPU for a job that takes `wanted` hundredths of one, the fullest that holds it; None where none does.

    `taken` says by number how many hundredths and bytes are gone, and whether somebody has it for itself.
    """
    fits = []
    for one in devices:
        gone, used_bytes, alone = taken.get(one.number, (0, 0.0, False))
        if alone or (gone and not one.shared) or gone + wanted > WHOLE:
            continue
        if gone and one.memory_bytes and used_bytes + memory_bytes > _FILL * one.memory_bytes:
            continue
        if wanted >= WHOLE and gone:
            continue
        fits.append((-gone, one.number))
    return min(fits)[1] if fits else None


@final
class Watch:
    """What is known of running jobs from look to look. `apart` holds the commands that are placed beside nobody any more."""

    def __init__(self, apart: Collection[tuple[str, ...]] = ()) -> None:
        self.apart = set(apart)
        self._last: dict[str, Seen] = {}
        self._slow: dict[str, int] = {}
        self._idle_since: dict[str, float] = {}

    def forget(self, key: str) -> None:
        """Begin anew with a job: it stood still, or is over."""
        for table in (self._last, self._slow, self._idle_since):
            table.pop(key, None)

    def look(self, key: str, seen: Seen, usage: Usage | None, *, crowded: bool) -> Found:
        """Return what this look at a job tells beside the one before; `crowded` says that it shares what it runs on."""
        last, self._last[key] = self._last.get(key), seen
        if last is None or seen.t_s <= last.t_s:
            return Found()
        idle_s = self._idle(key, last, seen)
        slowed = _slower(last, seen, usage) if crowded and usage else None
        self._slow[key] = self._slow.get(key, 0) + 1 if slowed is not None and slowed > SLOWED else 0
        return Found(slowed if self._slow[key] >= _LOOKS else None, idle_s)

    def _idle(self, key: str, last: Seen, seen: Seen) -> float:
        if seen.gpu is None or seen.gpu >= IDLE_GPU:
            self._idle_since.pop(key, None)
            return 0.0
        return seen.t_s - self._idle_since.setdefault(key, last.t_s)


def _slower(last: Seen, seen: Seen, usage: Usage) -> float | None:
    """Return by which share a job is slower than alone, in the best unit that both know; None where none is."""
    for unit in ("step", "cpu"):
        alone = usage.rates.get(unit, 0.0)
        if alone > 0 and unit in seen.progress and unit in last.progress:
            rate = (seen.progress[unit] - last.progress[unit]) / (seen.t_s - last.t_s)
            return 1 - rate / alone
    return None
