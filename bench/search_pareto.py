"""The Pareto front of accuracy and energy, at equal training energy: EC-NAS, against Optuna's NSGA-II and MOTPE.

The points of EC-NAS (NAS-Bench-101 architectures of 5 and 7 vertices; validation accuracy and kWh after 4, 12, 36 and 108
epochs) hold no architecture, but rows of one architecture have the same parameters, and energies in the
ratio of their epochs: so its four rows are found again. Kept are architectures with all four. What is searched is where
an architecture stands by parameters (first coordinate) and by energy an epoch among those of about its size (second).

Rivals train each proposal for all 108 epochs: Optuna has no pruning in studies of two objectives. joulewise freezes and thaws
(a unit of 4 epochs; between the four known accuracies the curve is drawn straight over log epochs, but only those four
are stopped at). Counted is the hypervolume of architectures trained in full (to the energy of the dearest, from no
accuracy up) as a share of that of all, when so many mean trainings' energy is spent.

    python bench/search_pareto.py --seeds 10
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import sys
import warnings
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from joulewise.searching.deciding import Rules
from joulewise.searching.front import hypervolume
from joulewise.searching.space import Float, Space
from joulewise.searching.study import Study
from joulewise.vocabulary.budget import Budget, Spent
from joulewise.vocabulary.figures import exact

LEVELS = (1, 3, 9, 27)  # units of four epochs: 4, 12, 36, 108
SPACE = Space({"size": Float(0.0, 1.0), "energy": Float(0.0, 1.0)})
MARKS = (10, 20, 40)
_BIN = 40


class Table:
    """The architectures: joules of a full training, and accuracy at each unit of four epochs."""

    def __init__(self, path: Path) -> None:
        with gzip.open(path, "rt") as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        chains = defaultdict(dict)
        for row in rows:
            for level in LEVELS:
                key = (row["params"], f"{row['energy'] / level:.4g}")  # the rows have five digits
                chains[key].setdefault(level, row)
        whole = [c for c in chains.values() if len(c) == len(LEVELS)]
        unique = {id(c[27]): c for c in whole}.values()
        order = sorted(unique, key=lambda c: (c[1]["params"], c[1]["energy"]))
        bins = [order[i : i + _BIN] for i in range(0, len(order), _BIN)]
        self._bins = [sorted(b, key=lambda c: c[1]["energy"]) for b in bins]
        units = np.log(np.arange(1, 28))
        self.all = [self._told(c, units) for b in self._bins for c in b]
        self.mean_j = float(np.mean([e for e, _ in self.all]))
        self.reference = (max(e for e, _ in self.all), 0.0)
        self.best = hypervolume([(e, v[-1]) for e, v in self.all], self.reference)

    def at(self, params: dict) -> tuple[float, np.ndarray]:
        """Return what stands at a place of the space."""
        chosen = self._bins[min(int(params["size"] * len(self._bins)), len(self._bins) - 1)]
        chain = chosen[min(int(params["energy"] * len(chosen)), len(chosen) - 1)]
        return self._told(chain, np.log(np.arange(1, 28)))

    def _told(self, chain: dict, units: np.ndarray) -> tuple[float, np.ndarray]:
        values = np.interp(units, np.log(LEVELS), [chain[n]["val_acc"] for n in LEVELS])
        return chain[27]["energy"], values


class Account:
    """What was spent, and the share of the hypervolume when each mark was passed."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.spent_j = 0.0
        self.done = []
        self.shares = {}

    def __call__(self) -> Spent:
        """Return what was spent so far."""
        return Spent(time_s=self.spent_j, energy_j=exact(self.spent_j))

    def spend(self, joules: float) -> None:
        """Spend joules; the front as it stands counts for the marks that they pass."""
        for mark in MARKS:
            if self.spent_j <= mark * self.table.mean_j < self.spent_j + joules:
                self.shares[mark] = hypervolume(self.done, self.table.reference) / self.table.best
        self.spent_j += joules

    @property
    def over(self) -> bool:
        """Whether all marks are passed."""
        return len(self.shares) == len(MARKS)


def ours(account: Account, seed: int, **rules) -> None:
    def objective(trial):
        full_j, values = account.table.at(trial.params)
        for unit, value in enumerate(values, 1):
            account.spend(full_j / 27)
            if unit == 27:
                account.done.append((full_j, float(value)))
            yield float(value)

    study = Study("bench", SPACE, Rules(27, seed, growth=3.0, pareto=True, **rules))
    study.run(objective, Budget(energy_j=account.table.mean_j * (MARKS[-1] + 1)), account)
    account.spend(
        account.table.mean_j * (MARKS[-1] + 2)
    )  # whatever mark a search that ended by itself did not pass


def in_full(account: Account, params: dict) -> tuple[float, float]:
    full_j, values = account.table.at(params)
    account.spend(full_j)
    account.done.append((full_j, float(values[-1])))
    return full_j, float(values[-1])


def random(account: Account, seed: int) -> None:
    rng = np.random.default_rng(seed)
    while not account.over:
        in_full(account, {n: rng.random() for n in SPACE.names})


def optuna_with(name: str):
    def run(account: Account, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        samplers = {
            "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed),
            "nsga2-10": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=10),
            "motpe": lambda: optuna.samplers.TPESampler(seed=seed),
            "motpe-mv": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True),
        }
        study = optuna.create_study(directions=["minimize", "maximize"], sampler=samplers[name]())
        while not account.over:
            trial = study.ask()
            study.tell(trial, in_full(account, {n: trial.suggest_float(n, 0, 1) for n in SPACE.names}))

    return run


METHODS = {
    "random": random,
    "nsga2": optuna_with("nsga2"),
    "nsga2-10": optuna_with("nsga2-10"),
    "motpe": optuna_with("motpe"),
    "motpe-mv": optuna_with("motpe-mv"),
    "joulewise": ours,
    "no-cost": lambda account, seed: ours(account, seed, cost_power=0.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", default=",".join(METHODS))
    chosen = parser.parse_args()
    folder = Path(
        os.environ.get("ECNAS_DIR", Path(__file__).parents[2] / "shared" / "data" / "train" / "ecnas")
    )
    if not folder.is_dir():
        sys.exit(f"there are no EC-NAS points in {folder}: set ECNAS_DIR")
    for vertices in (5, 7):
        table = Table(folder / f"ecnas_{vertices}v_points.csv.gz")
        print(
            f"\n{vertices} vertices: {len(table.all)} architectures; share of the whole front's hypervolume after so many mean trainings' energy, mean of {chosen.seeds} seeds (standard error)"
        )
        print("method     | " + " | ".join(f"{mark:>13}" for mark in MARKS))
        for method in chosen.methods.split(","):
            accounts = []
            for seed in range(chosen.seeds):
                account = Account(table)
                METHODS[method](account, seed)
                accounts.append(account)
            cells = []
            for mark in MARKS:
                shares = np.array([a.shares[mark] for a in accounts])
                cells.append(f"{shares.mean():.4f} ({shares.std(ddof=1) / np.sqrt(len(shares)):.4f})")
            print(f"{method:10} | " + " | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
