"""`joulewise cancel JOB`: take a job that waits out of the queue, ask for the end of one that runs, give up a lost host."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

import click

from joulewise.cli.output import echo, echo_json, json_option, plain


@click.command("cancel")
@click.argument("names", nargs=-1, required=True, metavar="JOB...")
@click.option(
    "--lost",
    is_flag=True,
    help="Its host never returns: give it up (declared restartable, it waits again); a copy that returns is ended.",
)
@json_option
def command(names: tuple[str, ...], lost: bool, as_json: bool) -> None:
    """Cancel jobs: one that waits is over at once, one that runs is asked to end by its worker (SIGTERM, then SIGKILL).

    JOB is an id or its beginning, a name (its newest job), or `latest`.
    """
    from joulewise import wiring
    from joulewise.ledger import jobs
    from joulewise.ledger.leases import give_up

    store = wiring.queue_store()
    try:
        found = [jobs.find(store, name) for name in names]  # all are known before one is cancelled
        done = []
        for line in found:
            now, who = datetime.now(UTC), getpass.getuser()
            if lost:
                again = jobs.ticket(store, line.id).restartable
                stage = give_up(store, line.id, now, who=who, again=again)
            else:
                stage = jobs.cancel(store, line.id, now, who=who)
            done.append({"job": line.id, "name": line.name, "stage": stage.value})
            if not as_json:
                words = {
                    "cancelled": "is cancelled",
                    "queued": "is given up there, and waits again: it is declared restartable",
                    "failed": "is given up; it is not declared restartable",
                }.get(stage.value, f"is {stage}; its worker has been asked to end it")
                echo(f"{line.id} ({plain(line.name, 40)}) {words}")
        for said in wiring.catch_up(store):
            click.echo(plain(said, 300), err=True)
    finally:
        store.close()
    if as_json:
        echo_json({"cancelled": done})
