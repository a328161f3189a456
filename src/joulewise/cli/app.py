"""The click group behind every verb but the fast road of `run`: verbs are loaded when they are asked for.

`VERBS` names each verb's module (it holds a click command called `command`) and the line that the overview shows, so
that `joulewise --help` loads no verb. Errors that the user can understand leave as one line and their exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from joulewise import __version__
from joulewise.vocabulary.errors import UnknownName

VERBS: Mapping[str, tuple[str, str]] = {
    "run": ("joulewise.cli.run", "Record any command and show what it cost."),
    "runs": ("joulewise.cli.runs", "List the recordings."),
    "totals": ("joulewise.cli.totals", "Add up what a team used, with its targets and budgets."),
    "show": ("joulewise.cli.show", "Show what a recording cost, and how each figure is known."),
    "diagnose": ("joulewise.cli.diagnose", "Name what drove a run's cost, and what each remedy would save."),
    "try": ("joulewise.cli.try_", "Confirm findings on short pieces of your own program, with no edit."),
    "settle": ("joulewise.cli.settle", "Say whether a promised saving was real, at equal quality."),
    "compare": ("joulewise.cli.compare", "Compare recordings: joules, grams, money, time, quality."),
    "gate": ("joulewise.cli.gate", "Pass or fail a change by what a unit of work costs, at equal quality."),
    "report": ("joulewise.cli.report", "Write a recording's report: HTML, JSON or LaTeX."),
    "attach": ("joulewise.cli.attach", "Record a program that already runs."),
    "top": ("joulewise.cli.top", "Show who uses and who holds what now, and what standing by costs."),
    "doctor": ("joulewise.cli.doctor", "Say what can be measured here, and what it would take."),
    "config": ("joulewise.cli.config", "Show each setting and where it came from."),
    "compress": (
        "joulewise.cli.compress",
        "Keep the smaller forms of a model that pass on quality and joules.",
    ),
    "serve": ("joulewise.cli.serve", "Serve an ONNX model, with joules and grams on every answer."),
    "zones": ("joulewise.cli.zones", "List zones and how clean their electricity is."),
    "forecast": ("joulewise.cli.forecast", "Show how clean a zone's electricity will be, hour by hour."),
    "plan": ("joulewise.cli.plan", "Say when and where flexible work should run, and what that saves."),
    "submit": ("joulewise.cli.submit", "Put flexible work into the queue; it runs in its cleanest hours."),
    "queue": ("joulewise.cli.queue", "Show what waits and runs, and each job's story with reasons."),
    "worker": ("joulewise.cli.worker", "Run the queue's jobs on this machine when their hour comes."),
    "cancel": ("joulewise.cli.cancel", "Take jobs out of the queue, or ask for their end."),
    "throttle": (
        "joulewise.cli.throttle",
        "Let a cluster's capacity follow the grid, whatever its jobs are.",
    ),
    "instances": ("joulewise.cli.instances", "Rank instance types by joules, grams and money per job."),
    "rightsize": ("joulewise.cli.rightsize", "Say how many GPUs or cores, and what limits, to ask for."),
    "search": ("joulewise.cli.search", "Find good settings with few full trainings, within a budget."),
    "materialise": ("joulewise.cli.materialise", "Bring online features up to date with their views."),
    "features": ("joulewise.cli.features", "List features, what they cost, and which nobody reads."),
    "export": (
        "joulewise.cli.export",
        "Write recordings as CSV, LaTeX, a model card, SCI, or for other tools.",
    ),
    "import": ("joulewise.cli.import_", "Make recordings of what another tool recorded."),
    "web": ("joulewise.cli.web", "Show the ledger in a browser."),
    "push": ("joulewise.cli.push", "Send this machine's recordings to the team's ledger."),
    "token": ("joulewise.cli.token", "Give and take back tokens: who may see what in the dashboard."),
    "alerts": ("joulewise.cli.alerts", "Tell a webhook of budgets, idle devices, savings that did not come."),
    "fleet": ("joulewise.cli.fleet", "Record every task of a cluster: nobody types a prefix."),
    "prune": ("joulewise.cli.prune", "Delete old recordings."),
    "ledger": ("joulewise.cli.ledger", "Check, rebuild or back up the ledger; list pots."),
}


class _Verbs(click.Group):
    """A group that knows its verbs by name and loads one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click names it
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click names it
        if cmd_name not in VERBS:
            return None
        command = import_module(VERBS[cmd_name][0]).command
        assert isinstance(command, click.Command)  # noqa: S101 - a door that is no command is our fault, not the user's
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name not in VERBS and not name.startswith("-"):
            raise UnknownName("verb", name, VERBS, "('joulewise --help' lists them)")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click names it
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_module, line) in VERBS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a verb and return its exit code; click's own complaints are one line, too."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx else "", color=False)
            return 2
        except click.UsageError as error:
            where = f" ({error.ctx.command_path} --help tells more)" if error.ctx else ""
            click.echo(f"joulewise: {_one_line(error.format_message())}{where}", err=True)
            return 2
        except click.Abort:
            return 130
        return code if isinstance(code, int) else 0


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


@click.group(
    cls=_Verbs,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: joulewise run -- python train.py",
)
@click.version_option(__version__, prog_name="joulewise", message="%(prog)s %(version)s")
def app() -> None:
    """Say what machine-learning work costs in joules, grams of CO2e and money, and how well that is known."""
