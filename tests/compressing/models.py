"""Small models and rows made for the tests, and a clock that only they move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from joulewise.compressing import runtime

WIDTH, CLASSES = 256, 5


def dense(
    path: Path, *, margin: float = 1.0, rows: str | int = "n", hidden: int = WIDTH, seed: int = 1
) -> Path:
    """Write x (8 numbers) -> tanh -> `hidden` -> relu -> five scores; with a small margin the scores lie close together."""
    draw = np.random.default_rng(seed)
    weights = {
        "w1": draw.normal(size=(8, hidden)),
        "w2": draw.normal(size=(hidden, hidden)) / np.sqrt(hidden),
        "w3": margin * draw.normal(size=(hidden, CLASSES)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w3"], ["y"]),
    ]
    return save(path, nodes, 8, CLASSES, weights, rows)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    width: int,
    gives: int,
    weights: Mapping[str, object],
    rows: str | int = "n",
) -> Path:
    """Write a graph from x (rows of `width`) to y (rows of `gives`)."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, gives])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def rows_for(path: Path, count: int = 600, seed: int = 3) -> dict[str, np.ndarray]:
    """Return rows, and what the model itself says of them: it is always right."""
    x = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    session = runtime.session(path)
    fixed = session.get_inputs()[0].shape[0]
    step = fixed if isinstance(fixed, int) else count
    x = x[: count - count % step]
    y = np.concatenate([session.run(None, {"x": x[i : i + step]})[0] for i in range(0, len(x), step)])
    return {"x": x, "y": y.argmax(1)}


class Bench:
    """A gauge whose time goes on only when a form is run: each form costs what the test says."""

    def __init__(self, joules: Mapping[str, float] | None = None) -> None:
        self.now_s = self.j = 0.0
        self.joules = joules

    def runs(self, cpu_s: Mapping[str, float]):
        """Return forms that take so long for a call and for each of its rows."""

        def form(name: str):
            def run(feed) -> None:
                self.now_s += cpu_s[name] * (1 + len(next(iter(feed.values()))))
                self.j += (self.joules or {}).get(name, 0.0) * len(next(iter(feed.values())))

            return run

        return {name: form(name) for name in cpu_s}

    def cpu_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s

    def counted_j(self) -> float | None:
        return None if self.joules is None else self.j

    def j_per_cpu_s(self) -> float | None:
        return 10.0
