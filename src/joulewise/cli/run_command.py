"""The click command of `joulewise run`, built from the same table as its fast parser: help, completion, manual."""

from __future__ import annotations

from typing import Any

import click

from joulewise.cli.run_options import OPTIONS, checked


def build() -> click.Command:
    """Return the command. It reads its arguments as `run_options.parse` does and runs the same function."""

    def execute(**values: Any) -> None:
        from joulewise.cli.run import run

        command = tuple(values.pop("command"))
        run(checked({k: v for k, v in values.items() if v not in (None, (), False)}, command))

    params: list[click.Parameter] = [
        click.Option(
            [option.key, option.name],
            metavar=option.metavar or None,
            help=option.help,
            multiple=option.many,
            is_flag=not option.metavar,
            default=None if option.metavar else False,
            type=click.Choice(option.choices) if option.choices else None,
        )
        for option in OPTIONS
    ]
    params.append(click.Argument(["command"], nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND..."))
    return click.Command(
        "run",
        callback=execute,
        params=params,
        help=(
            "Record any command with no change to it, and show what it cost.\n\n"
            "The exit code is the command's own: 128 + n after a signal, 126 and 127 as a shell gives them; "
            "3 if its budget stopped it, 125 if joulewise failed before it started."
        ),
        short_help="Record any command and show what it cost.",
        context_settings={"allow_interspersed_args": False},
    )
