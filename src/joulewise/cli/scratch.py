"""A scratch copy of a program's folder, in which a trial may write: what is small is copied, what is large is linked.

The folders above are there as links to their neighbours, so that `../data` is found. The program's own writes are kept
from what is only linked by the sandbox that runs inside it (`diagnosing.remedies.sandbox`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

_LARGE_BYTES = 16_000_000  # a file
_MOST_BYTES, _MOST_FILES = 256_000_000, 5_000  # in all
_LEFT_OUT = (".git", "__pycache__", ".hg", ".mypy_cache", ".pytest_cache")
_LINKED = ("node_modules", "site-packages")
_ABOVE = 3
_MOST_NEIGHBOURS = 2_000


@dataclass(frozen=True, slots=True)
class Scratch:
    """The whole scratch folder, the copy of the program's folder in it, and how much was copied and linked."""

    root: Path
    folder: Path
    copied: int
    linked: int


def make(source: Path, root: Path) -> Scratch:
    """Copy `source` into `root`, with links to what stands beside it and above. Raises OSError where it cannot."""
    root = root.resolve()
    parts = source.parts[1:][-(_ABOVE + 1) :]
    place = root.joinpath(*parts)
    place.mkdir(parents=True)
    here, there = source, place
    while there.parent != root:
        _link_neighbours(here, there)
        here, there = here.parent, there.parent
    counts = [0, 0, 0]  # files, bytes, links
    _copy(source, place, counts)
    return Scratch(root, place, counts[0], counts[2])


def _link_neighbours(here: Path, there: Path) -> None:
    try:
        names = os.listdir(here.parent)[:_MOST_NEIGHBOURS]
    except OSError:
        return
    for name in names:
        if name != here.name and not (there.parent / name).exists():
            os.symlink(here.parent / name, there.parent / name)


def _copy(source: Path, target: Path, counts: list[int]) -> None:
    folders: list[tuple[str, Path]] = []
    with os.scandir(source) as entries:
        for entry in entries:
            place = target / entry.name
            if entry.name in _LEFT_OUT:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, place))
            elif entry.is_symlink():
                os.symlink(os.path.realpath(entry.path), place)
                counts[2] += 1
            elif entry.is_file():
                _take(entry, place, counts)
    for path, place in folders:
        if os.path.basename(path) in _LINKED or os.path.exists(os.path.join(path, "pyvenv.cfg")):
            os.symlink(path, place)
            counts[2] += 1
        else:
            place.mkdir()
            _copy(Path(path), place, counts)


def _take(entry: os.DirEntry[str], place: Path, counts: list[int]) -> None:
    size = entry.stat().st_size
    if size <= _LARGE_BYTES and counts[0] < _MOST_FILES and counts[1] + size <= _MOST_BYTES:
        shutil.copy2(entry.path, place)
        counts[0] += 1
        counts[1] += size
    else:
        os.symlink(entry.path, place)
        counts[2] += 1
