"""`joulewise push`: send this machine's recordings to the team's ledger."""

from __future__ import annotations

import os
import signal
import threading
from datetime import datetime
from typing import Any

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option, plain
from joulewise.ledger.pushing import Pushed
from joulewise.vocabulary.errors import LedgerError, UsageError
from joulewise.vocabulary.quantities import format_bytes, parse_duration

_MOST_SHOWN = 20
_LONGEST_WAIT_S = 60.0  # between two looks at a server that is away
_ANSWER_S = 5.0  # that a server may take beyond --within


@click.command("push")
@click.option("--follow", is_flag=True, help="Go on: send what grows until Ctrl-C or SIGTERM.")
@click.option(
    "--every", metavar="TIME", default="10s", show_default=True, help="How often --follow sends; at least 1s."
)
@click.option("--within", metavar="TIME", help="Give up after so long; what was not sent waits.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@json_option
@click.pass_context
def command(
    context: click.Context, follow: bool, every: str, within: str | None, quiet: bool, as_json: bool
) -> None:
    """Send this machine's recordings to the team's ledger on PostgreSQL, as far as it lacks them.

    The folder of recordings is the spool: whatever happens to the server or to this command, nothing is lost and nothing
    is sent twice.
    """
    every_s = parse_duration(every)
    if every_s < 1:
        raise UsageError(f"--every is {every!r}, but must be at least 1s")
    if follow:
        if as_json or within:
            raise UsageError("--follow goes on until it is ended: --json and --within are for one push")
        _follow(every_s, quiet=quiet)
        return
    within_s = parse_duration(within) if within else float("inf")
    if within:
        _give_up_after(within_s + _ANSWER_S)
    ledger = wiring.team_store()
    try:
        pushed = wiring.push(ledger, within_s)
    finally:
        ledger.close()
    if as_json:
        echo_json({"ledger": ledger.where, **_fields(pushed)})
    elif not quiet:
        echo(f"{_words(pushed)} to {plain(ledger.where)}")
    if not as_json:
        for one in pushed.refused[:_MOST_SHOWN]:
            click.echo(f"joulewise: not sent: {plain(one.folder)}: {plain(one.why)}", err=True)
        if len(pushed.refused) > _MOST_SHOWN:
            click.echo(f"joulewise: not sent: {len(pushed.refused) - _MOST_SHOWN} more; --json lists them", err=True)  # fmt: skip
    if pushed.refused:
        context.exit(1)


def _follow(every_s: float, *, quiet: bool) -> None:
    """Send until a signal; a server that is away is said once and asked again after ever longer pauses."""
    ended = threading.Event()
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, lambda *_: ended.set())
    wiring.team_store_place()
    ledger = None
    pause_s, told = 0.0, set[str]()
    while not ended.wait(pause_s):
        try:
            ledger = ledger or wiring.team_store()
            pushed = wiring.push(ledger)
        except LedgerError as error:
            if ledger is not None:
                ledger.close()
            ledger = None
            if pause_s <= every_s:
                _say(f"{error}; recordings wait here", quiet=quiet)
            pause_s = min(_LONGEST_WAIT_S, max(2 * pause_s, every_s + 1))
            continue
        if pause_s > every_s:
            _say(f"{ledger.where} answers again: {_words(pushed)}", quiet=quiet)
        pause_s = every_s
        for one in pushed.refused:
            if one.folder not in told:
                told.add(one.folder)
                _say(f"not sent: {plain(one.folder)}: {plain(one.why)}", quiet=False)
    if ledger is not None:
        ledger.close()


def _give_up_after(seconds: float) -> None:
    """End this process when a server neither answers nor goes: it must not stay for longer than it was told."""
    limit = threading.Timer(seconds, os._exit, (1,))
    limit.daemon = True
    limit.start()


def _say(line: str, *, quiet: bool) -> None:
    if not quiet:
        click.echo(f"{datetime.now():%H:%M:%S} joulewise: {line}", err=True)  # noqa: DTZ005 - for the one who looks


def _words(pushed: Pushed) -> str:
    count = "1 recording" if pushed.recordings == 1 else f"{pushed.recordings} recordings"
    waiting = f"; {pushed.waiting} go on or wait" if pushed.waiting else ""
    return f"{count}, {format_bytes(pushed.sent_bytes)} sent{waiting}"


def _fields(pushed: Pushed) -> dict[str, Any]:
    return {
        "recordings": pushed.recordings,
        "bytes_sent": pushed.sent_bytes,
        "waiting": pushed.waiting,
        "refused": [{"folder": one.folder, "why": one.why} for one in pushed.refused],
    }
