"""Pushing: send recordings from the folder where they are written to a ledger that hosts share.

The folder is the spool. Recorders write there and know no server; `push` brings the ledger's index up to date (which puts
what is new or has grown into `unsent`) and sends, file by file, what the ledger does not hold yet. What is held the ledger
alone knows, so nothing here can be wrong about it after `kill -9` or an outage. A recording leaves `unsent` when it has ended
and every byte of it was taken; while it goes on, whole lines are sent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from joulewise.ledger.bodies import PART_BYTES, Body, append, held, mark_of, same_file, seal
from joulewise.ledger.refreshing import Damaged, refresh, root_of
from joulewise.ledger.store import Store
from joulewise.ledger.summary import Summary
from joulewise.vocabulary.errors import RecordingError
from joulewise.vocabulary.recording import Recording


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was sent: of how many recordings, how many bytes of their files; what waits (goes on, or time was up); refusals."""

    recordings: int
    sent_bytes: int
    waiting: int
    refused: tuple[Damaged, ...]


def push(
    store: Store,
    runs_folder: Path,
    summarise: Callable[[Recording], Summary],
    *,
    within_s: float = float("inf"),
) -> Pushed:
    """Send what the ledger does not hold of the recordings under `runs_folder`, the oldest first, and return what was sent.

    Stops between two recordings when `within_s` is over. Raises LedgerError where the ledger is out of reach: what was
    taken by then stays taken.
    """
    until_s = time.monotonic() + within_s
    found = refresh(store, runs_folder, summarise)
    root = root_of(store, runs_folder)
    rows = store.query(
        "SELECT unsent.run_id, unsent.day, recordings.growing FROM unsent JOIN recordings USING (run_id) "
        "WHERE unsent.root = :root ORDER BY unsent.run_id",
        {"root": root},
    )
    recordings = sent_bytes = waiting = 0
    refused = list(found.damaged)
    for number, row in enumerate(rows):
        if time.monotonic() > until_s:
            waiting += len(rows) - number
            break
        folder = runs_folder / row["day"] / row["run_id"]
        try:
            sent = _send(store, folder, ended=not row["growing"])
        except RecordingError as error:
            refused.append(Damaged(str(folder), str(error)))
            continue
        recordings += sent > 0
        sent_bytes += sent
        if row["growing"]:
            waiting += 1
        else:
            store.execute(
                "DELETE FROM unsent WHERE root = :root AND run_id = :run_id",
                {"root": root, "run_id": row["run_id"]},
            )
    return Pushed(recordings, sent_bytes, waiting, tuple(refused))


def unsent(store: Store, runs_folder: Path) -> int:
    """Return how many of this host's recordings the ledger does not hold to their end, as it knows them."""
    rows = store.query(
        "SELECT COUNT(*) AS count FROM unsent WHERE root = :root", {"root": root_of(store, runs_folder)}
    )
    return int(rows[0]["count"])


def _send(store: Store, folder: Path, *, ended: bool) -> int:
    """Send what the ledger lacks of one recording and return how many bytes that was."""
    have = held(store, folder.name)
    sent = 0
    try:
        for name in sorted(n for n in os.listdir(folder) if n.endswith(".jsonl")):
            with open(folder / name, "rb") as file:
                first = file.readline()
                if not first.endswith(b"\n") and not ended:
                    continue  # about to be written
                mark, body = mark_of(first), have.get(name)
                if body is not None and body.mark != mark:
                    if not same_file(body.mark, mark):
                        raise RecordingError(
                            f"{folder.name}: the ledger holds another {name} of that id, which stays as it is"
                        )
                    continue  # reduced here or there: both have all its joules
                sent += _send_file(store, folder.name, name, mark, body, partial(_piece, file, ended))
                if ended and body is not None:
                    file.seek(0)
                    seal(store, folder.name, name, mark, file.read())
    except OSError as error:
        raise RecordingError(f"cannot read the recording {folder}: {error.strerror}") from None
    return sent


def _send_file(
    store: Store, run_id: str, name: str, mark: str, body: Body | None, read: Callable[[int], bytes]
) -> int:
    at, sent = (body.size_bytes if body else 0), 0
    while data := read(at):
        if append(store, run_id, name, mark, at, data):
            at += len(data)
            sent += len(data)
            continue
        now = held(store, run_id).get(name)  # somebody else sends it too
        if now is None or now.mark != mark or now.size_bytes == at:
            raise RecordingError(f"{run_id}: the ledger took {name} from another sender; push again")
        at = now.size_bytes
    return sent


def _piece(file: BinaryIO, ended: bool, at: int) -> bytes:
    """Return the next bytes to send: whole lines while the file grows, unless one line is longer than a part."""
    file.seek(at)
    data = file.read(PART_BYTES)
    if ended or len(data) == PART_BYTES:
        return data
    return data[: data.rfind(b"\n") + 1]
