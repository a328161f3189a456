"""`submit`: put flexible work into the queue; all of it, or nothing and one line that says why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from joulewise.ledger import jobs as queue
from joulewise.ledger.leases import workers
from joulewise.ledger.store import Store
from joulewise.scheduling.admission import Admission, Booked, admit
from joulewise.scheduling.foresight import NOTHING
from joulewise.scheduling.plan import DEFAULT_TERMS, Grid, Terms
from joulewise.scheduling.queue_plan import planned_alone
from joulewise.scheduling.saved import placement_from_json
from joulewise.scheduling.units import nodes_within, units_of
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Placement, after
from joulewise.vocabulary.ticket import Needs, Stage, Ticket

# of the submitter's environment; everything else is the worker's, or named (--env): a ledger is no place for secrets
CARRIED = ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL",
           "OMP_NUM_THREADS")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that is in the queue: its id, why it runs when it does, its placement as if it were alone, and by which signal.

    `placement` is None for a job that runs as soon as there is room. `handed` names it where a cluster's scheduler has it already.
    """

    id: str
    reason: str
    placement: Placement | None
    signal: str = ""
    handed: str = ""


def submit(
    store: Store,
    ticket: Ticket,
    grid: Grid,
    now_utc: datetime,
    terms: Terms = DEFAULT_TERMS,
    *,
    late: bool = False,
    pausing: bool = True,
    nodes: Sequence[Needs] = (),
) -> Submitted:
    """Put a job into the queue and return its id and its first plan; the planner packs it with the others later.

    UsageError, with nothing written, where its deadline cannot be met, alone or beside all that is queued (the earliest
    finish is said; with `late` it is taken all the same), or where its command or folder is not there (asked only for
    the engine `local`: a cluster's nodes have their own). Without `pausing` it is planned to run in one go. `nodes` are what
    each node of the engine's cluster has.
    """
    if ticket.engine == "local":
        require_command(ticket.argv[0], ticket.cwd, ticket.env)
    whole = ticket if pausing else replace(ticket, job=replace(ticket.job, interruptible=None))
    planned = planned_alone(whole, grid, now_utc, terms)
    beside = admission(store, ticket, planned.zone, now_utc, nodes)
    if beside is not None and not beside.admitted:
        crowded = _crowded(ticket, beside, now_utc)
        if not late:
            raise UsageError(f"{ticket.job.name}: {crowded}; or take it as it comes with --late")
        planned = replace(
            planned, start_utc=max(now_utc, ticket.job.release_utc), reason=f"taken late: {crowded}"
        )
    job_id = queue.add(store, ticket, planned, now_utc)
    if planned.placement is None:
        return Submitted(job_id, planned.reason, None)
    told = planned.placement
    return Submitted(job_id, planned.reason, placement_from_json(told), told["signal"])


def admission(
    store: Store, ticket: Ticket, zone: str, now_utc: datetime, nodes: Sequence[Needs] = ()
) -> Admission | None:
    """Return whether a job meets its deadline beside all that waits and runs where it would run; None where nobody knows.

    Nobody does where its length is unknown, or no worker of its engine is there. Jobs of unknown length are not counted,
    and of more than 1,000 that wait the most pressing.
    """
    pool = [w for w in workers(store) if w.alive and w.engine == ticket.engine and w.zone in ("", zone)]
    job = ticket.job
    if not pool or not job.duration.known:
        return None
    room = sum((w.capacity for w in pool), NOTHING)
    if not any(ticket.needs.within(w.capacity) or not w.capacity.memory_bytes for w in pool):
        return Admission(False, float("inf"))
    names = [] if nodes else [w.name for w in pool]  # a worker is a node
    booked = []
    for work in queue.open_work(store, ticket.engine, zone, now_utc):
        length_s = (work.deadline_utc - work.latest_utc).total_seconds()
        if work.ran_s is not None:
            length_s = max(60.0, length_s - work.ran_s)
        if length_s > 0:
            due_s = (work.deadline_utc - now_utc).total_seconds()
            node = names.index(work.worker) if work.worker in names else -1
            taken = units_of(work.needs, room)
            booked.append(Booked(taken, length_s, due_s, work.stage is Stage.RUNNING, node))
    reserve_s = max(job.duration.reserve_s or 0.0, job.duration.expected_s or 0.0)
    due_s = (job.deadline_utc - now_utc).total_seconds()
    from_s = max(0.0, (job.release_utc - now_utc).total_seconds())
    # a job whose window does not hold its reserve is taken at its risk: it is booked for what is likely
    length_s = reserve_s if reserve_s <= due_s - from_s else job.duration.expected_s or reserve_s
    units = nodes_within(room.cpus, nodes or [w.capacity for w in pool])
    return admit(Booked(units_of(ticket.needs, room), length_s, due_s), booked, units, from_s)


def _crowded(ticket: Ticket, told: Admission, now_utc: datetime) -> str:
    if told.finish_s == float("inf"):
        return f"it takes {ticket.needs}, and no worker that is there has as much"
    finish = after(now_utc, told.finish_s)
    return (
        f"beside what is queued it ends {finish:%Y-%m-%d %H:%M} UTC at the earliest, after its deadline "
        f"({ticket.job.deadline_utc:%Y-%m-%d %H:%M} UTC); give it until then"
    )


def carried(environment: Mapping[str, str], named: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a job takes along of an environment: paths and languages, and what is named."""
    return {name: environment[name] for name in CARRIED if name in environment} | dict(named or {})


def require_command(program: str, cwd: str, environment: Mapping[str, str]) -> None:
    """Raise UsageError where a program cannot be started from `cwd`."""
    if not os.path.isdir(cwd):
        raise UsageError(f"there is no folder {cwd} to run {program} in")
    path = environment.get("PATH", os.environ.get("PATH", os.defpath))
    place = os.path.join(cwd, program) if os.sep in program else program
    if shutil.which(place, path=path) is None:
        where = "it is no file that can be executed" if os.sep in program else "no folder of the PATH has it"
        raise UsageError(f"there is no program {program!r} to run: {where}")
