"""`joulewise report RUN`: a recording's report as one HTML file, as JSON, or as a LaTeX sentence."""

from __future__ import annotations

import click

from joulewise import wiring
from joulewise.cli.output import write_text, zone_option


@click.command("report")
@click.argument("run", metavar="RUN", default="latest")
@click.option(
    "--html", metavar="FILE", help="Write one HTML file that needs nothing else (NAME.html by default)."
)
@click.option("--json", "json_file", metavar="FILE", help="Write JSON, with watts over time; - prints it.")
@click.option("--latex", metavar="FILE", help="Write a sentence for a paper; - prints it.")
@zone_option
def command(run: str, html: str | None, json_file: str | None, latex: str | None, zone: str | None) -> None:
    """Write a recording's report: one HTML file, JSON, or a sentence for a paper.

    Without an option it writes NAME.html into the current folder.
    """
    account = wiring.account(wiring.find(run), zone)
    if not (html or json_file or latex):
        html = f"{account.recording.run_id}.html"
    if html:
        from joulewise.web.report import render

        write_text("--html", html, render(account))
    if json_file:
        from joulewise.cli.results import account_json

        write_text("--json", json_file, account_json(account, series=True) + "\n")
    if latex:
        from joulewise.exchange.latex import sentence

        write_text("--latex", latex, sentence(account) + "\n")
