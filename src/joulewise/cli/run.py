"""`joulewise run [options] -- CMD`: record any command with no change to it.

The order is the point: the program is started before anything slow is loaded, and from then on nothing that goes wrong
here can reach it. This process waits for it, passes signals on, and ends with its exit code; the recorder is a
daemon thread of this process, and leaving does not wait for it.

    125 joulewise failed before the program started · 126, 127 as a shell gives them · 128 + n for a signal
    3 stopped by its budget · 2 wrong use · else the program's own code
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from joulewise.cli.run_options import RunOptions, parse
from joulewise.cli.start import new_run_id, recording_folder, run_name, runs_folder
from joulewise.launching.local import MARK, Ended, LocalProcess, spawn
from joulewise.measuring.agent import ejected, injected
from joulewise.vocabulary.errors import JoulewiseError, UsageError

if TYPE_CHECKING:
    import click

    from joulewise.cli.limits import Limits
    from joulewise.cli.session import Session

    command: click.Command

STOPPED_BY_BUDGET = 3
_CLOSING_S = 60.0  # at most, from the program's end to ours


def __getattr__(name: str) -> Any:
    """Build the click command `command` when somebody asks for it: for help, completion and the manual."""
    if name == "command":
        from joulewise.cli.run_command import build

        return build()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns only where no program was started. Raises JoulewiseError."""
    options = parse(arguments)
    if options is not None:
        run(options)
    from joulewise.cli.run_command import build

    build().main(["--help"], prog_name="joulewise run", standalone_mode=False)
    return 0


def run(options: RunOptions) -> NoReturn:
    """Start the program, stay with it, leave with its exit code. Raises JoulewiseError where it cannot start."""
    started_s = time.monotonic()
    limits = _limits(options)
    remedied = _remedied(options)
    name = options.name or run_name(options.command)
    run_id = new_run_id(name)
    folder = "" if options.no_record else _make_folder(run_id)
    environment = dict(os.environ)
    nested = MARK in environment
    if folder:
        environment[MARK] = folder
    environment = injected(environment) if folder and not options.no_phases else ejected(environment)
    environment.update(remedied)
    try:
        process = spawn(options.command, environment, ejected(os.environ))
    except JoulewiseError:
        _remove(folder)
        raise
    _hold_standard_streams()
    os._exit(_accompany(process, options, limits, (name, run_id, folder, nested), started_s))


def _accompany(
    process: LocalProcess,
    options: RunOptions,
    limits: Limits | None,
    named: tuple[str, str, str, bool],
    started_s: float,
) -> int:
    """Stay with the program until it ends; whatever happens here, its exit code is returned."""
    session: Session | None = None
    stopped = False
    try:
        from joulewise.cli.session import Session

        session = Session(process, options, limits, named, started_s)
        while (ended := process.wait(session.wait_s())) is None:
            verdict = session.look()
            if verdict.stops:
                stopped = True
                ended = session.enforce(verdict)
                break
    except Exception as error:  # noqa: BLE001 - promise 1: no fault of ours may reach the program
        _complain(options, error)
        ended, stopped = _wait_plainly(process, options, limits, started_s, stopped)
    code = STOPPED_BY_BUDGET if stopped else ended.code
    try:
        process.drain()
        _leave_anyway(code)
        if session is not None:
            session.close(ended)
    except Exception as error:  # noqa: BLE001 - promise 1: the exit code is the program's
        _complain(options, error)
    return code


def _wait_plainly(
    process: LocalProcess, options: RunOptions, limits: Limits | None, started_s: float, stopped: bool
) -> tuple[Ended, bool]:
    """Wait without recording; a limit in time still holds, since it needs nothing but a clock."""
    time_s = limits.budget.time_s if limits is not None else None
    if time_s is not None and not stopped:
        ended = process.wait(max(0.0, started_s + time_s - time.monotonic()))
        if ended is not None:
            return ended, False
        return process.end(options.grace), True
    ended = process.end(options.grace) if stopped else process.wait()
    while ended is None:
        ended = process.wait()
    return ended, stopped


def _limits(options: RunOptions) -> Limits | None:
    """Return the limits to hold. Loads what that needs before the program starts: wrong ones must not start it."""
    for path, name in ((options.report, "--report"), (options.json, "--json")):
        folder = os.path.dirname(path) or "."
        if path and (os.path.isdir(path) or not os.path.isdir(folder)):
            raise UsageError(
                f"{name} is {path!r}, but {'that is a folder' if os.path.isdir(path) else f'there is no folder {folder}'}"
            )
    if not (options.budget or options.pot or options.zone):
        return None
    from joulewise.cli.limits import limits_of

    return limits_of(options)


def _remedied(options: RunOptions) -> dict[str, str]:
    """Return the variable that applies the remedies that were asked for; empty without any. Raises UsageError."""
    if not options.remedies:
        return {}
    from joulewise import wiring
    from joulewise.diagnosing.remedies import parse as parse_knobs

    return wiring.remedied(parse_knobs(options.remedies))


def _make_folder(run_id: str) -> str:
    """Make the folder of the recording, so that `joulewise.track` inside the program finds it; "" if there is no place."""
    try:
        runs = runs_folder(os.environ)
        folder = recording_folder(runs, run_id) if runs else ""
        if folder:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        return folder
    except (OSError, JoulewiseError):  # said later, by the recorder
        return ""


def _remove(folder: str) -> None:
    if folder:
        try:
            os.rmdir(folder)
        except OSError:
            return


def _hold_standard_streams() -> None:
    """Put /dev/null where the user closed a standard stream, so that no file of ours takes its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def _leave_anyway(code: int) -> None:
    """End this process after a minute, or when somebody asks once more: the program is gone, nobody must wait for us."""
    if not hasattr(signal, "sigtimedwait"):
        return
    import threading

    asked = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}

    def leave() -> None:
        signal.sigtimedwait(asked, _CLOSING_S)
        os._exit(code)

    threading.Thread(target=leave, name="joulewise-leave", daemon=True).start()


def _complain(options: RunOptions, error: Exception) -> None:
    if not options.quiet:
        text = str(error) if isinstance(error, JoulewiseError) else f"{type(error).__name__}: {error}"
        say(f"joulewise: this run is not recorded whole: {text}")


def say(line: str) -> None:
    """Write one line to standard error, if it is still there and somebody reads it. Never raises."""
    import select

    poll = select.poll()
    try:
        poll.register(2, select.POLLOUT)
        if poll.poll(1000):
            os.write(2, f"{line}\n".encode("utf-8", "replace")[:4096])
    except OSError:
        return


__all__ = ["STOPPED_BY_BUDGET", "main", "run", "say"]
