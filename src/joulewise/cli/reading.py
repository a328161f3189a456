"""What the verbs share when they read: quantities in options, files by zone, and rows of comma-separated values."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from joulewise.cli.output import plain
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import split_quantity

BYTES = {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
WATTS = {"": 1.0, "W": 1.0, "kW": 1e3}


def quantity(text: str, units: Mapping[str, float], what: str) -> float:
    """Return a number in the units' base; raise UsageError that names `what` for a foreign unit."""
    number, unit = split_quantity(text)
    if unit not in units:
        raise UsageError(f"{what} is {plain(text, 40)!r}; give it in {', '.join(u for u in units if u)}")
    return number * units[unit]


def by_zone(texts: Sequence[str], zones: Sequence[str]) -> dict[str, str]:
    """Return files by zone from texts like `DE=de.csv`; a bare file is of the first zone."""
    files = {}
    for text in texts:
        zone, sign, path = text.partition("=")
        files[zone if sign else zones[0]] = path if sign else text
    return files


def read_rows(path: Path, columns: Sequence[str], take: Callable[[dict[str, str]], None]) -> None:
    """Give `take` every row of a file as its cells that are not empty; the column `name` must be there.

    What cannot be read, and what `take` refuses with a UsageError, is said with the file and the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            heads = [h.strip() for h in reader.fieldnames or ()]
            _check_heads(path, heads, columns)
            reader.fieldnames = heads
            for row in reader:
                try:
                    take(_cells(row))
                except UsageError as error:
                    raise UsageError(f"{path} line {reader.line_num}: {error}") from None
    except FileNotFoundError:
        raise UsageError(
            f"there is no file {path}; write one with the columns {', '.join(columns)}"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}") from None


def _check_heads(path: Path, heads: list[str], columns: Sequence[str]) -> None:
    foreign = [h for h in heads if h not in columns]
    twice = [h for h in heads if heads.count(h) > 1]
    if "name" not in heads or foreign or twice:
        wrong = f"the column {plain((foreign or twice)[0], 40)!r}" if foreign or twice else "no column 'name'"
        raise UsageError(
            f"{path} line 1 has {wrong}; the columns are {', '.join(columns)}, each at most once, name always"
        )


def _cells(row: Mapping[str, str | list[str] | None]) -> dict[str, str]:
    if None in row:  # what csv makes of cells beyond the last column
        raise UsageError(
            "there are more values than columns; put a value that holds a comma in double quotes"
        )
    told = {key: value.strip() for key, value in row.items() if isinstance(value, str) and value.strip()}
    if "name" not in told:
        raise UsageError("the job has no name")
    return told
