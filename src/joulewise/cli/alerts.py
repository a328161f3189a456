"""`joulewise alerts`: what a webhook is to be told; see what waits, send it, try it."""

from __future__ import annotations

import json
import os
import threading

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option, local_time, plain, table
from joulewise.exchange.alerts import Alert, Delivered, deliver, put, spool, waiting
from joulewise.grid.keys import read_keys
from joulewise.settings import ALERT_EVENTS, Settings, user_file
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import parse_duration

_SLACK_S = 5.0


@click.group("alerts", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Tell a webhook of a spent budget, an idle device, a saving that did not come. Each takes --json.

    The settings `alerts` (the address) and `alert_events` say what is told; it is sent beside the work, never by it.
    """


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the alerts that were not delivered yet."""
    found = [json.loads(file.read_text("utf-8")) for file in waiting(spool(wiring.settings()))]
    if as_json:
        echo_json({"waiting": found})
        return
    if not found:
        echo("no alert waits")
        return
    from datetime import datetime

    rows = [[local_time(datetime.fromisoformat(a["at_utc"])), plain(a["event"], 20), plain(a["text"], 100)] for a in found]  # fmt: skip
    echo(table(rows, ("since", "event", "what")))


@command.command("send")
@click.option("--within", default="30s", show_default=True, metavar="TIME", help="Give up after so long.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@json_option
@click.pass_context
def send(context: click.Context, within: str, quiet: bool, as_json: bool) -> None:
    """Deliver what waits; exit code 1 if something still does."""
    chosen = _chosen()
    within_s = parse_duration(within)
    limit = threading.Timer(within_s + _SLACK_S, os._exit, (1,))  # whatever a receiver does
    limit.daemon = True
    limit.start()
    told = deliver(spool(chosen), chosen.alerts, _key(), within_s=within_s)
    if as_json:
        echo_json({"taken": told.taken, "waiting": told.waiting, "dropped": told.dropped, "why": told.why})
    elif not quiet:
        echo(_words(told))
    if told.waiting:
        context.exit(1)


@command.command("test")
@json_option
@click.pass_context
def try_it(context: click.Context, as_json: bool) -> None:
    """Put an alert into the spool and deliver it now, to see whether it arrives."""
    chosen = _chosen()
    put(spool(chosen), Alert("test", "joulewise: alerts arrive here"))
    told = deliver(spool(chosen), chosen.alerts, _key())
    if as_json:
        echo_json({"taken": told.taken, "waiting": told.waiting, "why": told.why})
    else:
        echo(_words(told))
    if told.waiting:
        context.exit(1)


def _chosen() -> Settings:
    chosen = wiring.settings()
    if not chosen.alerts:
        raise UsageError(
            f'no address is set for alerts; write in the settings file: alerts = "https://hooks.example/..." (events: {", ".join(ALERT_EVENTS)})'
        )
    return chosen


def _key() -> str:
    file = user_file()
    return read_keys(file.with_name("keys.toml") if file else None).get("alerts", "")


def _words(told: Delivered) -> str:
    words = f"{told.taken} delivered"
    words += f", {told.waiting} wait ({plain(told.why, 200)})" if told.waiting else ""
    return words + (f", {told.dropped} were too old and dropped" if told.dropped else "")
