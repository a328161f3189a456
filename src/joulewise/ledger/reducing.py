"""Reducing: an old recording's ticks, a second apart, become one a minute, and no joule is lost.

Joules and counters are cumulative, so the last value of each minute, each at the tick where it was read, tells the same
energy between any two minutes and in all; gauges become their mean over the minute. The first tick and the last one of a
recording stay as they are, and so does every line that is no tick. What a work used of shared devices is computed from
ticks; so that this figure stays as it was, too, the summary of before is kept in the recording (`reduced`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from joulewise.ledger.files import decode, encode
from joulewise.ledger.summary import Summary
from joulewise.vocabulary.figures import Basis, Boundary, Figure

STEP_S = 60.0
KEY = "reduced_s"
_FIGURES = ("energy_j", "idle_j", "machine_j")
PART = ".reducing"


def is_reduced(head: Mapping[str, Any] | None) -> bool:
    """Whether a file's header says that its ticks were reduced."""
    return KEY in (head or {})


def reduced(content: bytes, told: Mapping[str, Any], step_s: float = STEP_S) -> bytes:
    """Return a recording's file with one tick a step; `told` are the summary's fields to keep in it.

    A file that is reduced already, or has no readable header, comes back as it is.
    """
    lines = content.splitlines(keepends=True)
    head = decode(lines[0]) if lines else None
    if head is None or is_reduced(head):
        return content
    kept = [encode({**head, KEY: step_s}), encode({"k": "meta", "meta": {"reduced": dict(told)}})]
    minute: list[dict[str, Any]] = []
    last = max((n for n, line in enumerate(lines) if b'"k":"tick"' in line), default=-1)
    first = True
    for number, line in enumerate(lines[1:], 1):
        entry = decode(line)
        kind = entry.get("k") if entry else None
        if entry is not None and kind == "tick" and {"t", "j", "c", "g"} <= entry.keys():
            if minute and entry["t"] // step_s != minute[-1]["t"] // step_s:
                kept.append(encode(_one(minute)))
                minute = []
            minute.append(entry)
            if first or number == last:
                if number == last and len(minute) > 1:
                    kept.append(encode(_one(minute[:-1])))
                kept.append(line)
                minute, first = [], False
        else:
            if minute and kind in ("columns", "end"):
                kept.append(encode(_one(minute)))
                minute = []
                first = first or kind == "columns"
            kept.append(line)
    if minute:
        kept.append(encode(_one(minute)))
    return b"".join(kept)


def summary_fields(summary: Summary) -> dict[str, Any]:
    """Return what a reduced recording keeps of its summary: the figures that are computed from ticks."""
    fields: dict[str, Any] = {name: _plain(getattr(summary, name)) for name in _FIGURES}
    return {**fields, "components_j": dict(summary.components_j or {})}


def summary_figures(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a Summary that `summary_fields` kept."""
    fields: dict[str, Any] = {name: _figure(told.get(name)) for name in _FIGURES}
    return {**fields, "components_j": dict(told.get("components_j") or {})}


def reduce_folder(folder: int, names: Iterable[str], told: Mapping[str, Any]) -> tuple[int, int]:
    """Reduce the files `names` in an open folder, each whole or not at all; return bytes before and after.

    A file that is killed in the middle stays as it was, and the next call does it. Raises OSError.
    """
    before = after = 0
    for leftover in os.listdir(folder):
        if leftover.endswith(PART):
            os.unlink(leftover, dir_fd=folder)
    for name in names:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
            facts = os.fstat(file.fileno())
            content = file.read()
        smaller = reduced(content, told)
        before, after = before + len(content), after + len(smaller)
        if smaller == content:
            continue
        part = f".{name}{PART}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(part, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(smaller)
            file.flush()
            os.fsync(file.fileno())
        os.utime(part, ns=(facts.st_atime_ns, facts.st_mtime_ns), dir_fd=folder)
        os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
    return before, after


def _one(ticks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the one tick of a minute: cumulative values the last that were read, gauges their mean."""
    whole = {**ticks[-1]}
    for key in ("j", "r", "c"):
        if key in whole:
            whole[key] = [_last([t[key][at] for t in ticks]) for at in range(len(whole[key]))]
    whole["g"] = [_mean([t["g"][at] for t in ticks]) for at in range(len(whole["g"]))]
    return whole


def _last(values: list[Any]) -> Any:
    return next((v for v in reversed(values) if v is not None), None)


def _mean(values: list[Any]) -> float | None:
    known = [v for v in values if isinstance(v, int | float)]
    return round(sum(known) / len(known), 4) if known else None


def _plain(figure: Figure | None) -> list[Any] | None:
    if figure is None:
        return None
    return [figure.value, figure.low, figure.high, figure.basis.word, figure.boundary.value]


def _figure(told: Any) -> Figure | None:
    if told is None:
        return None
    value, low, high, basis, boundary = told
    return Figure(value, low, high, Basis[basis.upper()], boundary=Boundary(boundary))
