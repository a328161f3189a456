"""What every engine can be asked, and what it answers: Order, Engine, Status.

An engine runs a command somewhere and keeps hold of it: local processes, Slurm, Ray, Kubernetes. It does not decide
when: the queue does. What an engine cannot do (Ray cannot suspend a program that it did not mark, a Slurm user may lack
the right) is missing from its `abilities`, and asking for it raises `Refused` with the line to read.

    order --start--> QUEUED --> RUNNING --> FINISHED (exit code) | CANCELLED | LOST (nobody can say how it ended)
                       |^          |^
                   hold||release   ||suspend, resume: SUSPENDED keeps memory and allocation
                       v|          v
                      HELD <--requeue: the program is asked to save its state and ends; `release` starts it anew

Promises (testing/engine_contract.py): `start` with a key that was started before returns the first handle and starts
nothing, whoever died in between; a handle is text that any other process can use; asking twice for what holds already
is no error; whoever ends a program asks first and kills only after the grace.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from joulewise.vocabulary.errors import EngineError, UsageError

BEGIN, HOLD, SUSPEND, REQUEUE, PLACE = (
    "begin",
    "hold",
    "suspend",
    "requeue",
    "place",
)  # abilities that an engine may lack


class Refused(EngineError, UsageError):  # noqa: N818 - it names the state
    """The engine does not do this: it cannot, the user may not, or the cluster says no. Nothing was changed."""


class Unreachable(EngineError):  # noqa: N818 - it names the state
    """The engine does not answer. Whether what was asked has happened is unknown: ask again with the same key."""


class State(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"  # the engine has it and will start it: resources or its begin are awaited
    HELD = "held"  # it starts only after `release`
    RUNNING = "running"
    SUSPENDED = "suspended"  # stands still, with its memory and its allocation
    FINISHED = "finished"  # ended by itself; `exit_code` says how
    CANCELLED = "cancelled"  # ended by `cancel`, or by the cluster; `reason` says why
    LOST = "lost"  # it is certain that it does not run, and nobody can say how it ended


LIVE = frozenset({State.QUEUED, State.HELD, State.RUNNING, State.SUSPENDED})


@dataclass(frozen=True, slots=True)
class Resources:
    """What a job needs: in all, not per node. `limit_s` is how long it may run (None: the engine's own limit)."""

    cpus: int = 1
    memory_bytes: int | None = None
    gpus: int = 0
    nodes: int = 1
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Checkpointing:
    """How a program is asked to save its state and end: a signal that it handles, and the time that it may take."""

    signal: signal.Signals = signal.SIGTERM
    grace_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """A command to start. `key` (job id and fencing token) names this one attempt, for ever and on every host.

    `env` is laid over the environment that the engine gives. `checkpointing` None: the program cannot save its
    state, so it is never requeued. `tags` are what a cluster shows beside the job (a comment, labels). `away` names nodes
    that it is not to run on, where the engine has several.
    """

    key: str
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    begin_utc: datetime | None = None
    held: bool = False
    resources: Resources = field(default_factory=Resources)
    checkpointing: Checkpointing | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    away: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """What an engine says about a job: `exit_code` as a shell would (128 + n where signal n killed it), the nodes it is on.

    `began_utc` and `ended_utc` are when it last began and when it ended, where the engine keeps that.
    """

    state: State
    exit_code: int | None = None
    reason: str = ""
    restarts: int = 0
    nodes: tuple[str, ...] = ()
    began_utc: datetime | None = None
    ended_utc: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether it may still use a processor."""
        return self.state in LIVE


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds that the engine itself takes, for the planner: from due to running, after a requeue, to wake a node."""

    start_s: float = 0.0
    requeue_s: float = 0.0
    wake_s: float = 0.0


class Engine(Protocol):
    """Somewhere that commands run. Every call returns at once; what takes time is seen in `status`.

    All raise `Refused` for what is not to be had and `Unreachable` where the cluster does not answer; a handle that
    the engine never gave out is a `Refused`.
    """

    @property
    def name(self) -> str:
        """Its name in `--engine`."""

    @property
    def abilities(self) -> frozenset[str]:
        """Those of BEGIN, HOLD, SUSPEND, REQUEUE and PLACE that this user has here."""

    @property
    def keeps(self) -> bool:
        """Whether what it suspends keeps all of its room here: nobody else gets its processors meanwhile."""

    def start(self, order: Order) -> str:
        """Start the order (or hand it over, to start later) and return its handle; the first one if known already."""

    def find(self, key: str) -> str | None:
        """Return the handle of the order started under `key`, or None if there is none."""

    def status(self, handle: str) -> Status:
        """Return where the job is."""

    def begin(self, handle: str, when_utc: datetime) -> None:
        """Let a job that has not started yet start at `when_utc` instead."""

    def hold(self, handle: str) -> None:
        """Keep a job that has not started from starting."""

    def release(self, handle: str) -> None:
        """Let a held job start, at once if its begin has passed."""

    def place(self, handle: str, away: Sequence[str]) -> None:
        """Keep a job that waits off these nodes from now on; of none, the engine may take any."""

    def suspend(self, handle: str) -> None:
        """Let a running job stand still, with its memory."""

    def resume(self, handle: str) -> None:
        """Let a suspended job go on."""

    def requeue(self, handle: str) -> None:
        """Ask a running job to save its state and end; it is held then, and starts anew after `release`."""

    def cancel(self, handle: str, grace_s: float = 10.0) -> None:
        """End a job: SIGTERM, and SIGKILL after the grace. Nothing happens if it has ended."""

    def logs(self, handle: str, offset: int = 0) -> bytes:
        """Return what the job wrote, both streams, from byte `offset` on (a mebibyte at most; empty: no more yet)."""

    def delays(self) -> Delays:
        """Return what starting and pausing cost here."""


def require_names(environment: Mapping[str, str]) -> None:
    """Refuse an environment that a shell script cannot set."""
    bad = [name for name in environment if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)]
    if bad:
        raise Refused(f"{bad[0]!r} is no name of an environment variable that a shell can set")
