"""Reads the small tables of facts that the catalogue ships.

Each begins with comment lines that say where its rows come from (`# source:`, `# date:`, `# licence:`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from os.path import dirname, join

_DATA = join(dirname(__file__), "data")


def read_facts(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table by its file name."""
    with open(join(_DATA, name), encoding="utf-8", newline="") as file:
        yield from csv.DictReader(line for line in file if not line.startswith("#"))
