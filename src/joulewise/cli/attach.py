"""`joulewise attach PID`: record a program that already runs, until it ends or you have seen enough.

The program is only looked at: no signal, no tracing, no file of it. It goes on whatever happens here.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import click

from joulewise import wiring
from joulewise.cli.output import echo, json_option, plain
from joulewise.cli.start import run_name
from joulewise.ledger.files import process_start
from joulewise.measuring.process_tree import read_small
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_duration, parse_duration
from joulewise.vocabulary.recording import EndState

if TYPE_CHECKING:
    from joulewise.cli.live import PlainLines, StatusLine
    from joulewise.measuring.accounting import Account

_LOOK_EVERY_S = 0.2  # for the program's end, where the kernel has no pidfd
_LEAST_INTERVAL_S = 0.01
_LONGEST_WORD, _MOST_WORDS = 1000, 200


@dataclass(frozen=True, slots=True)
class Target:
    """The program to record: its process id, when it started (both name it), and its command."""

    pid: int
    started: int
    command: tuple[str, ...]


@click.command("attach")
@click.argument("pid", type=int)
@click.option("--name", metavar="NAME", default="", help="Name of the recording; without it, the program's.")
@click.option(
    "--zone", metavar="ZONE", default=None, help="Where the electricity comes from: DE, US-CA, auto."
)
@click.option("--interval", metavar="SECONDS", type=float, help="Seconds between two readings (1).")
@click.option("--for", "length", metavar="TIME", help="Record so long at most: 60s, 15min, 2h.")
@click.option(
    "--report", metavar="FILE.html", default="", help="Write the report of this recording into one HTML file."
)
@json_option
def command(
    pid: int,
    name: str,
    zone: str | None,
    interval: float | None,
    length: str | None,
    report: str,
    as_json: bool,
) -> None:
    """Record the program with process id PID, and all that comes from it, from now on.

    Ends when the program ends, after --for, or at Ctrl-C; the program itself is never touched. What it used before
    is not known and not in the recording.
    """
    if interval is not None and not _LEAST_INTERVAL_S <= interval < 1e9:
        raise UsageError(f"--interval is {interval:g}, but must be at least {_LEAST_INTERVAL_S:g} seconds")
    length_s = _length(length)
    _check_report(report)
    flags = {"zone": zone, "interval_s": interval}
    settings = wiring.settings(flags)
    place = wiring.place(chosen=settings)  # refuses a zone that is not known
    target = find_target(pid)
    watched = Watched(target)

    from joulewise.cli.live import live_view
    from joulewise.cli.watching import Watch

    started_s = time.monotonic()
    recorder = wiring.recorder(
        pid,
        name or run_name(target.command),
        target.command,
        role="attach",
        interval_s=settings.interval_s,
        keep=bool(settings.runs),
        started_s=started_s,
        flags=flags,
    )
    recorder.start()
    recorder.note("attach", f"began when process {pid} was running already: what it used before is not here")
    view = live_view(settings.live, None, os.isatty(2), os.environ.get("TERM", ""), nested=False)
    look = Watch(lambda: recorder.latest, place)
    why = ""
    try:
        with signals_interrupt():
            while not why:
                now_s = time.monotonic() - started_s
                why = _wait(watched, view, now_s, length_s)
                if view is not None:
                    view.show(look.look(time.monotonic() - started_s))
    except KeyboardInterrupt:
        why = "asked to end; the program runs on"
    finally:
        watched.close()
        if view is not None:
            view.close()
    recording = recorder.stop(EndState.FINISHED, reason=why)
    if recorder.fault:
        click.echo(f"joulewise: not everything was kept: {recorder.fault}", err=True)
    account = wiring.account(recording, zone)
    if as_json:
        from joulewise.cli.results import account_json

        echo(account_json(account))
    else:
        from joulewise.cli.card import render

        echo(render(account).rstrip("\n"))
    if report:
        _write_report(account, report)


def find_target(pid: int, proc: str = "/proc", own_uid: int | None = None) -> Target:
    """Return the program with this process id. Raises UsageError in one line: unknown, a thread, over, another user's."""
    if pid < 1:
        raise UsageError(
            f"PID is {pid}, but must be the id of a running process ('joulewise top' lists them)"
        )
    if not os.path.isdir(f"{proc}/self") and proc == "/proc":
        raise UsageError("attach reads /proc, which this system does not have; use joulewise run -- COMMAND")
    facts = _status(pid, proc)
    if not facts:
        raise UsageError(f"there is no process {pid}; 'joulewise top' lists those that run")
    leader = facts.get("Tgid", str(pid))
    if leader != str(pid):
        raise UsageError(f"{pid} is a thread of process {leader}; write: joulewise attach {leader}")
    if facts.get("State", "").startswith(("Z", "X")):
        raise UsageError(
            f"process {pid} has ended already: it is a zombie, until its parent {facts.get('PPid', '')} waits for it"
        )
    if pid == os.getpid():
        raise UsageError(f"process {pid} is this joulewise itself; name another process")
    uid = int(facts.get("Uid", "-1").split()[0])
    own = os.geteuid() if own_uid is None else own_uid
    if own not in (0, uid):
        raise UsageError(
            f"process {pid} belongs to {user_name(uid)}: its files and memory cannot be read by {user_name(own)}; "
            f"attach as {user_name(uid)}, or: sudo joulewise attach {pid}"
        )
    words = read_small(f"{proc}/{pid}/cmdline").rstrip(b"\0").decode("utf-8", "replace").split("\0")
    if words == [""]:
        words = [facts.get("Name", "process")]
    kept = [
        word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]}..." for word in words[:_MOST_WORDS]
    ]
    return Target(pid, process_start(pid), tuple(kept))


def user_name(uid: int) -> str:
    """Return a user's name, or the number where it has none here."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"user {uid}"


@final
class Watched:
    """Waits for the end of a process that is no child of ours: by pidfd where the kernel has it (Linux 5.3)."""

    def __init__(self, target: Target, *, pidfd: bool = True) -> None:
        self._target = target
        self._fd = -1
        if pidfd and hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._fd = os.pidfd_open(target.pid)
        self._poll = select.poll()
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLIN)

    def ended(self, wait_s: float) -> bool:
        """Return whether the process has ended, waiting so long for it at most."""
        if self._fd >= 0 and self._is_there():
            return bool(self._poll.poll(max(0.0, wait_s) * 1000)) or not self._is_there()
        until_s = time.monotonic() + wait_s
        while self._is_there():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(_LOOK_EVERY_S, left_s))
        return True

    def close(self) -> None:
        """Give back the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _is_there(self) -> bool:
        """Whether the process is the one that was meant, and not over: its number may have been used again."""
        fields = read_small(f"/proc/{self._target.pid}/stat").rpartition(b")")[2].split()
        return len(fields) > 19 and int(fields[19]) == self._target.started and fields[0] not in (b"Z", b"X")


def _wait(
    watched: Watched, view: StatusLine | PlainLines | None, now_s: float, length_s: float | None
) -> str:
    """Wait until there is something to show or to end; returns why to end, "" if there is no reason."""
    left_s = float("inf") if length_s is None else length_s - now_s
    wait_s = min(left_s, 60.0 if view is None else view.wait_s(now_s))
    if watched.ended(max(0.02, wait_s)):
        return "the program ended (its exit code is told to its parent only)"
    if length_s is not None and left_s - wait_s <= 0:
        return f"recorded for {format_duration(length_s)} as asked; the program runs on"
    return ""


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the recording as Ctrl-C does."""
    before = {s: signal.signal(s, signal.default_int_handler) for s in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _status(pid: int, proc: str) -> dict[str, str]:
    lines = read_small(f"{proc}/{pid}/status").decode("utf-8", "replace").splitlines()
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}


def _length(text: str | None) -> float | None:
    if text is None:
        return None
    length_s = parse_duration(text)
    if length_s <= 0:
        raise UsageError(f"--for is {text!r}, but must be longer than nothing, for instance 60s")
    return length_s


def _check_report(path: str) -> None:
    folder = os.path.dirname(path) or "."
    if path and os.path.isdir(path):
        raise UsageError(f"--report is {path!r}, but that is a folder")
    if path and not os.path.isdir(folder):
        raise UsageError(f"--report is {path!r}, but there is no folder {folder}")


def _write_report(account: Account, path: str) -> None:
    from joulewise.web.report import render

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(render(account))
    except OSError as error:
        click.echo(f"joulewise: cannot write {plain(path)}: {error.strerror}", err=True)
