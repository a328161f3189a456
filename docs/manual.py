"""Hooks of MkDocs: the navigation from the folders, the reference from the code.

The pages of the manual are read on a code host as well, where the index is `README.md` and files outside the manual can be linked;
here such links become plain text. Reference pages are made anew at each build, so they cannot grow old.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")
SECTIONS = (  # title, folders or pages, in this order
    ("Start", ("README.md", "tutorial.md", "how-it-works.md")),
    ("Verbs", ("cli",)),
    ("Measure", ("measuring", "ledger", "catalogue", "vocabulary")),
    ("Diagnose", ("diagnosing",)),
    ("Train and search", ("training", "searching", "features")),
    ("Schedule", ("scheduling", "launching", "grid")),
    ("Serve", ("serving",)),
    ("Show", ("web", "exchange")),
    ("Explanation", ("how-it-is-known.md", "comparison.md", "testing.md")),
    ("Decisions", ("decisions",)),
)
REFERENCE: dict[str, Callable[[], str]] = {}


def reference(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Return a decorator for what writes the reference page of this name."""

    def keep(make: Callable[[], str]) -> Callable[[], str]:
        REFERENCE[f"reference/{name}.md"] = make
        return make

    return keep


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lay the pages out by the sections, each in the order of its names."""
    nav: list[Any] = []
    for title, parts in SECTIONS:
        pages = [p for part in parts for p in _pages(part)]
        nav.append({title: pages})
    nav.append({"Reference": list(REFERENCE)})
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, written from the code."""
    for path, make in REFERENCE.items():
        files.append(File.generated(config, path, content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs names them
    """Keep links between pages; those to files outside the manual become text."""
    folder = (DOCS / page.file.src_uri).parent

    def kept(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        inside = DOCS in (folder / target).resolve().parents and Path(target).suffix in (
            ".md",
            ".png",
            ".svg",
        )
        return match[0] if inside else f"`{text}`" if "`" not in text else text

    return LINK.sub(kept, markdown)


def _pages(part: str) -> list[str]:
    if part.endswith(".md"):
        return [part] if (DOCS / part).is_file() else []
    return [p.relative_to(DOCS).as_posix() for p in sorted((DOCS / part).glob("*.md"))]


@reference("verbs")
def verbs() -> str:
    """Return every verb with its help and options, as click knows them."""
    from joulewise.cli.app import VERBS, app

    lines = [
        "# Verbs",
        "",
        "Generated from the code. What they are for, with real output, is in the pages of each verb.",
        "",
    ]
    context = app.make_context("joulewise", [], resilient_parsing=True)
    for verb, (_module, line) in VERBS.items():
        command = app.get_command(context, verb)
        assert command is not None  # noqa: S101 - it is in VERBS
        lines += [f"## joulewise {verb}", "", line, ""]
        page = DOCS / "cli" / f"{verb}.md"
        if page.is_file():
            lines += [f"[More](../cli/{verb}.md)", ""]
        lines += _options(command)
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                lines += [
                    f"### joulewise {verb} {name}",
                    "",
                    _one_line(inner.help or ""),
                    "",
                    *_options(inner),
                ]
    return "\n".join(lines)


def _options(command: click.Command) -> list[str]:
    with click.Context(command) as context:
        rows = [record for p in command.params if (record := p.get_help_record(context)) is not None]
    if not rows:
        return []
    return ["| option | does |", "| --- | --- |", *(f"| `{_cell(o)}` | {_cell(h)} |" for o, h in rows), ""]


@reference("python")
def python() -> str:
    """Return every public name of `joulewise` with its signature and docstring."""
    import joulewise

    lines = ["# Python", "", "Generated from the code: every public name of `joulewise`.", ""]
    for name in sorted(joulewise.__all__):
        value = getattr(joulewise, name)
        if isinstance(value, str):
            continue
        if inspect.ismodule(value):
            lines += [f"## joulewise.{name}", "", _paragraphs(inspect.getdoc(value) or ""), ""]
            continue
        lines += [
            f"## joulewise.{name}",
            "",
            "```python",
            _signature(name, value),
            "```",
            "",
            _paragraphs(inspect.getdoc(value) or ""),
            "",
        ]
        if inspect.isclass(value):
            lines += list(_members(value))
    return "\n".join(lines)


def _members(kind: type[Any]) -> Iterator[str]:
    for name, member in vars(kind).items():
        if name.startswith("_"):
            continue
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(plain) and plain.__doc__:
            yield f"- `{_signature(name, plain)}` {_one_line(plain.__doc__)}"
        elif isinstance(member, property) and member.__doc__:
            yield f"- `{name}` {_one_line(member.__doc__)}"
    yield ""


@reference("settings")
def settings() -> str:
    """Return every setting with its default and the comment beside its field."""
    room = import_module("joulewise.settings")
    source = inspect.getsource(room.Settings)
    lines = [
        "# Settings",
        "",
        "Generated from the code. Where they may stand is in [config](../cli/config.md).",
        "",
    ]
    lines += ["| setting | variable | default | is |", "| --- | --- | --- | --- |"]
    for field in fields(room.Settings):
        told = re.search(rf"    {field.name}: \w+ = (?:\(\s*)?[^#\n]*#\s*(.*)", source)
        default = repr(field.default) if field.default != "" else ""
        lines.append(
            f"| `{field.name}` | `JOULEWISE_{field.name.upper()}` | {default} | {_cell(told[1] if told else '')} |"
        )
    return "\n".join(lines)


def _signature(name: str, value: Any) -> str:
    try:
        return f"{name}{inspect.signature(value)}"
    except (TypeError, ValueError):
        return name


def _one_line(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split())


def _paragraphs(text: str) -> str:
    return text.replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
