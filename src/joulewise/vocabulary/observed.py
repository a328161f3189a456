"""What the agent saw inside the Python processes of a run: one ProcessView each, read from the recording.

`observe(recording)` is pure. A process that the agent could not enter (another language, `python -I`, `-S` or `-E`)
has no view; a recording without the agent gives an empty tuple.

How each thing is known
    phases        Hooks around the calls of the frameworks mark where the main thread is. The time between two hooks is
                  named by both of them: from a forward pass to its backward pass is `forward` (the loss), from backward
                  to the optimiser is `optimiser` (clipping), from a batch to the forward pass is `data` (moving it),
                  within one evaluation is `validation`; anything else is `other`, and its part without CPU time of
                  the main thread is `waiting`. `setup` ends at the first hooked call. `unknown` is what is missing
                  to the life of the process. The phases add up to `duration_s`.
    wall_s        monotonic clock, exact to a microsecond per call. Of a loop's first steps all are timed, then one every 16
                  to 256 ms, and the rest is shared out alike (`sampled_share` says how much); what is no step is always timed.
    cpu_s         CPU clock of the whole process (all its threads), read at hooks that are at least a millisecond apart; what
                  lies between two readings goes to the phase of the later one.
    tail          What follows the last hooked call stands in `other` (and `waiting`) as well as apart in `tail_wall_s` and
                  `tail_cpu_s`: an interpreter with torch takes up to a second of CPU time to end.
    energy_j      None as observed; `measuring.agent.joules.attributed` fills it in: the work's processor joules by CPU
                  seconds, this process's over the tree's, this phase's over the process's.
    other threads what a second thread computes in hooked calls while the main thread waits is taken from `waiting`.
    fit           an estimator's `fit` is `optimiser`, its `transform` is `data`, its `predict` and `score` are
                  `validation` after a fit in the same process and `forward` without one.
    training or   by the gradient mode at the forward pass. An Evaluation is a row of forward passes without gradient and
    evaluation    with no optimiser step between. Where nothing is ever trained, evaluating is `forward`: it is the job.
    steps         optimiser steps counted (all optimisers).  batches: first dimension of the first tensor of the model's
                  argument.  epochs: passes of the training loader; without one, values of a variable named like
                  `epoch` in the calling code.  dataset_items: the loader's data set, else the samples of an epoch.
    curve         `loss` is read from the tensor on which `backward` is called, at moments; other values are numbers with
                  the names of metrics in the calling code (`val_acc`, `lr`), read when an evaluation or epoch has ended; in a
                  program without a framework where it prints, beside a variable named like `epoch`.
    items         `fetch_s` and `collate_s` are timed around the loader's own fetching, in workers as well. Sixteen items
                  are fingerprinted whenever they come up: `same_items` of `compared_items` were bit for bit as before.
    preparations  an estimator's input is fingerprinted (at most 1 MB of it); `before_s` is the unhooked time directly
                  before the call, in which the input was made.
    statements    SELECTs run through sqlite3, DuckDB or psycopg (psycopg 3, not its async cursors), by their text. All are
                  counted; beyond 256 of one text one call in eight is timed and stands for the others.
    files         opened for reading, by path: how often, and the file's size (what was read of it is not known).
    fingerprints  BLAKE2 over the main script, over its arguments, over name, size and time of the data files read;
                  `seeds` as given to torch.manual_seed, numpy.random.seed and random.seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from joulewise.vocabulary.library_calls import (
    Boosting,
    Polling,
    RowCalls,
    Step,
    StudyRun,
    boostings,
    pollings,
    row_calls,
    steps,
    studies,
)
from joulewise.vocabulary.recording import Recording

_IDLE_S = 1.0  # a shorter pause at the end is none
_A_STEP_S = 0.6  # so long may steps go by untimed: twice a quarter of a second, and a step


class Phase(StrEnum):
    """What a process is doing; every second of it is one of these."""

    SETUP = "setup"
    IMPORT = "import"
    DATA = "data"
    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMISER = "optimiser"
    VALIDATION = "validation"
    CHECKPOINT = "checkpoint"
    LOGGING = "logging"
    OTHER = "other"
    WAITING = "waiting"
    IDLE = "idle_after_finish"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PhaseTotal:
    """All the time of one phase: how often it was entered by a hooked call, seconds, CPU seconds, bytes, joules.

    `bytes` are those written by checkpoints and those of the batches delivered by loaders; else 0.
    """

    phase: Phase
    calls: int
    wall_s: float
    cpu_s: float
    bytes: int = 0
    energy_j: float | None = None


@dataclass(frozen=True, slots=True)
class LoaderView:
    """One DataLoader: what it is, how often it was run through, and what its items cost.

    `evaluates`: whether its batches went to forward passes without gradient. `items` is None for a stream. `wait_s` is
    how long the loop waited for batches, `first_wait_s` the part for the first of each pass (starting workers).
    `fetch_s`, `collate_s`, `fetch_cpu_s` are over the `fetched` items, wherever they were made (workers included: then
    they are concurrent with the loop). `index_s` is what the sampler took; `shuffle` whether it shuffles.
    """

    dataset: str
    items: int | None
    batch_size: int | None
    workers: int
    shuffle: bool
    evaluates: bool
    persistent: bool
    pin_memory: bool
    passes: int
    batches: int
    wait_s: float
    first_wait_s: float
    index_s: float
    fetched: int = 0
    fetch_s: float = 0.0
    fetch_cpu_s: float = 0.0
    collate_s: float = 0.0
    compared_items: int = 0
    same_items: int = 0
    map_style: bool = True
    in_memory: bool = False  # the data set is a TensorDataset: items are views of tensors
    first_pass: tuple[int, float, float, float] | None = (
        None  # fetched, fetch_s, fetch_cpu_s, collate_s of it, seen apart
    )

    @property
    def item_s(self) -> float | None:
        """Seconds to make one item (fetching without collating); None if none was timed."""
        return max(0.0, self.fetch_s - self.collate_s) / self.fetched if self.fetched else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One row of forward passes without gradient: at which training step, how many batches and items, what it took.

    `wall_s` and `cpu_s` run from its first hook to its last. `where` is the calling function (`train.py:evaluate`);
    `thread` is empty for the main thread.
    """

    t_s: float
    step: int
    batches: int
    items: int
    wall_s: float
    cpu_s: float
    where: str = ""
    thread: str = ""

    @property
    def batch_size(self) -> float:
        """Items per forward pass, on average."""
        return self.items / self.batches if self.batches else 0.0


@dataclass(frozen=True, slots=True)
class OptimiserView:
    """One optimiser: its class, the parameters it moves, its steps, and its learning rate as (step, rate) when it changed."""

    name: str
    parameters: int
    steps: int
    rates: tuple[tuple[int, float], ...] = ()
    settings: str = ""  # as the optimiser was made, in one line; "" where it is not known


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Values at one moment: `loss` of the training step, or metrics by the names that the program gives them."""

    t_s: float
    step: int
    epoch: float | None
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Preparation:
    """One estimator method on one input: equal `fingerprint` means equal input, equal `settings` equal parameters.

    `before_s` and `before_cpu_s` are the unhooked time directly before its calls, in which the input was made;
    `first_before_s` is that of the first call alone (None: `before_s` over `calls`), so that the rest was a repetition.
    """

    estimator: str
    method: str
    fingerprint: str
    settings: str
    rows: int
    calls: int
    wall_s: float
    cpu_s: float
    before_s: float
    before_cpu_s: float
    first_before_s: float | None = None
    iterations: int | None = None  # n_iter_ after a fit, where the estimator tells
    candidates: int | None = None  # settings that a search (GridSearchCV and its kin) tried in this fit
    seeded: bool = False  # its random_state is a number: equal settings and input give the same model
    parts: int | None = None  # n_estimators, where it is one of its settings
    splits: int | None = None  # the folds of a search
    score: float | None = None  # the best that its `score` gave of these rows; more is better


@dataclass(frozen=True, slots=True)
class Statement:
    """A SELECT that a program ran on a database: its text without values, how often, seconds until it answered.

    `different` is how many different parameters it was asked with; None: more than could be told apart. CPU seconds
    are the program's own, not those of a server elsewhere.
    """

    sql: str
    calls: int
    wall_s: float
    cpu_s: float
    different: int | None


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file that was opened for reading: its path, how often, its size in bytes at the last time."""

    path: str
    opens: int
    size_bytes: int

    @property
    def again_bytes(self) -> int:
        """Bytes of all openings but the first, if each read the whole file."""
        return (self.opens - 1) * self.size_bytes


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads the process computes with; None is unknown."""

    torch: int | None = None
    torch_interop: int | None = None
    omp: int | None = None  # OMP_NUM_THREADS, or MKL's or OpenBLAS's own variable
    joblib: int | None = None  # the largest n_jobs asked for


@dataclass(frozen=True, slots=True)
class Window:
    """Some measured steps of a trial: the `start` of a pass over the data (its workers, its first batches), or `steps`.

    `cpu_s` is that of the process and its children. Evaluations and checkpoints within are counted by themselves:
    `apart_wall_s` and `apart_cpu_s` are theirs, and part of the whole. `end_s` is since the start of the recording.
    """

    kind: str
    samples: int
    steps: int
    wall_s: float
    cpu_s: float
    evaluations: int
    apart_wall_s: float
    apart_cpu_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One Python process as the agent saw it (see the module's docstring for how each part is known)."""

    process: str  # host-pid-start: unique in the recording
    pid: int
    parent_pid: int
    kind: str  # main, child (a Python of its own) or fork
    command: tuple[str, ...]
    start_s: float  # since the start of the recording
    duration_s: float
    cpu_s: float
    phases: tuple[PhaseTotal, ...]  # those that took time, in the order of Phase
    ended: bool
    sampled_share: float = 0.0  # of the duration, shared out by samples
    tail_wall_s: float = (
        0.0  # after the last hooked call: what follows the work, the interpreter's end among it
    )
    tail_cpu_s: float = 0.0
    frameworks: tuple[str, ...] = ()  # as `torch 2.13.0`
    steps: int = 0
    epochs: int | None = None
    batch_sizes: Mapping[int, int] = field(default_factory=dict)  # training: size of a batch to how often
    dataset_items: int | None = None
    samples: int = 0  # that went through training steps
    parameters: int | None = None
    model: str = ""  # class of the model, by its outermost call
    shapes: tuple[tuple[int, ...], ...] = ()  # of its weights with two dimensions and more, the first 64
    world: int = 1  # processes that train one model together (torch.distributed)
    precision: str = ""  # float32, bfloat16, or `float16 (autocast)`
    device: str = ""  # cpu, cuda:0
    threads: Threads = field(default_factory=Threads)
    optimisers: tuple[OptimiserView, ...] = ()
    loaders: tuple[LoaderView, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    evaluation_calls: int = 0  # all of them; `evaluations` holds at most the first 2,000
    curve: tuple[CurvePoint, ...] = ()
    preparations: tuple[Preparation, ...] = ()
    files: tuple[FileRead, ...] = ()
    statements: tuple[Statement, ...] = ()
    server: str = ""  # a library that answers requests, where statements were run beside it
    requests: int = 0  # answered by a server loop: HTTP requests, or forward passes in a second thread
    schedulers: tuple[str, ...] = ()  # classes of learning-rate schedulers
    early_stop: str = ""  # the framework's own early stopping, where one is known to be on
    code: str = ""  # fingerprints
    arguments: str = ""
    data: str = ""
    seeds: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()  # what the agent could not do there
    changed: tuple[
        str, ...
    ] = ()  # what remedies changed, each with its knob: `threads: OMP_NUM_THREADS=1 ...`
    left: tuple[str, ...] = ()  # what they left as it was although it was asked for, and why
    windows: tuple[Window, ...] = ()  # of a trial
    outside: tuple[str, ...] = ()  # files that a trial wrote outside of its folder
    switches: int | None = (
        None  # how often its threads gave their CPU away to wait; not of processes under a second
    )
    row_calls: tuple[RowCalls, ...] = ()
    pipeline_steps: tuple[Step, ...] = ()
    boostings: tuple[Boosting, ...] = ()
    pollings: tuple[Polling, ...] = ()
    studies: tuple[StudyRun, ...] = ()

    def phase(self, name: Phase | str) -> PhaseTotal:
        """Return the total of one phase; zeros if it never came."""
        for total in self.phases:
            if total.phase == name:
                return total
        return PhaseTotal(Phase(name), 0, 0.0, 0.0)

    @property
    def accounted_share(self) -> float:
        """The share of its life that has a name other than unknown (0 to 1)."""
        if self.duration_s <= 0:
            return 1.0
        return max(0.0, 1.0 - self.phase(Phase.UNKNOWN).wall_s / self.duration_s)

    @property
    def unhooked_share(self) -> float:
        """The share of its life in Python between hooks that nothing names (`other`): accounted for, not understood."""
        return min(1.0, self.phase(Phase.OTHER).wall_s / self.duration_s) if self.duration_s > 0 else 0.0


def observe(recording: Recording) -> tuple[ProcessView, ...]:
    """Return what the agent saw, one view per Python process, in the order of their starts."""
    workers: dict[int, list[Mapping[str, Any]]] = {}
    for seen in recording.seen.values():
        if "page" in seen and "head" in seen:
            workers.setdefault(int(seen["head"]["parent"]), []).append(seen)
    views = [
        _view(process, seen, workers.get(int(seen["head"]["pid"]), ()))
        for process, seen in recording.seen.items()
        if "page" in seen and "head" in seen
    ]
    return tuple(sorted(views, key=lambda v: (v.start_s, v.process)))


def _view(process: str, seen: Mapping[str, Any], children: Iterable[Mapping[str, Any]]) -> ProcessView:
    head, page = seen["head"], seen["page"]
    start_s, end_s = float(head["start_s"]), float(page["end_s"])
    trained = int(page["steps"]) > 0 or _fitted(seen)
    model, prints, threads = (_mapping(seen, key) for key in ("model", "prints", "threads"))
    evaluations = tuple(_evaluation(e) for e in _all_evaluations(seen))
    in_threads = sum(e.batches for e in evaluations if e.thread)
    epochs = _epochs(seen)
    samples = int(page["samples"])
    loaders = _loaders(seen, children)
    return ProcessView(
        process=process,
        pid=int(head["pid"]),
        parent_pid=int(head["parent"]),
        kind=str(head["kind"]),
        command=tuple(map(str, head.get("command", ()))),
        start_s=start_s,
        duration_s=max(0.0, end_s - start_s),
        cpu_s=float(page["cpu_s"]),
        phases=_phases(page, max(0.0, end_s - start_s), trained=trained),
        ended=bool(page["ended"]),
        sampled_share=_share(page["unsampled"][1], end_s - start_s),
        tail_wall_s=float(page["open"][1]) if page["open"][0] == "gap" else 0.0,
        tail_cpu_s=float(page["open"][2]) if page["open"][0] == "gap" else 0.0,
        frameworks=tuple(f"{k[10:]} {v}".strip() for k, v in seen.items() if k.startswith("framework/")),
        steps=int(page["steps"]),
        epochs=epochs,
        batch_sizes={int(size): int(count) for size, count in page["batches"] if count},
        dataset_items=_dataset_items(loaders, samples, epochs),
        samples=samples,
        parameters=model.get("parameters"),
        model=str(model.get("name", "")),
        shapes=tuple(tuple(map(int, shape)) for shape in model.get("shapes", ())),
        world=int(seen.get("world", (1,))[0]),
        precision=str(model.get("precision", "")),
        device=str(model.get("device", "")),
        threads=Threads(
            threads.get("torch"),
            threads.get("torch_interop"),
            threads.get("omp"),
            max(seen.get("jobs", ()), default=None),
        ),
        optimisers=_optimisers(seen),
        loaders=loaders,
        evaluations=evaluations,
        evaluation_calls=int(page["evaluations"]),
        curve=tuple(
            CurvePoint(float(p[0]), int(p[1]), p[2], dict(p[3]))
            for p in seen.get("curve") or seen.get("named", ())
        ),
        preparations=tuple(Preparation(**p) for p in _numbered(seen, "preparation")),
        files=tuple(FileRead(*f) for f in _numbered(seen, "file")),
        statements=tuple(Statement(*s) for s in _numbered(seen, "statement")),
        server=str(seen.get("server", "")),
        requests=int(page["requests"])
        or in_threads,  # HTTP requests, where they are seen, are what a service is for
        schedulers=tuple(seen.get("schedulers", ())),
        early_stop=str(seen.get("early_stop", "")),
        code=str(prints.get("code", "")),
        arguments=str(prints.get("arguments", "")),
        data=_print_of(seen.get("data", ())),
        seeds=tuple(map(str, seen.get("seeds", ()))),
        faults=tuple(seen.get("faults", ())),
        changed=tuple(map(str, seen.get("changed", ()))),
        left=tuple(map(str, seen.get("left", ()))),
        windows=tuple(_window(w) for w in seen.get("trial", ())),
        outside=tuple(map(str, seen.get("outside", ()))),
        switches=int(seen["switches"]) if "switches" in seen else None,
        row_calls=row_calls(_numbered(seen, "rows")),
        pipeline_steps=steps(_numbered(seen, "step")),
        boostings=boostings(_numbered(seen, "boosting")),
        pollings=pollings(_numbered(seen, "poll")),
        studies=studies((head, seen.get(f"trials/{n}", ())) for n, head in _keyed(seen, "study")),
    )


def _phases(page: Mapping[str, Any], duration_s: float, *, trained: bool) -> tuple[PhaseTotal, ...]:
    """Return the totals, which add up to the duration: what was not sampled shared out, the second thread's part moved."""
    calls = {p: int(page["phases"].get(p, (0, 0, 0, 0))[0]) for p in Phase}
    wall = {p: float(page["phases"].get(p, (0, 0, 0, 0))[1]) for p in Phase}
    cpu = {p: float(page["phases"].get(p, (0, 0, 0, 0))[2]) for p in Phase}
    size = {p: int(page["phases"].get(p, (0, 0, 0, 0))[3]) for p in Phase}
    _share_out(page, calls, wall, cpu)
    hooked = any(calls[p] for p in (Phase.DATA, Phase.FORWARD, Phase.OPTIMISER, Phase.VALIDATION))
    if not hooked:  # nothing that we know ever began: the program itself is its set-up
        _move(Phase.SETUP, Phase.OTHER, wall, cpu)
    _close(page, wall, cpu, hooked=hooked)
    for name, (count, beside_s, beside_cpu_s) in page["beside"].items():
        moved = min(float(beside_s), wall[Phase.WAITING])
        seconds = min(float(beside_cpu_s), cpu[Phase.WAITING])
        wall[Phase.WAITING] -= moved
        cpu[Phase.WAITING] -= seconds
        phase = Phase(name)
        wall[phase] += moved
        cpu[phase] += seconds
        calls[phase] += int(count)
    if not trained:
        _move(Phase.VALIDATION, Phase.FORWARD, wall, cpu)
        calls[Phase.FORWARD] += calls.pop(Phase.VALIDATION)
        calls[Phase.VALIDATION] = 0
    missing = duration_s - sum(wall.values())
    wall[Phase.UNKNOWN] += max(0.0, missing)
    cpu[Phase.UNKNOWN] += max(0.0, float(page["cpu_s"]) - sum(cpu.values())) if missing > 0 else 0.0
    return tuple(PhaseTotal(p, calls[p], wall[p], cpu[p], size[p]) for p in Phase if wall[p] > 0 or calls[p])


def _share_out(
    page: Mapping[str, Any], calls: dict[Phase, int], wall: dict[Phase, float], cpu: dict[Phase, float]
) -> None:
    """Share the time of the steps that were not timed out over the phases of those that were."""
    count, rest_s, rest_cpu_s = page["unsampled"]
    each = page.get("sampled_calls", {})  # gradients may be added up over several passes
    for phase in (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER):
        calls[phase] += round(count * each.get(phase, 1)) if calls[phase] else 0
    name, open_s, open_cpu_s, _ = page["open"]
    if name == "unsampled" and open_s < _A_STEP_S:
        rest_s, rest_cpu_s = rest_s + open_s, rest_cpu_s + open_cpu_s
    timed = {Phase(name): float(seconds) for name, seconds in page["sampled"].items()}
    whole = sum(timed.values())
    if rest_s <= 0:
        return
    if whole <= 0:
        timed, whole = {Phase.OTHER: 1.0}, 1.0
    for phase, seconds in timed.items():
        wall[phase] += rest_s * seconds / whole
        cpu[phase] += rest_cpu_s * seconds / whole


def _close(
    page: Mapping[str, Any], wall: dict[Phase, float], cpu: dict[Phase, float], *, hooked: bool
) -> None:
    """Add the phase in which the process was last seen, until its end; a pause after the work is idle, not waiting."""
    name, open_s, open_cpu_s, own_s = page["open"]
    if name == "unsampled" and open_s < _A_STEP_S:  # shared out
        return
    if name not in ("gap", "unsampled"):
        phase = Phase(name)
        wall[phase] += open_s
        cpu[phase] += open_cpu_s
        return
    computed = open_s if own_s is None else min(open_s, float(own_s))
    pause_s = open_s - computed
    quiet = Phase.IDLE if hooked and pause_s > max(_IDLE_S, 0.5 * open_s) else Phase.WAITING
    wall[Phase.OTHER] += computed
    wall[quiet] += pause_s
    busy_s = min(open_cpu_s, computed) if pause_s > 0 else open_cpu_s
    cpu[Phase.OTHER] += busy_s
    cpu[quiet] += open_cpu_s - busy_s


def _loaders(seen: Mapping[str, Any], children: Iterable[Mapping[str, Any]]) -> tuple[LoaderView, ...]:
    """Return the loaders, each with what its forked workers fetched for it."""
    found = []
    children = [c for c in children if c["head"]["kind"] == "fork"]
    for number, facts in _keyed(seen, "loader"):
        counts = list(seen["page"]["loaders"].get(str(number), [0.0] * 9))
        for child in children:
            theirs = child["page"]["loaders"].get(str(number))
            if theirs:
                counts[4:] = [a + b for a, b in zip(counts[4:], theirs[4:], strict=False)]
        compared, same = _compared(p for s in (seen, *children) for p in s.get(f"items/{number}", ()))
        found.append(
            LoaderView(
                **facts,
                passes=int(counts[0]),
                batches=int(counts[1]),
                wait_s=counts[2],
                first_wait_s=counts[3],
                index_s=counts[4],
                fetched=int(counts[5]),
                fetch_s=counts[6],
                fetch_cpu_s=counts[7],
                collate_s=counts[8],
                compared_items=compared,
                same_items=same,
                first_pass=_first_pass(seen.get(f"first_pass/{number}")),
            )
        )
    return tuple(found)


def _first_pass(told: Any) -> tuple[int, float, float, float] | None:
    if (
        not isinstance(told, list) or len(told) != 4 or not told[0]
    ):  # workers fetched: their passes are not told apart
        return None
    fetched, fetch_s, fetch_cpu_s, collate_s = map(float, told)
    return int(fetched), fetch_s, fetch_cpu_s, collate_s


def _optimisers(seen: Mapping[str, Any]) -> tuple[OptimiserView, ...]:
    steps = seen["page"]["optimisers"]
    return tuple(
        OptimiserView(
            str(facts["name"]),
            int(facts["parameters"]),
            int(steps.get(str(number), 0)),
            tuple((int(s), float(r)) for s, r in seen.get(f"rates/{number}", ())),
            str(facts.get("settings", "")),
        )
        for number, facts in _keyed(seen, "optimiser")
    )


def _evaluation(entry: Any) -> Evaluation:
    t_s, step, batches, items, wall_s, cpu_s, where, thread = entry
    return Evaluation(
        float(t_s), int(step), int(batches), int(items), float(wall_s), float(cpu_s), str(where), str(thread)
    )


def _window(entry: Any) -> Window:
    kind, samples, steps, wall_s, cpu_s, evaluations, apart_wall_s, apart_cpu_s, end_s = entry
    return Window(
        str(kind), int(samples), int(steps), float(wall_s), float(cpu_s), int(evaluations), float(apart_wall_s),
        float(apart_cpu_s), float(end_s),
    )  # fmt: skip


def _all_evaluations(seen: Mapping[str, Any]) -> list[Any]:
    """Return the evaluations that ended, the one that was open at the end, and those of other threads."""
    last = seen["page"]["evaluation"]
    opened = [[*last, str(seen.get("evaluating", "")), ""]] if last else []
    return [*seen.get("evaluations", ()), *opened, *_numbered(seen, "thread")]


def _compared(prints: Iterable[Any]) -> tuple[int, int]:
    """Return how many fingerprints of items came up again, and how many of them were the same as before."""
    first: dict[int, str] = {}
    compared = same = 0
    for item, fingerprint in prints:
        if item in first:
            compared += 1
            same += first[item] == fingerprint
        else:
            first[item] = fingerprint
    return compared, same


def _epochs(seen: Mapping[str, Any]) -> int | None:
    """Return the passes of the loader that trains, else how many values the code's own epoch variable took."""
    trains = [
        seen["page"]["loaders"].get(str(number), [0, 0])
        for number, facts in _keyed(seen, "loader")
        if not facts["evaluates"]
    ]
    told = int(seen.get("told_epochs", 0))  # by a framework, which may make a new loader for each
    if trains:
        return max(told, int(max(trains, key=lambda counts: counts[1])[0]))
    named = told or seen.get("epochs")
    return int(named) if named is not None else None


def _dataset_items(loaders: Iterable[LoaderView], samples: int, epochs: int | None) -> int | None:
    trains = [loader for loader in loaders if not loader.evaluates]
    known = max(trains, key=lambda loader: loader.batches).items if trains else None
    if known is not None:
        return known
    return round(samples / epochs) if epochs and samples else None


def _fitted(seen: Mapping[str, Any]) -> bool:
    return any(
        p["method"] in ("fit", "fit_transform", "fit_predict", "partial_fit", "update")
        for p in _numbered(seen, "preparation")
    )


def _numbered(seen: Mapping[str, Any], kind: str) -> list[Any]:
    return [value for _, value in _keyed(seen, kind)]


def _keyed(seen: Mapping[str, Any], kind: str) -> list[tuple[int, Any]]:
    found = [(int(k[len(kind) + 1 :]), v) for k, v in seen.items() if k.startswith(f"{kind}/")]
    return sorted(found, key=lambda pair: pair[0])


def _print_of(prints: Iterable[str]) -> str:
    """Return one fingerprint of many, in any order; "" of none."""
    every = sorted(set(prints))
    return blake2b("".join(every).encode(), digest_size=8).hexdigest() if every else ""


def _mapping(seen: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = seen.get(key)
    return value if isinstance(value, Mapping) else {}


def _move(source: Phase, target: Phase, wall: dict[Phase, float], cpu: dict[Phase, float]) -> None:
    wall[target] += wall[source]
    cpu[target] += cpu[source]
    wall[source] = cpu[source] = 0.0


def _share(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole > 0 else 0.0
