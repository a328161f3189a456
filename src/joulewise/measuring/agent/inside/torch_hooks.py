"""PyTorch: loaders, the outermost module call, backward, optimiser steps, torch.save. No torch is imported here.

Each wrapper is a pair of `enter` and `leave` around the original; what it learns beyond time it learns at moments
(`_due`), or once. Calls of a second thread are added beside. A module inside another costs one look at a flag.
"""

from __future__ import annotations

import functools
import os
import sys
import threading  # torch has imported it
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from . import callers
from . import layout as at
from .timeline import Timeline, clock, thread_cpu
from .torch_loaders import Fetching, Numbers, wrap_loaders

_MOST_EVALUATIONS = 2000
_CURVE_EVERY_S = 0.02
_MOST_FAULTS = 20
_MOST_SHAPES = 64


class TorchHooks:
    """What is remembered between the hooks of one process."""

    def __init__(self, timeline: Timeline, torch: Any) -> None:
        self.line = timeline
        self.torch = torch
        self.failures = 0
        self.numbers = Numbers()
        self.fetching: Fetching | None = None
        self.quick = False
        self.is_worker = False
        self.grad_on: Callable[[], bool] = torch.is_grad_enabled
        self.reset()
        timeline.woken = self.untimed

    def reset(self) -> None:
        """Forget, as a forked child must; loaders keep their numbers."""
        self.loss_due_s = 0.0
        self.told: tuple[float, dict[str, float]] = (0.0, {})
        self.epoch: float | None = None
        self.epochs: set[float] = set()
        self.evaluating = False
        self.new_metrics = False  # an evaluation has ended, its numbers have not been read
        self.place = ""
        self.eval_loader = -1
        self.evaluations = 0
        self.sizes: dict[int, int] = {}
        self.optimisers: dict[
            int, list[Any]
        ] = {}  # by id: the number, the optimiser, steps that are not counted yet
        self.rates: dict[int, float] = {}
        self.model_known = False
        self.loss_name = ""
        self.threads: dict[int, list[Any]] = {}
        self.prints = 0
        self.fetches = 0
        self.tracked: dict[tuple[int, int], str] = {}
        self.optimiser_before: int | None = None
        self.batch = 0

    def safely(self, learn: Callable[..., Any], *values: Any) -> Any:
        """Return what `learn` gives; None where it fails: the program's objects may do anything when they are asked."""
        try:
            return learn(*values)
        except Exception as error:  # noqa: BLE001 - the agent's edge: no fault of ours reaches the program
            if self.failures < _MOST_FAULTS:
                self.failures += 1
                self.line.facts.add("faults", f"{learn.__name__}: {type(error).__name__}: {error}"[:300])
            return None

    def look_around(self) -> None:
        """Read the program's numbers where it prints: then an evaluation has ended and its result has a name."""
        if self.evaluating or self.new_metrics:
            self.safely(self.read_metrics)

    # ---- the curve -------------------------------------------------------------------------------------------
    def look(self, loss: Any, now: float) -> None:
        """Read loss and epoch, at a moment of backward."""
        line = self.line
        self.loss_due_s = now + max(_CURVE_EVERY_S, (now - line.began_s) / 500)
        self.see_epoch()
        if not loss.is_cuda and loss.numel() == 1:
            self.point({"loss": float(loss.detach())}, now)

    def see_epoch(self) -> None:
        """Look for the epoch's number in the calling code."""
        epoch = callers.epoch()
        if epoch is not None and epoch != self.epoch:
            self.epoch = epoch
            if len(self.epochs) < 100_000:
                self.epochs.add(epoch)
                self.line.facts.put("epochs", len(self.epochs))

    def point(self, values: dict[str, float], now: float) -> None:
        """Add values to the curve; numbers that are none are left out."""
        kept = {k: v for k, v in values.items() if v == v and abs(v) != float("inf")}  # noqa: PLR0124 - NaN is not itself
        if kept:
            self.line.facts.add("curve", [now, self.line.step, self.epoch, kept])

    def read_metrics(self) -> None:
        """Read the numbers of the calling code after an evaluation, once."""
        self.new_metrics = False
        found = (self.line.page[at.EVALUATIONS], callers.metrics())
        if (
            found[1] and found != self.told
        ):  # what stays the same from one evaluation to the next is a value, too
            self.told = found
            self.point(found[1], clock())

    # ---- evaluations -----------------------------------------------------------------------------------------
    def evaluated(self, began_s: float, items: int, cpu_s: float) -> None:
        """Take in a forward pass without gradient."""
        page = self.line.page
        if not self.evaluating:
            self.evaluating = True
            self.place = self.safely(callers.where) or ""
            page[at.EVALUATIONS] += 1
            page[at.EVAL_T] = began_s
            page[at.EVAL_STEP] = self.line.step
            page[at.EVAL_BATCHES] = page[at.EVAL_ITEMS] = 0
            page[at.EVAL_CPU] = page[at.EVAL_CPU_END] = cpu_s
            self.line.facts.put("evaluating", self.place)
        page[at.EVAL_BATCHES] += 1
        page[at.EVAL_ITEMS] += items
        page[at.EVAL_END] = page[at.SINCE]
        page[at.EVAL_CPU_END] = page[at.CPU_AT]

    def end_evaluation(self) -> None:
        """End the row of forward passes without gradient."""
        self.evaluating = False
        self.new_metrics = True
        page = self.line.page
        self.evaluations += 1
        if self.evaluations <= _MOST_EVALUATIONS:
            self.line.facts.add(
                "evaluations",
                [page[at.EVAL_T], int(page[at.EVAL_STEP]), int(page[at.EVAL_BATCHES]), int(page[at.EVAL_ITEMS]),
                 page[at.EVAL_END] - page[at.EVAL_T], page[at.EVAL_CPU_END] - page[at.EVAL_CPU], self.place, ""],
            )  # fmt: skip
        page[at.EVAL_BATCHES] = 0

    def beside(self, began_s: float, began_cpu_s: float, items: int, grad: bool) -> None:
        """Take in a forward pass of another thread."""
        now, cpu_s = clock(), thread_cpu() - began_cpu_s
        line = self.line
        line.beside(at.FORWARD, now - began_s, cpu_s)
        if grad:
            return
        ident = get_ident()
        entry = self.threads.get(ident)
        if entry is None:
            name = threading.current_thread().name
            entry = self.threads[ident] = [
                len(self.threads),
                began_s,
                line.step,
                0,
                0,
                0.0,
                self.safely(callers.where) or "",
                name,
            ]
        entry[3] += 1
        entry[4] += items
        entry[5] += cpu_s
        line.facts.put(f"thread/{entry[0]}", [*entry[1:5], now - entry[1], *entry[5:8]])

    # ---- once ------------------------------------------------------------------------------------------------
    def know_optimiser(self, optimiser: Any) -> int:
        """Return the number of an optimiser; say what it is when it is new."""
        number = len(self.optimisers)
        self.optimisers[id(optimiser)] = [number, optimiser, 0]
        moved = [p for group in optimiser.param_groups for p in group["params"]]
        self.line.facts.put(
            f"optimiser/{number}",
            {"name": type(optimiser).__name__, "parameters": sum(p.numel() for p in moved),
             "settings": _settings(optimiser.param_groups[0])},
        )  # fmt: skip
        return number

    def see_rate(self, optimiser: Any, number: int) -> None:
        """Note the learning rate of the step that has just been made, where it has changed."""
        rate = float(optimiser.param_groups[0].get("lr", 0.0))
        if self.rates.get(number) != rate:
            self.rates[number] = rate
            self.line.facts.add(f"rates/{number}", [self.line.step, rate])

    def know_model(self, model: Any) -> None:
        """Say what the first model that is trained, or run, is."""
        parameters = list(model.parameters())
        torch = self.torch
        precision = str(parameters[0].dtype).replace("torch.", "") if parameters else ""
        device = str(parameters[0].device) if parameters else ""
        if torch.is_autocast_enabled():
            precision = f"{str(torch.get_autocast_gpu_dtype()).replace('torch.', '')} (autocast)"
        elif torch.is_autocast_cpu_enabled():
            precision = f"{str(torch.get_autocast_cpu_dtype()).replace('torch.', '')} (autocast)"
        name = type(model).__name__
        self.line.facts.put(
            "model",
            {
                "name": name,
                "parameters": sum(p.numel() for p in parameters),
                "precision": precision,
                "device": device,
                "shapes": [list(p.shape) for p in parameters if p.dim() > 1][:_MOST_SHAPES],
            },
        )
        self.say_world()
        self.say_threads()

    def say_world(self) -> None:
        """Say how many processes train this model together, where they do."""
        together = sys.modules.get("torch.distributed")
        if together is not None and together.is_available() and together.is_initialized():
            self.line.facts.put("world", [together.get_world_size(), str(together.get_backend())])

    def say_threads(self) -> None:
        """Say how many threads compute."""
        omp = next(
            (
                os.environ[n]
                for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
                if n in os.environ
            ),
            "",
        )
        self.line.facts.put(
            "threads",
            {"torch": self.torch.get_num_threads(), "torch_interop": self.torch.get_num_interop_threads(),
             "omp": int(omp) if omp.isdecimal() else None},
        )  # fmt: skip

    def know_loader(self, loader: Any, number: int) -> None:
        """Say what a loader is."""
        dataset = loader.dataset
        try:
            items = len(dataset)
        except (TypeError, NotImplementedError):
            items = None
        sampler = type(getattr(loader, "sampler", None)).__name__
        self.line.facts.put(
            f"loader/{number}",
            {"dataset": type(dataset).__name__, "items": items,
             "batch_size": loader.batch_size if loader.batch_size is not None else getattr(loader.batch_sampler, "batch_size", None),
             "workers": loader.num_workers, "shuffle": sampler not in ("SequentialSampler", "_InfiniteConstantSampler"),
             "evaluates": not self.grad_on(), "persistent": bool(loader.persistent_workers), "pin_memory": bool(loader.pin_memory),
             "map_style": hasattr(dataset, "__getitem__"), "in_memory": type(dataset).__name__ == "TensorDataset"},
        )  # fmt: skip

    def untimed(self, count: int) -> None:
        """Take in that so many steps went by untimed: their batches were as large as the last one."""
        page = self.line.page
        for number, _, steps in self.optimisers.values():
            if number < at.MOST_OPTIMISERS:
                page[at.OPTIMISERS + number] += steps
        for known in self.optimisers.values():
            known[2] = 0
        if self.batch:
            self.count_batch(self.batch, count)

    def count_batch(self, size: int, times: int = 1) -> None:
        """Count training batches of this size."""
        page = self.line.page
        page[at.SAMPLES] += size * times
        slot = self.sizes.get(size)
        if slot is None:
            if len(self.sizes) >= at.MOST_BATCHES:
                return
            slot = self.sizes[size] = at.BATCHES + 2 * len(self.sizes)
            page[slot] = size
        page[slot + 1] += times


def attach(line: Timeline, torch: Any) -> TorchHooks:
    """Wrap what there is of PyTorch, and return what the hooks remember."""
    hooks = TorchHooks(line, torch)
    _wrap_module(hooks, torch.nn.Module)
    _wrap_backward(hooks, torch)
    _wrap_optimisers(hooks)
    _wrap_save(hooks, torch)
    _wrap_seed(hooks, torch)
    loaders = sys.modules.get("torch.utils.data.dataloader")
    if loaders is not None:
        hooks.fetching = Fetching(hooks, sys.modules["torch.utils.data._utils.fetch"])
        wrap_loaders(hooks, loaders, hooks.fetching)
    return hooks


def _settings(group: dict[str, Any]) -> str:
    """Return an optimiser's settings in one line: two that differ there are two trials of a search."""
    told = {k: v for k, v in group.items() if k != "params" and isinstance(v, (int, float, tuple, bool))}
    return ", ".join(f"{k}={told[k]!r}" for k in sorted(told))[:300]


def _size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return the first dimension of the first tensor among the arguments; 0 if there is none."""
    try:
        for value in args or kwargs.values():
            shape = getattr(value, "shape", None)
            if shape is not None:
                size = shape[0] if len(shape) else 1
                return size if type(size) is int else 0  # while a model is traced it is a tensor
            if isinstance(value, dict):
                return _size((), value)
        return _size((), kwargs) if args and kwargs else 0
    except Exception:  # noqa: BLE001 - the program's own object, which may raise at a glance
        return 0


def _wrap_module(hooks: TorchHooks, module: Any) -> None:
    original = module.__call__
    line, grad_on = hooks.line, hooks.grad_on
    home = "torch.nn.modules.loss"  # a loss is no model: the gap before backward names its time
    losses = frozenset(
        c for c in vars(sys.modules[home]).values() if isinstance(c, type) and c.__module__ == home
    )

    # PyTorch's own two lines, made here where nothing is timed: a frame less in each call of each module
    known = getattr(getattr(original, "__code__", None), "co_names", ()) == (
        "_compiled_call_impl",
        "_call_impl",
    )

    @functools.wraps(original)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if line.skip and known and self._compiled_call_impl is None:
            return self._call_impl(*args, **kwargs)
        if line.skip or type(self) in losses:
            return original(self, *args, **kwargs)
        if get_ident() != line.main:
            began_s, began_cpu_s = clock(), thread_cpu()
            if hooks.threads.get(-get_ident()):
                return original(self, *args, **kwargs)
            hooks.threads[-get_ident()] = [True]
            try:
                return original(self, *args, **kwargs)
            finally:
                hooks.threads.pop(-get_ident(), None)
                hooks.beside(began_s, began_cpu_s, _size(args, kwargs), grad_on())
        grad = grad_on()
        before = line.enter(at.FORWARD if grad else at.VALIDATION)
        line.skip = 1
        began_s, began_cpu_s = line.page[at.SINCE], line.page[at.CPU_AT]
        try:
            return original(self, *args, **kwargs)
        finally:
            line.skip = 0
            line.leave(before)
            size = _size(args, kwargs)
            if grad:
                hooks.batch = size
            else:
                hooks.evaluated(began_s, size, began_cpu_s)
            if not hooks.model_known:
                hooks.model_known = True
                hooks.safely(hooks.know_model, self)

    module.__call__ = __call__
    train = module.train

    @functools.wraps(train)
    def train_or_evaluate(self: Any, mode: bool = True) -> Any:
        if line.skip == 2 and get_ident() == line.main:
            line.wake()
        return train(self, mode)

    module.train = train_or_evaluate


def _wrap_backward(hooks: TorchHooks, torch: Any) -> None:
    original = torch.Tensor.backward
    line = hooks.line

    @functools.wraps(original)
    def backward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if line.skip or line.kind == at.BACKWARD or get_ident() != line.main:
            return original(self, *args, **kwargs)
        before = line.enter(at.BACKWARD)
        if hooks.evaluating:
            hooks.end_evaluation()
        try:
            return original(self, *args, **kwargs)
        finally:
            now = line.page[at.SINCE]
            if now >= hooks.loss_due_s:
                hooks.safely(hooks.look, self, now)
            if hooks.new_metrics:
                hooks.safely(hooks.read_metrics)
            line.leave(before)

    torch.Tensor.backward = backward


def _wrap_optimisers(hooks: TorchHooks) -> None:
    module = sys.modules["torch.optim.optimizer"]
    line = hooks.line

    def before_step(_optimiser: Any, _args: Any, _kwargs: Any) -> None:
        if line.skip == 2 or get_ident() != line.main:
            return
        if line.kind == at.OPTIMISER:  # the last step raised
            line.leave(at.GAP)
        hooks.optimiser_before = line.enter(at.OPTIMISER)

    def after_step(optimiser: Any, _args: Any, _kwargs: Any) -> None:
        known = hooks.optimisers.get(id(optimiser))
        if line.skip == 2 and known is not None and get_ident() == line.main:
            known[2] += 1
            line.skipped += 1  # as `line.passed` does, which here would be a call too many
            line.quiet -= 1
            if not line.quiet:
                line.wake()
            return
        if get_ident() != line.main:
            return
        line.wake()
        number = hooks.safely(hooks.know_optimiser, optimiser) if known is None else known[0]
        if number is not None and number < at.MOST_OPTIMISERS:
            line.page[at.OPTIMISERS + number] += 1
            if not line.skip and optimiser.param_groups[0].get("lr") != hooks.rates.get(number):
                hooks.safely(hooks.see_rate, optimiser, number)
        if line.kind == at.OPTIMISER and hooks.optimiser_before is not None:
            line.leave(hooks.optimiser_before)
            hooks.optimiser_before = None
        if hooks.batch:
            hooks.count_batch(hooks.batch)
        line.stepped()

    module.register_optimizer_step_pre_hook(before_step)
    module.register_optimizer_step_post_hook(after_step)
    schedulers = sys.modules.get("torch.optim.lr_scheduler")
    if schedulers is None:
        return
    base = schedulers.LRScheduler
    original = base.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        line.facts.add("schedulers", type(self).__name__)
        original(self, *args, **kwargs)

    base.__init__ = __init__


def _wrap_save(hooks: TorchHooks, torch: Any) -> None:
    original = torch.save
    line = hooks.line

    @functools.wraps(original)
    def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
        if line.skip == 1 or get_ident() != line.main:
            return original(obj, f, *args, **kwargs)
        before = line.enter(at.CHECKPOINT)
        begin = _told(f)
        try:
            return original(obj, f, *args, **kwargs)
        finally:
            line.page[at.BYTES + at.CHECKPOINT] += max(0, _told(f) - begin)
            line.leave(before)

    torch.save = save


def _told(file: Any) -> int:
    """Return how far a file has been written: its position, or its size where it is a path."""
    try:
        return int(file.tell()) if hasattr(file, "tell") else os.stat(file).st_size
    except (OSError, ValueError, TypeError):
        return 0


def _wrap_seed(hooks: TorchHooks, torch: Any) -> None:
    original = torch.manual_seed

    @functools.wraps(original)
    def manual_seed(seed: Any) -> Any:
        if not hooks.is_worker:  # a loader seeds its workers
            hooks.line.facts.add("seeds", f"torch {seed}"[:100])
        return original(seed)

    torch.manual_seed = manual_seed
