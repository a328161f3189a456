"""Check the manual: every verb and user-facing module has its page, links hold, Python examples run.

Run by `make docs`. Prints each fault on a line of its own and exits with 1 if there is one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Return every page of the manual and the front page."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def broken_links() -> list[str]:
    """Return links to files that do not exist."""
    faults = []
    for page in pages():
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if (
                "://" not in target
                and not target.startswith("mailto:")
                and not (page.parent / target).exists()
            ):
                faults.append(f"{page.relative_to(ROOT)}: link to {target}, which does not exist")
    return faults


def missing_pages() -> list[str]:
    """Return verbs without a page, and pages that the index does not name."""
    from joulewise.cli.app import app

    faults = []
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for verb in app.list_commands(app.make_context("joulewise", [], resilient_parsing=True)):
        if not (DOCS / "cli" / f"{verb}.md").is_file():
            faults.append(f"docs/cli/{verb}.md is missing: the verb {verb} has no page")
    for page in sorted(DOCS.rglob("*.md")):
        name = page.relative_to(DOCS).as_posix()
        if name != "README.md" and f"]({name})" not in index:
            faults.append(f"docs/README.md does not name docs/{name}")
    return faults


def verbs_with_help() -> list[str]:
    """Return verbs whose help is empty or whose page does not show each of their options."""
    from joulewise.cli.app import app

    faults = []
    context = app.make_context("joulewise", [], resilient_parsing=True)
    for verb in app.list_commands(context):
        command = app.get_command(context, verb)
        if command is None or not command.help:
            faults.append(f"joulewise {verb} has no help")
            continue
        path = DOCS / "cli" / f"{verb}.md"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for name, one in ((verb, command), *inner_verbs(verb, command)):
            options = [o for p in one.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")]
            wanted = [*options, *(name.split()[1:])]
            faults += [
                f"docs/cli/{verb}.md does not explain {o} (joulewise {name})" for o in wanted if o not in text
            ]
    return faults


def inner_verbs(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Yield the verbs inside a verb: `ledger check`."""
    if isinstance(command, click.Group):
        for inner, one in command.commands.items():
            yield f"{name} {inner}", one
            yield from inner_verbs(f"{name} {inner}", one)


def untold() -> list[str]:
    """Return settings that the page of `config` does not explain, and public names that no page speaks of."""
    import joulewise
    from joulewise.settings import Settings

    config = (DOCS / "cli" / "config.md").read_text(encoding="utf-8")
    everything = "".join(page.read_text(encoding="utf-8") for page in pages())
    faults = [
        f"docs/cli/config.md does not explain {f.name}"
        for f in fields(Settings)
        if f"`{f.name}`" not in config
    ]
    names = [n for n in joulewise.__all__ if not n.startswith("_")]
    return faults + [
        f"no page speaks of joulewise.{n}"
        for n in names
        if f"joulewise.{n}" not in everything and f"import {n}" not in everything
    ]


def failing_examples() -> list[str]:
    """Run every Python block of the manual that is whole (has no `...`) and return those that fail."""
    faults = []
    for page in pages():
        for number, code in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1):
            if "..." in code:
                continue
            with tempfile.TemporaryDirectory() as folder:
                environment = {**os.environ, "JOULEWISE_HOME": folder, "XDG_CONFIG_HOME": folder}
                done = subprocess.run(
                    [sys.executable, "-W", "error", "-c", code],
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )
            if done.returncode:
                faults.append(
                    f"{page.relative_to(ROOT)}: Python block {number} fails: {done.stderr.strip().splitlines()[-1:]}"
                )
    return faults


def main() -> int:
    """Print what is wrong with the manual and return the exit code."""
    faults = [*broken_links(), *missing_pages(), *verbs_with_help(), *untold(), *failing_examples()]
    for fault in faults:
        print(fault)
    print(f"manual: {len(pages())} pages, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
