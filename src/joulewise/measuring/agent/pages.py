"""Read what the agents in a recording's folder have seen, for the recorder to write down.

`Pages.look` returns what is new since the last look: per process the facts that were added, and the numbers of the
page with the open phase closed as of now. The CPU seconds of an open phase come from `/proc`. When a process has
ended, its account is closed and its files are removed. A process that runs for hours is told less often: every
sixtieth of its age, at most every half minute.
"""

from __future__ import annotations

import ast
import os
import struct
from dataclasses import dataclass, field
from typing import Any, final

from joulewise.ledger.files import process_start
from joulewise.measuring.agent.inside import layout as at

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MOST_AT_ONCE = 4_000_000
_OFTEN_S, _SELDOM_S = 0.8, 30.0


@dataclass(slots=True)
class _Known:
    """A process that has been seen: where its facts have been read to, and how it stood at the last look."""

    pid: int
    began_s: float  # monotonic
    start: int
    head: dict[str, Any] = field(default_factory=dict)
    read: int = 0
    last: tuple[float, float, float, float] | None = (
        None  # seen alive: when, its CPU, its main thread's, its delay
    )
    told_s: float = float("-inf")
    closed: bool = False


@final
class Pages:
    """The agents' files in one folder. `started_s` is the monotonic time at which the recording began."""

    def __init__(self, folder: str, started_s: float, root_pid: int, proc: str = "/proc") -> None:
        self._folder = folder
        self._started_s = started_s
        self._root_pid = root_pid
        self._proc = proc
        self._known: dict[str, _Known] = {}

    @property
    def any_seen(self) -> bool:
        """Whether any process had an agent."""
        return bool(self._known)

    def look(
        self, now_s: float, *, last: bool = False, root_end_s: float | None = None
    ) -> list[dict[str, Any]]:
        """Return one entry (`of`, `set`, `add`) for each process with news. `now_s` is monotonic.

        At the `last` look every account is closed; the root's at `root_end_s`, when it ended.
        """
        try:
            names = os.listdir(self._folder)
        except OSError:
            return []
        for name in names:
            if name.startswith("agent-") and name.endswith(".page") and name[:-5] not in self._known:
                words = name[:-5].rsplit("-", 2)
                if len(words) == 3 and words[1].isdecimal() and words[2].isdecimal():
                    pid = int(words[1])
                    self._known[name[:-5]] = _Known(pid, int(words[2]) / 1000, process_start(pid))
        news = []
        for name, known in self._known.items():
            if not known.closed:
                entry = self._entry(name, known, now_s, root_end_s if last else None, last=last)
                if entry is not None:
                    news.append(entry)
        return news

    def _entry(
        self, name: str, known: _Known, now_s: float, root_end_s: float | None, *, last: bool
    ) -> dict[str, Any] | None:
        used = self._cpu(known)
        alive = used is not None and not self._replaced(known)
        if used is not None and alive:
            known.last = (now_s, *used)
            if not last and now_s - known.told_s < min(
                _SELDOM_S, max(_OFTEN_S, (now_s - known.began_s) / 60)
            ):
                return None
        page = self._page(name)
        if page is None:  # still being made; or its process ended while it made it
            known.closed = last or not alive
            if known.closed:
                self._remove(name)
            return None
        set_, add = self._facts(name, known)
        if not known.head:
            head = set_.pop("head", {})
            if not head:
                return None
            known.head = head
            kind = "main" if known.pid == self._root_pid and head["kind"] == "main" else head["kind"]
            kind = "child" if kind == "main" and known.pid != self._root_pid else kind
            set_["head"] = {**head, "kind": kind, "start_s": round(page[at.BEGAN] - self._started_s, 4)}
        end_s = now_s if alive else self._end(known, page, now_s, root_end_s)
        known.told_s = now_s
        known.closed = last or not alive
        if known.closed:
            self._remove(name)
        numbers = _numbers(page, end_s, known, self._started_s, ended=not alive)
        _shift(add, self._started_s)
        set_ = {k: _shifted(k, v, self._started_s) for k, v in set_.items()}
        return {"of": name[len("agent-") :], "set": {**set_, "page": numbers}, "add": add}

    def _end(self, known: _Known, page: tuple[float, ...], now_s: float, root_end_s: float | None) -> float:
        """Return when a process ended: between when it was last seen, or last wrote, and now."""
        later = [k.began_s for k in self._known.values() if k.pid == known.pid and k.began_s > known.began_s]
        if later:
            return min(later)
        if known.pid == self._root_pid and root_end_s is not None:
            return root_end_s
        seen_s = known.last[0] if known.last else 0.0
        return min(now_s, max(seen_s, page[at.SINCE]))

    def _replaced(self, known: _Known) -> bool:
        """Whether the process has executed another program since (which has an agent of its own)."""
        return any(k.pid == known.pid and k.began_s > known.began_s for k in self._known.values())

    def _cpu(self, known: _Known) -> tuple[float, float, float] | None:
        """Return the CPU seconds of a living process and of its main thread, and what that lacked a core; None if it is gone."""
        try:
            whole = _stat(f"{self._proc}/{known.pid}/stat")
            own = _stat(f"{self._proc}/{known.pid}/task/{known.pid}/stat")
        except (OSError, IndexError, ValueError):
            return None
        if whole[0] in ("Z", "X") or (known.start > 0 and whole[2] != known.start):
            return None
        return whole[1], own[1], _delay_s(f"{self._proc}/{known.pid}/task/{known.pid}/schedstat")

    def _page(self, name: str) -> tuple[float, ...] | None:
        try:
            with open(f"{self._folder}/{name}.page", "rb") as file:
                data = file.read(at.SIZE)
        except OSError:
            return None
        if len(data) < at.SIZE:
            return None
        page = struct.unpack(f"{at.NUMBERS}d", data)
        return page if page[at.MAGIC] == at.VERSION else None

    def _facts(self, name: str, known: _Known) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        set_, add, known.read = read_facts(f"{self._folder}/{name}.facts", known.read)
        return set_, add

    def _remove(self, name: str) -> None:
        for suffix in (".page", ".facts"):
            try:
                os.unlink(f"{self._folder}/{name}{suffix}")
            except OSError:
                continue


def read_facts(path: str, begin: int) -> tuple[dict[str, Any], dict[str, list[Any]], int]:
    """Return what a process's facts say from byte `begin` on (set, added), and to where they were read."""
    set_: dict[str, Any] = {}
    add: dict[str, list[Any]] = {}
    try:
        with open(path, "rb") as file:
            file.seek(begin)
            data = file.read(_MOST_AT_ONCE)
    except OSError:
        return set_, add, begin
    whole = data.rfind(b"\n") + 1
    for line in data[:whole].splitlines():
        try:
            entry = ast.literal_eval(line.decode("utf-8", "replace"))
            set_.update(entry["set"])
            for key, series in entry["add"].items():
                add.setdefault(str(key), []).extend(series)
        except (
            ValueError,
            SyntaxError,
            KeyError,
            TypeError,
            AttributeError,
            MemoryError,
            RecursionError,
        ):
            continue
    return set_, add, begin + whole


def _delay_s(path: str) -> float:
    try:
        with open(path, "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _stat(path: str) -> tuple[str, float, int]:
    with open(path, "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return fields[0].decode(), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[19])


def _numbers(
    page: tuple[float, ...], end_s: float, known: _Known, started_s: float, *, ended: bool
) -> dict[str, Any]:
    """Return the page as it stands in the recording, its open phase closed at `end_s` (monotonic)."""
    kind = int(page[at.CURRENT])
    open_s = max(0.0, end_s - page[at.SINCE])
    open_cpu_s, own_s = 0.0, None
    if known.last is not None:
        open_cpu_s = max(0.0, known.last[1] - page[at.CPU_AT])
        own_s = max(0.0, known.last[2] - page[at.OWN_AT]) + max(0.0, known.last[3] - page[at.DELAY_AT])
        if ended and open_s < 1.5:  # the end came between two looks: its CPU time is not known, and it ran
            own_s = open_s
    evaluation = None
    if page[at.EVAL_BATCHES]:
        evaluation = [
            page[at.EVAL_T] - started_s, int(page[at.EVAL_STEP]), int(page[at.EVAL_BATCHES]), int(page[at.EVAL_ITEMS]),
            page[at.EVAL_END] - page[at.EVAL_T], page[at.EVAL_CPU_END] - page[at.EVAL_CPU],
        ]  # fmt: skip
    name = "gap" if kind == at.GAP else "unsampled" if kind == at.UNSAMPLED else at.PHASES[kind]
    return {
        "end_s": round(end_s - started_s, 4),
        "ended": ended,
        "cpu_s": round(page[at.CPU_AT] + open_cpu_s, 4),
        "open": [name, round(open_s, 6), round(open_cpu_s, 6), None if own_s is None else round(own_s, 6)],
        "phases": {
            phase: [int(page[at.CALLS + n]), round(page[at.WALL + n], 6), round(page[at.CPU + n], 6), int(page[at.BYTES + n])]
            for n, phase in enumerate(at.PHASES)
            if page[at.CALLS + n] or page[at.WALL + n] or page[at.CPU + n]
        },
        "beside": {
            phase: [int(page[at.BESIDE_CALLS + n]), round(page[at.BESIDE_WALL + n], 6), round(page[at.BESIDE_CPU + n], 6)]
            for n, phase in enumerate(at.PHASES)
            if page[at.BESIDE_CALLS + n]
        },
        "unsampled": [int(page[at.UNSAMPLED_STEPS]), round(page[at.UNSAMPLED_WALL], 6), round(page[at.UNSAMPLED_CPU], 6)],
        "sampled": {p: round(page[at.SAMPLED + n], 6) for n, p in enumerate(at.PHASES) if page[at.SAMPLED + n] > 0},
        "sampled_calls": {at.PHASES[n]: page[at.SAMPLED_CALLS + n] / page[at.SAMPLED_STEPS]
                          for n in (at.FORWARD, at.BACKWARD) if page[at.SAMPLED_STEPS]},
        "steps": int(page[at.STEPS]),
        "samples": int(page[at.SAMPLES]),
        "evaluations": int(page[at.EVALUATIONS]),
        "requests": int(page[at.REQUESTS]),
        "evaluation": evaluation,
        "optimisers": _pairs(page, at.OPTIMISERS, at.MOST_OPTIMISERS),
        "batches": [
            [int(page[slot]), int(page[slot + 1])]
            for slot in range(at.BATCHES, at.BATCHES + 2 * at.MOST_BATCHES, 2)
            if page[slot + 1]
        ],
        "loaders": {
            str(n): [round(v, 6) for v in page[at.LOADERS + n * at.PER_LOADER : at.LOADERS + (n + 1) * at.PER_LOADER]]
            for n in range(at.MOST_LOADERS)
            if any(page[at.LOADERS + n * at.PER_LOADER : at.LOADERS + (n + 1) * at.PER_LOADER])
        },
    }  # fmt: skip


def _pairs(page: tuple[float, ...], begin: int, count: int) -> dict[str, int]:
    return {str(n): int(page[begin + n]) for n in range(count) if page[begin + n]}


def _shift(add: dict[str, list[Any]], started_s: float) -> None:
    """Turn monotonic times into seconds since the start of the recording."""
    for key in ("curve", "named", "evaluations"):
        if key in add:
            add[key] = [[round(entry[0] - started_s, 4), *entry[1:]] for entry in add[key]]
    if "trial" in add:
        add["trial"] = [[*entry[:-1], round(entry[-1] - started_s, 4)] for entry in add["trial"]]


def _shifted(key: str, value: Any, started_s: float) -> Any:
    return [round(value[0] - started_s, 4), *value[1:]] if key.startswith("thread/") else value
