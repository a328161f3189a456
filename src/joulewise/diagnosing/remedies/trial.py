"""A short piece of a program: some steps are measured exactly, then the process ends.

Where the program passes over a loader several times, each pass is cut to its first batches, the same ones each time;
the first pass warms up, the later ones are measured: their start (workers, the first batches), then windows of some
steps each. Elsewhere some steps warm up and those after them are measured. What is measured goes to the facts as `trial`:

    [kind, samples, steps, wall_s, cpu_s, evaluations, evaluation_wall_s, evaluation_cpu_s, t_s]

Programs of estimators (scikit-learn, XGBoost, LightGBM) have no steps: there a step is an outermost call (a fit, a transform, a
round of a booster), a third of the calls warms up, and a sample is a call.

with the kind `start` or `steps`, the CPU seconds those of the process and of its children, and checkpoints counted with
the evaluations. Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from .loaders import MODULE

NAME = "trial"
_START_STEPS = 2
_WARM_STEPS = 5
_WINDOWS = 10  # in a pass, about: neighbours on the machine disturb some of them


def attach(hand: Any, value: str) -> None:
    """Measure as `value` says: `steps=50 passes=3 batches=25`, with passes 0 where there are none to count on."""
    told = {k: int(v) for k, _, v in (word.partition("=") for word in value.split())}
    trial = Trial(hand, told["steps"], told["passes"], told["batches"])
    if told.get("calls"):
        trial.count_calls()
        return
    hand.when("torch", trial.count_steps)
    if trial.passes:
        hand.when(MODULE, trial.cut_passes)


class Trial:
    """The measuring of one process."""

    def __init__(self, hand: Any, steps: int, passes: int, batches: int) -> None:
        self.hand, self.steps, self.passes, self.batches = hand, steps, passes, batches
        self._at: Any = sys.modules[type(hand).__module__.rpartition(".")[0] + ".layout"]
        self._mark: list[float] | None = None
        self._begun = 0  # passes
        self._step = self._in_pass = 0  # steps so far, and in this pass
        self._every = max(1, (batches if passes else steps) // _WINDOWS)
        self._kept: dict[
            tuple[int, Any], tuple[Any, list[Any]]
        ] = {}  # by data set and batch size: the batches of a pass
        self._calls = self._warm = 0  # of estimators
        self._open = self._trains = 0  # the data set passed over now, and the one that is trained on

    def count_steps(self, _torch: Any) -> None:
        """Call us after each optimiser step, and after the agent's own hook: so ours is put in place in the first step."""
        optimizers = sys.modules["torch.optim.optimizer"]
        there = [False]

        def begin(*_: Any) -> None:
            if not there[0]:
                there[0] = True
                optimizers.register_optimizer_step_post_hook(after)

        def after(*_: Any) -> None:
            if os.getpid() == self.hand.pid:
                self._stepped()

        optimizers.register_optimizer_step_pre_hook(begin)

    def count_calls(self) -> None:
        """Call us after each outermost call of an estimator."""
        self._warm = self.steps // 3
        self.hand.line.called = self._called

    def cut_passes(self, module: Any) -> None:
        """Cut what a loader gives in a pass of the training."""
        torch = sys.modules["torch"]
        iterator_class, loader_class = module._BaseDataLoaderIter, module.DataLoader  # noqa: SLF001 - where batches come from
        original_init, original_next, original_iter = (
            iterator_class.__init__, iterator_class.__next__, loader_class.__iter__,
        )  # fmt: skip
        trial = self

        @functools.wraps(original_iter)
        def __iter__(loader: Any) -> Any:  # noqa: N807
            if torch.is_grad_enabled() and os.getpid() == trial.hand.pid:
                trial._pass_begins(id(loader.dataset))
            return original_iter(loader)

        @functools.wraps(original_init)
        def __init__(iterator: Any, loader: Any) -> None:  # noqa: N807
            trains = torch.is_grad_enabled() and trial._trains in (0, id(loader.dataset))
            iterator._joulewise_trains = trains  # noqa: SLF001 - our mark on their iterator
            if not trains:
                original_init(iterator, loader)
                return
            original_init(iterator, _Shadow(loader, _First(trial, loader)))

        @functools.wraps(original_next)
        def __next__(iterator: Any) -> Any:  # noqa: N807
            try:
                return original_next(iterator)
            except StopIteration:
                if iterator._joulewise_trains and os.getpid() == trial.hand.pid:  # noqa: SLF001
                    trial._pass_ends()
                raise

        loader_class.__iter__ = __iter__
        iterator_class.__init__ = __init__
        iterator_class.__next__ = __next__

    def first(self, loader: Any) -> list[Any]:
        """Return the batches of every pass over a data set: the first ones, though each pass may have a loader of its own."""
        key = id(loader.dataset), loader.batch_size
        if key not in self._kept:
            sampler = loader._index_sampler  # noqa: SLF001 - what gives the batches
            self._kept[key] = (loader.dataset, list(itertools.islice(iter(sampler), self.batches)))
            if self.hand.first is not None:
                self.hand.first(loader, self._kept[key][1])
        return self._kept[key][1]

    def _stepped(self) -> None:
        self._step += 1
        if self.passes:
            self._trains = self._trains or self._open
            self._in_pass += 1
            since = self._in_pass - _START_STEPS
            if self._mark is not None and since >= 0 and since % self._every == 0:
                self._tell("steps" if since else "start")
            return
        since = self._step - _WARM_STEPS
        if since >= 0 and since % self._every == 0:
            self._tell("steps")
        if since >= self.steps:
            self._end()

    def _called(self) -> None:
        if os.getpid() != self.hand.pid:
            return
        self._calls += 1
        if self._calls >= self._warm:
            self._tell("steps")
        if self._calls >= self.steps:
            self._end()

    def _pass_begins(self, dataset: int) -> None:
        if self._trains not in (0, dataset):  # an evaluation with the gradient left on
            return
        self._open = dataset
        self._begun += 1
        self._in_pass = 0
        self._mark = None
        if self._begun > 1:
            self._open_window()

    def _pass_ends(self) -> None:
        if not self._in_pass:  # nothing was trained in it
            self._begun -= 1
            return
        self._mark = None
        if self._begun >= self.passes:
            self._end()

    def _tell(self, kind: str) -> None:
        if self._mark is not None:
            clocks = _clocks()
            now = self._counts(*clocks, _below_cpu_s())
            grown = [round(b - a, 6) for a, b in zip(self._mark, now)]  # noqa: B905 - Python 3.9
            self.hand.line.facts.add("trial", [kind, *grown[:-1], now[-1]])
        self._open_window()

    def _open_window(self) -> None:
        """Count from here on. Looking at other processes takes as long as a short step: it is in no window."""
        below_s = _below_cpu_s()
        mark = self._counts(0.0, 0.0, below_s)
        mark[2], own_s = _clocks()
        mark[3] += own_s
        self._mark = mark

    def _counts(self, now: float, own_s: float, below_s: float) -> list[float]:
        """Return the counts so far: those of the facts, the last being the moment."""
        line, at = self.hand.line, self._at
        line.wake()
        page = line.page
        apart = () if self._calls else (at.VALIDATION, at.CHECKPOINT)  # a call is a call
        return [
            page[at.SAMPLES] + self._calls,
            page[at.STEPS] + self._calls,
            now,
            own_s + below_s,
            page[at.EVALUATIONS],
            sum(page[at.WALL + kind] for kind in apart),
            sum(page[at.CPU + kind] for kind in apart),
            now,
        ]

    def _end(self) -> None:
        """End this process at once: what it would still write is nobody's business. Its workers go with it."""
        line = self.hand.line
        line.facts.put("trial_ended", 1)
        line.end()
        multiprocessing = sys.modules.get("multiprocessing.process")
        if multiprocessing is not None:
            for child in multiprocessing.active_children():
                child.kill()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue
        os._exit(0)


class _First:
    """A sampler that gives the first batches of a loader's own, the same in every pass."""

    def __init__(self, trial: Trial, loader: Any) -> None:
        self._trial, self._loader = trial, loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self._trial.first(self._loader))

    def __len__(self) -> int:
        return len(self._loader._index_sampler)  # noqa: SLF001


class _Shadow:
    """A loader that is another but for its sampler."""

    def __init__(self, loader: Any, sampler: Any) -> None:
        self.__dict__["_loader"] = loader
        self.__dict__["_index_sampler"] = sampler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._loader, name, value)


def _clocks() -> tuple[float, float]:
    """Return the moment, and the CPU seconds of this process."""
    return time.perf_counter(), time.process_time()


def _below_cpu_s() -> float:
    """Return the CPU seconds of this process's children, of those that have ended and of those that live."""
    times = os.times()
    return times.children_user + times.children_system + sum(map(_cpu_s, _below(os.getpid())))


def _below(pid: int) -> list[int]:
    """Return the living descendants of a process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    except (OSError, ValueError):
        pass
    return found + [one for child in list(found) for one in _below(child)]


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of all threads of a process, in the scheduler's own nanoseconds."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:
                total += int(file.read().split()[0])
    except (OSError, IndexError, ValueError):
        pass
    return total / 1e9
