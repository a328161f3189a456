"""What every page shares: the templates, text that is safe to show, and the policy under which a page runs.

Names, commands and notes come from recordings, so they may be hostile: templates escape everything, and `shown` (which
the templates cannot forget: it is their `finalize`) cuts what is long and shows what is invisible.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

_MOST_LISTED = 40
_LONGEST, _LONGEST_SHOWN = 300, 2100


@cache
def environment() -> jinja2.Environment:
    """Return the templates: all of them escape, and refuse a name that they were not given."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("joulewise.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )


def prepare() -> None:
    """Read and compile every template now, so that the first look at each page need not wait for it."""
    templates = environment()
    for name in templates.list_templates(extensions=["html"]):
        templates.get_template(name)


def text_of(name: str) -> str:
    """Return the text of a style sheet or script that stands among the templates."""
    templates = environment()
    assert templates.loader is not None  # noqa: S101 - built above
    return templates.loader.get_source(templates, name)[0]


def policy(style: str, script: str) -> str:
    """Return a content security policy under which only our style and script do anything, and nothing is fetched."""
    hashes = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def shown(value: Any) -> Any:
    """Return a value as a template may print it: our own markup as it is, foreign text cut and made visible."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(clip(value, _LONGEST_SHOWN))


def drawn(path: str) -> Markup:
    """Return a path as our own markup: it is made of numbers, and must not be cut."""
    return Markup(path)  # noqa: S704 - letters and numbers from charts.py


def clip(text: str, longest: int = _LONGEST) -> str:
    """Return text cut to `longest` characters, and how many more there were."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text) - longest} characters more)"


def visible(text: str) -> str:
    """Return text in which control characters, and marks that turn the reading direction, are seen as �."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "�" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c not in "\n\t" else c
        for c in text
    )


def capped(rows: Sequence[Any]) -> tuple[list[Any], int]:
    """Return the first rows, their texts cut, and how many were left out."""
    kept = [
        clip(row) if isinstance(row, str) else tuple(clip(text) for text in row)
        for row in rows[:_MOST_LISTED]
    ]
    return kept, max(0, len(rows) - _MOST_LISTED)
