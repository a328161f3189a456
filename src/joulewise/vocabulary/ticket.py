"""A ticket: flexible work as it was submitted to the queue.

Beside the Job, which is all that planning knows, it holds what running needs: the command and where it runs, what it
takes of a machine, who asked for it, and what may be done to it. How it may be paused is honest:

    suspend   it stands still and keeps its memory, its GPUs and their idle power; needs nothing of the program
    requeue   it saves its state on a signal and ends, and starts anew later; only for a program that can (`checkpoint`)

`restartable` is another promise: it may be started again from nothing after its machine died under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Job, job_as_json, job_from_json


class Stage(StrEnum):
    """Where a job is on its way through the queue."""

    QUEUED = "queued"  # it waits for its hour, or for room
    RUNNING = "running"  # a worker has it
    PAUSED = "paused"  # a worker has it, and lets it stand still
    DONE = "done"  # ended by itself with exit code 0
    FAILED = "failed"  # ended otherwise; the reason says how
    CANCELLED = "cancelled"  # somebody asked for its end


OPEN = (Stage.QUEUED, Stage.RUNNING, Stage.PAUSED)  # it is not over
HELD = (Stage.RUNNING, Stage.PAUSED)  # a worker has it


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job takes of a machine while it runs, or what a machine has: processors, GPUs, bytes of memory (0: not said)."""

    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0

    def __post_init__(self) -> None:
        """Refuse less than nothing."""
        if self.cpus < 0 or self.gpus < 0 or self.memory_bytes < 0:
            raise UsageError(
                f"a job needs {self.cpus} CPUs, {self.gpus} GPUs and {self.memory_bytes} bytes; none of them may be below 0"
            )

    def __add__(self, other: Needs) -> Needs:
        """Return both together."""
        return Needs(self.cpus + other.cpus, self.gpus + other.gpus, self.memory_bytes + other.memory_bytes)

    def within(self, room: Needs) -> bool:
        """Whether a machine with `room` holds it."""
        return self.cpus <= room.cpus and self.gpus <= room.gpus and self.memory_bytes <= room.memory_bytes

    def __str__(self) -> str:
        """Return it in words: `4 CPUs, 1 GPU, 16 GB`."""
        parts = [
            f"{n} {what}{'s' if n != 1 else ''}" for n, what in ((self.cpus, "CPU"), (self.gpus, "GPU")) if n
        ]
        if self.memory_bytes:
            parts.append(f"{self.memory_bytes / 1e9:.3g} GB")
        return ", ".join(parts) or "nothing"

    @property
    def at_rest(self) -> Needs:
        """What it keeps while it is suspended: its GPUs and its memory, but no processor."""
        return Needs(0, self.gpus, self.memory_bytes)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job as it was submitted. `env` is laid over the environment of whoever runs it.

    `checkpoint` is the name of the signal on which the program saves its state and ends ("" : it cannot), within
    `checkpoint_grace_s`. `retries` counts how often it is started again after a failure of its own.
    """

    job: Job
    argv: tuple[str, ...]
    cwd: str
    owner: str
    env: Mapping[str, str] = field(default_factory=dict)
    engine: str = "local"
    needs: Needs = field(default_factory=Needs)
    priority: int = 0
    restartable: bool = False
    checkpoint: str = ""
    checkpoint_grace_s: float = 60.0
    retries: int = 0
    budget: str = ""

    def __post_init__(self) -> None:
        """Refuse a ticket without a command."""
        if not self.argv:
            raise UsageError("there is no command to run; write it after --")
        if self.retries < 0:
            raise UsageError(f"retries is {self.retries}, but must be at least 0")

    @property
    def pausable(self) -> bool:
        """Whether it may stand still on the way."""
        return self.job.interruptible is not None


def ticket_as_json(ticket: Ticket) -> dict[str, Any]:
    """Return plain values for a table; `ticket_from_json` reads them back."""
    needs = ticket.needs
    return {
        "job": job_as_json(ticket.job),
        "argv": list(ticket.argv),
        "cwd": ticket.cwd,
        "owner": ticket.owner,
        "env": dict(ticket.env),
        "engine": ticket.engine,
        "needs": [needs.cpus, needs.gpus, needs.memory_bytes],
        "priority": ticket.priority,
        "restartable": ticket.restartable,
        "checkpoint": ticket.checkpoint,
        "checkpoint_grace_s": ticket.checkpoint_grace_s,
        "retries": ticket.retries,
        "budget": ticket.budget,
    }


def ticket_from_json(told: Mapping[str, Any]) -> Ticket:
    """Return the ticket that `ticket_as_json` described; raise UsageError for what is none."""
    try:
        return Ticket(
            job_from_json(told["job"]),
            tuple(map(str, told["argv"])),
            str(told["cwd"]),
            str(told["owner"]),
            dict(told["env"]),
            str(told["engine"]),
            Needs(*map(int, told["needs"])),
            int(told["priority"]),
            bool(told["restartable"]),
            str(told["checkpoint"]),
            float(told["checkpoint_grace_s"]),
            int(told["retries"]),
            str(told["budget"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this is no ticket: {type(error).__name__} {error}") from error
