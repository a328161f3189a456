"""`joulewise import FILE --from TOOL`: what other tools recorded, as recordings in the ledger."""

from __future__ import annotations

from pathlib import Path

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option
from joulewise.vocabulary.errors import UsageError

TOOLS = ("codecarbon", "boamps")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from", "tool", type=click.Choice(TOOLS), required=True, help="The tool that wrote the file.")
@json_option
def command(file: Path, tool: str, as_json: bool) -> None:
    """Make recordings of what another tool recorded: CodeCarbon's emissions.csv, a BoAmps report.

    Their joules are taken as the tool told them, with a modelled interval. The same file again makes no second ones.
    """
    from joulewise.exchange import boamps, codecarbon
    from joulewise.exchange.imported import keep

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(file)!r} cannot be read: {error}") from None
    chosen = wiring.settings()
    if not chosen.runs:
        raise UsageError("there is no place for recordings: no home folder is known; set JOULEWISE_HOME")
    records = list((codecarbon if tool == "codecarbon" else boamps).read(text))  # all or nothing
    kept = [keep(Path(chosen.runs), record) for record in records]
    new = [run_id for run_id in kept if run_id is not None]
    wiring.refresh().close()
    if as_json:
        echo_json({"read": len(records), "new": new})
        return
    known = len(records) - len(new)
    echo(f"{len(new)} recordings made of {file.name}" + (f"; {known} were there already" if known else ""))
