"""How much training does a search need? LCBench by its surrogate (YAHPO Gym): `make bench-search`.

Each run searches one task for one seed until an epoch of any trial reaches the target, or 60 trainings' worth of epochs
(40 on the easy set) are spent; then it counts what it spent. Costs are the surrogate's training seconds. Methods:

    random       random settings, trained in full
    joulewise    `joulewise.search` as it stands
    no-cost      the same without the cost term (ablation)
    optuna-tpe   Optuna's TPE, trained in full
    grid         three levels a parameter, in a random order, trained in full

    whole-grid   the same, but however long it takes: all of its 2,187 trainings if it must

    python bench/search.py --set hard --set easy --seeds 10
    python bench/search.py --task 126029 --task 167149 --methods random,joulewise
    python bench/search.py --set taskset --set hpolib --set hpobench      # search_tables.py

The target is the 99 % quantile of 20,000 random settings; on the easy set 0.5 points below the best that is known.
The figure of a task is the median over seeds; that of a set the geometric mean of its tasks' ratios to random.
A task of LCBench is its number, of the tables kind:name. Needs the extra `search-bench`, and the surrogate's folder in LCB_DIR or ../shared/data/train/lcbench_surrogate.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from search_tables import HPOBENCH, HPOLIB, TASKSET, RealTimes, TaskSet

from joulewise.searching.deciding import Rules
from joulewise.searching.space import Choice, Float, Int, Space
from joulewise.searching.study import Study
from joulewise.vocabulary.budget import Budget, Spent
from joulewise.vocabulary.figures import exact

EPOCHS = 52
SETS = {
    "hard": ("7593", "189866", "167161", "168910"),
    "easy": ("3945", "168868"),
    "taskset": tuple(f"taskset:{name}" for name in TASKSET),
    "hpolib": tuple(f"hpolib:{name}" for name in HPOLIB),
    "hpobench": tuple(f"hpobench:{name}" for name in HPOBENCH),
    "unseen": ("34539", "126029", "146212", "167149", "167185", "168329", "189354", "189909"),
}
SPACE = Space(
    {
        "batch_size": Int(16, 512, log=True),
        "learning_rate": Float(1e-4, 1e-1, log=True),
        "momentum": Float(0.1, 0.99),
        "weight_decay": Float(1e-5, 1e-1),
        "num_layers": Int(1, 5),
        "max_units": Int(64, 1024, log=True),
        "max_dropout": Float(0.0, 1.0),
    }
)


class Surrogate:
    """One task of LCBench: curves of accuracy (percent) and of training seconds, and its target."""

    space, epochs = SPACE, EPOCHS

    def __init__(self, folder: Path, task: str, easy: bool) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self._code = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"][task]
        self.target, self.trainings = self._aim(easy), 40 if easy else 60

    def begin(self) -> None:
        """Nothing to forget."""

    def ask(self, rows: np.ndarray) -> np.ndarray:
        """Return (seconds, accuracy) for rows of epoch and settings."""
        category = np.full((len(rows), 1), self._code, np.int32)
        return self._session.run(None, {"x_cat": category, "x_cont": rows.astype(np.float32)})[0]

    def curve(self, params: dict) -> tuple[np.ndarray, np.ndarray]:
        """Return accuracy after, and seconds of, each epoch."""
        epochs = np.arange(1, EPOCHS + 1)
        rows = np.column_stack([epochs, np.tile([params[n] for n in SPACE.names], (EPOCHS, 1))])
        told = self.ask(rows)
        seconds = np.maximum.accumulate(np.maximum(told[:, 0], 0.01 * epochs))
        return np.clip(told[:, 1], 0.0, 100.0), np.diff(seconds, prepend=0.0)

    def _aim(self, easy: bool) -> float:
        rng = np.random.default_rng(7)
        points = rng.random((20_000, len(SPACE.names)))
        final = self._final(points)
        if not easy:
            return float(np.quantile(final, 0.99))
        best = final.max()
        for width in (0.08, 0.04, 0.025, 0.02):
            top = points[np.argsort(-final)[:40]]
            points = np.clip(np.repeat(top, 50, axis=0) + rng.normal(0, width, (2000, points.shape[1])), 0, 1)
            final = self._final(points)
            best = max(best, final.max())
        return float(best) - 0.5

    def _final(self, points: np.ndarray) -> np.ndarray:
        rows = [[EPOCHS, *SPACE.configuration(p).values()] for p in points]
        return np.clip(self.ask(np.array(rows))[:, 1], 0.0, 100.0)


Task = Surrogate | TaskSet | RealTimes


@dataclass
class Meter:
    """Simulated: joules are the surrogate's seconds, seconds are epochs."""

    seconds: float = 0.0
    epochs: int = 0
    solved: bool = False
    trials: int = 0
    own_cpu_s: float = field(default=0.0)  # of the surrogate itself, left out of the search's

    def __call__(self) -> Spent:
        """Return what was used so far."""
        return Spent(time_s=float(self.epochs), energy_j=exact(self.seconds))

    def train(self, task: Task, params: dict, most: int):
        """Yield the accuracy of each epoch, and count it."""
        began = time.process_time()
        values, costs = task.curve(params)
        self.trials += 1
        self.own_cpu_s += time.process_time() - began
        for value, cost in zip(values[:most], costs, strict=False):
            self.seconds += float(cost)
            self.epochs += 1
            self.solved = self.solved or value >= task.target
            yield float(value)


def in_full(task: Task, meter: Meter, propose, told, most: int = 0) -> None:
    """Train proposals in full until the target or the end of the budget (`most` trainings)."""
    while not meter.solved and meter.epochs < task.epochs * (most or task.trainings):
        params = propose()
        best = -np.inf
        for value in meter.train(task, params, task.epochs):
            best = max(best, value)
            if meter.solved:
                return
        told(best)


def random(task: Task, meter: Meter, seed: int) -> int:
    rng = np.random.default_rng(10_000 + seed)
    in_full(task, meter, lambda: task.space.configuration(rng.random(len(task.space.names))), lambda _: None)
    return 0


def grid(task: Task, meter: Meter, seed: int, whole: bool = False) -> int:
    points = np.array(list(product((1 / 6, 1 / 2, 5 / 6), repeat=len(task.space.names))))
    order = iter(np.random.default_rng(20_000 + seed).permutation(len(points)))
    most = len(points) if whole else 0
    in_full(task, meter, lambda: task.space.configuration(points[next(order)]), lambda _: None, most)
    return 0


def optuna_tpe(task: Task, meter: Meter, seed: int) -> int:
    import warnings

    import optuna

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True)
    )
    open_trials = []

    def propose() -> dict:
        trial = study.ask()
        open_trials.append(trial)
        return {name: suggested(trial, name, p) for name, p in task.space.parameters.items()}

    in_full(task, meter, propose, lambda best: study.tell(open_trials[-1], best))
    return len(open_trials)


def suggested(trial, name: str, parameter):
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(name, parameter.values)
    kind = trial.suggest_int if isinstance(parameter, Int) else trial.suggest_float
    return kind(name, parameter.low, parameter.high, log=parameter.log)


def ours(task: Task, meter: Meter, seed: int, cost_power: float = 1.0) -> int:
    def objective(trial):
        yield from meter.train(task, trial.params, task.epochs)

    def spent(_: Study) -> str:  # not as a budget: a search foresees that a dear epoch is a long one
        return "all epochs are used" if meter.epochs >= task.epochs * task.trainings else ""

    study = Study("bench", task.space, Rules(task.epochs, seed, cost_power=cost_power))
    study.run(objective, Budget(trials=10**6), meter, task.target, stopped=spent)
    return sum(line["kind"] == "decision" for line in study.lines)


METHODS = {
    "random": random,
    "joulewise": ours,
    "no-cost": lambda task, meter, seed: ours(task, meter, seed, 0.0),
    "optuna-tpe": optuna_tpe,
    "grid": grid,
    "whole-grid": lambda task, meter, seed: grid(task, meter, seed, whole=True),
}


def measure(task: Task, method: str, seeds: int) -> dict:
    """Return what `method` needed on `task`, a list entry a seed."""
    rows = {"seconds": [], "epochs": [], "solved": [], "cpu_s": [], "decisions": [], "trials": []}
    for seed in range(seeds):
        meter = Meter()
        task.begin()
        began = time.process_time()
        decisions = METHODS[method](task, meter, seed)
        rows["cpu_s"].append(time.process_time() - began - meter.own_cpu_s)
        rows["seconds"].append(meter.seconds)
        rows["epochs"].append(meter.epochs)
        rows["solved"].append(meter.solved)
        rows["decisions"].append(decisions)
        rows["trials"].append(meter.trials)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", action="append", choices=SETS, default=[])
    parser.add_argument("--task", action="append", default=[])
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write every run's figures there")
    chosen = parser.parse_args()
    if unknown := set(chosen.methods.split(",")) - set(METHODS):
        parser.error(f"unknown methods {', '.join(unknown)}; there are {', '.join(METHODS)}")
    folder = Path(
        os.environ.get(
            "LCB_DIR", Path(__file__).parents[2] / "shared" / "data" / "train" / "lcbench_surrogate"
        )
    )
    sets = {name: SETS[name] for name in chosen.set}
    if chosen.task:
        sets["tasks"] = tuple(chosen.task)
    told = []
    methods = ["random", *(m for m in chosen.methods.split(",") if m != "random")]
    for name, tasks in (sets or {k: SETS[k] for k in ("hard", "easy")}).items():
        found = {m: [] for m in methods}
        for task in tasks:
            found_task = opened(folder, task, name == "easy")
            for method in methods:
                found[method].append(measure(found_task, method, chosen.seeds))
                got = found[method][-1]
                told.append({"set": name, "task": task, "method": method, **got})
                print(f"  {task[-24:]:>24} {method:11} {np.mean(got['solved']):4.2f} solved, median {np.median(got['seconds']):8.0f} s, {np.median(got['epochs']):5.0f} epochs", flush=True)  # fmt: skip
        print(f"\n{name} set ({', '.join(tasks)}; {chosen.seeds} seeds)")
        print(
            "method      | solved | fewer training s than random | fewer epochs | CPU-s a run | CPU-ms a decision"
        )
        for method, rows in found.items():
            seconds, epochs = (ratio(found["random"], rows, key) for key in ("seconds", "epochs"))
            solved = np.mean([r["solved"] for r in rows])
            cpu_s, decisions = (np.sum([r[key] for r in rows]) for key in ("cpu_s", "decisions"))
            each = f"{1000 * cpu_s / decisions:.1f}" if decisions else "-"
            print(f"{method:11} | {solved:6.2f} | {seconds:27.1f}x | {epochs:11.1f}x | {cpu_s / len(tasks) / chosen.seeds:11.2f} | {each}")  # fmt: skip
        print(flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(told, default=float))


def opened(folder: Path, task: str, easy: bool) -> Task:
    kind, colon, name = task.partition(":")
    if colon:
        return TaskSet(name) if kind == "taskset" else RealTimes(kind, name)
    if not (folder / "model.onnx").is_file():
        sys.exit(
            f"there is no surrogate in {folder}: set LCB_DIR to the folder with model.onnx and encoding.json"
        )
    return Surrogate(folder, task, easy)


def ratio(random_rows: list[dict], rows: list[dict], key: str) -> float:
    """Return the geometric mean over tasks of random's median over the method's."""
    logs = [np.log(np.median(a[key]) / np.median(b[key])) for a, b in zip(random_rows, rows, strict=True)]
    return float(np.exp(np.mean(logs)))


if __name__ == "__main__":
    main()
