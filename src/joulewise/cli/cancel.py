"""`joulewise cancel JOB`: take a job that waits out of the queue, or ask for the end of one that runs."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

import click

from joulewise.cli.output import echo, echo_json, json_option, plain


@click.command("cancel")
@click.argument("names", nargs=-1, required=True, metavar="JOB...")
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Cancel jobs: one that waits is over at once, one that runs is asked to end by its worker (SIGTERM, then SIGKILL).

    JOB is an id or its beginning, a name (its newest job), or `latest`.
    """
    from joulewise import wiring
    from joulewise.ledger import jobs

    store = wiring.queue_store()
    try:
        found = [jobs.find(store, name) for name in names]  # all are known before one is cancelled
        done = []
        for line in found:
            stage = jobs.cancel(store, line.id, datetime.now(UTC), who=getpass.getuser())
            done.append({"job": line.id, "name": line.name, "stage": stage.value})
            if not as_json:
                words = (
                    "is cancelled"
                    if stage.value == "cancelled"
                    else f"is {stage}; its worker has been asked to end it"
                )
                echo(f"{line.id} ({plain(line.name, 40)}) {words}")
    finally:
        store.close()
    if as_json:
        echo_json({"cancelled": done})
