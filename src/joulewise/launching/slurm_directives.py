"""What an `sbatch` line asks for, read from its options and its script's `#SBATCH` lines, for the planner.

Only what planning needs is read: time limit, processors, GPUs, memory, name. Everything reaches Slurm as it stands. Options on the
line come before the script's, as in Slurm.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from joulewise.launching.port import Refused

_SHORT = {
    "t": "time",
    "n": "ntasks",
    "N": "nodes",
    "c": "cpus-per-task",
    "J": "job-name",
    "G": "gpus",
    "a": "array",
}
_READ = frozenset({*_SHORT.values(), "mem", "mem-per-cpu", "gres", "gpus-per-node", "ntasks-per-node"})
# short options that take no value; every other short one does
_FLAGS = frozenset("HIOQVehkvWs")
_LONG_FLAGS = frozenset(
    [
        "contiguous",
        "exclusive",
        "get-user-env",
        "hold",
        "ignore-pbs",
        "no-kill",
        "no-requeue",
        "overcommit",
        "oversubscribe",
        "parsable",
        "quiet",
        "reboot",
        "requeue",
        "spread-job",
        "test-only",
        "use-min-nodes",
        "verbose",
        "wait",
    ]
)
_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class Directives:
    """What a script asks for in all; None and 0 where it does not say."""

    limit_s: float | None = None
    cpus: int = 1
    gpus: int = 0
    memory_bytes: int | None = None
    nodes: int = 1
    name: str = ""
    array: bool = False


def is_sbatch(argv: Sequence[str]) -> bool:
    """Whether a command is an sbatch line."""
    return bool(argv) and os.path.basename(argv[0]) == "sbatch"


def directives(argv: Sequence[str], cwd: str) -> Directives:
    """Return what an sbatch line asks for. Raises Refused if its script cannot be read."""
    told, rest = _options(argv[1:])
    if rest:
        path = os.path.join(cwd, rest[0])
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = _head(file)
        except OSError as error:
            raise Refused(f"cannot read the script {rest[0]}: {error.strerror}") from None
        told = {**_options(lines)[0], **told}
    nodes = _number(told.get("nodes", "1").partition("-")[0], 1)
    tasks = _number(told.get("ntasks", ""), 0) or nodes * _number(told.get("ntasks-per-node", ""), 1)
    cpus = tasks * _number(told.get("cpus-per-task", ""), 1)
    per_node = told.get("gpus-per-node") or told.get("gres", "")
    gpus = _number(told.get("gpus", "").rpartition(":")[2], 0)
    if not gpus and (told.get("gpus-per-node") or per_node.startswith("gpu")):
        gpus = nodes * _number(per_node.rpartition(":")[2], 1)
    memory = _bytes(told["mem"]) * nodes if "mem" in told else None
    if memory is None and "mem-per-cpu" in told:
        memory = _bytes(told["mem-per-cpu"]) * cpus
    limit_s = _seconds(told["time"]) if "time" in told else None
    return Directives(limit_s, cpus, gpus, memory or None, nodes, told.get("job-name", ""), "array" in told)


def _head(lines: Iterable[str]) -> list[str]:
    """Return the words of the `#SBATCH` lines, which end at the script's first command."""
    words: list[str] = []
    for line in lines:
        if line.startswith("#SBATCH"):
            try:
                words += shlex.split(line[len("#SBATCH") :], comments=True)
            except ValueError:  # an open quote: Slurm will say so
                continue
        elif line.strip() and not line.startswith("#"):
            break
    return words


def _options(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options that are read, and what follows the options."""
    told: dict[str, str] = {}
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "-":
        word = words[at]
        at += 1
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals and name not in _LONG_FLAGS:
                value, at = (words[at] if at < len(words) else ""), at + 1
        elif word[1] in _FLAGS:
            continue
        else:
            name, value = _SHORT.get(word[1], word[1]), word[2:]
            if not value:
                value, at = (words[at] if at < len(words) else ""), at + 1
        if name in _READ:
            told[name] = value
    return told, list(words[at:])


def _seconds(text: str) -> float | None:
    """Return the seconds of a Slurm time: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M`, `D-H:M:S`; None for no limit."""
    days, dash, rest = text.rpartition("-")
    try:
        parts = [int(part) for part in rest.split(":")]
        if dash:
            hours, minutes, seconds = (*parts, 0, 0)[:3]
            return int(days) * 86400.0 + hours * 3600 + minutes * 60 + seconds
    except ValueError:
        return None
    if len(parts) == 1:
        return parts[0] * 60.0
    if len(parts) == 2:
        return parts[0] * 60.0 + parts[1]
    return parts[0] * 3600.0 + parts[1] * 60 + parts[2]


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip(), re.IGNORECASE)
    return ceil(float(found[1]) * _BYTES[found[2].upper() or "M"]) if found else 0


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdigit() else otherwise
