"""Read views from a file: `views.py` (everything in it that is a View) or `views.toml` (a table for each view).

    [user_spend]
    keys = "user"
    event_time = "ts"
    ttl = "2d"
    owner = "growth"
    sql = "SELECT user, ts, n FROM events"
    columns = { n = "int32" }
    sources = { events = "events/*.parquet", users = { place = "postgresql://me@host/db", query = "users" } }

Paths are relative to the file. A Python file is run: it is your own program, as a test or a training script is.
"""

from __future__ import annotations

import os
import runpy
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from joulewise.features.views import Source, View, declared
from joulewise.vocabulary.errors import UsageError


def load_views(path: str | Path) -> list[View]:
    """Return the views that a file declares, in its order. Raises UsageError in one line that names the file."""
    place = Path(path)
    if not place.is_file():
        raise UsageError(f"no file of views at {place}; give a views.py or views.toml")
    if place.suffix == ".toml":
        views = _from_toml(place)
    elif place.suffix == ".py":
        views = _from_python(place)
    else:
        raise UsageError(f"{place} is neither a .py nor a .toml file, so it declares no views")
    if not views:
        raise UsageError(f"{place} declares no views; see docs/features/views.md")
    return [_beside(view, place.parent) for view in views]


def _from_python(place: Path) -> list[View]:
    sys.path.insert(0, str(place.parent.absolute()))
    try:
        names = runpy.run_path(str(place), run_name=f"joulewise_views_{place.stem}")
    except (SyntaxError, ImportError, NameError) as error:
        raise UsageError(f"cannot read views from {place}: {error}") from None
    finally:
        sys.path.pop(0)
    found: dict[int, View] = {}
    for value in names.values():
        if isinstance(value, View):
            found.setdefault(id(value), value)
    return list(found.values())


def _from_toml(place: Path) -> list[View]:
    try:
        tables: dict[str, Any] = tomllib.loads(place.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read views from {place}: {error}") from None
    views = []
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{place}: {name} is no table; each view is a table such as [{name}]")
        for needed in ("keys", "event_time", "ttl", "sql"):
            if needed not in table:
                raise UsageError(f"{place}: view {name} has no {needed}")
        views.append(declared(name=name, **table))
    return views


def _beside(view: View, folder: Path) -> View:
    """Return the view with its files' paths made absolute."""
    sources = {
        name: s
        if "://" in s.place or os.path.isabs(s.place)
        else Source(str(folder.absolute() / s.place), s.query)
        for name, s in view.sources.items()
    }
    return replace(view, sources=sources)
