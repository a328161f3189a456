"""A probe of a few dozen steps for each option: which recipe costs fewest joules here, and learns most from each.

    recipe = joulewise.training.recipe(model, (images, labels), loss=F.cross_entropy, transform=augment)
    print(recipe)

Threads, memory format, precision, compiling and workers are chosen by joules per sample (weighing.py). Optimiser, learning
rate and batch size are chosen by the loss on samples held apart after *equal joules* (racing.py), by halving: many options
for a short time, the better ones for longer. The model given is left as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from math import inf, isfinite, sqrt
from typing import Any, final

from joulewise.training import ranks
from joulewise.training.choices import KNOBS, Choice, Option, Recipe, cheapest, kept
from joulewise.training.feeding import Batches, in_memory, rows
from joulewise.training.optimising import OPTIMISERS, fitting
from joulewise.training.precision import NotFinite
from joulewise.training.racing import Ran, Track, surely_lowest
from joulewise.training.sampling import Samples
from joulewise.training.spending import Spending, spending
from joulewise.training.weighing import HOPELESS, Way, weighed
from joulewise.vocabulary.errors import UsageError

_FIRST = 64
_BATCHES = (32, 64, 128, 256)
_SHORT, _LONG = 32, 96  # steps of the race's two rounds, at the first batch size
_COMPILE_S = 20.0  # CPU seconds that no cold compile is cheaper than: below, it is not even tried
_SAID = "kept, as you said"


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
    to be touched (`keep={"batch_size": 64}`). `counter` reads joules (default: the best here). Under `torchrun` rank 0
    probes and every rank gets its recipe.
    """
    import torch

    fixed = kept(keep)
    if epochs is not None and not (epochs > 0 and isfinite(epochs)):
        raise UsageError(f"epochs is {epochs:g}, but must be above 0")
    device = device or next((str(p.device.type) for p in model.parameters()), "cpu")
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    threads = torch.get_num_threads()

    def probed() -> Recipe:
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            meter = counter or spending(device)
            return _Probe(model, data, loss, epochs, transform, fixed, device, meter, seed).run()

    try:
        return ranks.once(probed)  # the others wait: one probe for all
    finally:
        torch.set_num_threads(threads)


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
        self._model, self._data, self._epochs = model, data, epochs
        self._fixed, self._device, self._counter, self._seed = fixed, device, counter, seed
        self._began_j, self._began_s = counter.read(), time.process_time()
        self._choices: dict[str, Choice] = {}
        self._samples = Samples(data, transform, device, seed)
        self._track = Track(model, loss, self._samples, device, counter)
        self._track.channels_last = fixed.get("memory_format") == "channels_last"
        self._track.precision = fixed.get("precision", "fp32")
        self._size = min(fixed.get("batch_size", _FIRST), max(1, self._samples.size // 2))

    def run(self) -> Recipe:
        self._choose_threads()
        self._choose_arithmetic()
        always = self._choose_learning()
        self._choose_transform(always)
        self._choose_compiling()
        self._choose_workers()
        size = self._choices["batch_size"].taken
        return Recipe(
            tuple(self._choices[k] for k in KNOBS),
            self._device,
            None if self._epochs is None else max(1, int(self._epochs * rows(self._data) / size)),
            self._counter.read() - self._began_j,
            self._joules_per_sample,
            self._track.trained,
            f"{self._counter.basis.name.lower()}: {self._counter.source}",
        )

    def _take(self, knob: str, taken: Any, reason: str, options: list[Option] | None = None) -> None:
        reason = _SAID if knob in self._fixed else reason
        self._choices[knob] = Choice(knob, taken, reason, tuple(options or ()))

    # joules per sample

    def _choose_threads(self) -> None:
        set_threads = self._torch.set_num_threads
        if "threads" in self._fixed:
            self._take("threads", self._fixed["threads"], "")
        else:
            whole = _processors()
            step = self._track.stepper(self._size)
            counts = sorted({1, max(1, whole // 2), whole})
            options = weighed(
                {n: Way(step, self._size, lambda n=n: set_threads(n)) for n in counts},  # type: ignore[misc]
                self._track.joules,
            )
            best = cheapest(options)
            fastest = min(
                (o for o in options if o.seconds_per_sample), key=lambda o: o.seconds_per_sample or inf
            )
            slower = (best.seconds_per_sample or 0) / (fastest.seconds_per_sample or 1) - 1
            cost = f"; {fastest.value} would be {slower:.0%} faster by the clock" if slower > 0.05 else ""
            self._take("threads", best.value, f"fewest joules per sample{cost}", options)
        set_threads(self._choices["threads"].taken)

    def _choose_arithmetic(self) -> None:
        """Choose memory format and precision together: each pays only with the other, or not at all."""
        pictures = self._samples.pictures and any(p.ndim == 4 for p in self._model.parameters())
        formats = [self._fixed["memory_format"]] if "memory_format" in self._fixed else ["contiguous"]
        if pictures and "memory_format" not in self._fixed:
            formats.append("channels_last")
        ours = ["fp32", "tf32", "bf16", "fp16"] if self._device == "cuda" else ["fp32", "bf16"]
        precisions = [self._fixed["precision"]] if "precision" in self._fixed else ours
        options, best = [], (formats[0], precisions[0])
        if len(formats) * len(precisions) > 1:
            ways = {}
            for self._track.channels_last, self._track.precision in product(
                [f == "channels_last" for f in formats], precisions
            ):
                format_ = "channels_last" if self._track.channels_last else "contiguous"
                ways[format_, self._track.precision] = Way(self._track.stepper(self._size), self._size)
            options = weighed(ways, self._track.joules)
            best = cheapest(options).value
        self._track.channels_last, self._track.precision = best[0] == "channels_last", best[1]
        shown = [
            Option(" ".join(o.value), o.joules_per_sample, o.seconds_per_sample, why=o.why) for o in options
        ]
        measured = "fewest joules per sample of format and precision together"
        self._take(
            "memory_format", best[0], measured if pictures else "no pictures: nothing to choose", shown
        )
        self._take("precision", best[1], measured)

    # loss per joule

    def _choose_learning(self) -> Ran:
        """Choose optimiser and rate, then the batch size with its rate; return how the winner ran."""
        first, race = self._size, self._track.race
        unfit = fitting(self._model)
        names = (
            [self._fixed["optimiser"]]
            if "optimiser" in self._fixed
            else [n for n in OPTIMISERS if not unfit[n]]
        )
        if self._epochs is None and "optimiser" not in self._fixed:
            names.remove("one-cycle")
        kept_rate = self._fixed.get("learning_rate")
        rates = self._track.rates(first) if kept_rate is None else [kept_rate]
        tried = {(n, r): race(n, r, first, _SHORT) for n, r in product(names, rates)}
        finite = sorted((f for f in tried if isfinite(tried[f].loss)), key=lambda f: tried[f].loss)
        if not finite:
            surely_lowest(list(tried.values()))
        step_j = {n: min(tried[n, r].joules for r in rates) / _SHORT for n in names}
        budget_j = _LONG * step_j[finite[0][0]]
        # the best rate of each optimiser goes on: a short race says more of rates than of optimisers
        finalists = [next(f for f in finite if f[0] == n) for n in names if any(f[0] == n for f in finite)]
        lasting = {(n, r): race(n, r, first, max(8, int(budget_j / step_j[n]))) for n, r in finalists}
        name, rate = list(lasting)[surely_lowest(list(lasting.values()))]
        shown = [Option(f"{n} {r:.2g}", loss=run.loss) for (n, r), run in {**tried, **lasting}.items()]
        why = "; ".join(f"{n}: {w}" for n, w in unfit.items() if w)
        open_end = "" if self._epochs is not None else "; one-cycle: no end is planned"
        self._take(
            "optimiser", name, f"least loss at equal joules{'; ' + why if why else ''}{open_end}", shown
        )
        size, won = self._choose_size(name, rate, lasting[name, rate], budget_j)
        times = "" if size == first else f", times the root of {size}/{first}"
        scaled = rate if kept_rate is not None else rate * sqrt(size / first)
        self._take("learning_rate", scaled, f"least loss at equal joules{times}")
        return won

    def _choose_size(self, name: str, rate: float, at_first: Ran, budget_j: float) -> tuple[int, Ran]:
        """Choose the batch size, and return it with its run; the rate goes with its root, as a gradient's noise does."""
        first = self._size
        sizes = [s for s in _BATCHES if s <= self._samples.size // 2] or [first]
        sizes = [first] if "batch_size" in self._fixed else sizes
        costs = weighed({s: Way(self._track.stepper(s), s) for s in sizes}, self._track.joules)
        least_j = min(o.joules_per_sample or inf for o in costs)
        runs, options = {first: at_first}, []
        for cost in costs:
            size, each_j = cost.value, cost.joules_per_sample
            if size == first:
                options.append(replace(cost, loss=at_first.loss))
            elif each_j is None or each_j > HOPELESS * least_j:
                options.append(replace(cost, why=cost.why or "too dear a sample"))
            else:
                wanted = rate if "learning_rate" in self._fixed else rate * sqrt(size / first)
                runs[size] = self._track.race(name, wanted, size, max(8, int(budget_j / (each_j * size))))
                options.append(replace(cost, loss=runs[size].loss))
        taken = list(runs)[surely_lowest(list(runs.values()))]
        self._joules_per_sample = next((o.joules_per_sample for o in costs if o.value == taken), None) or 0.0
        self._take("batch_size", taken, "least loss at equal joules", options)
        return taken, runs[taken]

    def _choose_transform(self, always: Ran) -> None:
        """Leave random variation for later where the model learns more from the same joules without it."""
        if "transform" in self._fixed or not self._samples.optional:
            self._take("transform", self._fixed.get("transform", "always"), self._samples.why_not)
            return
        name, rate, size = (self._choices[k].taken for k in ("optimiser", "learning_rate", "batch_size"))
        plain = self._track.race(name, rate, size, max(8, _LONG * self._size // size), plain=True)
        # plain samples first: they are the simpler, and the transform still comes in where validation asks for it
        taken = ("later", "always")[surely_lowest([plain, always])]
        why = "plain samples teach as much or more; it comes in once validation stands still"
        options = [Option("later", loss=plain.loss), Option("always", loss=always.loss)]
        self._take("transform", taken, why if taken == "later" else "plain samples teach less", options)

    # what is decided last

    def _choose_compiling(self) -> None:
        if "compile" in self._fixed:
            self._take("compile", bool(self._fixed["compile"]), "")
            return
        if self._epochs is None:
            self._take("compile", False, "no end is planned: nobody knows whether compiling is earned back")
            return
        run_j = self._joules_per_sample * self._epochs * rows(self._data)
        try_j = _COMPILE_S * self._counter_w()
        if 0.3 * run_j < try_j:
            why = f"the whole run costs {run_j:.3g} J; a third of it does not pay a compile of {try_j:.3g} J"
            self._take("compile", False, why)
            return
        size = self._choices["batch_size"].taken
        before_j = self._counter.read()
        eager, step = self._track.stepper(size), self._track.stepper(size, compiled=True)
        try:
            step()
        except (RuntimeError, NotFinite) as error:
            self._take("compile", False, f"it fails here: {str(error).splitlines()[0][:80]}")
            return
        cold_j = self._counter.read() - before_j
        options = weighed({False: Way(eager, size), True: Way(step, size)}, self._track.joules)
        best = cheapest(options).value
        self._take(
            "compile", best, f"compiling cost {cold_j:.3g} J, the run costs {run_j:.3g} J without", options
        )

    def _counter_w(self) -> float:
        """Return what a second of this process's computing costs in joules, by what was measured so far."""
        used_s = time.process_time() - self._began_s
        return max(1e-9, self._counter.read() - self._began_j) / max(1e-9, used_s)

    def _choose_workers(self) -> None:
        if "workers" in self._fixed:
            self._take("workers", int(self._fixed["workers"]), "")
        elif in_memory(self._data):
            self._take("workers", 0, "the data lie in memory: whole batches are cheaper than messages")
        else:
            self._by_waiting()

    def _by_waiting(self) -> None:
        """Choose the loader's workers by joules per sample of making batches and training on them together.

        Starting workers is paid once a run: the difference between a long and a short pass leaves it out.
        """
        size = self._choices["batch_size"].taken
        batches = min(8, rows(self._data) // size // 3)
        if batches < 1:
            self._take("workers", 0, "too few batches to measure workers by")
            return
        options = []
        for workers in sorted({0, 1, 2, _processors()}):
            if workers > _processors():
                continue
            short, long = (self._pass(size, n, workers) for n in (batches, 3 * batches))
            each = 2 * batches * size
            options.append(Option(workers, (long[0] - short[0]) / each, (long[1] - short[1]) / each))
        best = cheapest([o for o in options if (o.joules_per_sample or 0) > 0])
        self._take("workers", best.value, "fewest joules per sample, made and trained on", options)

    def _pass(self, size: int, batches: int, workers: int) -> tuple[float, float]:
        """Return joules and seconds of so many batches, workers started and ended."""
        step_on = self._track.stepper(size)
        part = self._torch.utils.data.Subset(self._data, range(size * batches))
        before_j, before_s = self._track.joules(), time.perf_counter()
        loader = Batches(part, size, workers=workers, seed=self._seed)
        for _ in loader:
            step_on()
        del loader  # ends its workers, so that their CPU seconds count
        return self._track.joules() - before_j, time.perf_counter() - before_s


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
