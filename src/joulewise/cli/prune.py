"""`joulewise prune`: delete old recordings, or make them small, and nothing else.

What is deleted is a folder RUNS/DAY/ID that holds files of recordings only (their first line is a header of this
run). Links are never followed, a folder that holds anything else stays, and so does what is still written to.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Protocol

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option, local_time, plain, table
from joulewise.ledger.files import QUIET_S, decode, is_alive
from joulewise.ledger.reducing import PART
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_bytes, parse_duration

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_TAIL_BYTES = 65_536
_MOST_SHOWN = 20
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """One recording's folder. `kept` says why it must stay; "" if it may go."""

    folder: str
    run_id: str
    name: str
    started_utc: datetime
    bytes: int
    kept: str = ""


class Place(Protocol):
    """Where old things lie: this machine's recordings, the team's ledger, the jobs of the local queue."""

    name: str

    def found(self) -> Iterator[Found]:
        """Yield what is there."""

    def delete(self, one: Found) -> tuple[str, int]:
        """Delete one; return why that failed ("" if not), and bytes freed."""

    def reduce(self, one: Found) -> tuple[str, int]:
        """Keep one tick a minute of one; return why that failed ("" if not), and bytes freed."""

    def close(self) -> None:
        """Give back what is open."""


@click.command("prune")
@click.option("--older-than", metavar="AGE", help="Only recordings that began longer ago: 90d, 12h.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Spare the newest N of them.")
@click.option("--name", metavar="NAME", help="Only recordings of this name; 'sweep-*' is a pattern.")
@click.option("--reduce", "reduces", is_flag=True, help="Keep one tick a minute instead of deleting: no joule is lost.")  # fmt: skip
@click.option("--ledger", "in_ledger", is_flag=True, help="What was pushed to the team's ledger, instead of this machine's.")  # fmt: skip
@click.option("--jobs", "of_jobs", is_flag=True, help="Folders of local jobs that have ended, instead of recordings.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    older_than: str | None,
    keep: int | None,
    name: str | None,
    reduces: bool,
    in_ledger: bool,
    of_jobs: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete old recordings, or keep one tick a minute of them, and say how many bytes that freed.

    Asks first. Recordings that still run stay, and so does everything that is no recording; links are
    never followed. What pots have spent stays in the ledger.
    """
    if older_than is None and keep is None and not name:
        raise UsageError(
            "say which recordings to delete: --older-than 90d, --keep 100, --name NAME or several of them"
        )
    age_s = parse_duration(older_than) if older_than is not None else None
    place = _place(in_ledger=in_ledger, of_jobs=of_jobs, reduces=reduces)
    try:
        chosen = select(list(place.found()), time.time(), age_s, keep, name)
        _prune(context, place, chosen, reduces=reduces, dry_run=dry_run, yes=yes, as_json=as_json)
    finally:
        place.close()


def _place(*, in_ledger: bool, of_jobs: bool, reduces: bool) -> Place:
    from joulewise.cli import prune_places

    if in_ledger and of_jobs:
        raise UsageError("--ledger and --jobs are two places; name one of them at a time")
    if of_jobs and reduces:
        raise UsageError("--reduce is for recordings: folders of jobs have no ticks")
    if of_jobs:
        return prune_places.Jobs(wiring.jobs_folder())
    return prune_places.Ledger(wiring.team_store()) if in_ledger else prune_places.Here(wiring.settings().runs)  # fmt: skip


def _prune(
    context: click.Context,
    place: Place,
    chosen: Sequence[Found],
    *,
    reduces: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    going = [one for one in chosen if not one.kept]
    staying = [one for one in chosen if one.kept]
    act = place.reduce if reduces else place.delete
    done_word = "reduced" if reduces else "deleted"
    if not as_json:
        _echo_plan(going, staying, done_word)
    done, failed, freed = list[Found](), list[tuple[Found, str]](), 0
    if going and not dry_run and (yes or _agreed(going, "Reduce" if reduces else "Delete")):
        for one in going:
            fault, bytes_freed = act(one)
            freed += bytes_freed
            if fault:
                failed.append((one, fault))
            else:
                done.append(one)
        wiring.refresh().close()
    if as_json:
        echo_json(
            {
                "runs": place.name,
                "dry_run": dry_run,
                "chosen": [_fields(one) for one in going],
                "kept": [{**_fields(one), "why": one.kept} for one in staying],
                done_word: [one.run_id for one in done],
                "failed": [{**_fields(one), "why": why} for one, why in failed],
                "bytes_freed": freed,
            }
        )
    else:
        for one, why in failed:
            echo(f"not {done_word}: {one.run_id}: {why}")
        if going and dry_run:
            echo(f"nothing was {done_word}: this is a dry run")
        elif going:
            echo(f"{_count(len(done))} {done_word}, {format_bytes(freed)} freed")
    if failed:
        context.exit(1)


def recordings(runs: str) -> Iterator[Found]:
    """Yield every recording under `runs`, by day and id; what is no recording, or a link, is left out."""
    for day in _folders(runs):
        if _DAY.fullmatch(day.name):
            for folder in _folders(day.path):
                found = look(folder.path)
                if found is not None:
                    yield found


def look(folder: str) -> Found | None:
    """Return the recording in a folder; None if it is none."""
    run_id = os.path.basename(folder)
    files: list[
        tuple[dict[str, object], bool, float]
    ] = []  # header, whether it has ended, seconds since a write
    size = 0
    kept = ""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            if entry.name.endswith(PART):
                continue  # of a reduction that was killed
            head, ended = (None, False)
            if entry.name.endswith(".jsonl") and entry.is_file(follow_symlinks=False):
                head, ended = _ends(entry.path)
            if head is None or head.get("k") != "head" or head.get("run") != run_id:
                kept = kept or f"holds {entry.name}, which is no part of it"
                continue
            facts = entry.stat(follow_symlinks=False)
            size += facts.st_size
            files.append((head, ended, time.time() - facts.st_mtime))
    except OSError as error:
        kept = f"cannot be read: {error.strerror}"
    own = [head for head, _ended, _silent_s in files if "name" in head and "utc" in head]
    if not own:
        return None
    if _still_runs(files):
        kept = "still running"
    first = min(
        own, key=lambda h: (not h["name"], str(h["utc"]))
    )  # a process inside a run has no name of its own
    try:
        started_utc = datetime.fromisoformat(str(first["utc"]))
    except ValueError:
        return None
    return Found(folder, run_id, str(first["name"]), started_utc, size, kept)


def select(
    found: Sequence[Found], now_s: float, age_s: float | None, keep: int | None, name: str | None
) -> list[Found]:
    """Return the recordings that the user means, oldest first: of this name, beyond the newest `keep`, older than `age_s`."""
    named = [one for one in found if name is None or fnmatchcase(one.name, name)]
    named.sort(key=lambda one: (one.started_utc, one.run_id), reverse=True)
    beyond = named[keep or 0 :]
    old = [one for one in beyond if age_s is None or now_s - one.started_utc.timestamp() > age_s]
    return old[::-1]


def delete(runs: str, one: Found) -> str:
    """Delete a recording's files and its folder; returns why that failed, "" if it did not.

    Everything is opened by descriptor below `runs`, and no link is followed even if one is put there meanwhile.
    """
    day = os.path.basename(os.path.dirname(one.folder))
    again = look(one.folder)
    if again is None or again.kept:
        return again.kept if again else "it is gone"
    opened: list[int] = []
    try:
        opened.append(os.open(runs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for part in (day, one.run_id):
            opened.append(os.open(part, OPEN | os.O_DIRECTORY, dir_fd=opened[-1]))
        for entry in os.listdir(opened[-1]):
            facts = os.stat(entry, dir_fd=opened[-1], follow_symlinks=False)
            if entry.endswith((".jsonl", PART)) and stat.S_ISREG(facts.st_mode):
                os.unlink(entry, dir_fd=opened[-1])
        os.rmdir(one.run_id, dir_fd=opened[1])
        with suppress(OSError):  # other recordings of that day are in it
            os.rmdir(day, dir_fd=opened[0])
    except OSError as error:
        return f"{error.strerror}"
    finally:
        for fd in opened:
            os.close(fd)
    return ""


def _folders(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted(
                (entry for entry in entries if entry.is_dir(follow_symlinks=False)), key=lambda e: e.name
            )
    except OSError:
        return []


def _ends(path: str) -> tuple[dict[str, object] | None, bool]:
    """Return the first line of a recording's file, and whether its last line says that it has ended."""
    with open(os.open(path, OPEN | os.O_NONBLOCK), "rb") as file:
        head = decode(file.readline())
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().splitlines()
    last = decode(lines[-1]) if lines else None
    return head, bool(last and last.get("k") == "end")


def _still_runs(files: Sequence[tuple[dict[str, object], bool, float]]) -> bool:
    """Whether a writer lives, or something was written just now (another container's processes are not seen here)."""
    over = any(ended for _head, ended, _silent_s in files)
    return any(
        not ended and (_runs_on(head) or (silent_s < QUIET_S and not over)) for head, ended, silent_s in files
    )


def _runs_on(head: dict[str, object]) -> bool:
    host, boot, pid, start = (head.get(key) for key in ("host", "boot", "pid", "pid_start"))
    return (
        isinstance(pid, int)
        and isinstance(start, int)
        and pid > 0
        and is_alive(str(host), str(boot), pid, start)
    )


def _count(number: int) -> str:
    return "1 recording" if number == 1 else f"{number} recordings"


def _agreed(going: Sequence[Found], word: str) -> bool:
    try:
        return click.confirm(f"{word} {_count(len(going))}?", err=True)
    except click.Abort:
        raise UsageError(
            f"nobody said yes, so nothing was {word.lower()}d; write --yes to be asked nothing"
        ) from None


def _echo_plan(going: Sequence[Found], staying: Sequence[Found], word: str) -> None:
    rows = [
        [local_time(one.started_utc), plain(one.name, 40), format_bytes(one.bytes), one.run_id]
        for one in going[:_MOST_SHOWN]
    ]
    if rows:
        echo(table(rows, ("started", "name", "size", "id"), right=(2,)))
    if len(going) > _MOST_SHOWN:
        echo(f"... and {len(going) - _MOST_SHOWN} more")
    total = format_bytes(sum(one.bytes for one in going))
    echo(f"{_count(len(going))}, {total}" if going else f"no recording is to be {word}")
    for one in staying[:_MOST_SHOWN]:
        echo(f"stays: {plain(one.run_id)}: {plain(one.kept)}")
    if len(staying) > _MOST_SHOWN:
        echo(f"stays: {len(staying) - _MOST_SHOWN} more; --json lists them")


def _fields(one: Found) -> dict[str, object]:
    return {
        "run_id": one.run_id,
        "name": one.name,
        "started_utc": one.started_utc.isoformat(),
        "folder": one.folder,
        "bytes": one.bytes,
    }
