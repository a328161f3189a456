"""Slurm's commands and what they print: one squeue for all of a user's jobs, refusals in one line.

The commands are the same from version 20.11 on, and work where the cluster keeps no accounting. A cluster that does not
answer raises Unreachable; one that says no, Refused with its own words.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from joulewise.launching.port import Refused, Unreachable
from joulewise.vocabulary.errors import EngineError

_FIELDS = (
    "JobID",
    "ArrayJobID",
    "ArrayTaskID",
    "State",
    "exit_code",
    "RestartCnt",
    "PriorityLong",
    "Reason",
    "NodeList",
    "StartTime",
    "EndTime",
    "Comment",
)
_AWAY = re.compile(
    r"unable to contact slurm|socket timed out|connection (refused|timed out)|communication|zero bytes|protocol auth"
    r"|munge|slurm_persist|resource temporarily|temporarily unable",
    re.IGNORECASE,
)
_FRESH_S = 1.0  # one squeue serves all who ask within this time
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """A job, or one task of an array, as squeue shows it; `exit_code` as a shell would."""

    job: str
    array: str
    task: str
    state: str
    exit_code: int
    restarts: int
    held: bool
    reason: str
    comment: str
    nodes: tuple[str, ...] = ()
    began_s: float | None = None
    ended_s: float | None = None


@final
class SlurmCommands:
    """Runs Slurm's commands with `environment` laid over ours (SLURM_CONF, say). Times are asked for in seconds since 1970."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {"SLURM_TIME_FORMAT": "%s", **environment}
        self._rows: dict[str, list[Row]] = {}
        self._asked_s = float("-inf")

    def run(self, *argv: str, holds: int | None = None) -> str:
        """Run a command and return what it prints. With `holds` (a descriptor) it keeps that lock until it ends."""
        keep = () if holds is None else (holds,)
        self._asked_s = float("-inf")  # what we do changes what squeue shows
        try:
            done = subprocess.run(
                argv,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE_S,
                env={**os.environ, **self._environment},
                pass_fds=keep,
            )
        except FileNotFoundError:
            raise Refused(f"{argv[0]} is not installed here: submit from a host of the cluster") from None
        except subprocess.TimeoutExpired:
            raise Unreachable(f"{argv[0]} did not answer within {_PATIENCE_S:g} s") from None
        if done.returncode == 0:
            return done.stdout
        said = _first_line(done.stderr or done.stdout) or f"exit code {done.returncode}"
        raise (Unreachable if _AWAY.search(said) else Refused)(f"{argv[0]}: {said}")

    def rows(self, job: str, *, fresh: bool = False) -> list[Row]:
        """Return the rows of a job (several for an array, empty if Slurm does not know it); all jobs are read at once."""
        stale = time.monotonic() - self._asked_s > _FRESH_S
        if fresh or stale or job not in self._rows:
            self._read()
        return self._rows.get(job, [])

    def job_of(self, comment: str) -> str | None:
        """Return the job whose comment begins with `comment`, or None."""
        self._read()
        for job, rows in self._rows.items():
            if any(f"{row.comment} ".startswith(f"{comment} ") for row in rows):
                return job
        return None

    def binds_cores(self) -> bool:
        """Whether jobs are bound to the very cores that Slurm counts as theirs."""
        told = self.run("scontrol", "show", "config")
        return bool(
            re.search(
                r"^TaskPlugin\s*=.*affinity|^ConstrainCores\s*=\s*yes", told, re.MULTILINE | re.IGNORECASE
            )
        )

    def may_suspend(self) -> bool:
        """Whether the user is one of those who may ask Slurm to suspend: root, Slurm's own user, an operator by its accounting."""
        told = self.run("scontrol", "show", "config")
        owner = re.search(r"^SlurmUser\s*=\s*[^\s(]+\((\d+)\)", told, re.MULTILINE)
        if os.geteuid() in (0, int(owner[1]) if owner else 0):
            return True
        try:
            me = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:  # a user without a name is no operator
            return False
        try:
            level = self.run("sacctmgr", "--noheader", "--parsable2", "show", "user", me, "format=AdminLevel")
        except EngineError:  # no accounting: nobody else may
            return False
        return level.strip() in ("Operator", "Administrator")

    def _read(self) -> None:
        told = self.run(
            "squeue", "-h", "-r", "-t", "all", "--me", "-O", ",".join(f"{name}:|" for name in _FIELDS)
        )
        self._rows = {}
        for line in told.splitlines():
            row = _row(line)
            if row is not None:
                self._rows.setdefault(row.array or row.job, []).append(row)
        self._asked_s = time.monotonic()


def _row(line: str) -> Row | None:
    words = line.split("|", len(_FIELDS) - 1)
    if len(words) < len(_FIELDS):
        return None
    job, array, task, state, code, restarts, priority, reason, nodes, begun, over, comment = words
    return Row(
        job,
        array,
        task,
        state,
        _exit_code(code),
        int(restarts) if restarts.isdigit() else 0,
        priority == "0",
        reason,
        comment.rstrip("|"),
        hosts(nodes),
        float(begun) if begun.isdigit() else None,
        float(over) if over.isdigit() else None,
    )


def hosts(text: str) -> tuple[str, ...]:
    """Return the nodes of a list as Slurm writes it: `n[01-03,7],m1`."""
    found: list[str] = []
    for name, inside, rest in re.findall(r"([^,\[]+)(?:\[([^\]]*)\])?([^,\[]*)", text.strip()):
        for part in inside.split(",") if inside else [""]:
            first, _dash, last = part.partition("-")
            if last.isdigit() and first.isdigit():
                found += [f"{name}{n:0{len(first)}d}{rest}" for n in range(int(first), int(last) + 1)]
            else:
                found.append(f"{name}{part}{rest}")
    return tuple(found)


def _exit_code(told: str) -> int:
    """Return a shell's exit code from `code:signal` (newer versions) or a wait status (older ones)."""
    code, colon, number = told.partition(":")
    if not code.isdigit():
        return 0
    status = int(code)
    if colon:
        return 128 + int(number) if number.isdigit() and int(number) else status
    return 128 + (status & 0x7F) if status & 0x7F else status >> 8


def _first_line(text: str) -> str:
    """Return the line that says why, without the command's own name in front."""
    lines = [line for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "fatal:" in line]
    telling += [line for line in lines if "error" in line.lower() or "denied" in line.lower()] or lines
    return re.sub(r"^\w+: ((error|fatal): )?", "", telling[0]).strip() if telling else ""
