"""A job in a worker's hands: its attempt, what was asked, its plan, and what was last heard of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from joulewise.ledger import jobs as queue
from joulewise.ledger.leases import Held
from joulewise.vocabulary.job import Placement, Stretch
from joulewise.vocabulary.ticket import Stage, Ticket


@dataclass(slots=True)
class Hand:
    """A job in a worker's hands."""

    held: Held
    ticket: Ticket
    placement: Placement | None
    handle: str
    ran: list[tuple[datetime, datetime | None]]
    requeued: bool = False
    asked: bool = False
    idle_until: datetime | None = None  # its GPU was taken back until then
    sure: bool = False  # whether the ledger says what the engine was last told
    awaited_utc: datetime | None = (
        None  # since when the engine has it and does not begin it: nothing runs yet
    )
    told: set[str] = field(default_factory=set)
    away: tuple[str, ...] = ()  # nodes that are not for it
    placed: bool = True  # whether it may be kept off nodes: one that was adopted may
    nodes: tuple[str, ...] = ()  # where it is

    @property
    def key(self) -> str:
        """The name of its attempt, which the engine knows it by."""
        return f"{self.held.line.id}-{self.held.line.fence}"

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return self.held.line.stage is Stage.PAUSED

    @property
    def awaited(self) -> bool:
        """Whether the engine has yet to begin it."""
        return self.awaited_utc is not None

    @property
    def devices(self) -> tuple[int, ...]:
        """The GPUs that it has."""
        return () if self.requeued else self.held.attempt.devices

    def begins_later(self, now_utc: datetime) -> bool:
        """Whether it was handed over ahead, and its engine begins it at an hour that has not come."""
        return self.paused and not self.ran and self.held.line.start_utc > now_utc

    def ran_s(self, now_utc: datetime) -> float:
        """Return for how long it has run."""
        return queue.ran_s(self.ran, now_utc)

    def stretches(self, now_utc: datetime) -> tuple[Stretch, ...]:
        """Return when it is to run: by its plan, or not for a while where its GPU was taken back."""
        if self.idle_until is not None and self.idle_until > now_utc:
            return (Stretch(self.idle_until, self.held.line.deadline_utc),)
        return self.placement.stretches if self.placement else ()

    def close(self, now_utc: datetime) -> None:
        """Let the stretch that is open end."""
        if self.ran and self.ran[-1][1] is None:
            self.ran[-1] = (self.ran[-1][0], now_utc)
