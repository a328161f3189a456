"""What stopping early saves and loses on 1,225 real learning curves, beside patience (goal: saved >= 35 %, p90 < 1 %).

    python bench/train_stopping.py [DATA_DIR]      # DATA_DIR holds algoperf_curves/ and taskset/

The rule's four constants are fitted on one suite, its doubt is the largest of a grid with which at most 5 % of that
suite's runs lose more than 1 %, and both are judged on the other suite, both ways; patience 5 and 10 run on the same
curves. Losses are shares of what the whole run gained from its first value to its best; `oracle` is the earliest point
within 1 % of the best, seen with hindsight. No run's schedule is known to the rule. Says whether joulewise ships what
was fixed on TaskSet. Where onnxruntime is installed, both are also judged on curves of LCBench's surrogate, which was
looked at after the rule had its form: 20 random configurations of each of 34 tasks, a rate that falls to 0 at the end.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from joulewise.curves.curve import Curve
from joulewise.curves.forecasting import Constants, features, forecast
from joulewise.training.stopping import EARLIEST, RISING, TESTED, Rule, replay

LOWER_IS_BETTER = {"criteo1tb", "librispeech_conformer"}
THRESHOLDS = (0.005, 0.01, 0.02)  # shares of the gain so far at which the distribution is fitted
DOUBTS = (0.2, 0.17, 0.14, 0.12, 0.11, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03)
AIM = 0.05  # of the runs of the fitting suite may lose more than 1 %
OWN = Path("build/train_curves.csv")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "train"


def algoperf(data: Path) -> Iterator[Curve]:
    """Yield the validation curves with at least 15 finite points."""
    for path in sorted((data / "algoperf_curves").glob("*.csv.gz")):
        workload = path.name.removesuffix(".csv.gz")
        runs: dict[tuple[str, ...], set[tuple[float, float]]] = defaultdict(set)
        with gzip.open(path, "rt") as file:
            for row in csv.DictReader(file):
                if row["validation_metric"]:
                    key = tuple(row[k] for k in ("version", "ruleset", "submission", "study", "trial"))
                    runs[key].add((float(row["step"]), float(row["validation_metric"])))
        for points in runs.values():
            by_step = dict(sorted(points))  # a step that was logged twice keeps its greater value
            if len(by_step) >= 15 and np.isfinite(list(by_step.values())).all():
                yield Curve(tuple(by_step), tuple(by_step.values()), workload not in LOWER_IS_BETTER)


def taskset(data: Path) -> Iterator[Curve]:
    """Yield the first 200 configurations of each task that learned anything."""
    for path in sorted((data / "taskset").glob("*.npz")):
        for row in np.load(path)["valid_loss"][:200]:
            losses = [float(v) for v in row[np.isfinite(row)]]
            if len(losses) >= 30 and min(losses) < losses[0] - 0.02:
                yield Curve(
                    tuple(float(i) for i in range(1, len(losses) + 1)), tuple(losses), higher_is_better=False
                )


def lcbench(data: Path) -> Iterator[Curve]:
    """Yield the surrogate's curves of validation accuracy over 52 epochs that gain more than a point."""
    import onnxruntime

    folder, options = data / "lcbench_surrogate", onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
    draw, epochs = np.random.default_rng(1), np.arange(1, 53)
    for code in (c for task, c in codes.items() if task != "#na#"):
        for _ in range(20):
            settings = [
                int(np.exp(draw.uniform(np.log(16), np.log(512)))),  # batch size
                np.exp(draw.uniform(np.log(1e-4), np.log(0.1))),  # learning rate
                draw.uniform(0.1, 0.99),  # momentum
                draw.uniform(1e-5, 0.1),  # weight decay
                draw.integers(1, 6),  # layers
                int(np.exp(draw.uniform(np.log(64), np.log(1024)))),  # units
                draw.uniform(0, 1),  # dropout
            ]
            rows = np.column_stack([epochs, np.tile(settings, (52, 1))]).astype(np.float32)
            told = session.run(None, {"x_cat": np.full((52, 1), code, np.int32), "x_cont": rows})[0][:, 1]
            values = np.clip(told, 0, 100)
            if values.max() - values[0] > 1:
                yield Curve(tuple(map(float, epochs)), tuple(map(float, values)), higher_is_better=True)


def own(path: Path) -> Iterator[tuple[str, list[Curve]]]:
    """Yield the curves that `bench/train_curves.py` has trained: losses that gained, and accuracies."""
    if not path.is_file():
        return
    runs: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    with path.open() as file:
        for line in csv.DictReader(file):
            runs[line["set"], line["seed"]].append(line)
    for metric in ("loss", "accuracy"):
        curves = [
            Curve(
                tuple(float(r["epoch"]) for r in of),
                tuple(float(r[metric]) for r in of),
                metric == "accuracy",
            )
            for of in runs.values()
            if of[0][metric] and np.isfinite([float(r[metric]) for r in of]).all()
        ]
        yield f"own {metric}", [c for c in curves if c.gain > 0.02]


def fit(curves: list[Curve]) -> Constants:
    """Return the constants by logistic regression over all moments of all curves, each curve with equal weight."""
    rows, answers, weights = [], [], []
    for curve in curves:
        horizon, end = curve.steps[-1], max(curve.heights)
        moments = []
        for count in range(4, len(curve), max(1, len(curve) // 60)):
            if curve.steps[count - 1] < EARLIEST * horizon:
                continue
            seen = curve.first(count)
            shape = features(seen, horizon, seen.grain)
            tolerated = seen.gain * Rule().tolerance / (1 - Rule().tolerance)
            asked = seen.tested(horizon) >= TESTED and seen.rise(horizon) <= RISING * tolerated
            if shape is not None and asked:  # the moments at which the rule may stop
                moments.append((shape, (end - max(seen.heights)) / seen.gain))
        for shape, to_come in moments:
            for threshold in THRESHOLDS:
                rows.append((1.0, *shape, -np.log(threshold)))
                answers.append(to_come > threshold)
                weights.append(1 / len(moments))
    x, y, w = np.array(rows), np.array(answers, dtype=float), np.array(weights)
    beta = np.zeros(4)
    for _ in range(30):  # Newton's method
        p = 1 / (1 + np.exp(-x @ beta))
        step = np.linalg.solve((x * (w * p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(4), x.T @ (w * (y - p)))
        beta += step
        if np.abs(step).max() < 1e-9:
            break
    return Constants(*(round(float(b), 3) for b in beta))


def patience(evaluations: int) -> Callable[[Curve], int]:
    """Return the usual rule: stop after so many evaluations without a new best."""

    def stop(curve: Curve) -> int:
        best, waited = float("-inf"), 0
        for index, height in enumerate(curve.heights[:-1]):
            waited = 0 if height > best else waited + 1
            best = max(best, height)
            if waited >= evaluations and index >= 3:
                return index + 1
        return len(curve)

    return stop


def joulewise_rule(rule: Rule) -> Callable[[Curve], int]:
    """Return joulewise's rule, asked after each evaluation."""
    return lambda curve: replay(curve, rule=rule).evaluations


def settled_on(curves: list[Curve]) -> Rule:
    """Return the rule with its constants and its doubt fixed on these curves alone."""
    constants = fit(curves)
    for doubt in DOUBTS:
        rule = Rule(doubt=doubt, constants=constants)
        lost = np.array(figures(curves, joulewise_rule(rule))[1])
        if np.mean(lost > 0.01) <= AIM and np.quantile(lost, 0.9) < 0.01:
            return rule
    return Rule(doubt=DOUBTS[-1], constants=constants)


def oracle(curve: Curve) -> int:
    """Return the earliest evaluation within 1 % of the best, seen with hindsight."""
    heights = curve.heights
    enough = max(heights) - 0.01 * curve.gain
    return next(i for i, h in enumerate(heights, 1) if h >= enough)


def figures(curves: list[Curve], stop: Callable[[Curve], int]) -> tuple[list[float], list[float]]:
    """Return for each curve the share of its steps saved and the share of its gain lost."""
    saved, lost = [], []
    for curve in curves:
        count = stop(curve)
        saved.append(1 - curve.steps[count - 1] / curve.steps[-1])
        lost.append((max(curve.heights) - max(curve.heights[:count])) / curve.gain)
    return saved, lost


def row(name: str, suite: str, curves: list[Curve], stop: Callable[[Curve], int], goal: str = "") -> None:
    """Print one line of the table, and one for the table of `bench/train.py` where there is a goal."""
    started = time.process_time()
    saved, lost = figures(curves, stop)
    p90, worse = np.quantile(lost, 0.9), np.mean(np.array(lost) > 0.01)
    print(
        f"{name:32} {suite:9} {len(curves):5} {np.mean(saved):7.1%} {p90:9.2%} {worse:11.1%} "
        f"{np.median(lost):8.2%} {time.process_time() - started:6.1f}",
        flush=True,
    )
    if goal:
        print(
            f"= stopping, {name.partition(', ')[2]}, judged on {suite} | {goal} | {np.mean(saved):.1%}, {p90:.2%}, {worse:.1%}"
        )


def came_out_above(curves: list[Curve], constants: Constants) -> tuple[float, float]:
    """Return at what share of moments more came than the median and than the high end of the forecast said."""
    shares = []
    for curve in curves:
        above = []
        for count in range(4, len(curve), max(1, len(curve) // 15)):
            seen = curve.first(count)
            if seen.steps[-1] < EARLIEST * curve.steps[-1]:
                continue
            to_come = forecast(seen, curve.steps[-1], constants, seen.grain)
            if to_come is not None:
                came = max(curve.heights) - max(seen.heights)
                _, median, high = to_come.interval
                above.append((came > median, came > high))
        if above:
            shares.append(np.mean(above, axis=0))
    median_share, high_share = np.mean(shares, axis=0)
    return float(median_share), float(high_share)


def main() -> None:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED
    if not data.is_dir():
        sys.exit(f"no curves at {data}; give the folder that holds algoperf_curves/ and taskset/")
    suites = {"AlgoPerf": list(algoperf(data)), "TaskSet": list(taskset(data))}
    print(", ".join(f"{len(c)} curves of {s}" for s, c in suites.items()))
    suites = {s: [c for c in curves if c.gain > 0] for s, curves in suites.items()}
    rules = {s: settled_on(curves) for s, curves in suites.items()}
    for suite, rule in rules.items():
        print(f"fixed on {suite}: {rule.constants}, doubt {rule.doubt}")
    shipped = rules["TaskSet"] == Rule()
    print(f"joulewise ships what was fixed on TaskSet: {shipped}")
    print(
        f"{'rule':32} {'judged on':9} {'runs':>5} {'saved':>7} {'p90 lost':>9} {'lost > 1 %':>11} {'median':>8} {'CPU s':>6}"
    )
    for suite, other in (("AlgoPerf", "TaskSet"), ("TaskSet", "AlgoPerf")):
        curves = suites[suite]
        row("patience 5", suite, curves, patience(5))
        row("patience 10", suite, curves, patience(10))
        row(f"joulewise, fixed on {other}", suite, curves, joulewise_rule(rules[other]), "35 %; < 1 %; < 9 %")
        row(f"(joulewise, fixed on {suite})", suite, curves, joulewise_rule(rules[suite]))
        row("oracle (hindsight)", suite, curves, oracle)
        median, high = came_out_above(curves, rules[other].constants)
        print(
            f"forecast of {other}'s constants on {suite}: more came than the median at {median:.0%}, "
            f"than the high end at {high:.1%} of the moments (50 % and 5 % would be exact)"
        )
    others = dict(own(OWN))
    if find_spec("onnxruntime") and (data / "lcbench_surrogate").is_dir():
        others["LCBench"] = list(lcbench(data))
    for suite, curves in others.items():
        for other in ("TaskSet", "AlgoPerf"):
            row(
                f"joulewise, fixed on {other}", suite, curves, joulewise_rule(rules[other]), "-; < 1 %; < 9 %"
            )
        row("patience 5", suite, curves, patience(5))
        row("patience 10", suite, curves, patience(10))
        row("oracle (hindsight)", suite, curves, oracle)


if __name__ == "__main__":
    main()
