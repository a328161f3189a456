"""Slurm: jobs on a cluster that people have, through its own commands, from a login node.

Nothing is asked of the cluster's administrators: no accounting, no plugin, no rights. What Slurm keeps only for some
minutes (exit codes, what was asked for) is kept in a folder for each job, which must lie where the compute nodes see it
(the home directory, on most clusters). A batch script of the user's is submitted as it is, with its own directives:

    argv = ("sbatch", "--partition=gpu", "job.sh")      options and script as on the shell

How each wish reaches Slurm:

    begin       sbatch --begin, scontrol update StartTime
    hold        sbatch --hold, scontrol hold, release
    place       sbatch --exclude, scontrol update ExcNodeList: where a job is not to run
    suspend     scontrol suspend, where the user may and jobs are not bound to cores; else SIGSTOP to all of the job's
                processes: it keeps its allocation and its time limit runs on, and the status says so
    requeue     the checkpoint signal, then (the program ended, or its grace is over) scontrol requeuehold. Slurm lets
                every requeued job wait two minutes; an update of StartTime before the release takes them away
    cancel      scancel: SIGTERM, and SIGKILL after the cluster's KillWait, whatever grace is asked for (0: at once)
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any, final

from joulewise.launching.folders import (
    folder_name,
    locked,
    read_from,
    read_json,
    write_json,
    write_text,
)
from joulewise.launching.port import (
    BEGIN,
    HOLD,
    PLACE,
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
from joulewise.launching.slurm_commands import SlurmCommands
from joulewise.launching.slurm_directives import is_sbatch
from joulewise.launching.slurm_script import script
from joulewise.launching.slurm_states import ENDS, STOPPED, status_of
from joulewise.vocabulary.errors import EngineError

_START_S = 2.0  # from due to running, on a cluster with room: one round of the scheduler
_CANCEL_SOON = '(sleep 3; exec scancel --quiet "$1") >/dev/null 2>&1 </dev/null &'


@final
class Slurm:
    """The engine `slurm`: `folder` holds a folder for each job and is seen by the compute nodes.

    `options` are given to every sbatch (a partition, an account); `environment` to every command.
    """

    name = "slurm"
    abilities = frozenset({BEGIN, HOLD, SUSPEND, REQUEUE, PLACE})

    def __init__(
        self, folder: Path, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder = os.path.abspath(folder)
        self._options = tuple(options)
        self._commands = SlurmCommands(environment or {})
        self._keeps: bool | None = None

    @property
    def keeps(self) -> bool:
        """Whether a suspended job keeps its allocation, since SIGSTOP stops it.

        So it is where the user may not suspend, and where jobs are bound to cores: Slurm gives those of a suspended job to
        the next, and once resumed it would share them while others idle.
        """
        if self._keeps is None:
            with suppress(EngineError):
                self._keeps = self._commands.binds_cores() or not self._commands.may_suspend()
        return bool(self._keeps)

    def start(self, order: Order) -> str:
        """Submit the order and return its handle; the first one if the key was submitted before, by whomever."""
        if not order.argv or not order.key:
            raise Refused("an order needs a key and a command")
        folder = self._path(order.key)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with locked(folder, "lock") as held:  # sbatch holds it, too: it may outlive us
            job = self._known(folder)
            if job is None:
                try:
                    job = self._submit(order, folder, held)
                except Refused:
                    shutil.rmtree(folder)
                    raise
                self._remember(folder, job, order)
        return f"{job}/{os.path.basename(folder)}"

    def check(self, order: Order) -> None:
        """Refuse what this cluster would refuse, in its own words; nothing is submitted."""
        if is_sbatch(order.argv):
            self._try([*self._options, f"--chdir={order.cwd}", *order.argv[1:]])
        else:
            self._try([*self._options, *_resources(order), "--wrap=true"])

    def find(self, key: str) -> str | None:
        """Return the handle of the job submitted under `key`, or None."""
        folder = self._path(key)
        job = self._known(folder)
        return job and f"{job}/{os.path.basename(folder)}"

    def status(self, handle: str) -> Status:
        """Return where the job is, as of a second ago; a requeue that was asked for goes on when the program has ended."""
        return self._status(handle, fresh=False)

    def begin(self, handle: str, when_utc: datetime) -> None:
        """Move the start of a job that waits (scontrol update StartTime)."""
        job, folder = self._waiting(handle, "moved")
        self._change(folder, begin=when_utc.timestamp())
        self._commands.run(
            "scontrol", "update", f"JobId={job}", f"StartTime={_from_now(when_utc.timestamp())}"
        )

    def hold(self, handle: str) -> None:
        """Hold a job that waits (scontrol hold)."""
        job, _folder = self._waiting(handle, "held")
        self._commands.run("scontrol", "hold", job)

    def release(self, handle: str) -> None:
        """Release a held job; one that was requeued does not wait for Slurm's two minutes."""
        job, folder = self._of(handle)
        now = self._live(handle, "released")
        if now.state is not State.HELD:
            return
        if now.restarts:
            begin = (read_json(folder, "wish.json") or {}).get("begin") or 0.0
            self._commands.run("scontrol", "update", f"JobId={job}", f"StartTime={_from_now(begin)}")
        self._commands.run("scontrol", "release", job)

    def place(self, handle: str, away: Sequence[str]) -> None:
        """Keep a job that waits off these nodes (scontrol update ExcNodeList); what a user's own script asks for stays."""
        job, folder = self._waiting(handle, "placed")
        if "output" not in (read_json(folder, "job.json") or {}):  # a script of ours
            self._commands.run("scontrol", "update", f"JobId={job}", f"ExcNodeList={','.join(away)}")

    def suspend(self, handle: str) -> None:
        """Suspend a running job: by Slurm where the user may, else by SIGSTOP."""
        job, folder = self._of(handle)
        now = self._live(handle, "suspended")
        if now.state is State.SUSPENDED:
            return
        if now.state is not State.RUNNING:
            raise Refused(f"job {job} has not started, so it cannot be suspended: hold it")
        if not self.keeps:
            try:
                self._commands.run("scontrol", "suspend", job)
                return
            except Refused as error:
                if "denied" not in str(error) and "permi" not in str(error):
                    raise
                self._keeps = True
        self._change(folder, stopped=True)
        self._commands.run("scancel", "--signal=STOP", "--full", job)

    def resume(self, handle: str) -> None:
        """Let a suspended job go on."""
        job, folder = self._of(handle)
        now = self._live(handle, "resumed")
        if now.state is not State.SUSPENDED:
            return
        if now.reason == STOPPED:
            self._commands.run("scancel", "--signal=CONT", "--full", job)
            self._change(folder, stopped=False)
        else:
            self._commands.run("scontrol", "resume", job)

    def requeue(self, handle: str) -> None:
        """Ask the program to save its state and end; `status` sees to the rest."""
        job, folder = self._of(handle)
        now = self._live(handle, "requeued")
        checkpointing = (read_json(folder, "job.json") or {}).get("checkpointing")
        if not checkpointing:
            raise Refused(
                f"job {job} cannot save its state, so it is not requeued: suspend it, or let it run"
            )
        if now.state in (State.QUEUED, State.HELD):
            self._commands.run("scontrol", "hold", job)
            return
        self.resume(handle)
        self._change(
            folder,
            requeue_of=now.restarts,
            requeue_until=time.time() + checkpointing["grace_s"],
        )
        self._commands.run("scancel", "--batch", f"--signal={checkpointing['signal']}", job)

    def cancel(self, handle: str, grace_s: float = 10.0) -> None:
        """Cancel a job; the grace is the cluster's KillWait, but for 0."""
        job, _folder = self._of(handle)
        now = self._status(handle, fresh=True)
        if not now.live:
            return
        if now.state is State.SUSPENDED and grace_s:
            # Slurm kills a suspended job unheard, and lets go of one that it just suspended after two seconds only
            self.resume(handle)
            self._commands.run("sh", "-c", _CANCEL_SOON, "sh", job)
            return
        if not grace_s:
            with suppress(Refused):  # what is ending hears nothing more
                self._commands.run("scancel", "--quiet", "--signal=KILL", "--full", job)
        try:
            self._commands.run("scancel", "--quiet", job)
        except Refused:
            now = self._status(handle, fresh=True)
            if now.live and now.reason != ENDS:
                raise

    def logs(self, handle: str, offset: int = 0) -> bytes:
        """Return what the job wrote from byte `offset` on; of a user's own script, its standard output."""
        job, folder = self._of(handle)
        told = read_json(folder, "job.json") or {}
        if told.get("array"):
            raise Refused(
                f"job {job} is an array, and each task writes a file of its own: see scontrol show job {job}"
            )
        return read_from(told.get("output") or os.path.join(folder, "output"), offset)

    def delays(self) -> Delays:
        """Return what starting takes: a round of the scheduler; to wake a node, at most the cluster's ResumeTimeout."""
        words = self._commands.run("sinfo", "-h", "-o", "%t").split()
        config = self._commands.run("scontrol", "show", "config")
        asleep = any(word.endswith(("~", "%")) for word in words)
        wake = re.search(r"^ResumeTimeout\s*=\s*(\d+)", config, re.MULTILINE)
        kill = re.search(r"^KillWait\s*=\s*(\d+)", config, re.MULTILINE)
        return Delays(
            start_s=_START_S,
            requeue_s=_START_S + (float(kill[1]) if kill else 0.0),
            wake_s=float(wake[1]) if wake and asleep and "idle" not in words else 0.0,
        )

    def room(self) -> Resources:
        """Return what the cluster has in all: others use it, too, and Slurm lets jobs wait for it."""
        nodes = self.nodes().values()
        memory = sum(n.memory_bytes or 0 for n in nodes)
        return Resources(sum(n.cpus for n in nodes), memory or None, sum(n.gpus for n in nodes), len(nodes))

    def nodes(self) -> dict[str, Resources]:
        """Return what each node has, in the order in which Slurm fills them: that of slurm.conf."""
        told = self._commands.run("sinfo", "-h", "-N", "-o", "%n|%N|%c|%m|%G").splitlines()
        rows = {words[1]: words for words in (line.split("|") for line in told) if len(words) == 5}
        return {
            name: Resources(
                int(words[2].rstrip("+")),
                (int(words[3].rstrip("+")) << 20) or None,
                sum(int(n) for n in re.findall(r"gpu(?::[^:,(]+)?:(\d+)", words[4])),
            )
            for name, words in rows.items()
        }

    def _submit(self, order: Order, folder: str, held: int) -> str:
        options = ["--parsable", f"--comment={_comment(folder, order)}"]
        options += ["--requeue" if order.checkpointing else "--no-requeue"]
        if order.held:
            options.append("--hold")
        if order.begin_utc is not None and order.begin_utc.timestamp() > time.time():
            options.append(f"--begin={_from_now(order.begin_utc.timestamp())}")
        if is_sbatch(order.argv):
            if any(word.startswith("--comment") for word in order.argv):
                raise Refused(
                    "sbatch --comment cannot be given: joulewise finds the job again by its comment"
                )
            words = [*self._options, *options, f"--chdir={order.cwd}", *order.argv[1:]]
        else:
            require_names(order.env)
            write_text(folder, "script", script(order, folder))
            options += [f"--exclude={','.join(order.away)}"] if order.away else []
            options += [
                f"--job-name={order.name or 'joulewise'}",
                f"--output={folder}/output",
                "--open-mode=append",
            ]
            words = [*self._options, *options, *_resources(order), os.path.join(folder, "script")]
        self._try(words)
        return self._commands.run("sbatch", *words, holds=held).strip().partition(";")[0]

    def _try(self, words: Sequence[str]) -> None:
        """Refuse what can never run here: many clusters would let it wait for ever."""
        try:
            self._commands.run("sbatch", "--test-only", *words)
        except Refused as error:
            if not re.search(r"required node|busy|reserved", str(error), re.IGNORECASE):
                raise

    def _remember(self, folder: str, job: str, order: Order) -> None:
        own = is_sbatch(order.argv)
        told: dict[str, Any] = {"job": job, "key": order.key}
        if order.checkpointing:
            number = int(order.checkpointing.signal) if own else "USR1"
            told["checkpointing"] = {"signal": number, "grace_s": order.checkpointing.grace_s}
        if own:
            shown = self._commands.run("scontrol", "show", "job", job)
            output = re.search(r"^ +StdOut=(.*)$", shown, re.MULTILINE)
            told |= {"array": "ArrayJobId=" in shown, "output": output[1].strip() if output else ""}
        write_json(folder, "job.json", told)

    def _known(self, folder: str) -> str | None:
        """Return the job that was submitted for the folder, or None."""
        told = read_json(folder, "job.json")
        if told is not None:
            return str(told["job"])
        claimed = read_from(os.path.join(folder, "claim"), 0).decode().strip()
        return claimed or self._commands.job_of(_comment(folder))

    def _status(self, handle: str, *, fresh: bool) -> Status:
        job, folder = self._of(handle)
        wish = read_json(folder, "wish.json") or {}
        rows = self._commands.rows(job, fresh=fresh)
        if not rows:
            return _forgotten(folder, job, wish)
        told = status_of(rows)
        if wish.get("requeue_of") == told.restarts and told.state is not State.CANCELLED:
            return self._requeueing(job, wish, told)
        if wish.get("stopped") and told.state is State.RUNNING:
            return replace(told, state=State.SUSPENDED, reason=STOPPED)
        return told

    def _requeueing(self, job: str, wish: Mapping[str, Any], told: Status) -> Status:
        if told.live and time.time() < wish["requeue_until"]:
            return replace(told, reason="asked to save its state and end")
        self._commands.run("scontrol", "requeuehold", job)
        return status_of(self._commands.rows(job, fresh=True))

    def _live(self, handle: str, what: str) -> Status:
        now = self._status(handle, fresh=True)
        if not now.live:
            raise Refused(f"job {self._of(handle)[0]} has ended ({now.state}), so it cannot be {what}")
        return now

    def _waiting(self, handle: str, what: str) -> tuple[str, str]:
        job, folder = self._of(handle)
        if self._live(handle, what).state not in (State.QUEUED, State.HELD):
            raise Refused(f"job {job} runs already, so it cannot be {what}")
        return job, folder

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, folder_name(key))

    def _of(self, handle: str) -> tuple[str, str]:
        job, _, name = handle.partition("/")
        folder = os.path.join(self._folder, name)
        if not name or "/" in name or not os.path.isdir(folder) or not job.isdigit():
            raise Refused(f"there is no Slurm job {handle!r}")
        claimed = read_from(os.path.join(folder, "claim"), 0).decode().strip()
        return claimed or job, folder

    def _change(self, folder: str, **wish: Any) -> None:
        with locked(folder, "wish.lock"):
            write_json(folder, "wish.json", {**(read_json(folder, "wish.json") or {}), **wish})


def _comment(folder: str, order: Order | None = None) -> str:
    tags = order.tags if order else {}
    words = [f"{name}={value}" for name, value in tags.items()]
    return " ".join(
        re.sub(r"[^\w.:=+-]", "_", word) for word in (f"joulewise:{os.path.basename(folder)}", *words)
    )


def _resources(order: Order) -> list[str]:
    needs = order.resources
    options = [
        f"--nodes={needs.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={ceil(needs.cpus / needs.nodes)}",
    ]
    if needs.memory_bytes is not None:
        options.append(f"--mem={ceil(needs.memory_bytes / needs.nodes / (1 << 20))}M")
    if needs.gpus:
        options.append(f"--gpus={needs.gpus}")
    if needs.limit_s is not None:
        options.append(f"--time={max(1, ceil(needs.limit_s / 60))}")
    return options


def _from_now(when_s: float) -> str:
    """Return a time as Slurm reads it: relative, so that no time zone comes in between."""
    left_s = ceil(when_s - time.time())
    return f"now+{left_s}" if left_s > 0 else "now"


def _forgotten(folder: str, job: str, wish: Mapping[str, Any]) -> Status:
    """Return what our own files say about a job that Slurm no longer shows."""
    words = read_from(os.path.join(folder, "ended"), 0).split()
    if len(words) != 2:
        return Status(State.LOST, None, f"Slurm has forgotten job {job}, and it left no exit code")
    restarts, code = int(words[0]), int(words[1])
    if wish.get("requeue_of") == restarts:
        return Status(
            State.LOST, None, "it saved its state, but Slurm forgot it before it was requeued", restarts
        )
    return Status(State.FINISHED, code, "", restarts)
