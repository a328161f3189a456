"""A worker's floor: what jobs take of its machine, which GPU each gets, and what a look at them tells.

Without `Sharing` a job takes what it asks for, and GPUs are given out whole by number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, final

from joulewise.ledger.jobs import Line
from joulewise.scheduling.sharing import (
    IDLE_AFTER_S,
    WHOLE,
    Device,
    Seen,
    Usage,
    Watch,
    count,
    device,
    room_of,
)
from joulewise.vocabulary.quantities import format_duration
from joulewise.vocabulary.ticket import Needs, Ticket

LOOK_EVERY_S = 30.0
_Taken = Mapping[
    int, tuple[int, float, bool]
]  # by GPU: hundredths and bytes that are gone, and whether it is taken whole


@dataclass(frozen=True, slots=True)
class Sharing:
    """How jobs may share this machine: what like runs used, how a job does now, the GPUs, and what gives a job its share of one."""

    usual: Callable[[Ticket], Usage | None]
    look: Callable[[Ticket, str], Seen | None]
    devices: tuple[Device, ...] = ()
    environment: Callable[[int, float, float], Mapping[str, str]] | None = None


class Occupant(Protocol):
    """A job that a worker has."""

    @property
    def ticket(self) -> Ticket:
        """What was asked for."""

    @property
    def key(self) -> str:
        """Its attempt."""

    @property
    def devices(self) -> tuple[int, ...]:
        """The GPUs that it was given."""

    @property
    def paused(self) -> bool:
        """Whether it stands still."""


@dataclass(frozen=True, slots=True)
class Word:
    """Something to write into a job's story; `idle` says that its GPU should be given back."""

    job: str
    what: str
    reason: str
    idle: bool = False


@final
class Floor:
    """What jobs take of a machine with `room`."""

    def __init__(self, room: Needs, sharing: Sharing | None = None) -> None:
        self.room = room_of(room)
        self._asked_room, self._sharing = room, sharing
        self._devices = (
            sharing.devices if sharing and sharing.devices else tuple(map(Device, range(room.gpus)))
        )
        self._watch = Watch()
        self._usual: dict[tuple[str, ...], Usage | None] = {}
        self._look_at = float("-inf")

    @property
    def measures(self) -> bool:
        """Whether it counts jobs by what like runs used: then their tickets are needed."""
        return self._sharing is not None

    def counted(self, line: Line, ticket: Ticket | None) -> Line:
        """Return a job's line with what it counts as."""
        return replace(line, needs=count(line.needs, self._usage(ticket)))

    def counts(self, ticket: Ticket) -> Needs:
        """Return what a job counts as, in hundredths."""
        return count(ticket.needs, self._usage(ticket))

    def devices(self, ticket: Ticket, here: Iterable[Occupant]) -> tuple[int, ...] | None:
        """Return the GPUs for a job beside those that are here; None where there is no room for it on any."""
        wanted, taken = ticket.needs.gpus, self._taken(here)
        if wanted == 1:
            return self._one(ticket, self._devices, taken)
        free = tuple(d.number for d in self._devices if d.number not in taken)[:wanted]
        return free if len(free) == wanted else None

    def holds(self, ticket: Ticket, devices: Sequence[int], here: Iterable[Occupant]) -> bool:
        """Whether a job that gave its GPUs back may have the same ones again beside those that are here."""
        taken = self._taken(here)
        if len(devices) != 1:
            return not set(devices) & set(taken)
        return self._one(ticket, [d for d in self._devices if d.number in devices], taken) is not None

    def _one(self, ticket: Ticket, devices: Sequence[Device], taken: _Taken) -> tuple[int] | None:
        usage = self._usage(ticket)
        memory = usage.gpu_memory_bytes if usage else 0.0
        chosen = device(self.counts(ticket).gpus, memory, devices, taken)
        return None if chosen is None else (chosen,)

    def _taken(self, here: Iterable[Occupant]) -> _Taken:
        taken: dict[int, tuple[int, float, bool]] = {}
        for one in here:
            usage = self._usage(one.ticket)
            share = self.counts(one.ticket).gpus if one.ticket.needs.gpus == 1 else WHOLE
            for number in one.devices:
                gone, used_bytes, alone = taken.get(number, (0, 0.0, False))
                more = usage.gpu_memory_bytes if usage else 0.0
                taken[number] = (gone + share, used_bytes + more, alone or share >= WHOLE)
        return taken

    def environment(self, ticket: Ticket, devices: Sequence[int]) -> Mapping[str, str]:
        """Return the variables that give a job its GPUs."""
        if not devices or self._sharing is None or self._sharing.environment is None:
            return {}
        if len(devices) == 1:
            usage = self._usage(ticket)
            share, memory = self.counts(ticket).gpus / WHOLE, usage.gpu_memory_bytes if usage else 0.0
            return self._sharing.environment(devices[0], share, memory)
        each = [self._sharing.environment(n, 1.0, 0.0)["CUDA_VISIBLE_DEVICES"] for n in devices]
        return {"CUDA_VISIBLE_DEVICES": ",".join(each)}

    def look(self, here: Mapping[str, Occupant], now_s: float) -> list[Word]:
        """Return what a look at the jobs tells: who is slowed by whom, and whose GPU idles. Every half minute."""
        if self._sharing is None or now_s < self._look_at:
            return []
        self._look_at = now_s + LOOK_EVERY_S
        words: list[Word] = []
        for job, one in here.items():
            beside = self._beside(job, here)
            if one.paused or not (beside or one.devices):
                self._watch.forget(one.key)
                continue
            seen = self._sharing.look(one.ticket, one.key)
            if seen is None:
                continue
            found = self._watch.look(one.key, seen, self._usage(one.ticket), crowded=bool(beside))
            if found.slowed is not None:
                words += self._part(job, beside, here, found.slowed)
            if found.idle_s >= IDLE_AFTER_S:
                self._watch.forget(one.key)
                words.append(
                    Word(job, "idle", f"its GPU did nothing for {format_duration(found.idle_s)}", idle=True)
                )
        return words

    def _part(
        self, job: str, beside: Sequence[str], here: Mapping[str, Occupant], slowed: float
    ) -> list[Word]:
        """Let a job and those beside it count as what they ask for from now on."""
        parted = [job, *beside]
        names = ", ".join(here[b].ticket.job.name for b in beside)
        for name in parted:
            self._watch.apart.add(here[name].ticket.argv)
            self._watch.forget(here[name].key)
        return [
            Word(
                job,
                "slowed",
                f"{slowed:.0%} slower beside {names} than alone: they are kept apart from now on",
            )
        ]

    def _beside(self, job: str, here: Mapping[str, Occupant]) -> list[str]:
        """Return the running jobs that this one shares a GPU with, or processors where more are asked for than there are."""
        running = {name: one for name, one in here.items() if not one.paused}
        mine = here[job]
        crowded = sum(one.ticket.needs.cpus for one in running.values()) > self._asked_room.cpus
        return [
            name
            for name, one in running.items()
            if name != job and (crowded or set(one.devices) & set(mine.devices))
        ]

    def _usage(self, ticket: Ticket | None) -> Usage | None:
        if ticket is None or self._sharing is None or ticket.argv in self._watch.apart:
            return None
        if ticket.argv not in self._usual:
            self._usual[ticket.argv] = self._sharing.usual(ticket)
        return self._usual[ticket.argv]
