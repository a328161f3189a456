"""What is remembered between the hooks on PyTorch, and what they tell: curve, evaluations, model, optimisers, loaders.

Whatever is asked of the program's objects goes through `safely`: they may do anything when they are asked.
"""

from __future__ import annotations

import os
import sys
import threading  # torch has imported it
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from . import callers
from . import layout as at
from .epochs import Epochs
from .timeline import Timeline, clock, thread_cpu
from .torch_loaders import Fetching, Loop, Loops, Numbers

_MOST_EVALUATIONS = 2000
_CURVE_EVERY_S, _LATER_EVERY_S = (
    0.02,
    0.1,
)  # in the first second, and from the fifth on; of steps that are timed
_MOST_FAULTS = 20
_MOST_SHAPES = 64
_REGULAR = 16  # steps one after another
_PARTS_SLACK = 0.15  # at the ends of passes a few batches are seen on one side only


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
        self.time_backward: Callable[[], None] = _nothing
        self.leave_backward: Callable[[], None] = _nothing
        self.loops: Loops | None = None
        self.reset()
        timeline.woken, timeline.slept = self.woken, self.slept

    def reset(self) -> None:
        """Forget, as a forked child must; loaders keep their numbers."""
        self.loss_due_s = 0.0
        self.told: tuple[float, dict[str, float]] = (0.0, {})
        self.epochs = Epochs()
        self.epochs_told = 0
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
        self.scaled: tuple[int, Any] = (
            0,
            None,
        )  # a loss that a scaler has made larger, by its id; the scaler
        self.usual: Any = None
        self.backs: list[int] = []  # since the last step: the batch of each pass back
        self.delivered = 0.0  # batches of the training's loader that no step has used
        self.at_steps = self.batches = self.given = (
            0  # steps that were timed, batches in them, what loaders gave for them
        )
        self.fed = False  # the last timed step had a loader
        self.index_s = 0.0  # what the sampler took for the batch that is timed
        self.seen_in_step = False
        self.evaluated_steps = 0  # one after another, in each of which something was passed without gradient
        self.time_backward()
        if self.loops is not None:
            self.loops.training = None

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
        age_s = now - line.began_s
        self.loss_due_s = now + max(_CURVE_EVERY_S, min(_LATER_EVERY_S, age_s / 50), age_s / 500)
        self.see_epoch()
        if isinstance(loss, self.torch.Tensor) and not loss.is_cuda and loss.numel() == 1:
            value = float(loss.detach())
            if self.scaled[0] == id(loss):
                value /= float(self.scaled[1].get_scale())
            self.point({"loss": value}, now)

    def see_epoch(self) -> None:
        """Look for the epoch's number in the calling code."""
        self.epochs.see(callers.epoch(), self.line.step)
        self.tell_epochs()

    def tell_epochs(self) -> None:
        """Say how many epochs there have been, where that has changed."""
        count = self.epochs.count(self.line.step)
        if count != self.epochs_told:
            self.epochs_told = count
            self.line.facts.put("epochs", count)

    def point(self, values: dict[str, float], now: float) -> None:
        """Add values to the curve; numbers that are none are left out."""
        kept = {k: v for k, v in values.items() if v == v and abs(v) != float("inf")}  # noqa: PLR0124 - NaN is not itself
        if kept:
            self.line.facts.add("curve", [now, self.line.step, self.epochs.now, kept])

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
        self.seen_in_step = True
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
        self.line.begun = self.line.step
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
        precision = str(parameters[0].dtype).replace("torch.", "") if parameters else ""
        device = str(parameters[0].device) if parameters else ""
        cast = self.cast_to()
        if cast:
            precision = f"{cast.replace('torch.', '')} (autocast)"
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

    def cast_to(self) -> str:
        """Return the type to which autocast casts now; "" where it is off."""
        torch = self.torch
        try:
            kind = next((kind for kind in ("cuda", "cpu") if torch.is_autocast_enabled(kind)), "")
            return str(torch.get_autocast_dtype(kind)) if kind else ""
        except TypeError:  # before PyTorch 2.4; later ones warn of these names
            if torch.is_autocast_enabled():
                return str(torch.get_autocast_gpu_dtype())
            return str(torch.get_autocast_cpu_dtype()) if torch.is_autocast_cpu_enabled() else ""

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

    # ---- steps -----------------------------------------------------------------------------------------------
    def went_back(self) -> None:
        """Take in a pass back: a batch, where it is not one that went forward more than once."""
        self.backs.append(self.batch)

    def stepped(self, optimiser: Any) -> None:
        """Count the batches of a timed step.

        Each pass back is of a batch (gradients may be added up over several), but a loader's batches are not counted more
        often than it delivered them: two networks of one step learn from one batch.
        """
        self.usual = optimiser
        backs, self.backs = self.backs, []
        self.evaluated_steps = self.evaluated_steps + 1 if self.seen_in_step else 0
        self.seen_in_step = False
        self.line.regular = self.evaluated_steps >= _REGULAR
        sizes = backs or [self.batch] * bool(self.batch)
        loop = None if self.loops is None else self.loops.now()
        self.fed = loop is not None
        if loop is not None:
            most, sizes = self._delivered(loop, sizes)
            self.delivered = min(1.0, max(0.0, most))
        for size in sizes:
            if size:
                self.count_batch(size)
        self.at_steps += 1
        self.batches += len(sizes)

    def _delivered(self, loop: Loop, sizes: list[int]) -> tuple[float, list[int]]:
        """Return what is left of a loader's batches after a step with these, and those of them that are new."""
        new = loop.take(self.line.page)
        self.given += new
        there = self.delivered + new
        if loop.batch_size and sum(sizes) <= there * loop.batch_size:
            return there - -(-sum(sizes) // loop.batch_size), sizes
        sizes = sizes[: max(int(there), 0)]
        return there - len(sizes), sizes

    def slept(self) -> Any:
        """Take the hooks off while steps go by untimed; returns the optimiser that makes them."""
        self.leave_backward()
        if self.loops is not None:
            self.safely(self.loops.sleep)
        return self.usual

    def woken(self, count: int) -> None:
        """Put the hooks on again, and take in that so many steps went by untimed."""
        self.time_backward()
        if self.loops is not None:
            self.safely(self.loops.wake)
        if not count:
            return
        self.tell_epochs()
        page = self.line.page
        others = 0
        usual = None
        for known in self.optimisers.values():
            number, optimiser, steps = known
            if optimiser is self.usual:
                usual = number
                continue
            others += steps
            known[2] = 0
            if number < at.MOST_OPTIMISERS:
                page[at.OPTIMISERS + number] += steps
        if usual is not None and usual < at.MOST_OPTIMISERS:
            page[at.OPTIMISERS + usual] += count - others
        if not self.at_steps:  # Keras counts for itself
            return
        batches = round(count * self.batches / self.at_steps)
        loop = None if self.loops is None else self.loops.now()
        if loop is not None:
            delivered = loop.take(page)
            page[at.CALLS + at.DATA] += delivered
            if self.batches == self.at_steps:  # one a step: that of a step under way is for the next look
                batches = min(delivered, count)
                self.delivered = min(1.0, self.delivered + delivered - batches)
            elif self.given:
                each = self.batches / self.given
                if abs(each - round(each)) < _PARTS_SLACK:  # each as a whole, or in so many parts
                    each = round(each)
                batches = round((delivered + self.delivered) * each)
                self.delivered = 0.0
        elif self.fed:  # its pass has ended, and all of it is counted
            batches = 0
        if self.sizes and batches:
            self.count_batch(max(self.sizes, key=lambda size: page[self.sizes[size] + 1]), batches)

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


def _nothing() -> None:
    """Stand in for a hook that is not there."""


def _settings(group: dict[str, Any]) -> str:
    """Return an optimiser's settings in one line: two that differ there are two trials of a search."""
    told = {k: v for k, v in group.items() if k != "params" and isinstance(v, (int, float, tuple, bool))}
    return ", ".join(f"{k}={told[k]!r}" for k in sorted(told))[:300]
