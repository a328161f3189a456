"""`joulewise import`: what others have recorded, as recordings: a tool's file, Slurm's accounting, a Prometheus' past."""

from __future__ import annotations

from pathlib import Path

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option
from joulewise.vocabulary.errors import UsageError

TOOLS = ("codecarbon", "boamps")


class _Forms(click.Group):
    """A group in which a bare file means `file`: `joulewise import emissions.csv --from codecarbon`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = (*self.list_commands(ctx), "-h", "--help")
        return super().parse_args(ctx, args if not args or args[0] in known else ["file", *args])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["file", "sacct", "prometheus"] if ctx else []

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "sacct":
            from joulewise.cli.import_sacct import command as sacct

            return sacct
        if cmd_name == "prometheus":
            from joulewise.cli.import_prometheus import command as prometheus

            return prometheus
        return super().get_command(ctx, cmd_name)


@click.group(
    "import",
    cls=_Forms,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Make recordings of what others recorded; the same again makes no second ones.

    `joulewise import FILE --from TOOL` is short for `joulewise import file`.
    """


@command.command("file")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from", "tool", type=click.Choice(TOOLS), required=True, help="The tool that wrote the file.")
@json_option
def from_file(file: Path, tool: str, as_json: bool) -> None:
    """Make recordings of what another tool recorded: CodeCarbon's emissions.csv, a BoAmps report.

    Their joules are taken as the tool told them, with a modelled interval. The same file again makes no second ones.
    """
    from joulewise.exchange import boamps, codecarbon
    from joulewise.exchange.imported import keep

    text = text_of(file)
    runs = runs_folder()
    records = list((codecarbon if tool == "codecarbon" else boamps).read(text))  # all or nothing
    kept = [keep(runs, record) for record in records]
    new = [run_id for run_id in kept if run_id is not None]
    wiring.refresh().close()
    if as_json:
        echo_json({"read": len(records), "new": new})
        return
    known = len(records) - len(new)
    echo(f"{len(new)} recordings made of {file.name}" + (f"; {known} were there already" if known else ""))


def runs_folder() -> Path:
    """Return where recordings are made."""
    chosen = wiring.settings()
    if not chosen.runs:
        raise UsageError("there is no place for recordings: no home folder is known; set JOULEWISE_HOME")
    return Path(chosen.runs)


def text_of(file: Path) -> str:
    """Return the text of a file; UsageError where it has none."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(file)!r} cannot be read: {error}") from None
