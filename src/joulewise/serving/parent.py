"""Hold the listening sockets while nobody asks: the parent that starts a worker when somebody does.

Run as a program by `python -I -S` it loads next to nothing (3 MB of its own) and sleeps in one poll without a timer, so
that asleep costs no CPU time at all. Connections that come while no worker is there wait in the kernel; the worker takes them
from the same socket, and there is no proxy on their way.

    parent.py FDS COMMAND...     FDS: the sockets' numbers with commas between; COMMAND finds them as systemd hands them
                                 over, from 3 on, with LISTEN_FDS and LISTEN_PID

A worker that ends with 0 was tired: the next is started when the next connection comes. One that was killed or failed is
replaced at the next connection, too, which is at once if requests are waiting; after three failures in a row there are
pauses between, up to a minute. SIGTERM and SIGINT are handed on, and end the parent with the worker's code.
"""

import posix
import select
import sys
import time
from _signal import SIG_BLOCK, SIG_SETMASK, SIGINT, SIGTERM, pthread_sigmask, signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import NoReturn

_USAGE = 2
_LIVED_S = 10.0  # a worker that lived for so long did not fail at its start
_LONGEST_PAUSE_S = 60.0
_FIRST_FD = 3


class Parent:
    """Starts workers, one at a time."""

    def __init__(self, fds: "Sequence[int]", begin: "Callable[[], int]") -> None:
        self._fds = fds
        self._begin = begin  # called in the worker's process; returns its exit code, or execs
        self._worker = 0
        self._asked = False
        self._failures = 0

    def keep(self, *, awake: bool = True) -> int:
        """Start workers until told to end; returns the exit code. The first is started at once, if `awake`."""
        for number in (SIGTERM, SIGINT):
            signal(number, self._end)
        arrivals = select.poll()
        for fd in self._fds:
            arrivals.register(fd, select.POLLIN)
        first = awake
        while True:
            if not first:
                arrivals.poll()
            began_s = time.monotonic()
            code = self._run()
            if self._asked:
                return code
            if code == _USAGE and first:
                return code
            first = False
            self._failures = self._failures + 1 if code else 0
            if code:
                _say(
                    f"joulewise: the worker ended with {_named(code)}; the next request starts another one\n"
                )
            if self._failures > 2 and time.monotonic() - began_s < _LIVED_S:
                time.sleep(min(_LONGEST_PAUSE_S, 2.0 ** (self._failures - 2)))

    def _run(self) -> int:
        blocked = pthread_sigmask(SIG_BLOCK, (SIGTERM, SIGINT))
        worker = posix.fork()
        if worker == 0:
            self._become(blocked)
        self._worker = worker
        pthread_sigmask(SIG_SETMASK, blocked)
        _pid, status = posix.waitpid(worker, 0)
        self._worker = 0
        return posix.waitstatus_to_exitcode(status)

    def _become(self, blocked: "set[int]") -> None:
        code = 70
        try:
            posix.setpgid(0, 0)  # a terminal's Ctrl-C reaches the parent, who hands it on once
            for number in (SIGTERM, SIGINT):
                signal(number, 0)
            pthread_sigmask(SIG_SETMASK, blocked)
            code = self._begin()
        finally:
            posix._exit(code)  # noqa: SLF001 - it is the public name there

    def _end(self, number: int, _frame: "FrameType | None") -> None:
        self._asked = True
        if not self._worker:
            raise SystemExit(0)
        try:  # noqa: SIM105 - contextlib would double what is loaded
            posix.kill(self._worker, number)
        except ProcessLookupError:  # it has just ended by itself
            pass


def start(fds: "Sequence[int]", command: "Sequence[str]") -> "NoReturn":
    """Become the command, with the sockets where systemd would put them."""
    spare = [posix.dup(fd) for fd in fds]  # so that none is overwritten before it is moved
    for place, fd in enumerate(spare):
        posix.dup2(fd, _FIRST_FD + place)
        posix.set_inheritable(
            _FIRST_FD + place, True
        )  # even if it was there already, where dup2 does nothing
    environment = dict(posix.environ)
    environment[b"LISTEN_FDS"] = b"%d" % len(fds)
    environment[b"LISTEN_PID"] = b"%d" % posix.getpid()
    environment[b"JOULEWISE_PARENT"] = b"%d" % posix.getppid()
    posix.execve(command[0], list(command), environment)


def _named(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


def _say(text: str) -> None:
    posix.write(2, text.encode())


if __name__ == "__main__":
    numbers, orders = [int(fd) for fd in sys.argv[1].split(",")], sys.argv[2:]
    sys.exit(Parent(numbers, lambda: start(numbers, orders)).keep())
