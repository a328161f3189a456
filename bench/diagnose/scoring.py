"""The table of a bench of diagnoses: first advice, false accusations, errors and coverage against measured pairs.

A truth is the mean saving of its pairs, in shares of CPU seconds, with the standard error of that mean. Few pairs tell little
of their own spread, so it is taken over the pairs of all programs (pooled). An error counts by what it is beyond the standard
error; a truth lies within an interval that is widened by it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

Measured = Mapping[str, Any]  # program: {"as_found": [{"cpu": s}], "fixed": [...]}


@dataclass(frozen=True)
class Truth:
    """What a twin did not use: the mean share over pairs, its standard error, and CPU seconds."""

    share: float
    error: float
    cpu_s: float
    pairs: int


def shares(measured: Measured, name: str) -> list[float]:
    """Return the share that the twin did not use, pair by pair; empty where it was not measured on both sides."""
    sides = measured.get(name, {})
    if not isinstance(sides, Mapping):
        return []
    pairs = zip(sides.get("as_found", ()), sides.get("fixed", ()), strict=False)
    return [1 - fixed["cpu"] / found["cpu"] for found, fixed in pairs]


def spread(measured: Measured) -> float:
    """Return the standard deviation of one pair's saving around its program's mean, over all programs; 0 if none has two."""
    every = [pairs for name in measured if len(pairs := shares(measured, name)) > 1]
    freedom = sum(len(pairs) - 1 for pairs in every)
    squares = sum((s - statistics.mean(pairs)) ** 2 for pairs in every for s in pairs)
    return sqrt(squares / freedom) if freedom else 0.0


def truth(measured: Measured, name: str) -> Truth | None:
    """Return the true saving of a program; None where it was not measured on both sides."""
    pairs = shares(measured, name)
    if not pairs:
        return None
    cpu_s = statistics.median(r["cpu"] for r in measured[name]["as_found"])
    return Truth(statistics.mean(pairs), spread(measured) / sqrt(len(pairs)), cpu_s, len(pairs))


@dataclass
class Score:
    """What has been counted so far."""

    wasteful: int = 0
    right: int = 0
    healthy: int = 0
    accused: int = 0
    raised: int = 0
    inside: int = 0
    won_s: float = 0.0
    possible_s: float = 0.0

    def __post_init__(self) -> None:
        """Begin the lists of errors."""
        self.errors: list[float] = []
        self.beyond: list[float] = []


def score(workloads: Path, predicted: Mapping[str, Sequence[Mapping[str, Any]]], measured: Measured) -> Score:
    """Print a line for each program that has a truth, then the table; return what was counted."""
    total = Score()
    for name, ranked in predicted.items():
        place = workloads / name / "truth.json"
        if place.exists():
            print(_line(total, name, json.loads(place.read_text()), ranked, truth(measured, name)))
    print(f"\none pair's saving varies by {100 * spread(measured):.1f} points (standard deviation)")
    print(f"\n| first advice names the cause | {total.right} of {total.wasteful} |")
    print(f"| healthy controls with any finding | {total.accused} of {total.healthy} |")
    print(f"| right advice that raised CPU-seconds | {total.raised} |")
    if total.errors:
        count = len(total.errors)
        print(
            f"| error of the predicted saving (CPU) | mean {100 * statistics.mean(map(abs, total.errors)):.1f} points, worst "
            f"{100 * max(map(abs, total.errors)):.1f}; beyond the truth's standard error {100 * statistics.mean(total.beyond):.1f} |"
        )
        print(f"| bias (predicted - saved) | {100 * statistics.mean(total.errors):+.1f} points |")
        print(
            f"| truth inside the 90 % interval | {total.inside} of {count} ({100 * total.inside / count:.0f} %) |"
        )
    if total.possible_s:
        print(f"| saving won by the first advice | {total.won_s / total.possible_s:.0%} |")
    return total


def _line(
    total: Score, name: str, said: Mapping[str, Any], ranked: Sequence[Mapping[str, Any]], real: Truth | None
) -> str:
    got = [p["cause"] for p in ranked] or "-"
    if not said.get("cause"):
        total.healthy += 1
        total.accused += bool(ranked)
        return f"{name:<20} healthy                    got {got}"
    total.wasteful += 1
    first = ranked[0] if ranked else None
    hit = first is not None and first["cause"] in {said["cause"], *said.get("also_acceptable", [])}
    total.right += hit
    line = f"{name:<20} {said['cause']:<26} got {got}"
    if real is None:
        return line
    total.possible_s += max(0.0, real.share) * real.cpu_s
    total.won_s += max(0.0, real.share) * real.cpu_s * hit
    if not hit or first is None:
        return line
    total.raised += real.share < -real.error
    error = first["saving_cpu"] - real.share
    low, high = first["low_cpu"] - real.error, first["high_cpu"] + real.error
    total.errors.append(error)
    total.beyond.append(max(0.0, abs(error) - real.error))
    total.inside += low <= real.share <= high
    mark = "" if low <= real.share <= high else "  OUTSIDE"
    return (
        f"{line}  saved {real.share:.0%} ±{100 * real.error:.0f} ({real.pairs}), predicted {first['saving_cpu']:.0%} "
        f"({first['low_cpu']:.0%} to {first['high_cpu']:.0%}){mark}"
    )
