"""The journal of a study: every decision with its reason, every epoch, every failure, a line each, as it happens.

The lines are the study: what is known follows from folding them (`Known.take`), in the running study as in `read` and
`replay`. Where they are kept, and how several workers share them, is the log's business (log.py).

    head                 the space and the rules
    past                 a run of before, as a complete trial
    joined, parted       a worker, its process; what it had spent
    decision             of a worker, with its reason: the trial is that worker's from here on
    began, epoch         an epoch and what it is expected to cost; its value and what it did cost
    left, failed, saved  a trial is frozen or complete, failed, has written a checkpoint
    lost                 a worker is gone without a word: the epoch that it had begun counts as if it had been trained
    end                  why a worker, or the whole study, came to an end
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from threadpoolctl import threadpool_limits

from joulewise.searching.curves import Beliefs
from joulewise.searching.deciding import Rules, decide
from joulewise.searching.history import Decision, State, Trial
from joulewise.searching.log import Line, decoded
from joulewise.searching.space import Choice, Float, Int, Parameter, Space
from joulewise.vocabulary.errors import UsageError

FORMAT = 2
_SUMS = ("energy_j", "carbon_g", "cost")


@dataclass(slots=True)
class Member:
    """A worker as the lines show it: its process, what it has spent, and the epoch that it trains."""

    process: Mapping[str, Any]
    offset_s: float  # of the study's time when it joined
    spent: dict[str, float] = field(default_factory=dict)
    active: bool = True
    trial: int = -1  # which it trains
    expected: float = 0.0  # what the epoch that it has begun is expected to cost, in what the study counts
    heard_utc: str = ""
    slowest_s: float = 0.0  # of its epochs


@final
class Known:
    """What follows from the lines of a journal so far: the trials, the workers, and why the study ended."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.members: dict[str, Member] = {}
        self.reason = ""
        self.over = False  # the whole study, not only the worker that said so
        self.broken = False  # it came to its end because the objective cannot work
        self.saved: dict[int, tuple[int, str | Path]] = {}  # trial: after which epoch, what
        self.deciding_s = 0.0  # CPU seconds that decisions took, by workers that have parted
        self.deaths: dict[tuple[int, int], int] = {}  # trial, epoch: how many workers were lost in it
        self._unit = "energy_j"
        self._before: dict[str, float] = {}  # spent by workers that are gone

    @property
    def spent(self) -> dict[str, float]:
        """What all workers have spent: joules, grams and money added up; of the time, what passed while any worked."""
        return self.spent_without("")

    def spent_without(self, worker: str) -> dict[str, float]:
        """Return what all workers but one have spent."""
        total = dict(self._before)
        for name, member in self.members.items():
            if name == worker:
                continue
            for key in _SUMS:
                if key in member.spent:
                    total[key] = total.get(key, 0.0) + member.spent[key]
            total["time_s"] = max(total.get("time_s", 0.0), member.offset_s + member.spent.get("time_s", 0.0))
        return total

    def reserved(self, worker: str) -> float:
        """Return what the epochs that other workers have begun are expected to cost."""
        return sum(m.expected for name, m in self.members.items() if name != worker)

    def take(self, line: Mapping[str, Any]) -> None:
        """Add a line."""
        member = self.members.get(line.get("worker", ""))
        if member is not None and "utc" in line:
            member.heard_utc = line["utc"]
        match line["kind"]:
            case "head":
                self._unit = "time_s" if line["rules"]["unit"] == "s" else "energy_j"
            case "joined":
                if not any(m.active for m in self.members.values()):
                    self.over = self.broken = False
                self.members[line["worker"]] = Member(
                    line["process"], self.spent.get("time_s", 0.0), heard_utc=line["utc"]
                )
            case "past":
                self.trials.append(_past(line))
            case "decision":
                self._decided(line, member)
            case "began":
                if member is not None:
                    member.expected = line["expected"]
            case "epoch":
                self._epoch(line, member)
            case "left" | "failed":
                self._left(line, member)
            case "saved":
                state = line["state"]
                self.saved[line["trial"]] = (line["epoch"], Path(state) if line["path"] else state)
            case "parted" | "lost":
                self._gone(line, member)
            case "end":
                self.reason = line["reason"]
                self.over = self.over or line["whole"]
                self.broken = self.broken or line.get("broken", False)

    def saved_at(self, number: int) -> int:
        """Return the epoch after which a trial last saved what survives its process; 0 if it never did."""
        return self.saved[number][0] if number in self.saved else 0

    def _decided(self, line: Mapping[str, Any], member: Member | None) -> None:
        if line["step"] == "start":
            key = json.dumps(line["params"], default=str)
            self.trials.append(Trial(line["trial"], _point(line["point"]), key=key))
        if line["trial"] >= 0:
            self._change(line["trial"], state=State.RUNNING, holder=line["worker"])
            if member is not None:
                member.trial = line["trial"]

    def _epoch(self, line: Mapping[str, Any], member: Member | None) -> None:
        trial = self.trials[line["trial"]]
        if line["epoch"] > trial.epoch:
            self._change(
                trial.number,
                values=(*trial.values, line["value"]),
                costs_j=(*trial.costs_j, line["cost"]),
                resumable=True,
            )
        if member is not None:
            member.expected = 0.0
            self._tell(member, line["spent"])

    def _tell(self, member: Member, told: Mapping[str, float | None]) -> None:
        took_s = (told.get("time_s") or 0.0) - member.spent.get("time_s", 0.0)
        member.slowest_s = max(member.slowest_s, took_s)
        member.spent = {name: value for name, value in told.items() if value is not None}

    def _left(self, line: Mapping[str, Any], member: Member | None) -> None:
        number = line["trial"]
        if member is not None and member.trial == number:
            member.trial, member.expected = -1, 0.0
        if line["kind"] == "failed":
            self._change(number, state=State.FAILED, why=line["why"], holder="")
            return
        portable = not line["resumable"] or self.saved_at(number) >= self.trials[number].epoch
        holder = "" if portable else line["worker"]
        self._change(number, state=State(line["state"]), resumable=line["resumable"], holder=holder)

    def _gone(self, line: Mapping[str, Any], member: Member | None) -> None:
        """Let a worker go: what stood in its memory is gone, what it had begun counts as trained."""
        if member is None or not member.active:
            return
        if line["kind"] == "parted":
            self.deciding_s += line["deciding_s"]
            self._tell(member, line["spent"])
        elif member.expected:
            before = member.spent.get(self._unit, 0.0)
            for key in (*_SUMS, "time_s"):
                if before > 0 and key in member.spent:
                    member.spent[key] *= 1 + member.expected / before
            if before <= 0:
                member.spent[self._unit] = member.expected
            if member.trial >= 0:
                at = (member.trial, self.trials[member.trial].epoch + 1)
                self.deaths[at] = self.deaths.get(at, 0) + 1
        member.active, member.trial, member.expected = False, -1, 0.0
        for trial in self.trials:
            if trial.holder == line["worker"] and trial.state in (State.RUNNING, State.PAUSED):
                kept = self.saved_at(trial.number) >= trial.epoch
                self._change(trial.number, state=State.PAUSED, holder="", resumable=kept)
        if not any(m.active for m in self.members.values()):
            self._before = self.spent
            self.members.clear()

    def _change(self, number: int, **changes: Any) -> None:
        self.trials[number] = replace(self.trials[number], **changes)


def head(name: str, space: Space, rules: Rules) -> Line:
    """Return a journal's first line."""
    return {"kind": "head", "format": FORMAT, "name": name, "space": space.describe(), "rules": asdict(rules)}


def decided(decision: Decision, space: Space, worker: str = "") -> Line:
    """Return the line of a decision."""
    line: Line = {
        "kind": "decision",
        "worker": worker,
        "step": decision.step.value,
        "trial": decision.trial,
        "until": decision.until,
        "reason": decision.reason,
    }
    if decision.point is not None:
        line["point"] = [None if np.isnan(v) else float(v) for v in decision.point]
        line["params"] = space.configuration(decision.point)
    return line


def read(path: Path) -> list[Line]:
    """Return the lines of a journal; a torn last line is skipped, and a file that is none is refused."""
    try:
        data = path.read_bytes()
        text = data[: data.rfind(b"\n") + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the study {path}: {error}") from None
    lines = decoded(list(text.splitlines()), str(path))
    check_head(str(path), lines)
    return lines


def check_head(where: str, lines: Sequence[Line]) -> None:
    """Refuse lines that are no study's, or of another joulewise."""
    if not lines or lines[0].get("kind") != "head":
        raise UsageError(f"{where} is not the journal of a study: it has no first line")
    if lines[0]["format"] != FORMAT:
        remedy = "update joulewise" if lines[0]["format"] > FORMAT else "give the new study another name"
        raise UsageError(
            f"{where} has format {lines[0]['format']}, but this joulewise knows {FORMAT}; {remedy}"
        )


def check_same(where: str, lines: Sequence[Line], space: Space, rules: Rules) -> None:
    """Refuse to go on with a journal that was made with another space or other rules."""
    old = json.loads(json.dumps(lines[0], default=str))  # as it stands in a file
    new = json.loads(json.dumps(head("", space, rules), default=str))
    names = [n for n in {**old["space"], **new["space"]} if old["space"].get(n) != new["space"].get(n)]
    if names or list(old["space"]) != list(new["space"]):
        raise UsageError(
            f"a study named {old['name']!r} exists with another space ({', '.join(names) or 'the order'} differs); give this one another name, or move {where} away"
        )
    rest = [
        n
        for n in new["rules"]
        if n not in ("most_trials", "tolerance") and old["rules"].get(n) != new["rules"][n]
    ]
    if rest:
        raise UsageError(
            f"a study named {old['name']!r} exists with another {rest[0]} ({old['rules'].get(rest[0])}, now {new['rules'][rest[0]]}); give this one another name, or move {where} away"
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """How many decisions were made again from what was known then, and which came out otherwise."""

    decisions: int
    differing: tuple[str, ...]


def replay(lines: Iterable[Line]) -> Replay:
    """Make every decision of a journal again from the lines before it, and compare."""
    known, count, differing = Known(), 0, []
    beliefs: dict[str, Beliefs | None] = {}  # each worker's own
    rules: dict[str, Rules] = {}
    space = None
    for line in lines:
        worker = line.get("worker", "")
        if line["kind"] == "head":
            space = space_of(line["space"])
        elif line["kind"] == "joined":
            beliefs[worker], rules[worker] = None, Rules(**line["rules"])
        elif line["kind"] == "decision" and space is not None and worker in rules:
            # one thread, as in the study: another order of sums may tip a close choice
            with threadpool_limits(1, "blas"):
                decision, beliefs[worker] = decide(
                    space, known.trials, beliefs[worker], rules[worker], worker
                )
            again = json.loads(json.dumps(decided(decision, space, worker), default=str))
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


def _past(line: Mapping[str, Any]) -> Trial:
    return Trial(
        line["trial"], _point(line["point"]), tuple(line["values"]), tuple(line["costs"]), State.COMPLETE,
        line["source"], key=json.dumps(line["params"], default=str), past=True,
    )  # fmt: skip


def _point(shares: Sequence[float | None]) -> Any:
    return np.array([np.nan if v is None else v for v in shares], dtype=float)
