"""An engine in simulated time: jobs are `("sleep", seconds)`, and run as long as a `FakeClock` says.

It keeps the promises of launching/port.py, and it outlives the workers that use it, as a cluster does. What no real
engine tells, it knows: how many copies of a job ever lived at once (`most_copies`), and when each truly ran. Commands:

    sleep S          runs S seconds and ends with 0
    fail S [CODE]    runs S seconds and ends with CODE (1)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import final

from joulewise.launching.port import (
    BEGIN,
    HOLD,
    PLACE,
    REQUEUE,
    SUSPEND,
    Delays,
    Order,
    Refused,
    State,
    Status,
)
from joulewise.testing.clock import FakeClock


@dataclass(slots=True)
class _Job:
    order: Order
    state: State
    needs_s: float
    code: int
    ran: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    reason: str = ""
    restarts: int = 0
    due: datetime | None = None

    def ran_s(self, now: datetime) -> float:
        return sum(((end or now) - begin).total_seconds() for begin, end in self.ran)


@final
class SimulatedEngine:
    """Jobs that run in a `FakeClock`'s time. `forget_host` is the machine going down: what ran is lost.

    A job runs `start_s` after it was handed over, or at its begin if that is later; until then it is queued. Of several
    `nodes` it takes the first that it is not kept off, whatever runs there.
    """

    def __init__(
        self,
        clock: FakeClock,
        abilities: Iterable[str] = (BEGIN, HOLD, SUSPEND, REQUEUE, PLACE),
        name: str = "local",
        start_s: float = 0.0,
        *,
        keeps: bool = False,
        nodes: Sequence[str] = (),
    ) -> None:
        self.name, self.start_s, self.keeps, self._nodes = name, start_s, keeps, tuple(nodes)
        self.abilities = frozenset(abilities)
        self.most_copies = 0
        self.away: dict[str, tuple[str, ...]] = {}  # what each job was kept off last
        self._clock = clock
        self._jobs: dict[str, _Job] = {}

    def start(self, order: Order) -> str:
        """Start the order and return its handle; the first one if the key was started before."""
        if order.key in self._jobs:
            return order.key
        if order.argv[0] not in ("sleep", "fail"):
            raise Refused(f"there is no program {order.argv[0]!r}")
        code = int(order.argv[2]) if len(order.argv) > 2 else 1
        job = _Job(order, State.QUEUED, float(order.argv[1]), code if order.argv[0] == "fail" else 0)
        now = self._clock.now_utc()
        job.due = max(now, order.begin_utc or now) + timedelta(seconds=self.start_s)
        self._jobs[order.key], self.away[order.key] = job, order.away
        name = order.key.rpartition("-")[0]
        copies = sum(self._now(key).live for key in self._jobs if key.rpartition("-")[0] == name)
        self.most_copies = max(self.most_copies, copies)
        return order.key

    def find(self, key: str) -> str | None:
        """Return the handle of the order started under `key`, or None."""
        return key if key in self._jobs else None

    def status(self, handle: str) -> Status:
        """Return where the job is."""
        return self._now(handle)

    def begin(self, handle: str, when_utc: datetime) -> None:
        """Move the start of a job that waits for its begin."""
        if self._now(handle).state is not State.QUEUED:
            raise Refused(f"{handle} runs already")
        self._job(handle).due = max(when_utc, self._clock.now_utc()) + timedelta(seconds=self.start_s)

    def hold(self, handle: str) -> None:
        """Keep a job that waits for its begin from starting."""
        if self._now(handle).state is not State.QUEUED:
            raise Refused(f"{handle} runs already")
        self._job(handle).state = State.HELD

    def release(self, handle: str) -> None:
        """Let a requeued job start anew."""
        self._go_on(handle, State.HELD)

    def place(self, handle: str, away: Sequence[str]) -> None:
        """Remember the nodes that a job that waits is kept off."""
        if self._now(handle).state not in (State.QUEUED, State.HELD):
            raise Refused(f"{handle} runs already")
        self.away[handle] = tuple(away)

    def suspend(self, handle: str) -> None:
        """Let a running job stand still."""
        self._stop(handle, State.SUSPENDED)

    def resume(self, handle: str) -> None:
        """Let a suspended job go on."""
        self._go_on(handle, State.SUSPENDED)

    def requeue(self, handle: str) -> None:
        """Let a running job save its state (at once, losing nothing) and wait."""
        if self._job(handle).order.checkpointing is None:
            raise Refused(f"{handle} cannot save its state")
        self._stop(handle, State.HELD)
        self._job(handle).restarts += 1

    def cancel(self, handle: str, grace_s: float = 10.0) -> None:  # noqa: ARG002 - the port names it
        """End a job at once."""
        if self._now(handle).live:
            self._stop(handle, State.CANCELLED)
            self._job(handle).reason = "cancelled"

    def logs(self, handle: str, offset: int = 0) -> bytes:
        """Return what it wrote: its key."""
        return self._job(handle).order.key.encode()[offset:]

    def delays(self) -> Delays:
        """Return no delays."""
        return Delays()

    def forget_host(self) -> None:
        """Lose all that runs."""
        for key, job in self._jobs.items():
            if self._now(key).live:
                self._stop(key, State.LOST)
                job.reason = "the machine was restarted while it ran"

    def ran(self, job_id: str) -> list[tuple[datetime, datetime]]:
        """Return when all attempts of a job truly ran; open stretches end now."""
        now = self._clock.now_utc()
        return [
            (begin, end or now)
            for key, job in self._jobs.items()
            if key.rpartition("-")[0] == job_id and self._now(key)
            for begin, end in job.ran
        ]

    def _job(self, handle: str) -> _Job:
        if handle not in self._jobs:
            raise Refused(f"there is no job {handle!r}")
        return self._jobs[handle]

    def _now(self, handle: str) -> Status:
        job, now = self._job(handle), self._clock.now_utc()
        if job.state is State.QUEUED and job.due is not None and job.due <= now:
            job.state = State.RUNNING
            job.ran.append((job.due, None))
        if job.state is State.RUNNING and (over_s := job.ran_s(now) - job.needs_s) >= 0:
            job.state = State.FINISHED
            job.ran[-1] = (job.ran[-1][0], now - timedelta(seconds=over_s))
        code = job.code if job.state is State.FINISHED else None
        there = job.state in (State.RUNNING, State.SUSPENDED)
        nodes = [n for n in self._nodes if n not in self.away[handle]][:1] if there else ()
        return Status(job.state, code, job.reason, job.restarts, tuple(nodes))

    def _stop(self, handle: str, state: State) -> None:
        now = self._now(handle).state
        job = self._job(handle)
        if now is State.RUNNING:
            job.ran[-1] = (job.ran[-1][0], self._clock.now_utc())
        elif now not in (State.QUEUED, State.SUSPENDED, State.HELD):
            raise Refused(f"{handle} has ended ({now})")
        job.state = state

    def _go_on(self, handle: str, rested: State) -> None:
        job = self._job(handle)
        if job.state is rested:
            job.state = State.RUNNING
            job.ran.append((self._clock.now_utc(), None))
