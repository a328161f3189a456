"""Leases: which worker looks after a job, whose word about it counts, and when another may step in.

    claim    a job that waits -> this worker's, under the next fence; one transaction, so two can never have it
    renew    says "I am here" for everything this worker has
    mark     the engine's handle, running or paused, the stretches it ran
    finish   how it ended, or that it waits again
    adopt    a job whose worker is gone -> this worker's, under the *same* fence: it is still the same attempt

**A fence is a number that grows with every attempt.** Whoever writes about a job names the fence and must hold the
lease; a word under an older fence, or from a worker that has lost its lease, changes nothing and is told so (False).
The engine's key is made of id and fence, so whoever adopts asks the engine for that key and never starts a second copy.

**No clock can make a second copy.** A lease's end only says when another may step in, and stepping in starts nothing
that runs. On one host (SQLite) its seconds are those since boot, which no one can set, and belong to that boot; in a
team's ledger they are the server's own. A clock that jumps makes a takeover early or late, never wrong.

**A job of the local engine belongs to its host**: only a worker there can tell whether it lives, so nobody else may
have it. `place` names that host: not by its name alone, which two machines may share, but by an id that is kept
where the engine keeps its records.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, final

from joulewise.ledger.files import boot_id, process_start
from joulewise.ledger.jobs import (
    LINE,
    Attempt,
    Line,
    attempt,
    decide,
    iso,
    line,
    make_promise,
    stretches_as_text,
)
from joulewise.ledger.store import Store, insert, upsert
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.ticket import Needs, Stage

LEASE_S = 60.0
PLANNER = "planner"
GIVEN_UP = "given up"  # the end of an attempt whose host was declared lost, and that nobody has seen dead
_LEASE = ("name", "fence", "worker", "host", "boot", "pid", "pid_start", "clock", "until_s")
_WORKER = (
    "name", "host", "zone", "engine", "owners", "cpus", "gpus", "memory_bytes", "since_utc", "clock", "until_s",
)  # fmt: skip
_ATTEMPT = (
    "job", "fence", "worker", "host", "boot", "handle", "devices", "begun_utc", "ended_utc", "end_state", "exit_code", "reason",
    "ran",
)  # fmt: skip
_MINE = "EXISTS (SELECT 1 FROM leases WHERE name = :id AND fence = :fence AND worker = :worker)"
_JOINED = (
    f"SELECT {LINE}, a.worker, a.host, a.boot, a.handle, a.devices, a.begun_utc, a.ended_utc AS a_ended, a.end_state, "  # noqa: S608
    "a.exit_code AS a_exit, a.reason AS a_reason, a.ran, l.worker AS l_worker, l.host AS l_host, l.boot AS l_boot, "
    "l.pid, l.pid_start, l.clock, l.until_s FROM jobs JOIN leases l ON l.name = jobs.id "
    "JOIN job_attempts a ON a.job = jobs.id AND a.fence = jobs.fence WHERE jobs.stage IN ('running', 'paused')"
)


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A worker as the queue knows it: where it is, whose jobs it takes for which engine, its capacity, and if it lives."""

    name: str
    host: str
    zone: str
    engine: str
    owners: str
    capacity: Needs
    since_utc: datetime
    alive: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A job that a worker has, with its attempt; `worker` holds the lease now (it may have adopted it)."""

    line: Line
    attempt: Attempt
    worker: str


def lease_clock(store: Store) -> tuple[str, float]:
    """Return whose seconds leases count in, and how many there are: the boot's on one host, else the server's."""
    if store.shared:
        rows = store.query("SELECT EXTRACT(EPOCH FROM clock_timestamp()) AS now_s")
        return "server", float(rows[0]["now_s"])
    since_boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return boot_id(), time.clock_gettime(since_boot)


@final
class Leases:
    """One worker's leases in a ledger. `lease_s` is how long a silence must last before another may step in."""

    def __init__(
        self,
        store: Store,
        worker: str,
        place: str,
        lease_s: float = LEASE_S,
        clock: Callable[[Store], tuple[str, float]] = lease_clock,
    ) -> None:
        self.worker = worker
        self._store, self._lease_s, self._clock = store, lease_s, clock
        pid = os.getpid()
        self._process = {
            "host": place,
            "boot": boot_id(),
            "pid": pid,
            "pid_start": process_start(pid),
        }

    def enrol(self, zone: str, engine: str, owners: str, capacity: Needs, now_utc: datetime) -> None:
        """Say that this worker is there, and what it takes."""
        clock, now_s = self._clock(self._store)
        row = {
            "name": self.worker, "host": self._process["host"], "zone": zone, "engine": engine, "owners": owners,
            "cpus": capacity.cpus, "gpus": capacity.gpus, "memory_bytes": capacity.memory_bytes,
            "since_utc": iso(now_utc), "clock": clock, "until_s": now_s + self._lease_s,
        }  # fmt: skip
        self._store.execute(upsert("workers", _WORKER, ("name",)), row)

    def leave(self) -> None:
        """Say that this worker goes; jobs that it has stay its own until another adopts them."""
        with self._store.transaction():
            self._store.execute("DELETE FROM workers WHERE name = :name", {"name": self.worker})
            self._store.execute(
                "UPDATE leases SET until_s = 0 WHERE worker = :worker", {"worker": self.worker}
            )

    def renew(self) -> None:
        """Say "I am here" for all that this worker has."""
        clock, now_s = self._clock(self._store)
        values = {"clock": clock, "until": now_s + self._lease_s, "worker": self.worker}
        with self._store.transaction():
            for table, column in (("leases", "worker"), ("workers", "name")):
                self._store.execute(
                    f"UPDATE {table} SET clock = :clock, until_s = :until WHERE {column} = :worker",  # noqa: S608
                    values,
                )

    def claim(
        self, job_id: str, fence: int, reason: str, now_utc: datetime, devices: Sequence[int] = ()
    ) -> int | None:
        """Take a job that waits at `fence` and return the fence of the new attempt; None where somebody was first."""
        mine = fence + 1
        with self._store.transaction():
            taken = self._store.execute(
                "UPDATE jobs SET stage = 'running', fence = :mine, reason = :reason "
                "WHERE id = :id AND stage = 'queued' AND fence = :fence AND wanted = ''",
                {"mine": mine, "reason": reason, "id": job_id, "fence": fence},
            )
            if not taken:
                return None
            make_promise(self._store, job_id)
            self._take_lease(job_id, mine)
            row = {
                "job": job_id, "fence": mine, "worker": self.worker, "host": self._process["host"],
                "boot": self._process["boot"], "handle": "", "devices": ",".join(map(str, devices)),
                "begun_utc": iso(now_utc), "ended_utc": "", "end_state": "", "exit_code": None, "reason": "", "ran": "[]",
            }  # fmt: skip
            self._store.execute(insert("job_attempts", _ATTEMPT), row)
            decide(self._store, now_utc, (job_id, "claimed", reason), who=self.worker)
        return mine

    def mark(
        self,
        job_id: str,
        fence: int,
        stage: Stage,
        handle: str,
        ran: Sequence[tuple[datetime, datetime | None]],
        now_utc: datetime,
        said: tuple[str, str] | None = None,
    ) -> bool:
        """Write how an attempt stands, with (what, reason) for its story; False where it is no longer this worker's."""
        with self._store.transaction():
            kept = self._store.execute(
                f"UPDATE jobs SET stage = :stage WHERE id = :id AND fence = :fence "  # noqa: S608 - text of ours
                f"AND stage IN ('running', 'paused') AND {_MINE}",
                {"stage": stage.value, "id": job_id, "fence": fence, "worker": self.worker},
            )
            if not kept:
                return False
            self._store.execute(
                "UPDATE job_attempts SET handle = :handle, ran = :ran WHERE job = :id AND fence = :fence",
                {"handle": handle, "ran": stretches_as_text(ran), "id": job_id, "fence": fence},
            )
            if said:
                decide(self._store, now_utc, (job_id, *said), who=self.worker)
        return True

    def finish(
        self,
        job_id: str,
        fence: int,
        stage: Stage,
        reason: str,
        ran: Sequence[tuple[datetime, datetime | None]],
        now_utc: datetime,
        *,
        exit_code: int | None = None,
        failed: bool = False,
        start_utc: datetime | None = None,
    ) -> bool:
        """Write how an attempt ended; stage QUEUED lets the job wait again (from `start_utc`). False: no longer its own."""
        again = stage is Stage.QUEUED
        now = iso(now_utc)
        with self._store.transaction():
            kept = self._store.execute(
                f"UPDATE jobs SET stage = :stage, reason = :reason, exit_code = :code, failures = failures + :failed, "  # noqa: S608
                f"ended_utc = :ended, start_utc = CASE WHEN :start = '' THEN start_utc ELSE :start END "
                f"WHERE id = :id AND fence = :fence AND stage IN ('running', 'paused') AND {_MINE}",
                {
                    "stage": stage.value, "reason": reason, "code": exit_code, "failed": int(failed),
                    "ended": "" if again else now, "start": iso(start_utc or now_utc) if again else "",
                    "id": job_id, "fence": fence, "worker": self.worker,
                },
            )  # fmt: skip
            if not kept:
                return False
            self._store.execute("DELETE FROM leases WHERE name = :id", {"id": job_id})
            self._store.execute(
                "UPDATE job_attempts SET ended_utc = :now, end_state = :state, exit_code = :code, reason = :reason, "
                "ran = :ran WHERE job = :id AND fence = :fence",
                {
                    "now": now, "state": stage.value, "code": exit_code, "reason": reason,
                    "ran": stretches_as_text(ran), "id": job_id, "fence": fence,
                },
            )  # fmt: skip
            decide(
                self._store,
                now_utc,
                (job_id, "waits again" if again else stage.value, reason),
                who=self.worker,
            )
        return True

    def held(self) -> list[Held]:
        """Return the jobs that this worker has."""
        rows = self._store.query(f"{_JOINED} AND l.worker = :worker", {"worker": self.worker})
        return [_held(row) for row in rows]

    def orphans(self, engine: str, *, bound: bool) -> list[Held]:
        """Return jobs of an engine whose worker is gone and that this one may adopt.

        `bound` says that the engine's jobs live and die with their host: then only those of this host.
        """
        rows = self._store.query(f"{_JOINED} AND l.worker <> :worker AND jobs.engine = :engine",
                                 {"worker": self.worker, "engine": engine})  # fmt: skip
        if not rows:
            return []
        clock, now_s = self._clock(self._store)
        return [_held(r) for r in rows if self._adoptable(r, clock, now_s, bound)]

    def strays(self, engine: str, *, bound: bool) -> list[tuple[str, int]]:
        """Return (job, fence) of attempts that were given up and that nobody has seen dead; `bound`: only those of this host."""
        here = "AND a.host = :host" if bound else ""
        rows = self._store.query(
            "SELECT a.job, a.fence FROM job_attempts a JOIN jobs ON jobs.id = a.job "  # noqa: S608 - text of ours
            f"WHERE a.end_state = :state AND jobs.engine = :engine {here}",
            {"state": GIVEN_UP, "engine": engine, "host": self._process["host"]},
        )
        return [(r["job"], r["fence"]) for r in rows]

    def bury(self, job_id: str, fence: int) -> None:
        """Write that an attempt that was given up does not run."""
        self._store.execute(
            "UPDATE job_attempts SET end_state = 'lost' WHERE job = :id AND fence = :fence AND end_state = :state",
            {"id": job_id, "fence": fence, "state": GIVEN_UP},
        )

    def adopt(self, held: Held, now_utc: datetime, *, said: bool = True) -> bool:
        """Take over a job that was another's, under the same fence; False where somebody was first.

        Without `said` its story stays as it is: somebody only looks.
        """
        clock, now_s = self._clock(self._store)
        with self._store.transaction():
            taken = self._store.execute(
                "UPDATE leases SET worker = :worker, host = :host, boot = :boot, pid = :pid, pid_start = :pid_start, "
                "clock = :clock, until_s = :until WHERE name = :id AND worker = :old AND fence = :fence",
                {
                    **self._process, "worker": self.worker, "clock": clock, "until": now_s + self._lease_s,
                    "id": held.line.id, "old": held.worker, "fence": held.line.fence,
                },
            )  # fmt: skip
            if taken and said:
                decide(self._store, now_utc, (held.line.id, "adopted", f"from {held.worker}, which is gone"),
                       who=self.worker)  # fmt: skip
        return bool(taken)

    def take_planner(self) -> bool:
        """Take the lease on planning, or renew it; False where another worker has it."""
        clock, now_s = self._clock(self._store)
        with self._store.transaction():
            rows = self._store.query("SELECT * FROM leases WHERE name = :name", {"name": PLANNER})
            if rows and rows[0]["worker"] != self.worker and not self._gone(rows[0], clock, now_s):
                return False
            self._take_lease(PLANNER, 0)
        return True

    def _take_lease(self, name: str, fence: int) -> None:
        clock, now_s = self._clock(self._store)
        row = {"name": name, "fence": fence, "worker": self.worker, **self._process, "clock": clock,
               "until_s": now_s + self._lease_s}  # fmt: skip
        self._store.execute(upsert("leases", _LEASE, ("name",)), row)

    def _adoptable(self, row: dict[str, Any], clock: str, now_s: float, bound: bool) -> bool:
        if bound and row["host"] != self._process["host"]:
            return False
        lease = {**row, "worker": row["l_worker"], "host": row["l_host"], "boot": row["l_boot"]}
        return self._gone(lease, clock, now_s)

    def _gone(self, lease: dict[str, Any], clock: str, now_s: float) -> bool:
        """Whether the holder of a lease is gone: its process here is dead, or it has been silent for too long."""
        here = lease["host"] == self._process["host"]
        if here and (lease["boot"] != boot_id() or process_start(lease["pid"]) != lease["pid_start"]):
            return True
        return bool(lease["clock"] != clock or lease["until_s"] < now_s)


def give_up(
    store: Store,
    job_id: str,
    now_utc: datetime,
    *,
    who: str,
    again: bool = False,
    clock: Callable[[Store], tuple[str, float]] = lease_clock,
) -> Stage:
    """Declare that a job's host never returns, and return its stage then: it has failed, or (`again`) it waits once more.

    The fence moves on, so nothing that the old attempt says counts any more; should its host return, a worker there ends it
    before it takes anything else. UsageError where the job is with nobody, or with a worker that is still heard of.
    """
    whose, now_s = clock(store)
    with store.transaction():
        rows = store.query("SELECT * FROM leases WHERE name = :id", {"id": job_id})
        held = [h for h in holders(store) if h.line.id == job_id]
        if not rows or not held:
            raise UsageError(f"{job_id} is with no worker, so there is no host to give up")
        lease, fence = rows[0], held[0].line.fence
        if lease["clock"] == whose and lease["until_s"] >= now_s:
            raise UsageError(
                f"{job_id} is with {lease['worker']}, which was heard of within its lease: joulewise cancel {job_id} asks it"
            )
        stage = Stage.QUEUED if again else Stage.FAILED
        reason = f"given up by {who}: {lease['host'].partition('/')[0]} does not return"
        store.execute(
            "UPDATE jobs SET stage = :stage, fence = fence + 1, reason = :reason, ended_utc = :ended, start_utc = :now "
            "WHERE id = :id AND fence = :fence AND stage IN ('running', 'paused')",
            {
                "stage": stage.value, "reason": reason, "ended": "" if again else iso(now_utc), "now": iso(now_utc),
                "id": job_id, "fence": fence,
            },
        )  # fmt: skip
        store.execute("DELETE FROM leases WHERE name = :id", {"id": job_id})
        store.execute(
            "UPDATE job_attempts SET ended_utc = :now, end_state = :state, reason = :reason WHERE job = :id AND fence = :fence",
            {"now": iso(now_utc), "state": GIVEN_UP, "reason": reason, "id": job_id, "fence": fence},
        )
        decide(store, now_utc, (job_id, "waits again" if again else "given up", reason), who=who)
    return stage


def due(store: Store, engine: str, zone: str, owners: str, now_utc: datetime, limit: int = 200) -> list[Line]:
    """Return jobs that wait and whose planned or latest start has come, the most pressing first.

    `zone` "" takes those of every zone, `owners` "" those of everybody.
    """
    come = " AND (start_utc <= :now OR latest_utc <= :now)"
    return _waiting(store, engine, zone, owners, come, {"now": iso(now_utc)}, limit)


def pending(store: Store, engine: str, zone: str, owners: str, limit: int) -> list[Line]:
    """Return jobs that wait, due or not, the most pressing first; `zone` and `owners` as for `due`."""
    return _waiting(store, engine, zone, owners, "", {}, limit)


def _waiting(
    store: Store, engine: str, zone: str, owners: str, come: str, values: dict[str, Any], limit: int
) -> list[Line]:
    where, values = f"stage = 'queued' AND engine = :engine{come}", {**values, "engine": engine}
    for column, value in (("zone", zone), ("owner", owners)):
        if value:
            where, values = f"{where} AND {column} = :{column}", {**values, column: value}
    rows = store.query(
        f"SELECT {LINE} FROM jobs WHERE {where} ORDER BY latest_utc, id LIMIT {int(limit)}",  # noqa: S608
        values,
    )
    return [line(row) for row in rows]


def workers(store: Store) -> list[WorkerLine]:
    """Return all workers that the queue knows, by name."""
    rows = store.query("SELECT * FROM workers ORDER BY name")
    if not rows:
        return []
    clock, now_s = lease_clock(store)
    return [
        WorkerLine(
            r["name"], r["host"], r["zone"], r["engine"], r["owners"],
            Needs(r["cpus"], r["gpus"], r["memory_bytes"]), datetime.fromisoformat(r["since_utc"]),
            r["clock"] == clock and r["until_s"] >= now_s,
        )
        for r in rows
    ]  # fmt: skip


def holders(store: Store) -> list[Held]:
    """Return every job that some worker has, with its attempt."""
    return [_held(row) for row in store.query(_JOINED)]


def _held(row: dict[str, Any]) -> Held:
    told = {**row, "ended_utc": row["a_ended"], "exit_code": row["a_exit"], "reason": row["a_reason"]}
    return Held(line(row), attempt(told), row["l_worker"])
