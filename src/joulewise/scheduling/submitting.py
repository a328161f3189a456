"""`submit`: put flexible work into the queue; all of it, or nothing and one line that says why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from joulewise.ledger import jobs as queue
from joulewise.ledger.store import Store
from joulewise.scheduling.plan import DEFAULT_TERMS, Grid, Terms
from joulewise.scheduling.queue_plan import planned_alone
from joulewise.scheduling.saved import placement_from_json
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Placement
from joulewise.vocabulary.ticket import Ticket

# of the submitter's environment; everything else is the worker's, or named (--env): a ledger is no place for secrets
CARRIED = ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL",
           "OMP_NUM_THREADS")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that is in the queue: its id, why it runs when it does, its placement as if it were alone, and by which signal.

    `placement` is None for a job that runs as soon as there is room.
    """

    id: str
    reason: str
    placement: Placement | None
    signal: str = ""


def submit(
    store: Store, ticket: Ticket, grid: Grid, now_utc: datetime, terms: Terms = DEFAULT_TERMS
) -> Submitted:
    """Put a job into the queue and return its id and its first plan; the planner looks at everybody's room later.

    UsageError, with nothing written, where its deadline cannot be met (the earliest finish is said), or where its
    command or folder is not there (asked only for the engine `local`: a cluster's nodes have their own).
    """
    if ticket.engine == "local":
        require_command(ticket.argv[0], ticket.cwd, ticket.env)
    planned = planned_alone(ticket, grid, now_utc, terms)
    job_id = queue.add(store, ticket, planned, now_utc)
    if planned.placement is None:
        return Submitted(job_id, planned.reason, None)
    told = planned.placement
    return Submitted(job_id, planned.reason, placement_from_json(told), told["signal"])


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
