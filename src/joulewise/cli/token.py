"""`joulewise token`: who may see what of the ledger through the dashboard."""

from __future__ import annotations

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option, local_time, plain, table
from joulewise.ledger.tokens import Token, add_token, remove_token, tokens


@click.group("token", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Give tokens for `joulewise web --tokens`, list them, take them back. Each of them takes --json."""


@command.command("add")
@click.argument("name")
@click.option(
    "--person", "people", multiple=True, metavar="P", help="Show this person's recordings and jobs."
)
@click.option("--project", "projects", multiple=True, metavar="P", help="Show this project's recordings.")
@click.option("--all", "everything", is_flag=True, help="Show everything.")
@json_option
def add(
    name: str, people: tuple[str, ...], projects: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Make the token NAME and print its text, which is shown this once: the ledger keeps a hash of it.

    --person and --project may be given several times.
    """
    ledger = wiring.store()
    try:
        text = add_token(ledger, name, people, projects, everything=everything)
    finally:
        ledger.close()
    if as_json:
        echo_json({"name": name, "token": text})
        return
    click.echo(f"joulewise: the token {plain(name)} is shown this once; it opens {_shows(people, projects)}", err=True)  # fmt: skip
    echo(text)


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the tokens and what they show."""
    ledger = wiring.store()
    try:
        found = tokens(ledger)
    finally:
        ledger.close()
    if as_json:
        echo_json({"tokens": [_fields(token) for token in found]})
        return
    if not found:
        echo("there is no token yet; make one: joulewise token add reading-group --project vision")
        return
    rows = [
        [plain(t.name, 40), local_time(t.created_utc), plain(_shows(t.people, t.projects), 80)] for t in found
    ]
    echo(table(rows, ("token", "made", "shows")))


@command.command("remove")
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Take the token NAME back: from now on it opens nothing."""
    ledger = wiring.store()
    try:
        remove_token(ledger, name)
    finally:
        ledger.close()
    if as_json:
        echo_json({"removed": name})
        return
    echo(f"{plain(name)} opens nothing any more")


def _shows(people: tuple[str, ...], projects: tuple[str, ...]) -> str:
    parts = [f"person {p}" for p in people] + [f"project {p}" for p in projects]
    return ", ".join(parts) or "everything"


def _fields(token: Token) -> dict[str, object]:
    return {
        "name": token.name,
        "people": list(token.people),
        "projects": list(token.projects),
        "everything": token.everything,
        "created_utc": token.created_utc.isoformat(),
    }
