"""What the verbs share when they print: tables, JSON with a schema version, and text that cannot hurt a terminal.

Names, commands and notes come from recordings, which anybody may have written: `plain` takes the control characters
out of them before they reach a terminal.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import format_figure
from joulewise.vocabulary.text import plain as plain  # noqa: PLC0414 - the verbs take it from here

SCHEMA_VERSION = 1
UNKNOWN = "unknown"

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON (with its schema_version) instead of text."
)
zone_option = click.option(
    "--zone",
    metavar="ZONE",
    default=None,
    help="Count grams for this zone (DE, US-CA) instead of the recording's.",
)


def columns() -> int:
    """Return how wide the terminal is; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def echo(text: str = "") -> None:
    """Print text to standard output; a character that its encoding lacks is replaced."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), color=None)


def write_text(option: str, path: str, text: str) -> None:
    """Write text to a file and say so on standard error; `-` prints it."""
    if path == "-":
        echo(text.rstrip("\n"))
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{option} is {path!r}, which cannot be written: {error.strerror}") from None
    click.echo(f"wrote {os.path.abspath(path)} ({len(text.encode()) / 1000:.0f} kB)", err=True)


def echo_json(fields: Mapping[str, Any]) -> None:
    """Print an object as JSON, with the version of its schema first."""
    echo(as_json(fields))


def as_json(fields: Mapping[str, Any]) -> str:
    """Return an object as JSON text, with the version of its schema first. What is not finite is null."""
    return json.dumps(
        {"schema_version": SCHEMA_VERSION, **finite(dict(fields))}, indent=2, ensure_ascii=False, default=str
    )


def finite(value: Any) -> Any:
    """Return a JSON value in which what is not finite is None: JSON has no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def figure_fields(figure: Figure | None) -> dict[str, Any] | None:
    """Return a figure as JSON fields; None stays None (unknown is not zero)."""
    if figure is None:
        return None
    return {
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "basis": figure.basis.word,
        "source": figure.source,
        "boundary": figure.boundary.value,
    }


def figure_text(figure: Figure | None, unit: str) -> str:
    """Return a figure with its interval, or the word `unknown`."""
    return UNKNOWN if figure is None else format_figure(figure, unit)


def local_time(moment: datetime) -> str:
    """Return a moment in the user's own zone, to the minute: `2026-03-01 13:05`."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def table(rows: Sequence[Sequence[str]], headers: Sequence[str], right: Sequence[int] = ()) -> str:
    """Return rows under headers in aligned columns; those in `right` are aligned to the right."""
    from tabulate import tabulate

    align = ["right" if i in right else "left" for i in range(len(headers))]
    return tabulate(rows, headers, tablefmt="plain", colalign=align, disable_numparse=True)
