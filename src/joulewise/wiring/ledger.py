"""The ledger: find recordings again, with their accounts and findings."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from joulewise.ledger.files import read_recording
from joulewise.settings import Settings
from joulewise.vocabulary.errors import LedgerError, UsageError
from joulewise.vocabulary.recording import Recording
from joulewise.wiring.chosen import settings
from joulewise.wiring.grid import place

if TYPE_CHECKING:
    from joulewise.ledger.store import Store
    from joulewise.ledger.summary import Summary
    from joulewise.ledger.tokens import Token
    from joulewise.measuring.accounting import Account
    from joulewise.vocabulary.finding import Finding


def recorded_energy(tags: Collection[str]) -> float | None:
    """Return the joules of the work of all recordings that carry one of these tags; None where there is none, or one is unknown."""
    from joulewise.ledger.index import tagged_runs

    ledger = refresh()
    try:
        found = [run for tag in tags for run in tagged_runs(ledger, tag)]
    finally:
        ledger.close()
    if not found or any(run.energy_j is None for run in found):
        return None
    return sum(run.energy_j.value for run in found if run.energy_j is not None)


def account(recording: Recording, zone: str | None = None, chosen: Settings | None = None) -> Account:
    """Return the account of a recording at its place."""
    from joulewise.measuring.accounting import account as account_of

    return account_of(recording, place(recording, zone, chosen))


def findings(account: Account, *, allow_slower: bool = False) -> tuple[Finding, ...]:
    """Return the findings of a run, the largest predicted saving first."""
    from joulewise.diagnosing import diagnose
    from joulewise.vocabulary.observed import observe

    return diagnose(account.recording, observe(account.recording), account, allow_slower=allow_slower)


def advice(account: Account) -> str:
    """Return the first finding of a run in one line, "" if there is none."""
    from joulewise.diagnosing import first_line

    return first_line(findings(account))


reader: ContextVar[Token | None] = ContextVar(
    "joulewise_reader", default=None
)  # who is shown what now; None: all


def store() -> Store:
    """Return the ledger that the settings name; narrowed to what `reader`'s token shows."""
    ledger = whole_store()
    token = reader.get()
    if token is not None:
        from joulewise.ledger.tokens import see_only

        try:
            see_only(ledger, token)
        except LedgerError:
            ledger.close()
            raise
    return ledger


def whole_store() -> Store:
    """Return the ledger that the settings name, all of it, whoever reads."""
    from joulewise.ledger.store import open_store

    chosen = settings()
    if not chosen.ledger:
        raise UsageError("there is no place for the ledger: no home folder is known; set JOULEWISE_HOME")
    return open_store(chosen.ledger)


@contextmanager
def whole(ledger: Store) -> Iterator[Store]:
    """Return the ledger for writing what can be computed again: the whole of it where `ledger` is narrowed to a token."""
    token = reader.get()
    if token is None or token.everything:
        yield ledger
        return
    opened = whole_store()
    try:
        yield opened
    finally:
        opened.close()


def summarise(recording: Recording) -> Summary:
    """Return the line of the ledger's index for a recording."""
    from joulewise.measuring.summarising import summary

    return summary(recording)


def refresh(ledger: Store | None = None) -> Store:
    """Bring the ledger's index up to date with the recordings, and return the ledger."""
    from joulewise.ledger.refreshing import refresh as refresh_index

    ledger = ledger or store()
    if reader.get() is None:
        refresh_index(ledger, Path(settings().runs), summarise)
        return ledger
    whole = whole_store()  # what one reader sees cannot be brought up to date
    try:
        refresh_index(whole, Path(settings().runs), summarise)
    finally:
        whole.close()
    return ledger


def open_recording(ledger: Store, run: Summary) -> Recording:
    """Return the recording of a line of the ledger: from its folder where that is here, else as it was pushed."""
    if run.folder and (os.path.isdir(run.folder) or not ledger.shared):
        return read_recording(Path(run.folder))
    from joulewise.ledger.bodies import read_body

    return read_body(ledger, run.run_id)


def find(text: str) -> Recording:
    """Return the recording that `text` names: `latest`, an id or its beginning, a name or its beginning, a folder."""
    if os.sep in text and os.path.isdir(text):
        return read_recording(Path(text))
    from joulewise.ledger.index import find_run

    ledger = refresh()
    try:
        return open_recording(ledger, find_run(ledger, text))
    finally:
        ledger.close()


def repeats(text: str, most: int = 20) -> list[Recording]:
    """Return the latest finished recordings of exactly that name, newest first; else the one that `find` finds."""
    from joulewise.ledger.index import list_runs
    from joulewise.vocabulary.recording import EndState

    ledger = refresh()
    try:
        named = [
            s
            for s in list_runs(ledger, name=text, state=EndState.FINISHED, limit=10 * most)
            if s.name == text
        ]
        return [open_recording(ledger, s) for s in named[:most]] or [find(text)]
    finally:
        ledger.close()


def recordings(text: str = "", limit: int = 20) -> list[Account]:
    """Return the accounts of the newest recordings whose name begins with `text`, newest first."""
    from joulewise.ledger.index import list_runs

    ledger = refresh()
    try:
        return [account(open_recording(ledger, s)) for s in list_runs(ledger, name=text or None, limit=limit)]
    finally:
        ledger.close()
