"""Hold the listening sockets while nobody asks, and the connections while a worker may die: the parent of the workers.

Run as a program by `python -I -S` it loads next to nothing (3 MB of its own) and sleeps in one poll without a timer, so
that asleep costs no CPU time at all. Connections that come while no worker is there wait in the kernel; a worker takes them
from the same socket, and there is no proxy on their way.

    parent.py [--once] FDS COMMAND...     FDS: the sockets' numbers with commas between; COMMAND finds them as systemd hands
                                          them over, from 3 on, with LISTEN_FDS and LISTEN_PID. --once: end when nobody asks
                                          any more, somebody else (systemd) waits on the sockets

Each worker has a channel to the parent, and a journal in memory that outlives it (`keeping.py`). It hands a duplicate of each
connection over, and writes down what was read and is not answered yet. When it is killed, its connections are still open: the
next worker is given them with what the journal tells, and goes on.

    worker > parent   kSLOT + connection   hold this          dSLOT   it is closed, let go        rSLOT   give it to another worker
                      nCOUNT               so many workers, please (the first worker says so)      u       up: others may give me some
    parent > worker   tSLOT + connection + journal   yours now     b   give some of yours away     e   end, others will do

A worker that ends with 0 was tired: the next is started when the next connection comes. One that was killed or failed is
replaced at the next connection, too, or at once if it left connections; after three failures in a row there are
pauses between, up to a minute. SIGTERM and SIGINT are handed on, and end the parent with the first worker's code.

Where memory that outlives a worker cannot be had (all but Linux) there are no channel and no journal: the parent sleeps and
wakes as everywhere, but there is one worker, whose connections end with it.
"""

import _socket  # what `socket` is made of, at a tenth of its size
import posix
import select
import sys
import time
from _signal import (  # type: ignore[import-not-found]
    SIG_BLOCK,
    SIG_SETMASK,
    SIGCHLD,
    SIGINT,
    SIGTERM,
    pthread_sigmask,
    set_wakeup_fd,
    signal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import Any, NoReturn

_USAGE = 2
_LIVED_S = 10.0  # a worker that lived for so long did not fail at its start
_LONGEST_PAUSE_S = 60.0
_AGAIN_MS = 50  # a worker that does not take its messages yet is tried again after so long
_FIRST_FD = 3
MOST_WORKERS = 64
JOURNAL_BYTES = 512 * (256 << 10)  # sparse: a page exists once it was written to
LINES, LINE_BYTES = 2 * MOST_WORKERS, 32  # of the board: those that end have one, too
KEEPING = "JOULEWISE_KEEPING"
_KEEPS = hasattr(posix, "memfd_create")


class Worker:
    """A worker as the parent sees it."""

    def __init__(self, pid: int, number: int, channel: "Any", journal: int) -> None:
        self.pid = pid
        self.number = number  # 0 is the first: it says how many there are
        self.channel = channel  # None where nothing is kept
        self.journal = journal
        self.kept: dict[int, int] = {}  # duplicates of its connections, by slot
        self.began_s = time.monotonic()
        self.given = 0  # connections it was given and has not said `k` of yet
        self.up = self.ending = False

    def close(self) -> None:
        """Let go of what stands between the two."""
        if self.channel is not None:
            self.channel.close()
            posix.close(self.journal)


class Parent:
    """Starts workers, one at a time unless the first of them asks for more; with `once` it ends when they are tired."""

    def __init__(self, fds: "Sequence[int]", begin: "Callable[[str], int]", *, once: bool = False) -> None:
        self._fds = fds
        self._once = once
        self._begin = begin  # called in the worker's process with its place; returns its exit code, or execs
        self._workers: list[Worker] = []
        self._homeless: list[tuple[int, int, int]] = []  # connection, slot, journal (a duplicate of its own)
        self._wanted = 1
        self._asked = 0
        self._failures = 0
        self._pause_until_s = 0.0
        self._code = 0
        self._board = _memory("joulewise-board", LINES * LINE_BYTES) if _KEEPS else -1

    def keep(self, *, awake: bool = True) -> int:
        """Start workers until told to end; returns the exit code. The first is started at once, if `awake`."""
        woken, wakes = posix.pipe()
        for fd in (woken, wakes):
            posix.set_blocking(fd, False)
        set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in (SIGTERM, SIGINT, SIGCHLD):
            signal(number, self._heard)
        if awake:
            self._start()
        first = awake
        while True:
            came = self._wait(woken)
            for worker in list(self._workers):
                self._listen(worker)
            for worker, code in self._ended():
                if code == _USAGE and first:
                    return code
                first = False
                self._bury(worker, code)
            if self._asked:
                if not self._workers:
                    return self._code
                continue
            if self._once and not (self._workers or self._homeless or self._wanted):
                return 0
            self._settle(came=came)

    def _wait(self, woken: int) -> bool:
        """Wait until something happens; returns whether somebody asks and no worker is there."""
        look = select.poll()
        look.register(woken, select.POLLIN)
        for worker in self._workers:
            if worker.channel is not None:
                look.register(worker.channel.fileno(), select.POLLIN)
        timeout_ms: float | None = _AGAIN_MS if self._homeless and self._workers else None
        pause_ms = 1000 * (self._pause_until_s - time.monotonic())
        if pause_ms > 0:
            timeout_ms = pause_ms + 1
        elif not self._workers and not self._asked:
            for fd in self._fds:
                look.register(fd, select.POLLIN)
        events = [] if self._asked and not self._workers else look.poll(timeout_ms)
        try:  # noqa: SIM105 - contextlib would double what is loaded
            posix.read(woken, 512)
        except BlockingIOError:
            pass
        return any(fd in self._fds for fd, _event in events)

    def _settle(self, *, came: bool) -> None:
        """Have as many workers as are wanted, and find a home for connections that lost theirs."""
        if not self._workers:
            if (came or self._homeless) and time.monotonic() >= self._pause_until_s:
                self._wanted = max(1, self._wanted)
                self._start()
        else:
            staying = [worker for worker in self._workers if not worker.ending]
            if self._wanted and not any(worker.number == 0 for worker in staying):
                if time.monotonic() >= self._pause_until_s:
                    self._start()
            elif len(staying) < min(self._wanted, MOST_WORKERS) and len(self._workers) < LINES:
                self._start()
            elif len(staying) > self._wanted:
                staying[-1].ending = True
                self._tell(staying[-1], b"e")
        self._rehome()

    def _start(self) -> None:
        taken = {worker.number for worker in self._workers}
        number = next(n for n in range(LINES) if n not in taken)
        ours = theirs = None
        journal, place = -1, ""
        if _KEEPS:
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            journal = _memory("joulewise-journal", JOURNAL_BYTES)
            place = f"{theirs.fileno()},{journal},{self._board},{number}"
        blocked = pthread_sigmask(SIG_BLOCK, (SIGTERM, SIGINT, SIGCHLD))
        pid = posix.fork()
        if pid == 0:
            if ours is not None:
                ours.close()
            self._become(blocked, place)
        if theirs is not None:
            theirs.close()
        self._workers.append(Worker(pid, number, ours, journal))
        self._workers.sort(key=lambda worker: worker.number)
        pthread_sigmask(SIG_SETMASK, blocked)

    def _become(self, blocked: "set[int]", place: str) -> None:
        code = 70
        try:
            posix.setpgid(0, 0)  # a terminal's Ctrl-C reaches the parent, who hands it on once
            set_wakeup_fd(-1)
            for number in (SIGTERM, SIGINT, SIGCHLD):
                signal(number, 0)
            for worker in self._workers:  # nobody else's connections may stay open in here
                worker.close()
                for fd in worker.kept.values():
                    posix.close(fd)
            for connection, _slot, journal in self._homeless:
                posix.close(connection)
                posix.close(journal)
            pthread_sigmask(SIG_SETMASK, blocked)
            code = self._begin(place)
        finally:
            posix._exit(code)  # noqa: SLF001 - it is the public name there

    def _listen(self, worker: Worker) -> None:
        """Take all that a worker says."""
        while worker.channel is not None:
            try:
                text, passed, _flags, _from = worker.channel.recvmsg(
                    64, _socket.CMSG_SPACE(4), _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
                )
            except (BlockingIOError, ConnectionError):
                return
            if not text:
                return
            what, number = text[:1], int(text[1:] or b"0")
            if what == b"k" and passed:
                worker.kept[number] = int.from_bytes(passed[0][2][:4], sys.byteorder)
                worker.given = max(0, worker.given - 1)
            elif what in (b"d", b"r") and number in worker.kept:
                connection = worker.kept.pop(number)
                if what == b"d":
                    posix.close(connection)
                else:
                    self._homeless.append((connection, number, posix.dup(worker.journal)))
            elif what == b"n":
                self._wanted = number
            elif what == b"u":
                worker.up = True
                for other in self._workers:
                    if other is not worker and not other.ending:
                        self._tell(other, b"b")

    def _tell(self, worker: Worker, text: bytes, *fds: int) -> bool:
        """Say something to a worker; returns False if it does not listen now."""
        if worker.channel is None:
            return False
        passed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
        try:
            worker.channel.sendmsg(
                [text],
                [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed)] if fds else [],
                _socket.MSG_DONTWAIT,
            )
        except (BlockingIOError, ConnectionError):
            return False
        return True

    def _rehome(self) -> None:
        """Give connections that lost their worker to the one with the fewest."""
        while self._homeless:
            able = [worker for worker in self._workers if not worker.ending]
            if not able:
                return
            connection, slot, journal = self._homeless[0]
            ready = [worker for worker in able if worker.up] or able
            fewest = min(ready, key=lambda worker: len(worker.kept) + worker.given)
            if not self._tell(fewest, b"t%d" % slot, connection, journal):
                return
            fewest.given += 1
            self._homeless.pop(0)
            posix.close(connection)
            posix.close(journal)

    def _ended(self) -> "list[tuple[Worker, int]]":
        """Return the workers that have ended, with their codes."""
        found = []
        for worker in list(self._workers):
            pid, status = posix.waitpid(worker.pid, posix.WNOHANG)
            if pid:
                self._listen(worker)  # its last words
                self._workers.remove(worker)
                found.append((worker, posix.waitstatus_to_exitcode(status)))
        return found

    def _bury(self, worker: Worker, code: int) -> None:
        if worker.number == 0:
            self._code = code
        if _KEEPS:
            posix.pwrite(self._board, bytes(LINE_BYTES), LINE_BYTES * worker.number)
        lost = bool(code) and not self._asked
        for slot, connection in worker.kept.items():
            if lost:
                self._homeless.append((connection, slot, posix.dup(worker.journal)))
            else:
                posix.close(connection)
        worker.close()
        if lost:
            lived = time.monotonic() - worker.began_s >= _LIVED_S
            self._failures = 1 if lived else self._failures + 1
            _say(f"joulewise: the worker ended with {_named(code)}; the next request starts another one\n")
            if self._failures > 2 and not lived:
                self._pause_until_s = time.monotonic() + min(_LONGEST_PAUSE_S, 2.0 ** (self._failures - 2))
        else:
            self._failures = 0
            if worker.number == 0 and not worker.ending:  # tired: nobody asks any of them
                self._wanted = 0

    def _heard(self, number: int, _frame: "FrameType | None") -> None:
        if number == SIGCHLD:
            return
        self._asked = number
        if not self._workers:
            self._code = 0
        for worker in self._workers:
            try:  # noqa: SIM105 - contextlib would double what is loaded
                posix.kill(worker.pid, number)
            except ProcessLookupError:  # it has just ended by itself
                pass


def start(fds: "Sequence[int]", command: "Sequence[str]", place: str) -> "NoReturn":
    """Become the command, with the sockets where systemd would put them, and `place` in its environment."""
    kept = place.split(",") if place else []
    moved = [posix.dup(int(fd)) for fd in kept[:3]]  # so that none is overwritten before it is moved
    spare = [posix.dup(fd) for fd in fds]
    for number, fd in enumerate(spare):
        posix.dup2(fd, _FIRST_FD + number)
        posix.set_inheritable(
            _FIRST_FD + number, True
        )  # even if it was there already, where dup2 does nothing
    after = _FIRST_FD + len(fds)
    told = []
    for number, fd in enumerate(moved):
        high = posix.dup2(fd, 100 + after + number)
        posix.set_inheritable(high, True)
        told.append(str(high))
    environment = dict(posix.environ)
    environment[b"LISTEN_FDS"] = b"%d" % len(fds)
    environment[b"LISTEN_PID"] = b"%d" % posix.getpid()
    environment[b"JOULEWISE_PARENT"] = b"%d" % posix.getppid()
    if kept:
        environment[KEEPING.encode()] = ",".join([*told, kept[3]]).encode()
    posix.execve(command[0], list(command), environment)


def _memory(name: str, size: int) -> int:
    """Return memory that several processes see; what nobody wrote to does not exist yet."""
    fd = posix.memfd_create(name, 0)
    posix.ftruncate(fd, size)
    return fd


def _named(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


def _say(text: str) -> None:
    posix.write(2, text.encode())


if __name__ == "__main__":
    just_once = sys.argv[1] == "--once"
    given = sys.argv[1 + just_once :]
    numbers, orders = [int(fd) for fd in given[0].split(",")], given[1:]
    sys.exit(Parent(numbers, lambda place: start(numbers, orders, place), once=just_once).keep())
