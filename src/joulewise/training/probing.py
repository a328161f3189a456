"""A probe of a few dozen steps for each option: which recipe costs fewest joules here, and learns most from each.

    recipe = joulewise.training.recipe(model, (images, labels), loss=F.cross_entropy, transform=augment)
    print(recipe)

Threads, memory format, precision, compiling and workers are chosen by joules per sample, interleaved so that a busy
machine troubles all options alike. Optimiser, learning rate and batch size are chosen by the loss on samples held apart
after *equal joules*: each option trains a copy of the model through its own whole schedule in small, by halving: many
options for a short time, the better ones for longer. The model given is left as it is.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import exp, inf, isfinite, log, sqrt
from typing import Any, final

from joulewise.training.choices import Choice, Option, Recipe, cheapest, kept, lowest_loss
from joulewise.training.feeding import Batches, in_memory, placed, rows
from joulewise.training.landing import Landing
from joulewise.training.optimising import OPTIMISERS, Optimiser, fitting
from joulewise.training.precision import Guard, NotFinite
from joulewise.training.spending import Spending, spending
from joulewise.vocabulary.errors import UsageError

_FIRST = 64
_BATCHES = (32, 64, 128, 256)
_POOL = 8192  # samples that the probe looks at
_HELD = 1024  # of which it never trains on
_SHORT, _LONG = 32, 96  # steps of the race's two rounds, at the first batch size
_ROUNDS = 3
_HOPELESS = 1.5  # times the least joules so far: such an option is not measured again
_COMPILE_S = 20.0  # CPU seconds that no cold compile is cheaper than: below, it is not even tried


def recipe(
    model: Any,
    data: Any,
    *,
    loss: Callable[[Any, Any], Any],
    epochs: float | None = None,
    transform: Callable[[Any], Any] | None = None,
    keep: Mapping[str, Any] | None = None,
    device: str | None = None,
    counter: Spending | None = None,
    seed: int = 0,
) -> Recipe:
    """Return how to train this model on these data here: each knob with its options, measured, and the reason.

    `data` are tensors (inputs, targets) or a map-style dataset of such pairs; `transform` takes the inputs of a batch.
    `epochs` is the planned length (None: open, as when a stopping rule ends the run). `keep` names knobs that are not
    to be touched (`keep={"batch_size": 64}`). `counter` reads joules (default: the best here).
    """
    import torch

    fixed = kept(keep)
    if epochs is not None and not (epochs > 0 and isfinite(epochs)):
        raise UsageError(f"epochs is {epochs:g}, but must be above 0")
    device = device or next((str(p.device.type) for p in model.parameters()), "cpu")
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        probe = _Probe(model, data, loss, epochs, transform, fixed, device, counter or spending(device), seed)
        try:
            return probe.run()
        finally:
            torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class _Ran:
    """A small run: its loss on the held samples, and the joules of its steps."""

    loss: float
    joules: float


@final
class _Probe:
    """One probe under way: what was chosen so far holds for what is measured next."""

    def __init__(
        self,
        model: Any,
        data: Any,
        loss: Callable[[Any, Any], Any],
        epochs: float | None,
        transform: Callable[[Any], Any] | None,
        fixed: dict[str, Any],
        device: str,
        counter: Spending,
        seed: int,
    ) -> None:
        import torch

        self._torch = torch
        self._model, self._data, self._loss, self._epochs = model, data, loss, epochs
        self._transform, self._fixed, self._device, self._counter = transform, fixed, device, counter
        self._began_j, self._began_s = counter.read(), time.process_time()
        self._choices: dict[str, Choice] = {}
        self._trained = 0
        self._seed = seed
        self._gather(seed)
        size = fixed.get("batch_size", _FIRST)
        self._size = min(size, max(1, self._pool // 2))
        self._threads = fixed.get("threads", torch.get_num_threads())
        self._format = fixed.get("memory_format", "contiguous")
        self._precision = fixed.get("precision", "fp32")
        self._optional, self._why_always = self._may_be_left_out()
        self._plain = False

    def run(self) -> Recipe:
        self._choose_threads()
        self._choose_arithmetic()
        self._choose_learning()
        self._choose_transform()
        self._choose_compiling()
        self._choose_workers()
        order = (
            "threads",
            "memory_format",
            "precision",
            "compile",
            "batch_size",
            "optimiser",
            "learning_rate",
            "transform",
            "workers",
        )
        size = self._choices["batch_size"].taken
        return Recipe(
            tuple(self._choices[k] for k in order),
            self._device,
            None if self._epochs is None else max(1, int(self._epochs * rows(self._data) / size)),
            self._counter.read() - self._began_j,
            self._joules_per_sample,
            self._trained,
            f"{self._counter.basis.name.lower()}: {self._counter.source}",
        )

    # samples

    def _gather(self, seed: int) -> None:
        """Take the samples that the probe looks at, and hold some of them apart."""
        whole = rows(self._data)
        if whole < 8:
            raise UsageError(f"{whole} samples are too few to probe; give at least 8")
        if in_memory(self._data):
            draw = self._torch.Generator().manual_seed(seed)
            index = self._torch.randperm(whole, generator=draw)[:_POOL]
            pair = [t[index] for t in self._data]
        else:
            size = min(64, whole)
            loader = Batches(self._data, size, seed=seed)
            made, began, batches = 0, time.process_time(), []
            for batch in loader:
                batches.append(batch)
                made += size
                if made >= _POOL or (made >= _HELD and time.process_time() - began > 2):
                    break
            pair = [self._torch.cat(parts) for parts in zip(*batches, strict=True)]
        if len(pair) != 2:
            raise UsageError(f"a sample has {len(pair)} parts, but must be a pair (input, target)")
        held = min(_HELD, len(pair[0]) // 4)
        self._held = [t[:held] for t in pair]
        self._inputs, self._targets = (t[held:] for t in pair)
        self._pool = len(self._inputs)

    def _batch(self, number: int, size: int, format_: str) -> tuple[Any, Any]:
        start = number * size % max(1, self._pool - size + 1)
        inputs = self._inputs[start : start + size]
        if self._transform is not None and not self._plain:
            inputs = self._transform(inputs)
        return placed(inputs, self._device, format_ == "channels_last"), self._targets[
            start : start + size
        ].to(self._device)

    # joules per sample

    def _stepper(self, size: int, format_: str, precision: str, compiled: bool = False) -> Callable[[], None]:
        """Return a function that takes one training step of a copy of the model."""
        model = copy.deepcopy(self._model).to(self._device).train()
        if format_ == "channels_last":
            model = model.to(memory_format=self._torch.channels_last)
        forward = self._torch.compile(model) if compiled else model
        optimiser = Optimiser("wsd", model, 1e-4)
        guard = Guard(precision, self._device)
        number = 0

        def step() -> None:
            nonlocal number
            inputs, targets = self._batch(number, size, format_)
            with guard.computing():
                loss = self._loss(forward(inputs), targets)
            guard.step(loss, optimiser)
            if guard.fell_back:
                raise NotFinite(guard.fell_back)
            number += 1
            self._trained += size

        return step

    def _measure(
        self, candidates: Mapping[Any, tuple[Callable[[], None], int, Callable[[], None]]]
    ) -> list[Option]:
        """Return each candidate (a step, its samples, what sets the stage) with its joules and seconds per sample.

        Rounds are interleaved and the least of them counts: what another program takes is never a saving.
        """
        least_j: dict[Any, float] = {}
        least_s: dict[Any, float] = {}
        why: dict[Any, str] = {}
        for turn in range(_ROUNDS + 1):  # the first warms up
            hopeless = _HOPELESS * min(least_j.values(), default=inf)
            for name, (step, samples, stage) in candidates.items():
                if name in why or least_j.get(name, 0.0) > hopeless:
                    continue
                stage()
                steps = max(2, 256 // samples) if turn else 1
                before_j, before_s = self._now()
                try:
                    for _ in range(steps):
                        step()
                except (RuntimeError, NotFinite) as error:
                    why[name] = str(error).splitlines()[0][:120]
                    least_j.pop(name, None)
                    continue
                after_j, after_s = self._now()
                if turn:
                    each = steps * samples
                    least_j[name] = min(least_j.get(name, inf), (after_j - before_j) / each)
                    least_s[name] = min(least_s.get(name, inf), (after_s - before_s) / each)
        if not least_j:
            raise UsageError(f"the model cannot be trained as it is: {next(iter(why.values()))}")
        return [Option(n, least_j.get(n), least_s.get(n), why=why.get(n, "")) for n in candidates]

    def _now(self) -> tuple[float, float]:
        if self._device == "cuda":
            self._torch.cuda.synchronize()
        return self._counter.read(), time.perf_counter()

    def _take(self, knob: str, taken: Any, reason: str, options: list[Option] | None = None) -> None:
        self._choices[knob] = Choice(knob, taken, reason, tuple(options or ()))

    def _choose_threads(self) -> None:
        set_threads = self._torch.set_num_threads
        if "threads" in self._fixed:
            self._take("threads", self._threads, "kept, as you said")
        else:
            whole = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            counts = sorted({1, max(1, whole // 2), whole})
            step = self._stepper(self._size, self._format, self._precision)
            options = self._measure(
                {n: (step, self._size, lambda n=n: set_threads(n)) for n in counts}  # type: ignore[misc]
            )
            best = cheapest(options)
            self._threads = best.value
            fastest = min(
                (o for o in options if o.seconds_per_sample), key=lambda o: o.seconds_per_sample or inf
            )
            slower = (best.seconds_per_sample or 0) / (fastest.seconds_per_sample or 1) - 1
            cost = f"; {fastest.value} would be {slower:.0%} faster by the clock" if slower > 0.05 else ""
            self._take("threads", self._threads, f"fewest joules per sample{cost}", options)
        set_threads(self._threads)

    def _choose_arithmetic(self) -> None:
        """Choose memory format and precision together: each pays only with the other, or not at all."""
        pictures = self._inputs.ndim == 4 and any(p.ndim == 4 for p in self._model.parameters())
        formats = [self._fixed["memory_format"]] if "memory_format" in self._fixed else ["contiguous"]
        if pictures and "memory_format" not in self._fixed:
            formats.append("channels_last")
        ours = ["fp32", "tf32", "bf16", "fp16"] if self._device == "cuda" else ["fp32", "bf16"]
        precisions = [self._fixed["precision"]] if "precision" in self._fixed else ours
        if len(formats) == len(precisions) == 1:
            options: list[Option] = []
            best = (formats[0], precisions[0])
        else:
            options = self._measure(
                {
                    (f, p): (self._stepper(self._size, f, p), self._size, lambda: None)
                    for f, p in product(formats, precisions)
                }
            )
            best = cheapest(options).value
        self._format, self._precision = best
        shown = [
            Option(" ".join(o.value), o.joules_per_sample, o.seconds_per_sample, why=o.why) for o in options
        ]
        measured = "fewest joules per sample of format and precision together"
        alone = measured if pictures else "no pictures: nothing to choose"
        self._take(
            "memory_format", best[0], "kept, as you said" if "memory_format" in self._fixed else alone, shown
        )
        self._take("precision", best[1], "kept, as you said" if "precision" in self._fixed else measured)

    # loss per joule

    def _choose_learning(self) -> None:
        """Choose optimiser and rate, then the batch size with its rate, each by the loss at equal joules."""
        first = self._size
        unfit = fitting(self._model)
        names = (
            [self._fixed["optimiser"]]
            if "optimiser" in self._fixed
            else [n for n in OPTIMISERS if not unfit[n]]
        )
        if self._epochs is None and "optimiser" not in self._fixed:
            names.remove("one-cycle")
        rates = [self._fixed["learning_rate"]] if "learning_rate" in self._fixed else self._rates(first)
        tried = {(n, r): self._race(n, r, first, _SHORT) for n, r in product(names, rates)}
        finite = sorted((f for f in tried if isfinite(tried[f].loss)), key=lambda f: tried[f].loss)
        if not finite:
            lowest_loss([Option(r, loss=inf) for r in rates])
        step_j = {n: min(tried[n, r].joules for r in rates) / _SHORT for n in names}
        budget_j = _LONG * step_j[finite[0][0]]
        # the best rate of each optimiser goes on: a short race says more of rates than of optimisers
        finalists = [next(f for f in finite if f[0] == n) for n in names if any(f[0] == n for f in finite)]
        lasting = {(n, r): self._race(n, r, first, max(8, int(budget_j / step_j[n]))) for n, r in finalists}
        # of rates that are as good, the lower: what is best for a short time is high for a long one
        ranked = sorted(lasting, key=lambda f: (names.index(f[0]), f[1]))
        name, rate = lowest_loss([Option(f, loss=lasting[f].loss) for f in ranked]).value
        shown = [Option(f"{n} {r:.2g}", loss=run.loss) for (n, r), run in {**tried, **lasting}.items()]
        said = "kept, as you said"
        why = "; ".join(f"{n}: {w}" for n, w in unfit.items() if w)
        open_end = "" if self._epochs is not None else "; one-cycle: no end is planned"
        reason = f"least loss at equal joules{'; ' + why if why else ''}{open_end}"
        self._take("optimiser", name, said if "optimiser" in self._fixed else reason, shown)
        size = self._choose_size(name, rate, first, lasting[name, rate].loss, budget_j)
        if "learning_rate" in self._fixed:
            self._take("learning_rate", rate, said)
        else:
            times = "" if size == first else f", times the root of {size}/{first}"
            self._take("learning_rate", rate * sqrt(size / first), f"least loss at equal joules{times}")

    def _choose_size(self, name: str, rate: float, first: int, loss: float, budget_j: float) -> int:
        """Choose the batch size; the rate goes with its root, as the noise of a gradient does."""
        sizes = [s for s in _BATCHES if s <= self._pool // 2] or [first]
        sizes = [first] if "batch_size" in self._fixed else sizes
        costs = self._measure(
            {s: (self._stepper(s, self._format, self._precision), s, lambda: None) for s in sizes}
        )
        least_j = min(o.joules_per_sample or inf for o in costs)
        options = []
        for cost in costs:
            size, each_j = cost.value, cost.joules_per_sample
            if size == first:
                options.append(replace(cost, loss=loss))
            elif each_j is None or each_j > _HOPELESS * least_j:
                options.append(replace(cost, why=cost.why or "too dear a sample"))
            else:
                steps = max(8, int(budget_j / (each_j * size)))
                wanted = rate if "learning_rate" in self._fixed else rate * sqrt(size / first)
                options.append(replace(cost, loss=self._race(name, wanted, size, steps).loss))
        best = lowest_loss(options)
        self._joules_per_sample = best.joules_per_sample or 0.0
        kept_size = "batch_size" in self._fixed
        self._take(
            "batch_size",
            best.value,
            "kept, as you said" if kept_size else "least loss at equal joules",
            options,
        )
        return int(best.value)

    def _rates(self, size: int) -> list[float]:
        """Return rates to race, by a range test: the rate rises until the loss does (Smith 2017)."""
        low, high, steps = 1e-5, 1.0, 60
        model = copy.deepcopy(self._model).to(self._device).train()
        if self._format == "channels_last":
            model = model.to(memory_format=self._torch.channels_last)
        optimiser = Optimiser("wsd", model, low)
        optimiser.landing = Landing()
        guard = Guard(self._precision, self._device)
        smooth, best, at = 0.0, inf, low
        for step in range(steps):
            rate = exp(log(low) + (log(high) - log(low)) * step / (steps - 1))
            for group in optimiser.param_groups:
                group["base"] = rate
            inputs, targets = self._batch(step, size, self._format)
            with guard.computing():
                loss = self._loss(model(inputs), targets)
            value = float(loss.detach())
            if not isfinite(value):
                break
            smooth = 0.8 * smooth + 0.2 * value
            level = smooth / (1 - 0.8 ** (step + 1))
            if level < best:
                best, at = level, rate
            if level > 2 * best:
                break
            guard.step(loss, optimiser)
            self._trained += size
        return [at * f for f in (0.4, 0.16, 0.064)]

    def _race(self, name: str, rate: float, size: int, steps: int) -> _Ran:
        """Return the loss on the held samples after a whole schedule of so many steps; infinite where it diverged."""
        before_j = self._now()[0]
        model = copy.deepcopy(self._model).to(self._device).train()
        if self._format == "channels_last":
            model = model.to(memory_format=self._torch.channels_last)
        optimiser = Optimiser(name, model, rate, steps=steps)
        guard = Guard(self._precision, self._device)
        try:
            for number in range(steps):
                inputs, targets = self._batch(number, size, self._format)
                with guard.computing():
                    loss = self._loss(model(inputs), targets)
                guard.step(loss, optimiser)
                self._trained += size
        except NotFinite:
            return _Ran(inf, self._now()[0] - before_j)
        used_j, total = self._now()[0] - before_j, 0.0
        with optimiser.evaluating() as judged, self._torch.inference_mode(), guard.computing():
            held = len(self._held[0])
            for start in range(0, held, 256):
                inputs, targets = (t[start : start + 256] for t in self._held)
                if self._transform is not None and not self._optional:
                    inputs = self._transform(inputs)
                inputs = placed(inputs, self._device, self._format == "channels_last")
                total += len(inputs) * float(self._loss(judged(inputs), targets.to(self._device)))
        return _Ran(total / held if isfinite(total) else inf, used_j)

    def _may_be_left_out(self) -> tuple[bool, str]:
        """Return whether the transform only varies samples, as augmentation does; else why it is a part of them."""
        if self._transform is None:
            return False, "there is none"
        plain = self._held[0][:64]
        one, other = self._transform(plain), self._transform(plain)
        if one.shape != plain.shape or one.dtype != plain.dtype:
            return False, "it changes the shape or the type of a sample"
        if self._torch.equal(one, other):
            return False, "it draws nothing at random: it is a part of the data"
        before, after = (t.float() for t in (plain, one))
        moved = abs(float(after.mean() - before.mean())), abs(float(after.std() - before.std()))
        if max(moved) > 0.25 * float(before.std()):
            return False, "it changes the scale of a sample"
        return True, ""

    def _choose_transform(self) -> None:
        """Leave random variation for later where the model learns more from the same joules without it."""
        if "transform" in self._fixed or not self._optional:
            said = "kept, as you said" if "transform" in self._fixed else self._why_always
            self._take("transform", self._fixed.get("transform", "always"), said)
            return
        name, rate, size = (self._choices[k].taken for k in ("optimiser", "learning_rate", "batch_size"))
        always = next(o.loss for o in self._choices["batch_size"].options if o.value == size)
        self._plain = True
        plain = self._race(name, rate, size, max(8, _LONG * self._size // size)).loss
        self._plain = False
        # plain samples first: they are the simpler, and the transform still comes in where validation asks for it
        options = [Option("later", loss=plain), Option("always", loss=always)]
        best = lowest_loss(options).value
        why = "plain samples teach as much or more; it comes in once validation stands still"
        self._take("transform", best, why if best == "later" else "plain samples teach less", options)

    # what is decided last

    def _choose_compiling(self) -> None:
        if "compile" in self._fixed:
            self._take("compile", bool(self._fixed["compile"]), "kept, as you said")
            return
        if self._epochs is None:
            self._take("compile", False, "no end is planned: nobody knows whether compiling is earned back")
            return
        each_j = self._joules_per_sample
        run_j = each_j * self._epochs * rows(self._data)
        try_j = _COMPILE_S * self._counter_w()
        if 0.3 * run_j < try_j:
            self._take(
                "compile",
                False,
                f"the whole run costs {run_j:.3g} J; a third of it does not pay a compile of {try_j:.3g} J",
            )
            return
        size = self._choices["batch_size"].taken
        before_j = self._counter.read()
        step = self._stepper(size, self._format, self._precision, compiled=True)
        eager = self._stepper(size, self._format, self._precision)
        try:
            step()
        except (RuntimeError, NotFinite) as error:
            self._take("compile", False, f"it fails here: {str(error).splitlines()[0][:80]}")
            return
        cold_j = self._counter.read() - before_j
        options = self._measure({False: (eager, size, lambda: None), True: (step, size, lambda: None)})
        best = cheapest(options).value
        self._take(
            "compile", best, f"compiling cost {cold_j:.3g} J, the run costs {run_j:.3g} J without", options
        )

    def _counter_w(self) -> float:
        """Return what a second of this process's computing costs in joules, by what was measured so far."""
        used_s = time.process_time()
        return max(1e-9, self._counter.read() - self._began_j) / max(1e-9, used_s - self._began_s)

    def _choose_workers(self) -> None:
        if "workers" in self._fixed:
            self._take("workers", int(self._fixed["workers"]), "kept, as you said")
        elif in_memory(self._data):
            self._take("workers", 0, "the data lie in memory: whole batches are cheaper than messages")
        else:
            self._by_waiting()

    def _by_waiting(self) -> None:
        """Choose the loader's workers by joules per sample of making batches and training on them together.

        Starting workers is paid once a run: the difference between a long and a short pass leaves it out.
        """
        size = self._choices["batch_size"].taken
        spare = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        batches = min(8, rows(self._data) // size // 3)
        if batches < 1:
            self._take("workers", 0, "too few batches to measure workers by")
            return
        options = []
        for workers in sorted({0, 1, 2, spare}):
            if workers > spare:
                continue
            short, long = (self._pass(size, n, workers) for n in (batches, 3 * batches))
            each = 2 * batches * size
            options.append(Option(workers, (long[0] - short[0]) / each, (long[1] - short[1]) / each))
        best = cheapest([o for o in options if (o.joules_per_sample or 0) > 0])
        self._take("workers", best.value, "fewest joules per sample, made and trained on", options)

    def _pass(self, size: int, batches: int, workers: int) -> tuple[float, float]:
        """Return joules and seconds of so many batches, workers started and ended."""
        step_on = self._stepper(size, self._format, self._precision)
        part = self._torch.utils.data.Subset(self._data, range(size * batches))
        before_j, before_s = self._now()
        loader = Batches(part, size, workers=workers, seed=self._seed)
        for _ in loader:
            step_on()
        del loader  # ends its workers, so that their CPU seconds count
        after_j, after_s = self._now()
        return after_j - before_j, after_s - before_s
