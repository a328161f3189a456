"""`joulewise ledger`: check, rebuild and copy the ledger, and list the pots in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from joulewise import wiring
from joulewise.cli.output import UNKNOWN, echo, echo_json, json_option, local_time, plain, table
from joulewise.ledger.index import count_runs
from joulewise.ledger.pots import PotLine, amount_words, list_pots
from joulewise.ledger.refreshing import Refreshed
from joulewise.ledger.refreshing import rebuild as rebuild_index
from joulewise.ledger.refreshing import refresh as refresh_index
from joulewise.ledger.store import SqliteStore, Store
from joulewise.vocabulary.quantities import format_bytes

_MOST_SHOWN = 20


@click.group("ledger", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Check, rebuild or back up the ledger; list pots.

    The index of recordings can always be made again from the recordings (`rebuild`); what pots have spent stands in
    the ledger only, so `backup` is for them. Each of them takes --json.
    """


@command.command("check")
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Check that the ledger is sound and agrees with the recordings; exit code 1 if not.

    Brings the index up to date first, as every verb does.
    """
    ledger = wiring.store()
    try:
        faults = _faults(ledger)
        found = None
        runs = pots = 0
        if not faults:
            found = refresh_index(ledger, Path(wiring.settings().runs), wiring.summarise)
            runs, pots = count_runs(ledger), len(list_pots(ledger))
    finally:
        ledger.close()
    damaged = _damaged(found)
    if as_json:
        fields = {"ledger": ledger.where, "faults": faults, "recordings": runs, "pots": pots}
        echo_json({**fields, "unreadable": damaged, "sound": not faults and not damaged})
    else:
        echo(f"ledger      {plain(ledger.where)}")
        echo(f"sound       {'yes' if not faults else 'no: ' + '; '.join(map(plain, faults))}")
        if not faults:
            echo(f"recordings  {runs}")
            echo(f"pots        {pots}")
            _echo_damaged(damaged)
    if faults or damaged:
        context.exit(1)


@command.command("rebuild")
@json_option
def rebuild(as_json: bool) -> None:
    """Empty the index and read every recording anew. Pots are not touched."""
    ledger = wiring.store()
    try:
        found = rebuild_index(ledger, Path(wiring.settings().runs), wiring.summarise)
        runs = count_runs(ledger)
    finally:
        ledger.close()
    damaged = _damaged(found)
    if as_json:
        fields = {"ledger": ledger.where, "recordings": runs, "read": found.new + found.changed}
        echo_json({**fields, "unreadable": damaged})
        return
    echo(f"{plain(ledger.where)}: {runs} {'recording' if runs == 1 else 'recordings'} read anew")
    _echo_damaged(damaged)


@command.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def backup(file: Path, as_json: bool) -> None:
    """Copy the ledger into the new SQLite file FILE, while others may write to it.

    The copy is a ledger itself: JOULEWISE_LEDGER=FILE joulewise runs.
    """
    from joulewise.ledger.backup import backup as copy_ledger

    ledger = wiring.store()
    try:
        target = copy_ledger(ledger, file)
    finally:
        ledger.close()
    size = target.stat().st_size
    if as_json:
        echo_json({"ledger": ledger.where, "file": str(target.absolute()), "bytes": size})
        return
    echo(f"{plain(target)}: a copy of {plain(ledger.where)}, {format_bytes(size)}")


@command.command("pots")
@json_option
def pots(as_json: bool) -> None:
    """List the pots: shared budgets, what they allow and what was spent from them, newest first."""
    ledger = wiring.store()
    try:
        lines = list_pots(ledger)
    finally:
        ledger.close()
    if as_json:
        echo_json({"pots": [_fields(line) for line in lines]})
        return
    if not lines:
        echo("there is no pot yet; make one: joulewise run --pot night-sweep --budget 2MJ -- python train.py")
        return
    echo(table([_row(line) for line in lines], ("pot", "made", "runs", "spent of its limits"), right=(2,)))


def _faults(ledger: Store) -> list[str]:
    """Return what the database itself finds wrong: SQLite looks through every page; a server looks after its own."""
    if not isinstance(ledger, SqliteStore):
        return []
    answers = [str(row["integrity_check"]) for row in ledger.query("PRAGMA integrity_check(20)")]
    faults = [answer for answer in answers if answer != "ok"]
    loose = len(ledger.query("PRAGMA foreign_key_check"))
    return [*faults, f"{loose} rows refer to rows that do not exist"] if loose else faults


def _damaged(found: Refreshed | None) -> list[dict[str, str]]:
    return [{"folder": d.folder, "why": d.why} for d in found.damaged] if found else []


def _echo_damaged(damaged: list[dict[str, str]]) -> None:
    for entry in damaged[:_MOST_SHOWN]:
        echo(f"unreadable  {plain(entry['folder'])}: {plain(entry['why'])}")
    if len(damaged) > _MOST_SHOWN:
        echo(f"unreadable  {len(damaged) - _MOST_SHOWN} more; --json lists them")


def _row(line: PotLine) -> list[str]:
    spent = "; ".join(_spent(line, name, limit) for name, limit in line.limits.items())
    return [plain(line.name, 40), local_time(line.created_utc), str(line.total.members), spent or "no limit"]


def _spent(line: PotLine, name: str, limit: Any) -> str:
    if not isinstance(limit, int | float):
        return f"{plain(name, 20)} {plain(limit, 20)}"
    if name == "plateau":
        return f"plateau {100 * limit:g} %"
    used = getattr(line.total.spent, name, None)
    if used is None:
        used = 0.0 if not line.total.members else None
    least = "at least " if used is not None and name in line.total.incomplete else ""
    words = UNKNOWN if used is None else amount_words(name, used)
    share = f" ({100 * used / limit:.0f} %)" if used is not None and limit > 0 else ""
    return f"{least}{words} of {amount_words(name, limit)}{share}"


def _fields(line: PotLine) -> dict[str, Any]:
    spent = line.total.spent
    return {
        "name": line.name,
        "created_utc": line.created_utc.isoformat(),
        "limits": dict(line.limits),
        "spent": {name: getattr(spent, name) for name in spent.__slots__},
        "runs": line.total.members,
        "incomplete": list(line.total.incomplete),
    }
