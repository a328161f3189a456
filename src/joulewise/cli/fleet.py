"""`joulewise fleet`: record every task of a cluster, with nobody typing a prefix."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option
from joulewise.launching.slurm_fleet import epilog, install, prolog
from joulewise.ledger.files import run_folder
from joulewise.measuring.agent import BOOT
from joulewise.vocabulary.errors import UsageError

if TYPE_CHECKING:
    from joulewise.cli.attach import Watched

_RUN = re.compile(r"\d{8}T\d{6}-[A-Za-z0-9._-]{1,80}")
_EXEC_WITHIN_S = 20.0  # other prologs run between ours and the task
_WAIT_S = 60.0


@click.group("fleet", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Record every task of a cluster: nobody types a prefix.

    On Slurm two lines in slurm.conf do it; `joulewise fleet slurm` writes the scripts that they name.
    """


@command.command("slurm")
@click.option("--install", "folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Write the scripts into DIR, which all nodes must see.")  # fmt: skip
@click.option("--no-phases", is_flag=True, help="Leave the tasks' environment alone: phases are then not seen.")  # fmt: skip
@json_option
def slurm(folder: Path | None, no_phases: bool, as_json: bool) -> None:
    """Print the scripts for TaskProlog and TaskEpilog, or install them and print the lines for slurm.conf."""
    boot = "" if no_phases else BOOT
    if folder is None:
        if as_json:
            echo_json({"task_prolog": prolog(sys.executable, boot), "task_epilog": epilog()})
            return
        echo(f"{prolog(sys.executable, boot)}\n{epilog()}".rstrip("\n"))
        return
    try:
        paths = install(folder.absolute(), sys.executable, boot)
    except OSError as error:
        raise UsageError(f"--install is {str(folder)!r}, which cannot be written: {error.strerror}") from None
    if as_json:
        echo_json({"TaskProlog": str(paths[0]), "TaskEpilog": str(paths[1])})
        return
    echo(f"put these lines into slurm.conf, then: scontrol reconfigure\n\nTaskProlog={paths[0]}\nTaskEpilog={paths[1]}")  # fmt: skip


@command.command("task", hidden=True)
@click.argument("pid", type=int)
@click.option("--run", "run_id", required=True)
def task(pid: int, run_id: str) -> None:
    """Record the task that process PID becomes, until it ends, as the recording RUN."""
    from joulewise.cli.attach import Watched, find_target, signals_interrupt
    from joulewise.vocabulary.recording import EndState

    if not _RUN.fullmatch(run_id):
        raise UsageError(f"--run is {run_id!r}, but must be the id of a recording")
    settings = wiring.settings()
    folder = run_folder(Path(settings.runs), run_id)
    try:
        watched = Watched(find_target(pid))
        _await_exec(pid, watched)
        target = find_target(pid)
    except UsageError:  # it ended before we were here: nothing is known of it
        shutil.rmtree(folder, ignore_errors=True)
        raise
    name = run_id[16:].rpartition("-")[0]
    recorder = wiring.recorder(
        pid, name, target.command, role="run", run_id=run_id, started_s=time.monotonic()
    )
    recorder.start()
    why = "the task ended (its exit code is told to Slurm only)"
    try:
        with signals_interrupt():
            while not watched.ended(_WAIT_S):
                pass
    except KeyboardInterrupt:
        why = "asked to end; the task runs on"
    finally:
        watched.close()
    recorder.stop(EndState.FINISHED, reason=why)
    wiring.send_later(settings)


def _await_exec(pid: int, watched: Watched) -> None:
    """Wait until Slurm's step daemon, which runs the prolog, has become the task's own program."""
    until_s = time.monotonic() + _EXEC_WITHIN_S
    while time.monotonic() < until_s and _is_step_daemon(pid):
        if watched.ended(0.02):
            return


def _is_step_daemon(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().startswith("slurmstepd")
    except OSError:
        return False
