"""Local jobs: programs on this machine that outlive the worker that started them.

Each job has a folder and a keeper (keeper.py), a small process of its own that starts the program, stops and continues
its tree, asks it to save its state, and writes down how it ended. The worker may be killed at any time: the next one
finds the job by its key. Nothing is guessed from a process id alone: its start time is kept beside it.

What `kill -9` of whom leaves:

    the worker       nothing is lost; a start repeated under the same key finds the job
    the keeper       the program goes on, adopted by the next keeper; its exit code is unknown then (LOST)
    the machine      what waited still waits; what ran is LOST
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, final

from joulewise.launching.folders import folder_name, locked, read_from, read_json, write_json
from joulewise.launching.keeper import ENDED, MARK, boot, first_wish
from joulewise.launching.port import BEGIN, HOLD, REQUEUE, SUSPEND, Delays, Order, Refused, State, Status
from joulewise.launching.processes import kill, started
from joulewise.vocabulary.errors import EngineError

_KEEPER = "import sys; sys.path.insert(0, sys.argv[1]); from joulewise.launching.keeper import main; main(sys.argv[2])"
_STARTED = frozenset({"starting", "running", "suspended"})


@final
class LocalJobs:
    """The engine `local`: `folder` holds a folder for each job, on a local file system."""

    name = "local"
    keeps = False
    abilities = frozenset({BEGIN, HOLD, SUSPEND, REQUEUE})

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._host = socket.gethostname()

    def start(self, order: Order) -> str:
        """Start the order and return its handle; the first one if the key was started before."""
        if not order.argv or not order.key:
            raise Refused("an order needs a key and a command")
        folder = self._path(order.key)
        if read_json(folder, "order.json") is None:
            if not os.path.isdir(order.cwd):
                raise Refused(f"cannot start {order.argv[0]}: there is no folder {order.cwd}")
            if order.resources.nodes > 1:
                raise Refused(
                    f"local jobs run on one machine, but {order.resources.nodes} nodes are asked for"
                )
            os.makedirs(folder, mode=0o700, exist_ok=True)
            write_json(folder, "order.json", _as_json(order))
        self._keep(folder)
        return f"{self._host}/{os.path.basename(folder)}"

    def find(self, key: str) -> str | None:
        """Return the handle of the job started under `key`, or None."""
        folder = self._path(key)
        known = os.path.exists(os.path.join(folder, "order.json"))
        return f"{self._host}/{os.path.basename(folder)}" if known else None

    def status(self, handle: str) -> Status:
        """Return where the job is; a keeper that is gone is replaced."""
        folder = self._of(handle)
        self._keep(folder)
        told = read_json(folder, "state.json")
        if told is None:
            return Status(State.QUEUED)
        state = State.RUNNING if told["state"] == "starting" else State(told["state"])
        return Status(state, told["exit_code"], told["reason"], told["restarts"])

    def begin(self, handle: str, when_utc: datetime) -> None:
        """Let a job that has not started start at `when_utc`."""

        def change(wish: dict[str, Any]) -> None:
            wish["begin"] = when_utc.timestamp()

        self._wish(handle, change, "moved", running=False)

    def hold(self, handle: str) -> None:
        """Keep a job that has not started from starting."""
        self._wish(handle, lambda wish: wish.update(hold=True), "held", running=False)

    def release(self, handle: str) -> None:
        """Let a held job start."""
        self._wish(handle, lambda wish: wish.update(hold=False), "released")

    def place(self, handle: str, away: Sequence[str]) -> None:
        """Refuse: there is one machine here, and no other to run on."""
        raise Refused(
            f"{handle.partition('/')[0]} cannot be kept off {', '.join(away)}: there is one machine here, and no other to run on"
        )

    def suspend(self, handle: str) -> None:
        """Let the job's processes stand still (SIGSTOP)."""
        self._wish(handle, lambda wish: wish.update(suspend=True), "suspended", running=True)

    def resume(self, handle: str) -> None:
        """Let them go on (SIGCONT)."""
        self._wish(handle, lambda wish: wish.update(suspend=False), "resumed")

    def requeue(self, handle: str) -> None:
        """Send the order's checkpoint signal; killed after its grace; held then."""
        if not (read_json(self._of(handle), "order.json") or {}).get("checkpointing"):
            raise Refused(f"{handle} cannot save its state, so it is not requeued: suspend it, or let it run")

        def change(wish: dict[str, Any]) -> None:
            wish.update(hold=True, suspend=False, requeue=wish["requeue"] + 1)

        self._wish(handle, change, "requeued")

    def cancel(self, handle: str, grace_s: float = 10.0) -> None:
        """End the job's processes: SIGTERM, SIGKILL after the grace."""
        if self.status(handle).live:
            self._wish(handle, lambda wish: wish.update(cancel=grace_s), "cancelled")

    def logs(self, handle: str, offset: int = 0) -> bytes:
        """Return what the job wrote from byte `offset` on."""
        return read_from(os.path.join(self._of(handle), "output"), offset)

    def delays(self) -> Delays:
        """Return no delays: a local start takes a few hundredths of a second."""
        return Delays()

    def _path(self, key: str) -> str:
        return os.path.join(os.path.abspath(self._folder), folder_name(key))

    def _of(self, handle: str) -> str:
        host, _, name = handle.partition("/")
        if host != self._host and name:
            raise Refused(f"job {name} runs on {host}, and this is {self._host}: ask there")
        folder = os.path.join(os.path.abspath(self._folder), name)
        if not name or "/" in name or not os.path.exists(os.path.join(folder, "order.json")):
            raise Refused(f"there is no local job {handle!r}")
        return folder

    def _wish(
        self,
        handle: str,
        change: Callable[[dict[str, Any]], None],
        what: str,
        *,
        running: bool | None = None,
    ) -> None:
        """Change what is asked for, and tell the keeper; refuse what the job's state does not allow."""
        folder = self._of(handle)
        with locked(folder, "wish.lock"):
            state = (read_json(folder, "state.json") or {"state": "queued"})["state"]
            if state in ENDED:
                raise Refused(f"{handle} has ended ({state}), so it cannot be {what}")
            if running is not None and running != (state in _STARTED):
                now = "runs already" if state in _STARTED else "has not started"
                raise Refused(f"{handle} {now}, so it cannot be {what}")
            wish = read_json(folder, "wish.json") or first_wish(read_json(folder, "order.json") or {})
            change(wish)
            write_json(folder, "wish.json", wish)
        self._keep(folder, nudge=True)

    def _keep(self, folder: str, *, nudge: bool = False) -> None:
        """See that the job has a living keeper, unless it has ended; `nudge` lets it look at the wishes."""
        told = read_json(folder, "state.json")
        if told is not None:
            if told["state"] in ENDED:
                return
            pid, began = told["keeper"]
            if told["boot"] == boot() and started(pid) == began:
                if nudge:
                    kill(pid, signal.SIGUSR1)
                return
        source = str(Path(__file__).resolve().parents[2])
        with open(os.path.join(folder, "keeper.log"), "ab") as log:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _KEEPER, source, folder],
                check=False,
                env={name: value for name, value in os.environ.items() if name != MARK},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if done.returncode:
            raise EngineError(f"cannot start the keeper of {folder}: its keeper.log says why")


def _as_json(order: Order) -> dict[str, Any]:
    checkpointing = order.checkpointing
    return {
        "key": order.key,
        "argv": list(order.argv),
        "cwd": order.cwd,
        "env": dict(order.env),
        "name": order.name,
        "begin": order.begin_utc and order.begin_utc.timestamp(),
        "held": order.held,
        "limit_s": order.resources.limit_s,
        "checkpointing": checkpointing
        and {"signal": int(checkpointing.signal), "grace_s": checkpointing.grace_s},
        "tags": dict(order.tags),
    }
