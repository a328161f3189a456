"""The queue: its engines, its ledger, what a job takes along."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from joulewise import settings as settings_room
from joulewise.vocabulary.clock import SystemClock
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.wiring.chosen import settings
from joulewise.wiring.grid import planning_grid
from joulewise.wiring.ledger import refresh

if TYPE_CHECKING:
    from datetime import datetime

    from joulewise.launching.port import Engine
    from joulewise.ledger.leases import Leases
    from joulewise.ledger.store import Store
    from joulewise.scheduling.plan import Grid
    from joulewise.scheduling.queue_plan import Renewed
    from joulewise.scheduling.sharing import Usage
    from joulewise.scheduling.submitting import Submitted
    from joulewise.vocabulary.job import Duration
    from joulewise.vocabulary.ticket import Needs, Ticket


ENGINES = ("local", "slurm", "ray", "kubernetes")
CLUSTERS = ("slurm", "ray")  # those that say what each of their nodes has


SHARES_FILES = frozenset(
    {"local", "slurm"}
)  # engines whose machines have this one's files, programs among them


def engine(name: str) -> Engine:
    """Return the engine of this name: somewhere that the queue's jobs run.

    Ray is asked at RAY_API_SERVER_ADDRESS; Kubernetes by the user's kube configuration, with the image, namespace and
    Kueue queue of JOULEWISE_KUBERNETES_IMAGE, _NAMESPACE and _QUEUE.
    """
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES, f"(known are {', '.join(ENGINES)})")
    if name == "slurm":
        from joulewise.launching.slurm import Slurm

        return Slurm(jobs_folder() / ".slurm")
    if name == "ray":
        from joulewise.launching.ray import Ray

        address = os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"
        return Ray(jobs_folder() / ".ray", address)
    if name == "kubernetes":
        return _kubernetes()
    from joulewise.launching.local_jobs import LocalJobs

    return LocalJobs(jobs_folder())


def engine_room(engine: Engine) -> Needs | None:
    """Return what an engine's cluster has in all; None where that is this machine, or not known."""
    from joulewise.launching.ray import Ray
    from joulewise.launching.slurm import Slurm
    from joulewise.vocabulary.ticket import Needs

    if not isinstance(engine, Slurm | Ray):
        return None
    has = engine.room()
    return Needs(has.cpus, has.gpus, has.memory_bytes or 0)


def engine_nodes(engine: Engine, room: Needs | None = None) -> dict[str, Needs]:
    """Return what each node of an engine's cluster has, as far as `room` goes; empty where it has no nodes, or does not say."""
    from joulewise.launching.ray import Ray
    from joulewise.launching.slurm import Slurm
    from joulewise.vocabulary.errors import EngineError
    from joulewise.vocabulary.ticket import Needs

    if not isinstance(engine, Slurm | Ray):
        return {}
    try:
        told = engine.nodes()
    except EngineError:
        return {}
    nodes, left = {}, room.cpus if room else sum(has.cpus for has in told.values())
    for name, has in told.items():
        cpus = min(has.cpus, left)
        if cpus > 0:
            nodes[name] = Needs(cpus, has.gpus, has.memory_bytes or 0)
        left -= cpus
    return nodes


def _kubernetes() -> Engine:
    image = os.environ.get("JOULEWISE_KUBERNETES_IMAGE")
    if not image:
        raise UsageError("say which image runs the jobs, for instance JOULEWISE_KUBERNETES_IMAGE=python:3.11")
    try:
        from kubernetes import client, config
    except ImportError:
        raise UsageError(
            "the Kubernetes client is not installed: pip install 'joulewise[kubernetes]'"
        ) from None
    from joulewise.launching.kubernetes import Kubernetes

    try:
        config.load_config()  # type: ignore[no-untyped-call,unused-ignore]
    except config.ConfigException as error:
        raise UsageError(f"no Kubernetes cluster is configured: {error}") from None
    namespace = os.environ.get("JOULEWISE_KUBERNETES_NAMESPACE", "default")
    return Kubernetes(client.ApiClient(), image, namespace, os.environ.get("JOULEWISE_KUBERNETES_QUEUE", ""))


def jobs_folder() -> Path:
    """Return where local jobs are kept; it is made, for its user alone."""
    folder = settings_room.jobs_folder()
    if folder is None:
        raise UsageError("there is no place for jobs: no home folder is known; set JOULEWISE_HOME")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def jobs_place() -> str:
    """Return the name of the place whose local jobs a worker here may judge: this host, and an id kept beside its jobs."""
    from secrets import token_hex

    file = jobs_folder() / "place"
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as fresh:
            fresh.write(token_hex(4))
    except FileExistsError:
        pass
    return f"{os.uname().nodename}/{file.read_text('ascii')}"


def queue_store() -> Store:
    """Return the ledger as the queue needs it: several hosts may write to it, so SQLite on a network disk is refused."""
    from joulewise.ledger.store import open_store

    chosen = settings()
    if not chosen.ledger:
        raise UsageError("there is no place for the ledger: no home folder is known; set JOULEWISE_HOME")
    return open_store(chosen.ledger, shared=True)


def learnt(command: Sequence[str]) -> tuple[Duration, float | None]:
    """Return how long finished runs of this command took, and their mean watts (None: not known).

    A run of the queue counts by the time that it really ran, without its pauses.
    """
    import shlex

    from joulewise.ledger.index import like_runs
    from joulewise.ledger.jobs import attempts
    from joulewise.measuring.metadata import redacted
    from joulewise.vocabulary.job import Duration

    seconds, watts = [], []
    ledger = refresh()
    try:
        for run in like_runs(ledger, shlex.join(redacted(command))[:500]):
            key = next((t.removeprefix("job:") for t in run.tags or () if t.startswith("job:")), "")
            ran = (
                [a for a in attempts(ledger, key.partition("-")[0]) if key.endswith(f"-{a.fence}")]
                if key
                else []
            )
            ran_s = (
                sum((end - begin).total_seconds() for a in ran for begin, end in a.ran if end)
                or run.duration_s
            )
            if ran_s > 0:
                seconds.append(ran_s)
                if run.energy_j is not None:
                    watts.append(run.energy_j.value / ran_s)
    finally:
        ledger.close()
    count = len(seconds)
    told = f"{count} run{'s' if count != 1 else ''} of this command"
    return Duration.learnt(seconds, told), sum(watts) / len(watts) if watts else None


def submit(ticket: Ticket, histories: Mapping[str, str] | None = None, *, late: bool = False) -> Submitted:
    """Put a job into the queue of the settings' ledger and return its id and first plan.

    A cluster's scheduler that starts jobs at their hour is handed the job at once where no worker is there.
    """
    from joulewise.ledger import jobs as queue
    from joulewise.scheduling.handing import hand_over, may_hand_over
    from joulewise.scheduling.submitting import submit as submit_to

    now = SystemClock().now_utc()
    chosen = engine(ticket.engine)
    grid = planning_grid(ticket.job.zones, now, ticket.job.deadline_utc, histories or {})
    ledger = queue_store()
    try:
        require_accepted(chosen, ticket)
        ahead = may_hand_over(ledger, chosen)
        nodes = tuple(engine_nodes(chosen).values())
        done = submit_to(ledger, ticket, grid, now, late=late, pausing=not ahead, nodes=nodes)
        if not ahead:
            return done
        handle = hand_over(ledger, chosen, _passing(ledger), done.id, now, recorded)
        waits = queue.find(ledger, done.id).reason
        return replace(
            done,
            handed=f"{chosen.name} job {handle.partition('/')[0]}" if handle else "",
            reason=done.reason if handle else waits,
        )
    finally:
        ledger.close()


def require_accepted(engine: Engine, ticket: Ticket) -> None:
    """Raise UsageError where a cluster says that it would refuse a job; one that does not answer is asked when it starts."""
    from joulewise.launching.port import Refused, Unreachable
    from joulewise.launching.ray import Ray
    from joulewise.launching.slurm import Slurm
    from joulewise.scheduling.handing import order_of

    if isinstance(engine, Slurm | Ray):
        try:
            engine.check(order_of(engine, ticket, "check", recorded))
        except Unreachable:
            return
        except Refused as error:
            raise UsageError(f"{ticket.job.name}: {error}") from error


def _passing(ledger: Store) -> Leases:
    """Return the leases of somebody who looks once and leaves."""
    from joulewise.ledger.leases import Leases

    place, pid = jobs_place(), os.getpid()
    return Leases(ledger, f"{place.partition('/')[0]}-{pid}-passing", place)


def catch_up(ledger: Store) -> list[str]:
    """Write down how jobs do that a cluster has and no worker looks after, and plan anew what has not begun.

    Returns what there is to say, a line each.
    """
    from joulewise.ledger.leases import holders, workers
    from joulewise.scheduling.handing import BOUND
    from joulewise.scheduling.moving import move_handed
    from joulewise.scheduling.worker import Post, Worker
    from joulewise.vocabulary.errors import EngineError
    from joulewise.vocabulary.ticket import Needs

    looked_after = {w.engine for w in workers(ledger) if w.alive}
    told: list[str] = []
    for name in {h.line.engine for h in holders(ledger)} - looked_after - BOUND:
        passing = _passing(ledger)
        try:
            post, there, clock = Post(passing.worker, jobs_place(), Needs(0)), engine(name), SystemClock()
            worker = Worker(ledger, there, post, clock, wrap=recorded, say=told.append, leases=passing)
            worker.catch_up()
            told += move_handed(ledger, there, passing, _at_hand, clock.now_utc())
        except (EngineError, UsageError) as error:
            told.append(f"{name} cannot be asked: {error}")
    return told


def _at_hand(zones: Sequence[str], start: datetime, end: datetime) -> Grid:
    return planning_grid(zones, start, end, {})


def renew_queue(ledger: Store, *, apart: bool = False) -> Renewed:
    """Plan what waits in the queue anew, by the best outlook at hand; `apart` counts all jobs as what they ask for."""
    from joulewise.scheduling.queue_plan import renew
    from joulewise.wiring.sharing import usual

    def usage_of(ticket: Ticket) -> Usage | None:
        return usual(ledger, ticket)

    def nodes_of(name: str) -> tuple[Needs, ...]:
        return tuple(engine_nodes(engine(name)).values()) if name in CLUSTERS else ()

    return renew(
        ledger, _at_hand, SystemClock().now_utc(), nodes_of=nodes_of, usage_of=None if apart else usage_of
    )


def recorded(ticket: Ticket, key: str) -> list[str]:
    """Return the command that runs a ticket's command under `joulewise run`, tagged with the attempt's key.

    An sbatch line stays as it is; on machines with other files joulewise records where it is installed there.
    """
    from joulewise.launching.slurm_directives import is_sbatch

    if ticket.engine == "slurm" and is_sbatch(ticket.argv):
        return list(ticket.argv)
    zone = ticket.job.zones[0]
    options = ["--quiet", "--name", ticket.job.name, "--tag", f"job:{key}"]
    options += ["--zone", zone] if zone else []
    options += ["--budget", ticket.budget] if ticket.budget else []
    if ticket.engine in SHARES_FILES:
        return [sys.executable, "-m", "joulewise", "run", *options, "--", *ticket.argv]
    run = f'command -v joulewise >/dev/null || exec "$@"; exec joulewise run {shlex.join(options)} -- "$@"'
    return ["sh", "-c", run, "sh", *ticket.argv]
