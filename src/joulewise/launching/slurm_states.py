"""Slurm's states in our words: of a job, and of an array as one job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from joulewise.launching.port import LIVE, State, Status
from joulewise.launching.slurm_commands import Row

_STATES = {
    "CONFIGURING": State.QUEUED,
    "SUSPENDED": State.SUSPENDED,
    "STOPPED": State.SUSPENDED,
    "REQUEUED": State.HELD,
    "REQUEUE_HOLD": State.HELD,
    "SPECIAL_EXIT": State.HELD,
    "COMPLETED": State.FINISHED,
    "FAILED": State.FINISHED,
    "CANCELLED": State.CANCELLED,
    "TIMEOUT": State.CANCELLED,
    "DEADLINE": State.CANCELLED,
    "PREEMPTED": State.CANCELLED,
    "OUT_OF_MEMORY": State.CANCELLED,
    "NODE_FAIL": State.LOST,
    "BOOT_FAIL": State.LOST,
}
ENDS = "it ends"
STOPPED = "stopped by SIGSTOP: it keeps its allocation, and its time limit runs on"
_WORDS = {
    "STOPPED": STOPPED,
    "CONFIGURING": "its nodes wake up",
    "COMPLETING": ENDS,
    "TIMEOUT": "it ran into its time limit",
    "DEADLINE": "Slurm saw that its deadline cannot be met",
    "PREEMPTED": "preempted by another job",
    "OUT_OF_MEMORY": "it ran out of memory",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
}
_FIRST = (
    State.RUNNING,
    State.SUSPENDED,
    State.QUEUED,
    State.HELD,
    State.LOST,
    State.CANCELLED,
    State.FINISHED,
)


def status_of(rows: Sequence[Row]) -> Status:
    """Return the status of a job; of an array, that of the task that is least done, and the worst exit code."""
    told = [_status(row) for row in rows]
    if len(told) == 1:
        return told[0]
    first = min(told, key=lambda status: _FIRST.index(status.state))
    ended = sum(not status.live for status in told)
    reason = f"{ended} of {len(told)} tasks have ended" + (f"; {first.reason}" if first.reason else "")
    codes = [status.exit_code for status in told if status.exit_code is not None]
    restarts = max(status.restarts for status in told)
    nodes = tuple(dict.fromkeys(node for status in told if status.live for node in status.nodes))
    began = min((s.began_utc for s in told if s.began_utc), default=None)
    over = max((s.ended_utc for s in told if s.ended_utc), default=None) if not first.live else None
    code = max(codes, default=None) if not first.live else None
    return Status(first.state, code, reason, restarts, nodes, began, over)


def _status(row: Row) -> Status:
    state = _STATES.get(row.state, State.RUNNING)
    if row.state == "PENDING":
        state = State.HELD if row.held else State.QUEUED
    reason = _WORDS.get(row.state, "" if row.reason in ("None", "NonZeroExitCode") else row.reason)
    code = row.exit_code if state in (State.FINISHED, State.CANCELLED) and row.state != "CANCELLED" else None
    ran = state not in (State.QUEUED, State.HELD)  # of what waits Slurm tells an estimate
    began = _moment(row.began_s) if ran else None
    over = _moment(row.ended_s) if state not in LIVE else None
    told = "" if state is State.FINISHED and not code else reason
    return Status(state, code, told, row.restarts, row.nodes, began, over)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
