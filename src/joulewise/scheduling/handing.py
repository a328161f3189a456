"""Handing a job to an engine: the order that it gets, and handing over ahead, with no worker there.

A cluster's scheduler can start a job at its hour by itself. Where no worker looks after an engine that can (`--begin` of
Slurm), `submit` gives it the job at once, to begin when the plan says. The job stands paused in the queue until
somebody looks: the next worker adopts it, and so do `joulewise queue` and `joulewise cancel` (`Worker.catch_up`).
Nothing can pause it before a worker is there, so it is planned to run in one go. Until it begins, whoever looks once the
hour has turned plans it anew on the newest forecast and moves its begin (moving.py): a crontab is worker enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from signal import Signals

from joulewise.launching.port import BEGIN, Checkpointing, Engine, Order, Refused, Resources, Unreachable
from joulewise.ledger import jobs as queue
from joulewise.ledger.leases import Leases, workers
from joulewise.ledger.store import Store
from joulewise.vocabulary.errors import EngineError, UsageError
from joulewise.vocabulary.ticket import Stage, Ticket

BOUND = frozenset({"local"})  # engines whose jobs live and die with their host

Wrap = Callable[[Ticket, str], Sequence[str]]


def order_of(
    engine: Engine,
    ticket: Ticket,
    key: str,
    wrap: Wrap,
    devices: Sequence[int] = (),
    begin_utc: datetime | None = None,
    away: Sequence[str] = (),
) -> Order:
    """Return what an engine is told of a job: the GPUs that it gets on this machine, the nodes that it is not to run on."""
    env = dict(ticket.env)
    if engine.name in BOUND and (devices or ticket.needs.gpus == 0):  # a cluster hands out its own
        env.setdefault("CUDA_VISIBLE_DEVICES", ",".join(map(str, devices)))
    saving = None
    if ticket.checkpoint:
        saving = Checkpointing(Signals[ticket.checkpoint], ticket.checkpoint_grace_s)
    needs = ticket.needs
    return Order(
        key,
        tuple(wrap(ticket, key)),
        ticket.cwd,
        env,
        ticket.job.name,
        begin_utc,
        resources=Resources(needs.cpus, needs.memory_bytes or None, needs.gpus),
        checkpointing=saving,
        tags={"joulewise": key, "owner": ticket.owner},
        away=tuple(away),
    )


def may_hand_over(store: Store, engine: Engine) -> bool:
    """Whether an engine starts jobs at their hour by itself, and no worker of it is there to do better."""
    able = engine.name not in BOUND and BEGIN in engine.abilities
    return able and not any(w.alive and w.engine == engine.name for w in workers(store))


def hand_over(
    store: Store, engine: Engine, leases: Leases, job_id: str, now_utc: datetime, wrap: Wrap
) -> str:
    """Give a job that waits to the engine, to begin at its planned start; return what the engine calls it.

    UsageError where the engine refuses: the job is out of the queue again, as if it had never been submitted.
    "" where the engine does not answer: the job waits for a worker.
    """
    line, ticket = queue.find(store, job_id), queue.ticket(store, job_id)
    when = f"{line.start_utc:%Y-%m-%d %H:%M} UTC"
    fence = leases.claim(job_id, line.fence, line.reason, now_utc)
    if fence is None:
        return ""
    try:
        handle = engine.start(order_of(engine, ticket, f"{job_id}-{fence}", wrap, begin_utc=line.start_utc))
    except Unreachable as error:
        leases.finish(
            job_id,
            fence,
            Stage.QUEUED,
            f"{error}; it waits for a worker",
            [],
            now_utc,
            start_utc=line.start_utc,
        )
        return ""
    except (Refused, EngineError) as error:
        queue.withdraw(store, job_id)
        raise UsageError(f"{ticket.job.name}: {error}") from error
    said = ("handed over", f"{engine.name} has it as {handle.partition('/')[0]}, and begins it at {when}")
    leases.mark(job_id, fence, Stage.PAUSED, handle, [], now_utc, said)
    leases.leave()
    return handle
