"""PyTorch: loaders, the outermost module call, backward, optimiser steps, torch.save. No torch is imported here.

Each wrapper is a pair of `enter` and `leave` around the original; what it learns beyond time it learns at moments
(`loss_due_s`), or once. Calls of a second thread are added beside. A module inside another costs one look at a flag.
"""

from __future__ import annotations

import functools
import os
import sys
from _thread import get_ident
from typing import Any

from . import layout as at
from .timeline import UNTIMED, Timeline, clock, thread_cpu
from .torch_loaders import Fetching, wrap_loaders
from .torch_seen import TorchHooks


def attach(line: Timeline, torch: Any) -> TorchHooks:
    """Wrap what there is of PyTorch, and return what the hooks remember."""
    hooks = TorchHooks(line, torch)
    _wrap_module(hooks, torch)
    _wrap_backward(hooks, torch)
    _wrap_scaling(hooks)
    _wrap_optimisers(hooks)
    _wrap_save(hooks, torch)
    _wrap_seed(hooks, torch)
    loaders = sys.modules.get("torch.utils.data.dataloader")
    if loaders is not None:
        hooks.fetching = Fetching(hooks, sys.modules["torch.utils.data._utils.fetch"])
        wrap_loaders(hooks, loaders, hooks.fetching)
    return hooks


def _uncompiled(torch: Any, call: Any) -> Any:
    """Tell PyTorch's compiler to leave a function's frame as it is, as it leaves the one that we stand in for."""
    compiler: Any = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)  # noqa: SLF001 - it compiles by code object
    if hasattr(compiler, "skip_code"):  # before PyTorch 2.6
        compiler.skip_code(call.__code__)
    elif hasattr(compiler, "set_code_exec_strategy"):
        action = compiler._FrameAction  # noqa: SLF001
        strategy = compiler._FrameExecStrategy(action.SKIP, action.DEFAULT)  # noqa: SLF001 - this frame, not what it calls
        compiler.set_code_exec_strategy(call.__code__, strategy)
    return call


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


def _wrap_module(hooks: TorchHooks, torch: Any) -> None:
    module = torch.nn.Module
    original = module.__call__
    tracing = getattr(torch._C, "_get_tracing_state", bool)  # noqa: SLF001 - there is no other way to know
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
        if known and (skip := line.skip):
            run = self._call_impl if self._compiled_call_impl is None else self._compiled_call_impl
            if skip == 1:
                return run(*args, **kwargs)
            if (grad_on() or line.regular) and get_ident() == line.main:
                line.skip = 1  # what this calls is its own; and a compiler, which reads it, finds it as in timed steps
                try:
                    return run(*args, **kwargs)
                finally:
                    if line.skip:  # nothing in it has woken us
                        line.skip = skip
        if (
            line.skip == 1 or type(self) in losses or tracing()
        ):  # what we ask a tensor would stand in the traced graph
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

    module.__call__ = _uncompiled(torch, __call__)
    train = module.train

    @functools.wraps(train)
    def train_or_evaluate(self: Any, mode: bool = True) -> Any:
        if line.skip == UNTIMED and get_ident() == line.main:
            line.wake()
        return train(self, mode)

    module.train = _uncompiled(torch, train_or_evaluate)


def _wrap_backward(hooks: TorchHooks, torch: Any) -> None:
    """Stand in for `torch.autograd.backward`, which every way to gradients calls, while steps are timed."""
    autograd = torch.autograd
    original = autograd.backward
    line = hooks.line

    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if line.skip or line.kind == at.BACKWARD or get_ident() != line.main:
            return original(tensors, *args, **kwargs)
        before = line.enter(at.BACKWARD)
        if hooks.evaluating:
            hooks.end_evaluation()
        try:
            return original(tensors, *args, **kwargs)
        finally:
            if before == at.GAP:
                hooks.went_back()
            now, own = line.page[at.SINCE], line.step - line.begun
            if now >= hooks.loss_due_s or not own & (own - 1):  # behind 1, 2, 4, 8 ... steps always
                hooks.safely(hooks.look, tensors, now)
            if hooks.new_metrics:
                hooks.safely(hooks.read_metrics)
            line.leave(before)

    def exchange(there: Any, ours: Any) -> None:
        if autograd.backward is there:  # not if the program has put its own in this place
            autograd.backward = ours

    _uncompiled(torch, backward)
    hooks.time_backward = functools.partial(exchange, original, backward)
    hooks.leave_backward = functools.partial(exchange, backward, original)
    hooks.time_backward()


def _wrap_scaling(hooks: TorchHooks) -> None:
    """Remember which loss a scaler has made larger."""
    scaler = getattr(sys.modules.get("torch.amp.grad_scaler"), "GradScaler", None)
    if scaler is None:
        return
    original = scaler.scale

    @functools.wraps(original)
    def scale(self: Any, outputs: Any) -> Any:
        scaled = original(self, outputs)
        hooks.scaled = (id(scaled), self)
        return scaled

    scaler.scale = scale


def _wrap_optimisers(hooks: TorchHooks) -> None:
    module = sys.modules["torch.optim.optimizer"]
    line = hooks.line

    def before_step(optimiser: Any, _args: Any, _kwargs: Any) -> None:
        if optimiser is line.usual or line.skip == UNTIMED or get_ident() != line.main:
            return
        if line.kind == at.OPTIMISER:  # the last step raised
            line.leave(at.GAP)
        hooks.optimiser_before = line.enter(at.OPTIMISER)

    def after_step(optimiser: Any, _args: Any, _kwargs: Any) -> None:
        if (
            optimiser is line.usual
        ):  # the whole cost of an untimed step: what it touches has to be fetched first
            for _ in line.ticks:
                return
        if get_ident() != line.main:
            return
        known = hooks.optimisers.get(id(optimiser))
        if line.skip == UNTIMED and known is not None:
            if optimiser is not line.usual:
                known[2] += 1
                for _ in line.ticks:
                    return
            line.wake(1)
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
        hooks.stepped(optimiser)
        line.stepped()

    module.register_optimizer_step_pre_hook(_uncompiled(hooks.torch, before_step))
    module.register_optimizer_step_post_hook(_uncompiled(hooks.torch, after_step))
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
