"""The journal of a study: every decision with its reason, every epoch, every failure, a line each, as it happens.

The lines are the study: what is known follows from folding them (`Known.take`), in the running study as in `read` and
`replay`. A killed process loses the epoch it was training and nothing else; a torn last line is skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from threadpoolctl import threadpool_limits

from joulewise.searching.deciding import Rules, decide
from joulewise.searching.history import Decision, State, Trial
from joulewise.searching.space import Choice, Float, Int, Parameter, Space
from joulewise.vocabulary.errors import UsageError

Line: TypeAlias = dict[str, Any]
FORMAT = 1


@final
class Known:
    """What follows from the lines of a journal so far: the trials, and why the study ended."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.spent: dict[str, float] = {}  # by all processes that worked on this study
        self._earlier: dict[str, float] = {}
        self.reason = ""
        self.saved: dict[int, tuple[int, str | Path]] = {}  # trial: after which epoch, what

    def take(self, line: Mapping[str, Any]) -> None:
        """Add a line."""
        match line["kind"]:
            case "decision":
                if line["step"] == "start":
                    self.trials.append(Trial(line["trial"], _point(line["point"])))
            case "epoch":
                self._epoch(line)
            case "left":
                self._change(line["trial"], state=State(line["state"]), resumable=line["resumable"])
            case "failed":
                self._change(line["trial"], state=State.FAILED, why=line["why"])
            case "resumed":
                self._earlier = dict(self.spent)
                self.trials = [
                    replace(t, resumable=t.state is not State.PAUSED or self.saved_at(t.number) >= t.epoch)
                    for t in self.trials
                ]
            case "saved":
                state = line["state"]
                self.saved[line["trial"]] = (line["epoch"], Path(state) if line["path"] else state)
            case "end":
                self.reason = line["reason"]

    def saved_at(self, number: int) -> int:
        """Return the epoch after which a trial last saved what survives its process; 0 if it never did."""
        return self.saved[number][0] if number in self.saved else 0

    def _epoch(self, line: Mapping[str, Any]) -> None:
        trial = self.trials[line["trial"]]
        if line["epoch"] > trial.epoch:
            self._change(
                trial.number,
                values=(*trial.values, line["value"]),
                costs_j=(*trial.costs_j, line["cost"]),
                resumable=True,
            )
        self.spent = {
            name: self._earlier.get(name, 0.0) + value
            for name, value in line["spent"].items()
            if value is not None
        }

    def _change(self, number: int, **changes: Any) -> None:
        self.trials[number] = replace(self.trials[number], **changes)


def head(name: str, space: Space, rules: Rules) -> Line:
    """Return a journal's first line."""
    return {"kind": "head", "format": FORMAT, "name": name, "space": space.describe(), "rules": asdict(rules)}


def decided(decision: Decision, space: Space) -> Line:
    """Return the line of a decision."""
    line: Line = {
        "kind": "decision",
        "step": decision.step.value,
        "trial": decision.trial,
        "until": decision.until,
        "reason": decision.reason,
    }
    if decision.point is not None:
        line["point"] = [None if np.isnan(v) else float(v) for v in decision.point]
        line["params"] = space.configuration(decision.point)
    return line


@final
class Journal:
    """A file that lines are added to, or (without a path) none; each line is with the kernel when `add` returns.

    It is locked while it is open: two processes that decide at once would not know of each other's trials. The lock
    goes with the process, however that ends.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = -1
        if path is None:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UsageError(
                f"the study {path} is being searched by another process; wait for it, or give this one another name"
            ) from None
        self._mend()

    def add(self, line: Line) -> None:
        """Append a line."""
        if self._file >= 0:
            os.write(self._file, (json.dumps(line, default=str) + "\n").encode())

    def close(self) -> None:
        """Give the file back; nothing can be added afterwards."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _mend(self) -> None:
        """Cut off a torn last line, so that the next one begins a line of its own."""
        size = os.fstat(self._file).st_size
        data = os.pread(self._file, size, 0)
        if data and not data.endswith(b"\n"):
            os.ftruncate(self._file, data.rfind(b"\n") + 1)


def read(path: Path) -> list[Line]:
    """Return the lines of a journal; a torn last line is skipped, and a file that is none is refused."""
    lines: list[Line] = []
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the study {path}: {error}") from None
    for number, text in enumerate(texts, 1):
        try:
            lines.append(json.loads(text))
        except ValueError:
            if number < len(texts):
                raise UsageError(f"{path} is damaged at line {number}; it is not a study's journal") from None
    if not lines or lines[0].get("kind") != "head":
        raise UsageError(f"{path} is not the journal of a study: it has no first line")
    if lines[0]["format"] > FORMAT:
        raise UsageError(
            f"{path} has format {lines[0]['format']}, but this joulewise knows {FORMAT}; update joulewise"
        )
    return lines


def check_same(path: Path, lines: Sequence[Line], space: Space, rules: Rules) -> None:
    """Refuse to go on with a journal that was made with another space or other rules."""
    old = lines[0]
    new = json.loads(json.dumps(head("", space, rules), default=str))
    names = [n for n in {**old["space"], **new["space"]} if old["space"].get(n) != new["space"].get(n)]
    if names or list(old["space"]) != list(new["space"]):
        raise UsageError(
            f"a study named {old['name']!r} exists with another space ({', '.join(names) or 'the order'} differs); give this one another name, or move {path} away"
        )
    rest = [n for n in new["rules"] if n != "most_trials" and old["rules"].get(n) != new["rules"][n]]
    if rest:
        raise UsageError(
            f"a study named {old['name']!r} exists with another {rest[0]} ({old['rules'].get(rest[0])}, now {new['rules'][rest[0]]}); give this one another name, or move {path} away"
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """How many decisions were made again from what was known then, and which came out otherwise."""

    decisions: int
    differing: tuple[str, ...]


def replay(lines: Iterable[Line]) -> Replay:
    """Make every decision of a journal again from the lines before it, and compare."""
    known, beliefs, count, differing = Known(), None, 0, []
    space, rules = None, None
    for line in lines:
        if line["kind"] == "head":
            space, rules = space_of(line["space"]), Rules(**line["rules"])
        elif line["kind"] == "resumed":
            beliefs, rules = None, Rules(**line["rules"])
        elif line["kind"] == "decision" and space is not None and rules is not None:
            with threadpool_limits(
                1, "blas"
            ):  # as in the study: another order of sums may tip a close choice
                decision, beliefs = decide(space, known.trials, beliefs, rules)
            again = json.loads(json.dumps(decided(decision, space), default=str))
            count += 1
            if again != json.loads(json.dumps(line, default=str)):
                differing.append(
                    f"decision {count}: {line['step']} of trial {line['trial']} to {line['until']}, now {again['step']} of trial {again['trial']} to {again['until']}"
                )
        known.take(line)
    return Replay(count, tuple(differing))


def space_of(told: Mapping[str, Any]) -> Space:
    """Return the space that `Space.describe` told."""
    parameters: dict[str, Parameter] = {}
    for name, entry in told.items():
        when = {parent: tuple(values) for parent, values in entry.get("when", {}).items()}
        if entry["kind"] == "choice":
            parameters[name] = Choice(tuple(entry["values"]), when)
        else:
            kind = Float if entry["kind"] == "float" else Int
            parameters[name] = kind(entry["low"], entry["high"], entry["log"], when)
    return Space(parameters)


def safe_name(name: str) -> str:
    """Return a file's name for a study: letters, digits, `-`, `_` and `.`; refuses a name that is none of these."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if not kept:
        raise UsageError(f"the study's name is {name!r}, but needs a letter or a digit")
    return kept[:80]


def _point(shares: Sequence[float | None]) -> Any:
    return np.array([np.nan if v is None else v for v in shares], dtype=float)
