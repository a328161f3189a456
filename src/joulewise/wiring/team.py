"""A team: the ledger that many machines share, and what is sent there when a run has ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from joulewise.settings import Settings
from joulewise.vocabulary.errors import UsageError
from joulewise.wiring.chosen import settings
from joulewise.wiring.ledger import summarise

if TYPE_CHECKING:
    from joulewise.ledger.pushing import Pushed
    from joulewise.ledger.store import Store

_WITHIN_S = 60.0  # a sender of its own lives no longer


def team_store(wait_s: float = 30.0) -> Store:
    """Return the ledger as many machines share it. Raises as `team_store_place`."""
    from joulewise.ledger.store import open_store

    return open_store(team_store_place(), wait_s=wait_s)


def team_store_place() -> str:
    """Return the URL of the team's ledger; UsageError where the settings name a file of this machine."""
    from joulewise.ledger.store import is_server

    chosen = settings()
    if not is_server(chosen.ledger):
        raise UsageError(
            f"the ledger is {chosen.ledger or 'nowhere'}, a file of this machine; a team names a server in the settings "
            'file: ledger = "postgresql://USER@HOST/joulewise"'
        )
    return chosen.ledger


def push(ledger: Store, within_s: float = float("inf")) -> Pushed:
    """Send this machine's recordings to the team's ledger, as far as it lacks them."""
    from joulewise.ledger.pushing import push as push_to

    chosen = settings()
    if not chosen.runs:
        raise UsageError("there is no place for recordings: no home folder is known; set JOULEWISE_HOME")
    return push_to(ledger, Path(chosen.runs), summarise, within_s=within_s)


def send_later(chosen: Settings) -> None:
    """Start a process of its own that sends what waits, where the settings ask for that; it ends within a minute.

    With `push = "wait"` this process waits for it: where the recording vanishes with its container.
    """
    from joulewise.ledger.store import is_server

    if chosen.push == "off" or not is_server(chosen.ledger):
        return
    import subprocess

    from joulewise.measuring.agent import ejected

    environment = {**ejected(os.environ), "JOULEWISE_LEDGER": chosen.ledger, "JOULEWISE_RUNS": chosen.runs}
    environment.pop("JOULEWISE_RECORDING", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "joulewise", "push", "--quiet", "--within", f"{_WITHIN_S:g}s"],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if chosen.push == "wait":
        process.wait(_WITHIN_S + 5)
    else:
        process.returncode = 0  # it ends by itself, and nobody here asks how
