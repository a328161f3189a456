"""How far a ladder at a ninth of the run can be trusted (goal: 90 % of the smaller models that it calls holding do hold).

    python bench/train_ladder.py [DATA_DIR] [--fmnist]      # DATA_DIR holds ecnas/

EC-NAS: every five-vertex network whose 4, 12, 36 and 108 epochs can be joined by their energy and time (1 : 3 : 9 : 27).
Constants are fixed on one half and judged on pairs of the other half, one at least twice the other's weights; validation
accuracies. --fmnist trains families of networks on 10,000 images of Fashion-MNIST for 9 epochs, for 1 and for a third of one, and
asks the same of each pair: by EC-NAS's constants, and by what the ladder calibrates itself to, from the rungs that are not
in the pair; and compares the error after half of the channels are cut, foretold at a ninth, with what is seen at the end (blocks
of one, so that narrow networks can be cut too). Needs torch, torch-pruning, Debian's dataset-fashion-mnist; what is trained
is kept in build/train_ladder.jsonl, so that a run that was ended goes on.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from math import log
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from joulewise.training.ladder import BEFORE, ECNAS, FIDELITY, Constants, Rung, calibrated, judge

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "train"
RESULTS = Path("build/train_ladder.jsonl")
TOLERANCES = (0.01, 0.02, 0.03)
PAIRS = 4000


def networks(path: Path) -> list[tuple[float, list[float]]]:
    """Return for each network the logarithm of its weights and its errors after 4, 12, 36 and 108 epochs."""
    rows = defaultdict(set)
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            rows[row["params"]].add((float(row["energy"]), float(row["train_time"]), float(row["val_acc"])))
    found = []
    for weights, points in rows.items():
        for last in points:
            chain = [last]
            for factor in (3, 9, 27):
                near = [
                    p
                    for p in points
                    if abs(p[0] * factor / last[0] - 1) < 0.004 and abs(p[1] * factor / last[1] - 1) < 0.004
                ]
                chain += near if len(near) == 1 else []
            if len(chain) == 4:
                found.append((float(weights), [1 - p[2] / 100 for p in reversed(chain)]))
    return sorted(found)


def pairs(of: list, seed: int) -> list:
    """Return pairs (smaller, larger), the one at least twice the other's weights."""
    draw, made = Random(seed), []
    while len(made) < PAIRS:
        one, other = sorted(draw.sample(of, 2))
        if other[0] - one[0] >= log(2) / log(10):
            made.append((one, other))
    return made


def fit(of: list) -> Constants:
    """Return the constants by least squares, and the residual that a tenth exceeds."""
    x = np.array([[1.0, log(s[1][1] / b[1][1]), log(10) * (s[0] - b[0])] for s, b in of])
    y = np.array([log(s[1][3] / b[1][3]) for s, b in of])
    beta = np.linalg.lstsq(x, y, rcond=None)[0]
    level, slope, size, reach = (round(float(v), 3) for v in (*beta, np.quantile(y - x @ beta, 0.9)))
    return Constants(level, slope, reach, size)


def table(name: str, of: list, constants: Constants) -> None:
    """Print how often the ladder says that the smaller holds, and how often it truly does."""
    for tolerance in TOLERANCES:
        said = right = truly = 0
        for small, large in of:
            rungs = [Rung(str(n), round(10**w), e[1], 1, 1) for n, (w, e) in enumerate((large, small))]
            holds = judge(rungs, large[1][3], tolerance, constants).smallest is not None
            true = small[1][3] <= large[1][3] + tolerance
            said, right, truly = said + holds, right + (holds and true), truly + true
        share = f"{right / said:.1%}" if said else "never said"
        if tolerance == TOLERANCES[-1]:
            print(
                f"= ladder, of what it calls holding on {name} | 90 % | {share}, said of {said / len(of):.1%} where {truly / len(of):.1%} hold"
            )
        print(
            f"{name:28} {len(of):6} {tolerance:9.0%} {truly / len(of):11.1%} {said / len(of):10.1%} {share:>12}"
        )


def families() -> dict[str, dict[str, Callable[[], Any]]]:
    """Return the families of networks that are trained on Fashion-MNIST, by their names."""
    from torch import nn

    def perceptron(width: int, depth: int) -> Any:
        layers = [nn.Flatten(), nn.Linear(784, width), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, 10))

    def convolutional(width: int, depth: int) -> Any:
        layers = [nn.Conv2d(1, width, 3, 2, 1), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Conv2d(width, width, 3, 1, 1), nn.ReLU()]
        return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(49 * width, 10))

    def separable(width: int, depth: int) -> Any:
        layers = [nn.Conv2d(1, width, 4, 4), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, 1, 1, groups=width), nn.Conv2d(width, width, 1)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))

    made = {
        "perceptrons": (perceptron, (4, 8, 16, 32, 64, 128), (1, 2)),
        "convolutions": (convolutional, (2, 4, 8, 16), (1, 2)),
        "separable": (separable, (8, 16, 32, 64), (1, 2, 3)),
    }
    return {
        family: {f"{w}x{d}": (lambda m=make, w=w, d=d: m(w, d)) for w in widths for d in depths}
        for family, (make, widths, depths) in made.items()
    }


def climbed(family: str, share: float, results: Path) -> dict[str, dict[str, float]]:
    """Return a family's rungs at a share of 9 epochs, by name: out of `results`, or trained and added to them."""
    if results.exists():
        for line in results.read_text().splitlines():
            row = json.loads(line)
            if row["family"] == family and row["share"] == share:
                return row["rungs"]
    import torch
    from torch.nn.functional import cross_entropy
    from train_recipe import read

    from joulewise.training.choices import Choice, Recipe
    from joulewise.training.ladder import climb

    torch.set_num_threads(1)
    images, labels = read("train")
    data, held = (images[:10_000], labels[:10_000]), (images[50_000:], labels[50_000:])
    knobs = {
        "threads": 1,
        "memory_format": "contiguous",
        "precision": "fp32",
        "compile": False,
        "batch_size": 64,
        "optimiser": "wsd",
        "learning_rate": 2e-3,
        "transform": "always",
        "workers": 0,
    }
    recipe = Recipe(
        tuple(Choice(k, v, "fixed by the bench") for k, v in knobs.items()), "cpu", None, 0, 0, 0, ""
    )
    rungs = climb(
        families()[family],
        recipe,
        data,
        held,
        loss=cross_entropy,
        epochs=9,
        fidelity=share,
        ratio=0.5,
        block=1,
    )
    found = {
        r.name: {
            "weights": r.weights,
            "error": r.error,
            "training_j": r.training_j,
            "request_j": r.request_j,
            "loss": r.cut.before.loss,
            "cut_error": r.cut.after.error,
            "cut_loss": r.cut.after.loss,
            "cut_request_j": r.cut.after.request_j,
            "finetune_j": r.cut.finetune_j,
            "fewer_macs": r.cut.fewer_macs,
            "why": r.cut.why,
        }
        for r in rungs
        if r.cut is not None
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps({"family": family, "share": share, "rungs": found}) + "\n")
    return found


def rungs_of(stored: dict[str, dict[str, float]]) -> dict[str, Rung]:
    """Return stored rungs as the ladder's, without what cutting did."""
    return {n: Rung(n, r["weights"], r["error"], r["training_j"], r["request_j"]) for n, r in stored.items()}


def of_itself(name: str, *stored: dict[str, dict[str, float]]) -> list[tuple[int, int, int, int]]:
    """Print a family's rows: by EC-NAS's constants, and by its own from the rungs that are not in the pair.

    Return of its own, for each tolerance: pairs, those that truly hold, those said to, and those said rightly.
    """
    before, at, end = map(rungs_of, stored)
    pairs = [(s, b) for s in at for b in at if at[b].weights >= 2 * at[s].weights]
    counts = []
    for way in ("EC-NAS's", "its own"):
        for tolerance in TOLERANCES:
            said = right = truly = 0
            for small, large in pairs:
                others = [n for n in at if n not in (small, large)]
                constants = (
                    ECNAS
                    if way == "EC-NAS's"
                    else calibrated([before[n] for n in others], [at[n] for n in others])
                )
                judged = judge([at[large], at[small]], end[large].error, tolerance, constants)
                holds, true = judged.smallest is not None, end[small].error <= end[large].error + tolerance
                said, right, truly = said + holds, right + (holds and true), truly + true
            share = f"{right} of {said}" if said else "never said"
            print(
                f"{f'{name}, {way}':28} {len(pairs):6} {tolerance:9.0%} {truly / len(pairs):11.1%} "
                f"{said / len(pairs):10.1%} {share:>12}",
                flush=True,
            )
            if way == "its own":
                counts.append((len(pairs), truly, said, right))
    return counts


def of_cutting(name: str, at: dict[str, dict[str, float]], end: dict[str, dict[str, float]]) -> list[float]:
    """Print what half of the channels cost each network, foretold and seen; return how far off, in shares of the seen."""
    off = []
    for rung, late in end.items():
        early = at[rung]
        if late["why"] or early["why"]:
            continue
        foretold = late["error"] * early["cut_error"] / early["error"]
        off.append(foretold / late["cut_error"] - 1)
        print(
            f"{f'{name} {rung}':28} {late['error']:8.4f} {foretold:9.4f} {late['cut_error']:8.4f} {off[-1]:+7.0%} "
            f"{late['fewer_macs']:8.1f}x {1 - late['cut_request_j'] / late['request_j']:9.0%}"
        )
    return off


def main() -> None:
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    data = Path(arguments[0]) if arguments else SHARED
    path = data / "ecnas" / "ecnas_5v_points.csv.gz"
    if not path.is_file():
        sys.exit(f"no file {path}; give the folder that holds ecnas/")
    joined = networks(path)
    Random(0).shuffle(joined)
    half = len(joined) // 2
    first, second = pairs(joined[:half], 1), pairs(joined[half:], 2)
    print(f"{len(joined)} networks joined; fixed on the first half {fit(first)}, on the second {fit(second)}")
    print(f"joulewise ships what was fixed on the first half: {fit(first) == ECNAS}")
    print(
        f"{'judged on':28} {'pairs':>6} {'tolerance':>9} {'truly hold':>11} {'said hold':>10} {'of these true':>12}"
    )
    table("EC-NAS, second half", second, fit(first))
    table("EC-NAS, first half", first, fit(second))
    if "--fmnist" in sys.argv:
        trained = {
            family: [climbed(family, share, RESULTS) for share in (BEFORE, FIDELITY, 1)]
            for family in families()
        }
        counts = [of_itself(family, *stored) for family, stored in trained.items()]
        for tolerance, of in zip(TOLERANCES, zip(*counts, strict=True), strict=True):
            pairs_, truly, said, right = map(sum, zip(*of, strict=True))
            print(
                f"= ladder, of what it calls holding on Fashion-MNIST at {tolerance:.0%}, its own rungs | 90 % | "
                f"{right} of {said}, of {pairs_} pairs where {truly} hold"
            )
        print(
            f"{'half of its channels cut':28} {'error':>8} {'foretold':>9} {'seen':>8} {'off':>7} {'fewer':>9} {'request':>9}"
        )
        off = [d for family, (_, at, end) in trained.items() for d in of_cutting(family, at, end)]
        print(
            f"= ladder, error after cutting half of the channels, {len(off)} networks | - | foretold "
            f"{np.median(np.abs(off)):.0%} off in the median, {np.quantile(np.abs(off), 0.9):.0%} in nine of ten"
        )


if __name__ == "__main__":
    main()
