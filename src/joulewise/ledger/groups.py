"""Jobs as the user means them: the recordings of several nodes and ranks that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from joulewise.ledger.index import job_runs
from joulewise.ledger.store import Store
from joulewise.ledger.summary import Summary
from joulewise.vocabulary.recording import EndState

MEETING = "torchrun@"  # a job that is known by where its nodes meet only: the next one may meet there again


@dataclass(frozen=True, slots=True)
class Group:
    """The recordings of one job, the earliest first."""

    job: str
    runs: tuple[Summary, ...]

    @property
    def started_utc(self) -> datetime:
        """When the first of them began."""
        return self.runs[0].started_utc

    @property
    def duration_s(self) -> float:
        """Seconds from the first begin to the last end."""
        return (max(map(_end, self.runs)) - self.started_utc).total_seconds()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The machines, by name."""
        return tuple(sorted({run.host for run in self.runs}))

    @property
    def state(self) -> EndState:
        """Running while one of them runs; else the worst end of any: a job is finished where all of it is."""
        states = {run.state for run in self.runs}
        order = (EndState.RUNNING, EndState.LOST, EndState.KILLED, EndState.FAILED, EndState.STOPPED)
        return next((s for s in order if s in states), EndState.FINISHED)


def groups(store: Store, *, text: str = "", limit: int = 20) -> list[Group]:
    """Return the jobs whose key holds `text`, those that began last first."""
    found = [group for job, runs in job_runs(store, text, limit) for group in _apart(job, runs)]
    return sorted(found, key=lambda g: (g.started_utc, g.job), reverse=True)[:limit]


def _apart(job: str, runs: list[Summary]) -> list[Group]:
    """Return a job as it is, or, where only a meeting point names it, one for each stretch of overlapping recordings."""
    if not job.startswith(MEETING):
        return [Group(job, tuple(runs))]
    stretches: list[list[Summary]] = []
    for run in runs:
        if stretches and run.started_utc <= max(map(_end, stretches[-1])):
            stretches[-1].append(run)
        else:
            stretches.append([run])
    return [Group(job, tuple(stretch)) for stretch in stretches]


def _end(run: Summary) -> datetime:
    return run.started_utc + timedelta(seconds=run.duration_s)
