"""`joulewise config [KEY]`: each setting, its value, and where the value came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from joulewise import settings
from joulewise.cli.output import echo, echo_json, json_option, plain, table
from joulewise.measuring.metadata import redacted
from joulewise.settings import Setting
from joulewise.vocabulary.errors import UnknownName

UNSET: Mapping[str, str] = {
    "runs": "nothing is kept: no home folder is known",
    "ledger": "there is none: no home folder is known",
    "zone": "not known: grams over the world's range",
    "tariff": "not known: no money",
    "pue": "by the kind of place",
    "wall_factor": "modelled",
    "full_load_w": "by the processor's model",
    "prometheus": "nothing is asked",
}
"""What holds where a setting is empty or 0."""


@click.command("config")
@click.argument("key", required=False, default="")
@json_option
def command(key: str, as_json: bool) -> None:
    """Show each setting, its value and where it came from; with KEY only that one.

    Passwords and tokens in URLs are shown as ***.
    """
    entries = settings.sources()
    if key:
        named = [entry for entry in entries if entry.key == key]
        if not named:
            raise UnknownName("setting", key, [e.key for e in entries], "('joulewise config' lists them)")
        entries = named
    path = settings.user_file()
    if as_json:
        echo_json(
            {"file": str(path) if path else None, "settings": [_fields(entry) for entry in entries]},
        )
        return
    echo(table([_row(entry) for entry in entries], ("setting", "value", "from")))
    if not key:
        echo(f"\n{_file_words(str(path) if path else '', there=bool(path and path.is_file()))}")


def shown(value: Any) -> Any:
    """Return a setting's value without what looks like a secret: passwords in URLs, tokens, keys."""
    if not isinstance(value, str):
        return value
    base, mark, query = value.partition("?")
    base = redacted([base])[0]
    return base + mark + "&".join(redacted(query.split("&"))) if mark else base


def _row(entry: Setting) -> list[str]:
    text = f"{entry.value:g}" if isinstance(entry.value, float) else plain(shown(entry.value))
    if not entry.value and entry.key in UNSET:
        text = f"- ({UNSET[entry.key]})"
    return [entry.key, text, plain(entry.source)]


def _fields(entry: Setting) -> dict[str, Any]:
    return {"key": entry.key, "value": shown(entry.value), "source": entry.source}


def _file_words(path: str, *, there: bool) -> str:
    if not path:
        return "no settings file: no home folder is known; use JOULEWISE_* variables"
    return f"your file: {plain(path)}" if there else f"your file would be: {plain(path)}"
