"""Ray: jobs on a cluster through its Jobs API. Ray has no delayed start, no hold, no pause and no signals; this is how they come.

    begin, hold   the order waits here, on a shelf, and is submitted when it is due or released: whoever asks for its status
                  does that, so a worker must be there
    signals       a second, small job on each node finds the processes by their mark and signals them. That takes as long as
                  Ray needs to start a job, some seconds; `status` says so until it is done
    suspend       SIGSTOP, by that way, to the driver, its children, and the job's Ray workers on all nodes. Their logical
                  resources stay taken
    requeue       the checkpoint signal to the driver; when it has ended (or after the grace), it is back on the shelf
    exit codes    the driver's

The submission id is the key, and Ray takes an id only once: a start repeated by whomever makes no second copy. A job that Ray
has forgotten (its head was restarted) is LOST. The entrypoint reserves what the order asks for, so a program that starts Ray
tasks of its own should ask for few processors itself.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, final

from joulewise.launching.folders import MOST_BYTES, folder_name, locked, read_json, write_json
from joulewise.launching.port import (
    BEGIN,
    HOLD,
    REQUEUE,
    SUSPEND,
    Delays,
    Order,
    Refused,
    Resources,
    State,
    Status,
    require_names,
)
from joulewise.launching.ray_api import RayApi
from joulewise.launching.ray_signals import SIGNAL

_START_S = 5.0  # Ray starts an actor of its own before each job
# Ray writes the entrypoint into the log, and expands $NAME in the variables that it hands over
_ENTRY = 'c=$(echo "$JOULEWISE_COMMAND" | base64 -d); unset JOULEWISE_COMMAND; eval "$c"'
_RAYS_LINE = re.compile(
    r"^\d{4}-\d\d-\d\d \S+\s+INFO job_manager\.py:\d+ -- Runtime env is setting up\.\n", re.MULTILINE
)


@final
class Ray:
    """The engine `ray`: `address` is the dashboard's URL; `folder` holds a folder for each job."""

    name = "ray"
    keeps = True  # Ray counts what is stopped as taken
    abilities = frozenset({BEGIN, HOLD, SUSPEND, REQUEUE})

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = os.path.abspath(folder)
        self._api = RayApi(address)

    def start(self, order: Order) -> str:
        """Submit the order, or put it on the shelf, and return its handle; the first one if the key was started before."""
        if not order.argv or not order.key:
            raise Refused("an order needs a key and a command")
        require_names(order.env)
        name = folder_name(order.key)
        folder = os.path.join(self._folder, name)
        if read_json(folder, "job.json") is None:
            self._refuse_impossible(order)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with locked(folder, "lock"):
                if read_json(folder, "job.json") is None:
                    self._shelve(folder, order)
        self.status(name)
        return name

    def find(self, key: str) -> str | None:
        """Return the handle of the job started under `key`, here or by another host, or None."""
        name = folder_name(key)
        if read_json(os.path.join(self._folder, name), "job.json") is not None:
            return name
        return name if self._api.job(name) is not None else None

    def status(self, handle: str) -> Status:
        """Return where the job is; what is due (a begin, the end of a grace) is done."""
        folder = self._of(handle)
        with locked(folder, "lock"):
            told = self._told(folder)
            seen = self._look(handle, told)
            write_json(folder, "job.json", told)
        return seen

    def begin(self, handle: str, when_utc: datetime) -> None:
        """Move the start of a job that waits."""
        self._change(handle, "moved", {State.QUEUED, State.HELD}, begin=when_utc.timestamp())

    def hold(self, handle: str) -> None:
        """Keep a job on the shelf; one that Ray has taken already cannot be held."""
        self._change(handle, "held", {State.QUEUED, State.HELD}, shelf=True, hold=True)

    def release(self, handle: str) -> None:
        """Let a held job go to Ray, now or at its begin."""
        self._change(handle, "released", None, hold=False)
        self.status(handle)

    def place(self, handle: str, away: Sequence[str]) -> None:
        """Refuse: where a job runs is Ray's to say."""
        raise Refused(
            f"{handle.partition('/')[0]} cannot be kept off {', '.join(away)}: where a job runs is Ray's to say"
        )

    def suspend(self, handle: str) -> None:
        """Stop the job's processes on all nodes (SIGSTOP)."""
        self._signal(handle, "suspended", {State.RUNNING, State.SUSPENDED}, 19, stopped=True)

    def resume(self, handle: str) -> None:
        """Let them go on (SIGCONT)."""
        self._signal(handle, "resumed", None, 18, stopped=False)

    def requeue(self, handle: str) -> None:
        """Send the checkpoint signal to the driver; it is held when it has ended."""
        told = self._told(self._of(handle))
        checkpointing = told["checkpointing"]
        now = self._live(handle, "requeued")
        if not checkpointing:
            raise Refused(f"{handle} cannot save its state, so it is not requeued: suspend it, or let it run")
        if now.state in (State.QUEUED, State.HELD):
            self.hold(handle)
            return
        grace_s = checkpointing["grace_s"]
        asked = {"requeue_until": time.time() + grace_s, "grace_s": grace_s, "hold": True, "stopped": False}
        self._signal(handle, "requeued", None, checkpointing["signal"], whom="root", **asked)

    def cancel(self, handle: str, grace_s: float = 10.0) -> None:
        """End the job: SIGTERM, and SIGKILL after the cluster's own grace (3 s by default)."""
        now = self.status(handle)
        if not now.live:
            return
        folder = self._of(handle)
        if now.state is State.SUSPENDED and grace_s:  # it would be killed unheard
            self._signal(
                handle, "cancelled", None, 15, cancel=time.time() + grace_s, grace_s=grace_s, stopped=False
            )
            return
        with locked(folder, "lock"):
            told = self._told(folder)
            told["cancel"] = time.time()
            write_json(folder, "job.json", told)
            if not told["shelf"]:
                self._api.stop(_attempt(handle, told))

    def logs(self, handle: str, offset: int = 0) -> bytes:
        """Return what the job wrote in all its starts, without Ray's own lines."""
        told = self._told(self._of(handle))
        text = b""
        for restart in range(told["restarts"] + (not told["shelf"])):
            name = _attempt(handle, {"restarts": restart})
            said = _RAYS_LINE.sub(
                "", self._api.log(name)
            )  # Ray writes into the same file, of other jobs, too
            text += said.replace(f"Running entrypoint for job {name}: {_ENTRY}\n", "", 1).encode()
        return text[offset : offset + MOST_BYTES]

    def delays(self) -> Delays:
        """Return what Ray takes to start a job, and to signal and start it again."""
        return Delays(start_s=_START_S, requeue_s=2 * _START_S)

    def room(self) -> Resources:
        """Return what the cluster's nodes have in all."""
        nodes = self.nodes().values()
        memory = sum(n.memory_bytes or 0 for n in nodes)
        return Resources(sum(n.cpus for n in nodes), memory, sum(n.gpus for n in nodes), len(nodes))

    def nodes(self) -> dict[str, Resources]:
        """Return what each node has that has processors, by number: Ray does not say on which a job is."""
        told = [n for n in self._api.nodes() if n.get("CPU", 0) >= 1]
        return {
            str(n): Resources(int(has["CPU"]), int(has.get("memory", 0)), int(has.get("GPU", 0)))
            for n, has in enumerate(told)
        }

    def check(self, order: Order) -> None:
        """Refuse what no node of the cluster could hold; nothing is submitted."""
        self._refuse_impossible(order)

    def _refuse_impossible(self, order: Order) -> None:
        needs = order.resources
        if needs.nodes > 1:
            raise Refused("a job of several nodes asks Ray for them itself: order it with one node")
        asked = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_bytes or 0}
        nodes = self._api.nodes()
        if not any(all(node.get(what, 0) >= much for what, much in asked.items()) for node in nodes):
            words = ", ".join(f"{much:g} {what}" for what, much in asked.items() if much)
            raise Refused(f"no node of the Ray cluster has {words}")

    def _shelve(self, folder: str, order: Order) -> None:
        lines = [f"export {name}={shlex.quote(value)}" for name, value in order.env.items()]
        lines += [f"cd {shlex.quote(order.cwd)} || exit 125", f"exec {shlex.join(order.argv)}"]
        checkpointing = order.checkpointing
        needs = order.resources
        told = {
            "key": order.key,
            "command": "\n".join(lines),
            "env": {name: value for name, value in order.env.items() if "$" not in value},
            "needs": [needs.cpus, needs.gpus, needs.memory_bytes],
            "tags": {**order.tags, "joulewise": order.key, "name": order.name},
            "checkpointing": checkpointing
            and {"signal": int(checkpointing.signal), "grace_s": checkpointing.grace_s},
            "begin": order.begin_utc and order.begin_utc.timestamp(),
            "hold": order.held,
            "shelf": True,  # Ray does not have it
            "restarts": 0,
            "stopped": False,
            "cancel": None,
            "requeue_until": None,
            "grace_s": 0.0,
            "ended": None,
            "helpers": [],
            "helped": 0,
        }
        write_json(folder, "job.json", told)

    def _look(self, name: str, told: dict[str, Any]) -> Status:
        """Return where a job is, after doing what is due; changes `told`."""
        if told["ended"]:
            state, code, reason = told["ended"]
            return Status(State(state), code, reason, told["restarts"])
        if told["shelf"]:
            if told["cancel"] is not None:
                return _ended(told, State.CANCELLED, None, "cancelled before it started")
            if told["hold"]:
                return Status(State.HELD, None, "", told["restarts"])
            if told["begin"] is not None and told["begin"] > time.time():
                return Status(State.QUEUED, None, "begins later", told["restarts"])
            self._hand_over(name, told)
        return self._look_at_ray(name, told)

    def _look_at_ray(self, name: str, told: dict[str, Any]) -> Status:
        attempt = _attempt(name, told)
        seen = self._api.job(attempt)
        if seen is None:
            return _ended(told, State.LOST, None, "Ray does not know it any more")
        told["helpers"] = [h for h in told["helpers"] if not _over(self._api.job(h))]
        for until in ("requeue_until", "cancel"):
            if told[until] is not None and told["helpers"]:  # the grace begins when the signal has arrived
                told[until] = time.time() + told["grace_s"]
            if told[until] is not None and time.time() > told[until] and seen["status"] == "RUNNING":
                self._api.stop(attempt)
        if seen["status"] in ("PENDING", "RUNNING"):
            return self._live_status(seen, told)
        code = seen.get("driver_exit_code")
        code = 128 - code if code is not None and code < 0 else code
        if told["cancel"] is not None:
            return _ended(told, State.CANCELLED, code, "cancelled")
        if told["requeue_until"] is not None:
            told |= {
                "requeue_until": None,
                "helpers": [],
                "shelf": True,
                "restarts": told["restarts"] + 1,
                "begin": None,
            }
            return self._look(name, told)
        if seen["status"] == "STOPPED":
            return _ended(told, State.CANCELLED, code, "stopped in Ray")
        if code is None and seen["status"] == "FAILED":
            return _ended(told, State.LOST, None, _one_line(seen.get("message")))
        return _ended(
            told, State.FINISHED, code or 0, f"killed by signal {code - 128}" if code and code > 128 else ""
        )

    def _live_status(self, seen: Mapping[str, Any], told: dict[str, Any]) -> Status:
        restarts = told["restarts"]
        if seen["status"] == "PENDING":
            return Status(State.QUEUED, None, _one_line(seen.get("message")), restarts)
        if told["cancel"] is not None:
            return Status(State.RUNNING, None, "asked to end", restarts)
        if told["requeue_until"] is not None:
            return Status(State.RUNNING, None, "asked to save its state and end", restarts)
        if told["helpers"]:
            state = State.RUNNING if told["stopped"] else State.SUSPENDED
            return Status(
                state, None, "is being suspended" if told["stopped"] else "is being resumed", restarts
            )
        if told["stopped"]:
            return Status(
                State.SUSPENDED, None, "stopped by SIGSTOP: Ray counts its resources as taken", restarts
            )
        return Status(State.RUNNING, None, "", restarts)

    def _hand_over(self, name: str, told: dict[str, Any]) -> None:
        cpus, gpus, memory = told["needs"]
        attempt = _attempt(name, told)  # the mark: a signal that comes late must not reach the next start
        command = f"export JOULEWISE_JOB={attempt}\n{told['command']}".encode(errors="surrogateescape")
        given = {"JOULEWISE_COMMAND": base64.b64encode(command).decode(), "JOULEWISE_RAY_JOB": attempt}
        self._api.submit(
            {
                "entrypoint": _ENTRY,
                "submission_id": attempt,
                "runtime_env": {"env_vars": {**told["env"], **given}},
                "metadata": told["tags"],
                "entrypoint_num_cpus": cpus,
                "entrypoint_num_gpus": gpus,
                "entrypoint_memory": memory or 0,
            }
        )
        told["shelf"] = False

    def _signal(
        self,
        handle: str,
        what: str,
        states: set[State] | None,
        number: int,
        *,
        whom: str = "all",
        **change: Any,
    ) -> None:
        """Change what is asked for, and have a small job on each node signal the job's processes there."""
        now = self._live(handle, what)
        if states is not None and now.state not in states:
            raise Refused(f"{handle} has not started, so it cannot be {what}: hold it")
        folder = self._of(handle)
        with locked(folder, "lock"):
            told = self._told(folder)
            idle = "stopped" in change and len(change) == 1 and told["stopped"] == change["stopped"]
            told |= change
            write_json(folder, "job.json", told)
            if idle:
                return
            attempt = _attempt(handle, told)
            words = [f"JOULEWISE_JOB={attempt}", f"JOULEWISE_RAY_JOB={attempt}", str(number), whom]
            addresses = {w for node in self._api.nodes() for w in node if re.fullmatch(r"node:[\d.a-f:]+", w)}
            for address in sorted(addresses):
                told["helped"] += 1
                helper = f"{handle}.{told['helped']}"
                self._api.submit(
                    {
                        "entrypoint": shlex.join(["python", "-I", "-S", "-c", SIGNAL, *words]),
                        "submission_id": helper,
                        "metadata": {"joulewise": f"a signal for {handle}"},
                        "entrypoint_resources": {address: 0.001},
                    }
                )
                told["helpers"].append(helper)
            write_json(folder, "job.json", told)

    def _change(self, handle: str, what: str, states: set[State] | None, **change: Any) -> None:
        now = self._live(handle, what)
        folder = self._of(handle)
        with locked(folder, "lock"):
            told = self._told(folder)
            if states is not None and (now.state not in states or not told["shelf"]):
                raise Refused(f"{handle} is with Ray already, so it cannot be {what}")
            write_json(folder, "job.json", told | change)

    def _live(self, handle: str, what: str) -> Status:
        now = self.status(handle)
        if not now.live:
            raise Refused(f"{handle} has ended ({now.state}), so it cannot be {what}")
        return now

    def _of(self, handle: str) -> str:
        folder = os.path.join(self._folder, handle)
        if not handle or "/" in handle or not os.path.isdir(folder):
            raise Refused(f"there is no Ray job {handle!r} of ours")
        return folder

    def _told(self, folder: str) -> dict[str, Any]:
        told = read_json(folder, "job.json")
        if told is None:
            raise Refused(f"there is no Ray job {os.path.basename(folder)!r} of ours")
        return told


def _attempt(name: str, told: Mapping[str, Any]) -> str:
    """Return the submission id of a job's current start."""
    return f"{name}-r{told['restarts']}" if told["restarts"] else name


def _ended(told: dict[str, Any], state: State, code: int | None, reason: str) -> Status:
    told["ended"] = [state, code, reason]
    return Status(state, code, reason, told["restarts"])


def _over(job: Mapping[str, Any] | None) -> bool:
    return job is None or job["status"] not in ("PENDING", "RUNNING")


def _one_line(text: object) -> str:
    return " ".join(str(text or "").split())[:200]
