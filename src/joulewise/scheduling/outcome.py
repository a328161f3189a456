"""`outcome`: what becomes of a job whose attempt is over; pure.

done        exit code 0
cancelled   somebody asked for its end
waits again it was interrupted and is declared restartable, or failed and has retries left
failed      anything else; a budget that stopped it and a command that could not be started are never tried again
"""

from __future__ import annotations

from dataclasses import dataclass

from joulewise.launching.port import State, Status
from joulewise.ledger.jobs import Line
from joulewise.vocabulary.ticket import Stage, Ticket

MOST_ATTEMPTS = 20  # a job that takes its machine down each time is not started for ever
_NEVER_AGAIN = frozenset({3, 125, 126, 127})  # a budget stopped it, or it could not be started at all


@dataclass(frozen=True, slots=True)
class Outcome:
    """The stage that an ended attempt leaves its job in, why, its exit code, and whether the program failed by itself."""

    stage: Stage
    reason: str
    exit_code: int | None = None
    failed: bool = False


def outcome(line: Line, ticket: Ticket, status: Status, ran_s: float) -> Outcome:
    """Return what becomes of a job that ended as `status` says, after running for `ran_s` seconds."""
    code, why = status.exit_code, status.reason
    if status.state is State.LOST:
        return _lost(line, ticket, why)
    if line.wanted == "cancel":
        return Outcome(Stage.CANCELLED, "cancelled while it ran", code)
    if status.state is not State.FINISHED:
        return Outcome(Stage.FAILED, f"ended by the engine: {why or 'no reason given'}", code)
    if code == 0:
        return Outcome(Stage.DONE, f"done after {ran_s:.0f} s of running", code)
    if code not in _NEVER_AGAIN and line.failures < ticket.retries:
        left = ticket.retries - line.failures - 1
        return Outcome(Stage.QUEUED, f"failed with {code}; tried again ({left} more left)", code, failed=True)
    words = "stopped by its budget" if code == 3 and ticket.budget else f"failed with exit code {code}"
    return Outcome(Stage.FAILED, f"{words}{f': {why}' if why else ''}", code, failed=True)


def _lost(line: Line, ticket: Ticket, why: str) -> Outcome:
    if line.wanted == "cancel":
        return Outcome(Stage.CANCELLED, f"cancelled; {why}")
    if not ticket.restartable:
        return Outcome(Stage.FAILED, f"{why or 'it was interrupted'}; it is not declared restartable")
    if line.fence >= MOST_ATTEMPTS:
        return Outcome(Stage.FAILED, f"{why or 'interrupted'}; given up after {line.fence} attempts")
    return Outcome(Stage.QUEUED, f"{why or 'it was interrupted'}; starts again")
