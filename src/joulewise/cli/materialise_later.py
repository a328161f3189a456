"""`joulewise materialise --submit`: put each view's next run into the queue, to end before its values are older than their TTL.

The store knows when a view was made last, how long that takes, and how old its values may get; the queue knows the clean
hours. A view whose run waits in the queue already is not put there again, so this may be called as often as you like.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from joulewise import wiring
from joulewise.vocabulary.errors import RecordingError, UsageError
from joulewise.vocabulary.job import Duration, Job, Pace
from joulewise.vocabulary.ticket import Needs, Ticket

if TYPE_CHECKING:
    from joulewise.features.online import OnlineStore, ViewState
    from joulewise.features.views import View
    from joulewise.scheduling.submitting import Submitted

_START_S = 3.0  # an interpreter, DuckDB, a recording
_LEAST_S = 60.0  # a view whose values are too old already is made as soon as there is room
_USUAL_W = 40.0  # of a core and its memory, where no run was recorded


@dataclass(frozen=True, slots=True)
class Put:
    """What became of one view: its job in the queue, or the one that waited there already (`submitted` is None)."""

    view: str
    job: str
    deadline_utc: datetime
    reason: str
    submitted: Submitted | None = None


def submit_all(
    views: Iterable[View],
    online: OnlineStore,
    command: tuple[str, ...],
    zones: tuple[str, ...],
    memory_bytes: int,
) -> list[Put]:
    """Put the next run of each view into the queue. `command` is a materialisation to which `--view NAME` is added.

    Raises UsageError, with nothing submitted, for a view that was never materialised: no value of it is there to be fresh.
    """
    states = online.states()
    views = list(views)
    for view in views:
        if view.name not in states:
            raise UsageError(
                f"view {view.name} was never materialised here, so nothing is known of its cost and nothing is to be put off; "
                "run it once without --submit"
            )
    waiting = _waiting()
    done = []
    for view in views:
        ticket = ticket_of(
            states[view.name], (*command, "--view", view.name), zones, memory_bytes, datetime.now(UTC)
        )
        if (there := waiting.get(ticket.argv)) is not None:
            done.append(Put(view.name, *there))
            continue
        submitted = wiring.submit(ticket)
        done.append(Put(view.name, submitted.id, ticket.job.deadline_utc, submitted.reason, submitted))
    return done


def ticket_of(
    state: ViewState, argv: tuple[str, ...], zones: tuple[str, ...], memory_bytes: int, now: datetime
) -> Ticket:
    """Return the next run of a view as flexible work: between when it is due and when its values are too old."""
    from joulewise.features.materialising import due
    from joulewise.scheduling.submitting import carried

    when = due(state)
    took = tuple(r.wall_s + _START_S for r in state.runs[-9:])
    release = max(now, when.earliest_utc)
    deadline = max(when.latest_utc, release + timedelta(seconds=_LEAST_S + 2 * max(took)))
    return Ticket(
        Job(
            f"materialise-{state.name}",
            Duration(took, source=f"{len(took)} run{'s' if len(took) > 1 else ''} of this view"),
            release,
            deadline,
            (Pace("1 worker", 1.0, _watts(state)),),
            None,  # standing still it would hold the store's lock
            zones,
        ),
        argv,
        os.getcwd(),
        getpass.getuser(),
        carried(os.environ),
        needs=Needs(1, 0, 2 * memory_bytes),
        restartable=True,  # doing it again does no harm
        retries=1,
    )


def command_of(file: str, store: str | None, memory: str, *, migrate: bool) -> tuple[str, ...]:
    """Return the materialisation that a worker runs. Raises UsageError for a password: a ledger is no place for secrets."""
    if store and "@" in store:
        raise UsageError(
            "--store holds a user or password, and a queue is no place for it: set online_store in the settings of the worker's user"
        )
    words = [sys.executable, "-m", "joulewise", "materialise", os.path.abspath(file), "--memory", memory]
    if store:
        words += ["--store", store if "://" in store else os.path.abspath(store)]
    return tuple([*words, "--migrate"] if migrate else words)


def _waiting() -> dict[tuple[str, ...], tuple[str, datetime, str]]:
    """Return the materialisations that are in the queue, by their command: id, deadline, and why they run when they do."""
    from joulewise.ledger import jobs

    ledger = wiring.queue_store()
    try:
        lines = {line.id: line for line in jobs.lines(ledger) if line.name.startswith("materialise-")}
        tickets = jobs.tickets(ledger, list(lines))
    finally:
        ledger.close()
    return {t.argv: (i, lines[i].deadline_utc, lines[i].reason) for i, t in tickets.items()}


def _watts(state: ViewState) -> float:
    """Return what the view's last recorded run drew on average."""
    for run in reversed(state.runs):
        if not run.run_id:
            continue
        try:
            recording = wiring.find(run.run_id)
        except RecordingError:
            continue
        joules = wiring.account(recording).footprint.total_j
        if joules is not None and recording.duration_s > 0:
            return max(1.0, joules.value / recording.duration_s)
    return _USUAL_W
