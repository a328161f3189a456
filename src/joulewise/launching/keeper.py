"""The keeper of one local job: a small process that starts the program, obeys what is asked, and writes how it ended.

It outlives the worker that started it. The job's folder is all that the two share:

    order.json   what to run; never changed
    wish.json    what is asked for now; written by engines (local_jobs.py), each time followed by SIGUSR1
    state.json   what is so; written by the keeper alone
    output       both streams of the program
    lock         held by the living keeper: a second one finds it taken and goes

A program is started only by who holds the lock, and only after "starting" was written: whoever dies in between, there is
never a second copy. A keeper that follows a killed one adopts the running program; only its exit code is lost then.
Run as `python -I -S`, it needs 5 MB and wakes once a minute.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, final

from joulewise.launching.folders import locked, read_json, write_json
from joulewise.launching.processes import Member, kill, members, posix_spawn, refusal, started

MARK = "JOULEWISE_JOB"  # in the environment of a job's processes: its folder
ENDED = frozenset({"finished", "cancelled", "lost"})
_LOOK_AGAIN_S = 60.0  # the wall clock may jump: a begin is looked at again
_LOOK_AT_ADOPTED_S = 0.5  # who is not our child sends no SIGCHLD
_LEFTOVERS_S = 5.0  # what the program leaves behind may take to end
_HEARD = {signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGINT}


def first_wish(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked for before anybody asked."""
    return {"hold": order["held"], "begin": order["begin"], "suspend": False, "requeue": 0, "cancel": None}


def boot() -> str:
    """Return the kernel's id of this boot ("" where there is none)."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


@final
class Keeper:
    """Keeps one job; `run` returns when the job has ended."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._order = read_json(folder, "order.json") or {}
        self._mark = f"{MARK}={folder}".encode(errors="surrogateescape")
        self._pid: int | None = None  # of the program, while it runs
        self._began = -1  # its start in clock ticks
        self._ours = True  # whether it is our child
        self._stopped = False
        self._asked = ""  # why it was asked to end: cancel, requeue, limit
        self._killed_by = ""
        self._kill_at_s = float("inf")
        self._ran_s = 0.0
        self._looked_s = time.monotonic()
        self._requeued = self._restarts = 0
        self._told: dict[str, Any] = {}

    def take_up(self) -> bool:
        """Go on where the keeper before us ended, if there was one; False where nothing is left to keep."""
        before = read_json(self._folder, "state.json")
        if before is not None:
            if before["state"] in ENDED:
                return False
            self._requeued, self._restarts = before["requeued"], before["restarts"]
            if before["state"] in ("starting", "running", "suspended"):
                self._adopt(before)
        self._look()
        return self._told["state"] not in ENDED

    def run(self) -> None:
        """Keep the job until it has ended."""
        while self._told["state"] not in ENDED:
            heard = signal.sigtimedwait(_HEARD, self._patience_s())
            if heard is not None and heard.si_signo in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                self._send(heard.si_signo)  # the machine goes down, or somebody means the program
            self._look()

    def _adopt(self, before: Mapping[str, Any]) -> None:
        if before["boot"] != boot():
            self._tell("lost", reason="the machine was restarted while it ran")
            return
        pid, began = before["program"]
        if before["state"] == "starting":  # killed while it started the program: is there one?
            # a child that has not come to exec holds our lock (close-on-exec), so if there is one, it shows its mark
            found = sorted(members(None, self._mark), key=lambda m: m[1])
            pid, began = found[0] if found else (0, 0)
        self._pid, self._began, self._ours = pid, began, False
        self._stopped = before["state"] == "suspended"

    def _patience_s(self) -> float:
        left = [_LOOK_AGAIN_S, self._kill_at_s - time.monotonic()]
        if self._pid is None:
            begin = (read_json(self._folder, "wish.json") or first_wish(self._order))["begin"]
            left += [begin - time.time()] if begin is not None and begin > time.time() else []
        elif not self._ours:
            left.append(_LOOK_AT_ADOPTED_S)
        elif self._order["limit_s"] is not None and not self._stopped:
            left.append(self._order["limit_s"] - self._ran_s)
        return max(0.0, min(left))

    def _look(self) -> None:
        """Do what is asked for and has not been done."""
        now_s = time.monotonic()
        self._ran_s += 0.0 if self._stopped or self._pid is None else now_s - self._looked_s
        self._looked_s = now_s
        if self._told.get("state") in ENDED:
            return
        if self._pid is not None:
            code = self._reap()
            if code is not None:
                self._end(code)
        if self._told.get("state") in ENDED:
            return
        with locked(self._folder, "wish.lock"):  # nobody holds what is being started
            wish = read_json(self._folder, "wish.json") or first_wish(self._order)
            if self._pid is None:
                self._look_idle(wish)
                return
        self._look_running(wish)

    def _look_idle(self, wish: Mapping[str, Any]) -> None:
        if wish["cancel"] is not None:
            self._tell(
                "cancelled", reason="cancelled before it started" if not self._restarts else "cancelled"
            )
        elif wish["hold"]:
            self._requeued = wish["requeue"]
            self._tell("held")
        elif wish["begin"] is not None and wish["begin"] > time.time():
            self._tell("queued", reason="begins later")
        else:
            self._requeued = wish["requeue"]
            self._launch()

    def _look_running(self, wish: Mapping[str, Any]) -> None:
        limit_s = self._order["limit_s"]
        checkpointing = self._order["checkpointing"]
        if wish["cancel"] is not None and self._asked != "cancel":
            self._ask("cancel", signal.SIGTERM, wish["cancel"])
        elif wish["requeue"] > self._requeued and checkpointing and not self._asked:
            self._requeued = wish["requeue"]
            self._ask("requeue", checkpointing["signal"], checkpointing["grace_s"])
        elif limit_s is not None and self._ran_s >= limit_s and not self._asked:
            self._ask("limit", signal.SIGTERM, 10.0)
        stop = bool(wish["suspend"]) and not self._asked
        if stop != self._stopped:
            self._stop(stop=stop)
        if time.monotonic() >= self._kill_at_s:
            self._kill_tree()
        words = {
            "cancel": "asked to end",
            "requeue": "asked to save its state and end",
            "limit": "at its limit",
        }
        self._tell("suspended" if self._stopped else "running", reason=words.get(self._asked, ""))

    def _launch(self) -> None:
        argv = self._order["argv"]
        os.environ.update(self._order["env"])
        os.environ[MARK] = self._folder
        output = os.open(os.path.join(self._folder, "output"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._tell("starting")
        name = self._order["cwd"]
        try:
            os.chdir(name)
            name = argv[0]
            self._pid = posix_spawn(argv, os.environ, (), output=output)
        except (OSError, ValueError) as error:
            refused = refusal(name, error)
            os.write(output, f"joulewise: {refused}\n".encode(errors="replace"))
            self._tell("finished", code=refused.exit_code, reason=str(refused))
            return
        finally:
            os.close(output)
            os.chdir("/")
        self._began, self._ours, self._stopped, self._asked = started(self._pid), True, False, ""
        self._kill_at_s, self._ran_s, self._looked_s = float("inf"), 0.0, time.monotonic()
        self._killed_by = ""
        self._tell("running")

    def _reap(self) -> int | None:
        """Return the program's exit code as a shell shows it (-1: nobody saw it), or None while it runs."""
        assert self._pid is not None  # noqa: S101 - asked for a running program only
        if not self._ours:
            return None if self._began >= 0 and started(self._pid) == self._began else -1
        with suppress(ChildProcessError):
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid == 0:
                return None
            if os.WIFEXITED(status):
                return os.WEXITSTATUS(status)
            self._killed_by = signal.Signals(os.WTERMSIG(status)).name
            return 128 + os.WTERMSIG(status)
        return -1

    def _end(self, code: int) -> None:
        """End what the program left behind, and say how the program ended."""
        self._pid = None
        known = self._tree()
        until_s = min(self._kill_at_s, time.monotonic() + _LEFTOVERS_S)
        for pid, _began in known:
            kill(pid, signal.SIGTERM)
            kill(pid, signal.SIGCONT)
        while known and time.monotonic() < until_s:
            time.sleep(0.02)
            known = self._tree(known)
        self._kill_tree(known)
        asked, self._asked, self._kill_at_s = self._asked, "", float("inf")
        seen = None if code < 0 else code
        if asked == "requeue":
            self._restarts += 1
        elif asked == "cancel":
            self._tell("cancelled", code=seen, reason="cancelled")
        elif asked == "limit":
            limit_s = self._order["limit_s"]
            self._tell("cancelled", code=seen, reason=f"it ran into its limit of {limit_s:g} s")
        elif seen is None:
            self._tell("lost", reason="its keeper was killed, so nobody saw its exit code")
        else:
            self._tell(
                "finished", code=seen, reason=f"killed by {self._killed_by}" if self._killed_by else ""
            )

    def _ask(self, why: str, number: int, grace_s: float) -> None:
        """Ask the program to end. A checkpoint is asked of the program alone, an end of all that came from it."""
        self._asked, self._kill_at_s = why, time.monotonic() + grace_s
        for pid, _began in self._tree() if why != "requeue" else frozenset():
            kill(pid, number)
        if why == "requeue":
            self._send(number)
        for pid, _began in self._tree():
            kill(pid, signal.SIGCONT)
        self._stopped = False

    def _stop(self, *, stop: bool) -> None:
        """Let the whole tree stand still, or go on; asks again until nobody new appears."""
        known: frozenset[Member] = frozenset()
        for _round in range(20):
            tree = self._tree()
            for pid, _began in tree - known:
                kill(pid, signal.SIGSTOP if stop else signal.SIGCONT)
            if tree <= known:
                break
            known |= tree
        self._stopped = stop

    def _send(self, number: int) -> None:
        if self._pid is not None and started(self._pid) == self._began:
            kill(self._pid, number)

    def _tree(self, known: frozenset[Member] = frozenset()) -> frozenset[Member]:
        root = self._pid if self._pid is not None and started(self._pid) == self._began else None
        return members(root, self._mark, known)

    def _kill_tree(self, known: frozenset[Member] = frozenset()) -> None:
        for _round in range(20):
            known = self._tree(known)
            if not known:
                return
            for pid, _began in known:
                kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def _tell(self, state: str, *, code: int | None = None, reason: str = "") -> None:
        told = {
            "state": state,
            "exit_code": code,
            "reason": reason,
            "restarts": self._restarts,
            "requeued": self._requeued,
            "keeper": [os.getpid(), started(os.getpid())],
            "program": [self._pid or 0, self._began],
            "boot": boot(),
        }
        if told != self._told:
            write_json(self._folder, "state.json", told)
            self._told = told


def main(folder: str) -> None:
    """Become the keeper of `folder`; the process that was started returns as soon as the job is taken up."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os.read(ready, 1)  # until the keeper says so, or has gone
        os._exit(0)
    os.close(ready)
    lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(0)  # another one keeps it
    os.chdir("/")
    keeper = Keeper(folder)
    left = keeper.take_up()
    os.close(tell)
    if left:
        keeper.run()
