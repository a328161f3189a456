"""Start a local command and keep hold of it, as transparent as a shell: the program must not notice who started it.

- It inherits every stream and descriptor (no pipes), the umask, the limits, the folder, and the signal mask that
  this process was born with. SIGPIPE and SIGXFSZ, which Python ignores, are back to their defaults. It stays in this
  process's group, so that Ctrl-C and Ctrl-Z reach it from the terminal itself.
- A signal that somebody sent to this process alone is passed on; one from the terminal reached the program already.
  The kernel tells them apart (`si_code` of sigwaitinfo(2)): above zero it is the kernel's own. A signal that was sent
  to the whole group arrives twice, since nothing tells that it was.
- When the program stops on Ctrl-Z, this process stops too, so that the shell sees a stopped job.
- Orphans go to init as ever: this process is no subreaper, because a daemon may wait until its parent is 1. As
  process 1 of a container it does init's duty and waits for zombies.

This module is loaded before the program starts: it imports nothing that is slow (no dataclasses).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, final

from joulewise.launching.processes import (
    CANNOT_START,
    group,
    kill,
    members,
    posix_spawn,
    refusal,
)

MARK = "JOULEWISE_RECORDING"  # in the environment of recorded work: the folder of its recording

_OWN_FAULT = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT", "SIGSYS", "SIGPIPE", "SIGXFSZ")
_NEVER = ("SIGKILL", "SIGSTOP", "SIGCHLD", "SIGTTIN", "SIGTTOU")
_LOOK_AGAIN_S = 5.0  # a SIGCHLD can be lost to a thread that was here before us
_POLL_S = 0.05


class Ended(NamedTuple):
    """How a process ended: its exit code or the signal that killed it, and what it and its waited-for children used."""

    exit_code: int | None
    signal: int | None
    cpu_s: float
    peak_resident_bytes: int

    @property
    def code(self) -> int:
        """The exit code that a shell shows: the program's own, or 128 + the signal's number."""
        return 128 + self.signal if self.signal is not None else int(self.exit_code or 0)


class Screen(NamedTuple):
    """What to do with a screen that is shared with the program: before this process stops, after, on a new size."""

    suspend: Callable[[], None]
    resume: Callable[[], None]
    resize: Callable[[], None]


def spawn(
    argv: Sequence[str], environment: Mapping[str, str] | None = None, plain: Mapping[str, str] | None = None
) -> LocalProcess:
    """Start `argv` and return the process. Raises CannotStart, with the shell's wording and exit code.

    `plain` is the environment without what we added, for a program whose own is at the limit of the system.

    From here on the forwardable signals are blocked in this thread (and in threads started later): they are heard
    by `LocalProcess.wait` and by nobody else. Call it before any thread is started.
    """
    chosen = dict(os.environ if environment is None else environment)
    _give_back_locale(chosen)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, forwardable() | {signal.SIGCHLD, signal.SIGTTOU})
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else the kernel throws the exit code away
    try:
        try:
            pid = posix_spawn(argv, chosen, mask)
        except OSError as error:
            if error.errno != errno.E2BIG or MARK not in chosen:
                raise
            chosen = dict(chosen if plain is None else plain)  # the program's own is at the limit
            chosen.pop(MARK, None)
            _give_back_locale(chosen)
            pid = posix_spawn(argv, chosen, mask)
    except (OSError, ValueError) as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise refusal(argv[0], error) from None
    return LocalProcess(pid, chosen.get(MARK, ""), mask)


def forwardable() -> frozenset[signal.Signals]:
    """Return the signals that are passed on: all but those of a fault of one's own, and those that nobody can hold."""
    left_out = {getattr(signal, name) for name in (*_OWN_FAULT, *_NEVER) if hasattr(signal, name)}
    return frozenset(s for s in signal.valid_signals() if isinstance(s, signal.Signals) and s not in left_out)


@final
class LocalProcess:
    """A running command: wait for it, signal it, end it with its tree.

    `screen` may be set by whoever draws on the program's terminal.
    """

    def __init__(self, pid: int, mark: str, mask: set[signal.Signals] | set[int]) -> None:
        self.pid = pid
        self.screen: Screen | None = None
        self._mark = f"{MARK}={mark}".encode(errors="surrogateescape") if mark else b""
        self._mask = mask
        self._ended: Ended | None = None
        self._hears = _SignalQueue() if hasattr(signal, "sigtimedwait") else _PolledSignals()
        self._alone = os.getpid() != 1

    def wait(self, timeout_s: float | None = None) -> Ended | None:
        """Return how the process ended, or None after `timeout_s` seconds; passes signals on meanwhile."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            ended = self._reap()
            if ended is not None:
                return ended
            left_s = _LOOK_AGAIN_S if until_s is None else min(_LOOK_AGAIN_S, until_s - time.monotonic())
            if left_s < 0:
                return None
            heard = self._hears.next(left_s)
            if heard is not None:
                self._hear(*heard)

    def send(self, number: int) -> None:
        """Send a signal to the process; nothing happens if it has ended."""
        if self._ended is None:
            kill(self.pid, number)

    def end(self, grace_s: float) -> Ended:
        """End the tree and return how its root ended: SIGTERM, and SIGKILL after the grace.

        SIGTERM goes to the root (to its group, if it leads one); once the root has ended, to who survived it.
        """
        until_s = time.monotonic() + grace_s
        tree = self.tree()
        if group(self.pid) == self.pid:
            kill(-self.pid, signal.SIGTERM)
            kill(-self.pid, signal.SIGCONT)
        else:
            self.send(signal.SIGTERM)
            self.send(signal.SIGCONT)  # a stopped program hears nothing else
        ended = self.wait(grace_s)
        asked: frozenset[tuple[int, int]] = frozenset()
        while ended is not None and (tree := self.tree(tree)):
            for pid, _started in tree - asked:
                kill(pid, signal.SIGTERM)
                kill(pid, signal.SIGCONT)
            asked |= tree
            if time.monotonic() >= until_s:
                break
            time.sleep(_POLL_S)
        self.kill(tree)
        while ended is None:
            ended = self.wait(_LOOK_AGAIN_S)
        return ended

    def kill(self, known: frozenset[tuple[int, int]] = frozenset()) -> None:
        """Kill the tree and whoever of `known` is alive; asks again until nobody new appears."""
        self.send(signal.SIGKILL)
        tree = known
        for _round in range(20):
            tree = self.tree(tree)
            if not tree:
                return
            for pid, _started in tree:
                kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def tree(self, known: frozenset[tuple[int, int]] = frozenset()) -> frozenset[tuple[int, int]]:
        """Return the living members (process, start in clock ticks): descendants, those marked, and of `known` who lives.

        Zombies are not alive. Without /proc it is empty.
        """
        return members(self.pid if self._ended is None else None, self._mark, known)

    def drain(self) -> None:
        """Forget the signals that came after the process ended."""
        while self._hears.next(0) is not None:
            pass

    def give_back(self) -> None:
        """Restore the signal mask that `spawn` changed; for callers that live on."""
        self._hears.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _reap(self) -> Ended | None:
        if self._ended is not None:
            return self._ended
        if not self._alone:
            self._reap_adopted()
        try:
            pid, status, used = os.wait4(self.pid, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:  # somebody else has waited for it: the code is lost
            self._ended = Ended(CANNOT_START, None, 0.0, 0)
            return self._ended
        if pid == 0:
            return None
        if os.WIFSTOPPED(status):
            if os.WSTOPSIG(status) in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
                self._stop_as_well(os.WSTOPSIG(status))
            return None
        unit = 1 if sys.platform == "darwin" else 1024
        killed = os.WIFSIGNALED(status)
        self._ended = Ended(
            None if killed else os.WEXITSTATUS(status),
            os.WTERMSIG(status) if killed else None,
            used.ru_utime + used.ru_stime,
            used.ru_maxrss * unit,
        )
        return self._ended

    def _reap_adopted(self) -> None:
        """Wait for zombies that init would wait for (this process is init)."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid == self.pid:
                return
            os.waitpid(found.si_pid, os.WNOHANG)

    def _hear(self, number: int, from_kernel: bool) -> None:
        """Pass a signal on that was meant for the program; the terminal's own reached it already."""
        if number == signal.SIGWINCH and self.screen:
            self.screen.resize()
        if not from_kernel and number != signal.SIGCHLD:
            self.send(number)

    def _stop_as_well(self, number: int) -> None:
        """Stop with the program, so that the shell has its terminal back; goes on when the shell continues the job."""
        if group(self.pid) != os.getpgrp():
            return  # a job of the program's own making: its shell will continue it
        if self.screen:
            self.screen.suspend()
        before = signal.getsignal(number)
        if before != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})  # stops here
            signal.pthread_sigmask(signal.SIG_BLOCK, {number} - {signal.SIGTTIN})
        if hasattr(signal, "sigtimedwait"):  # what continued this process continued its group
            signal.sigtimedwait({signal.SIGCONT}, 0)
        if self._is_stopped():  # only this process was continued
            self.send(signal.SIGCONT)
        if self.screen:
            self.screen.resume()

    def _is_stopped(self) -> bool:
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] == b"T"
        except (OSError, IndexError):
            return True  # unknown: to continue who runs does nothing


@final
class _SignalQueue:
    """The blocked signals of this process, one after the other, with who sent them (Linux)."""

    def __init__(self) -> None:
        self._signals = forwardable() | {signal.SIGCHLD}

    def next(self, timeout_s: float) -> tuple[int, bool] | None:
        """Return the next signal and whether the kernel sent it; None after `timeout_s`."""
        info = signal.sigtimedwait(self._signals, max(0.0, timeout_s))
        return None if info is None else (info.si_signo, info.si_code > 0)

    def close(self) -> None:
        """Nothing to give back."""


@final
class _PolledSignals:
    """Where sigtimedwait is missing (macOS): handlers, and a short sleep. Nothing tells who sent a signal.

    Ctrl-C and the quit key are taken to come from the terminal, everything else from a process.
    """

    _HEARD = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")

    def __init__(self) -> None:
        self._queue: list[int] = []
        heard = [getattr(signal, name) for name in self._HEARD]
        self._before = {n: signal.getsignal(n) for n in heard if signal.getsignal(n) != signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, lambda number, _frame: self._queue.append(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)

    def next(self, timeout_s: float) -> tuple[int, bool] | None:
        """Return the next signal and whether it is taken to come from the terminal; None after a short sleep."""
        if not self._queue and timeout_s > 0:
            time.sleep(min(_POLL_S, timeout_s))
        if not self._queue:
            return None
        number = self._queue.pop(0)
        return number, number in (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)

    def close(self) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _give_back_locale(environment: dict[str, str]) -> None:
    """Take out the LC_CTYPE that Python itself put into its environment when it found the C locale (PEP 538)."""
    if environment.get("LC_CTYPE") not in ("C.UTF-8", "C.utf8", "UTF-8"):
        return
    try:
        with open("/proc/self/environ", "rb") as file:
            born_with = file.read().split(b"\0")
    except OSError:
        return
    before = [line[len(b"LC_CTYPE=") :] for line in born_with if line.startswith(b"LC_CTYPE=")]
    if before:
        environment["LC_CTYPE"] = os.fsdecode(before[0])
    else:
        del environment["LC_CTYPE"]
