"""The notebook magic: `%load_ext joulewise`, then `%%joulewise NAME` at the top of a cell.

The cell runs unchanged in the notebook's own names; when it ends, what it cost stands below it, with a small picture of
its power where the notebook can show one. The option
`--budget 50kJ` is checked at the run's safe points, which a cell has if it uses the name `run` (`run.log(...)`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from html import escape
from typing import Any

from joulewise.measuring.track import Run, Track
from joulewise.vocabulary.errors import UsageError


def register(
    shell: Any, track: Callable[..., Track], report: Callable[[Run], str], chart: Callable[[Run], str]
) -> None:
    """Register `%%joulewise` with an IPython shell; `track` opens a recording, `report` says what it cost, `chart` draws it (SVG)."""

    def joulewise(line: str, cell: str) -> None:
        name, budget = _options(line)
        with track(name, budget=budget) as run:
            shell.push({"run": run})
            shell.run_cell(cell).raise_error()
        words, picture = report(run), chart(run)
        shown = {"text/plain": words}
        if picture:
            shown["text/html"] = f"<div>{escape(words)}<br>{picture}</div>"
        shell.display_pub.publish(shown)

    shell.register_magic_function(joulewise, "cell", "joulewise")


def _options(line: str) -> tuple[str, str | None]:
    words = shlex.split(line)
    budget = None
    if "--budget" in words:
        at = words.index("--budget")
        if at + 1 >= len(words):
            raise UsageError("--budget needs a value, for instance --budget 50kJ")
        budget = words[at + 1]
        del words[at : at + 2]
    if len(words) > 1:
        raise UsageError(f"%%joulewise takes one name, but got {' '.join(words)!r}")
    return (words[0] if words else "cell"), budget
