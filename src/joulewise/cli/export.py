"""`joulewise export RUN... --as FORM`: recordings in the form that a paper, a report or another tool reads."""

from __future__ import annotations

import json
from dataclasses import replace

import click

from joulewise import wiring
from joulewise.cli.output import write_text, zone_option
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.recording import Recording

FORMS = ("csv", "latex", "bibtex", "model-card", "sci", "codecarbon", "boamps", "otlp", "mlflow")


@click.command("export")
@click.argument("runs", metavar="RUN...", nargs=-1)
@click.option("--as", "form", type=click.Choice(FORMS), required=True, help="The form to write.")
@click.option(
    "--output", "-o", metavar="FILE", default="-", help="Where to write it; - prints it (the default)."
)
@click.option("--to", metavar="URL", default="", help="For otlp and mlflow: the service to send it to.")
@click.option(
    "--unit",
    metavar="NAME",
    default="",
    help="For sci: the functional unit, for instance samples; a run if not given.",
)
@click.option(
    "--units",
    type=float,
    metavar="N",
    help="For sci: how many of them there were, where the runs counted none.",
)
@click.option(
    "--training-type", metavar="TEXT", default="", help="For model-card: pre-training or fine-tuning."
)
@click.option(
    "--stage",
    metavar="TEXT",
    default="training",
    show_default=True,
    help="For boamps: the stage of the task.",
)
@click.option(
    "--family", metavar="TEXT", default="other", show_default=True, help="For boamps: the family of the task."
)
@zone_option
def command(
    runs: tuple[str, ...],
    form: str,
    output: str,
    to: str,
    unit: str,
    units: float | None,
    training_type: str,
    stage: str,
    family: str,
    zone: str | None,
) -> None:
    """Write recordings in the form that a paper, a report or another tool reads.

    RUN is an id, a name (all its finished recordings), `latest` or a folder. Every form names basis, interval and sources
    where it has a place for them.
    """
    if not runs:
        raise UsageError("export needs a RUN: joulewise export latest --as csv")
    found = {r.run_id: r for name in runs for r in wiring.repeats(name)}
    if to and form not in ("otlp", "mlflow"):
        raise UsageError(
            f"--to sends otlp or mlflow, but the form is {form}; write it to a file with --output"
        )
    accounts = [_account(recording, zone) for recording in found.values()]
    match form:
        case "csv":
            from joulewise.exchange import rows

            text = rows.write(accounts)
        case "latex" | "bibtex":
            from joulewise.exchange import latex

            text = (
                latex.bibtex(accounts)
                if form == "bibtex"
                else "\n".join(map(latex.sentence, accounts)) + "\n"
            )
        case "model-card":
            from joulewise.exchange import model_card

            text = model_card.write(accounts, training_type)
        case "sci":
            from joulewise.exchange import sci

            text = json.dumps(sci.statement(accounts, unit, units), indent=2, ensure_ascii=False) + "\n"
        case "codecarbon":
            from joulewise.exchange import codecarbon

            text = codecarbon.write(accounts)
        case "otlp":
            from joulewise.exchange import otlp

            text = otlp.write(accounts)
            if to:
                _send_otlp(text, to)
                return
        case "mlflow":
            from joulewise.exchange import mlflow

            if not to:
                raise UsageError(
                    "mlflow is no file: give the server, for instance --to http://localhost:5000"
                )
            runs_there = mlflow.send(accounts, to)
            click.echo(f"logged to {len(runs_there)} run(s) of MLflow: {', '.join(runs_there)}", err=True)
            return
        case _:
            from joulewise.exchange import boamps

            text = boamps.write(_one(accounts), stage=stage, family=family)
    write_text("--output", output, text)


def _send_otlp(text: str, to: str) -> None:
    from joulewise.exchange.sending import request

    url = to if to.rstrip("/").endswith("/v1/metrics") else f"{to.rstrip('/')}/v1/metrics"
    request("POST", url, content=text.encode(), headers={"content-type": "application/json"})
    click.echo(f"sent {len(text) / 1000:.0f} kB to {url}", err=True)


def _account(recording: Recording, zone: str | None) -> Account:
    """Return the account at a zone, which then is the recording's own for whoever reads it there."""
    account = wiring.account(recording, zone)
    if zone is None:
        return account
    return replace(account, recording=replace(recording, metadata={**recording.metadata, "zone": zone}))


def _one(accounts: list[Account]) -> Account:
    if len(accounts) != 1:
        raise UsageError(f"boamps is a report of one run, but {len(accounts)} were given; name one by its id")
    return accounts[0]
