"""`joulewise worker`: run the queue's jobs on this machine when their hour comes."""

from __future__ import annotations

import getpass
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import click

from joulewise.cli.output import echo, plain
from joulewise.cli.reading import BYTES, quantity
from joulewise.vocabulary.clock import SystemClock
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.ticket import Needs

_IDLE_S, _IDLE_SERVER_S = 2.0, 5.0  # between two looks with nothing to do; a server costs more to ask
_PART = re.compile(r"(\d+)\s*(cpus?|gpus?)", re.IGNORECASE)


@click.command("worker")
@click.option(
    "--capacity",
    metavar="ROOM",
    help="What it may fill: 4cpu,1gpu,16GB (default: this machine; a cluster's engine: the cluster).",
)
@click.option(
    "--zone",
    metavar="ZONE",
    help="Take only jobs that are planned here (default: the settings' zone; jobs of all zones without one).",
)
@click.option(
    "--engine",
    "engine_name",
    default="local",
    metavar="NAME",
    help="What runs the jobs: local (default), slurm, ray, kubernetes.",
)
@click.option("--everybody", is_flag=True, help="Run other users' jobs, too, as this user.")
@click.option(
    "--apart",
    is_flag=True,
    help="Give each job what it asks for: place none beside others by what like runs used.",
)
@click.option("--until-idle", is_flag=True, help="End when nothing waits and nothing runs.")
@click.option("--quiet", is_flag=True, help="Say nothing.")
def command(**options: Any) -> int:
    """Run the queue's jobs when their hour comes: one worker or many, on one machine or many.

    Ctrl-C or SIGTERM ends the worker, not its jobs: the next worker here adopts them. Several machines share a queue
    through a ledger on PostgreSQL.
    """
    from joulewise import wiring
    from joulewise.ledger.files import process_start
    from joulewise.scheduling.worker import Post, Worker

    chosen = options["zone"] or wiring.settings().zone
    zone = wiring.grid_zone(chosen) if chosen and chosen != "auto" else ""
    engine = wiring.engine(options["engine_name"])
    whole = wiring.engine_room(engine) if options["capacity"] is None else None
    room = whole or _room(options["capacity"])
    place = wiring.jobs_place()
    pid = os.getpid()
    store = wiring.queue_store()
    post = Post(
        f"{place.partition('/')[0]}-{pid}-{process_start(pid)}",
        place,
        room,
        zone,
        "" if options["everybody"] else getpass.getuser(),
        idle_s=_IDLE_SERVER_S if store.shared else _IDLE_S,
        nodes=wiring.engine_nodes(engine, room),
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    planner = Planner("--apart") if options["apart"] else Planner()

    def say(line: str) -> None:
        if not options["quiet"]:
            echo(plain(line, 400))

    own = engine.name == "local" and not options["apart"]
    worker = Worker(
        store, engine, post, SystemClock(), wrap=wiring.recorded, plan=planner.start, say=say,
        sharing=wiring.sharing(store, room.gpus, say) if own else None,
    )  # fmt: skip
    say(f"worker {post.name}: {room}, zone {zone or 'any'}, engine {engine.name}")
    try:
        while not stop.is_set():
            wait_s = worker.round()
            planner.look(say)
            if options["until_idle"] and not worker.busy and _empty(store, post.owners):
                break
            stop.wait(wait_s)
        worker.leave()
    finally:
        store.close()
    return 0


class Planner:
    """The planner's process: started when there is something to plan, at most one at a time."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start a planning, unless one runs."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "joulewise", "queue", "--plan", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )

    def look(self, say: Callable[[str], None]) -> None:
        """Say why a planning failed; what it planned stands in the ledger."""
        if self._process is None or self._process.poll() is None:
            return
        error = self._process.stderr.read().decode(errors="replace").strip() if self._process.stderr else ""
        if self._process.returncode:
            say(f"planning ended with {self._process.returncode}: {error or 'killed'}; the last plan holds")
        if self._process.stderr:
            self._process.stderr.close()
        self._process = None


def _room(text: str | None) -> Needs:
    if text is None:
        return Needs(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
                     _gpus(), _memory_bytes())  # fmt: skip
    cpus = gpus = memory = 0
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            memory = int(quantity(part.strip(), {k: v for k, v in BYTES.items() if k}, "--capacity"))
        elif found[2].lower().startswith("c"):
            cpus = int(found[1])
        else:
            gpus = int(found[1])
    if cpus < 1:
        raise UsageError(f"--capacity is {text!r}, but must name processors, for instance 4cpu,1gpu,16GB")
    return Needs(cpus, gpus, memory)


def _gpus() -> int:
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _empty(store: Any, owners: str) -> bool:
    from joulewise.ledger.jobs import lines

    return not lines(store, owner=owners or None, limit=1)
