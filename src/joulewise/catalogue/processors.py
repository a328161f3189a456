"""Processors: the thermal design power (TDP) of one, and its threads, by the name that the kernel gives it.

TDP is the vendor's figure for sustained power at base frequency (Intel: processor base power). What a machine draws at
full load is another matter, and how far it is from sockets x TDP is in the interval of `catalogue.load_curve`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from joulewise.catalogue.tables import read_facts

# what stands in `/proc/cpuinfo` beside the name: marks, clock speed, core count, "CPU", "Processor", "with Radeon ..."
_BESIDE = re.compile(
    r"\((?:r|tm|c)\)|@.*|\bwith\b.*|\bw/.*|\bv?cpus?\b|\bprocessor\b|\b(?:\d+|six|eight|twelve|quad|dual)-cores?\b"
    r"|\b\d+th gen\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class KnownProcessor:
    """One processor: its name, TDP in watts, and hardware threads."""

    name: str
    tdp_w: float
    threads: int


def find_processor(model: str) -> KnownProcessor | None:
    """Return the processor that the kernel calls `model` (`model name` of /proc/cpuinfo), None if it is not known.

    The whole name must agree: a Xeon 8275CL is not an 8275, and a near name is no answer.
    """
    return _known().get(_plain(model))


def _plain(model: str) -> str:
    return " ".join(_BESIDE.sub(" ", model).replace("-", " ").casefold().split())


@cache
def _known() -> Mapping[str, KnownProcessor]:
    rows = read_facts("processors.csv")
    return {
        _plain(row["name"]): KnownProcessor(row["name"], float(row["tdp_w"]), int(row["threads"]))
        for row in rows
    }
