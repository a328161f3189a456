"""Tiny ONNX files made for the tests: each is one or two operators."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def _save(path: Path, nodes, inputs, outputs, initializers=()) -> Path:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def _value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def double(folder: Path) -> Path:
    """Write y = 2 x for rows of three numbers."""
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    return _save(
        folder / "double.onnx",
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        [_value("x", TensorProto.FLOAT, ["n", 3])],
        [_value("y", TensorProto.FLOAT, ["n", 3])],
        [two],
    )


def centred(folder: Path) -> Path:
    """Write y = x - mean over the rows: what a row gives depends on the other rows."""
    return _save(
        folder / "centred.onnx",
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["y"]),
        ],
        [_value("x", TensorProto.FLOAT, ["n", 3])],
        [_value("y", TensorProto.FLOAT, ["n", 3])],
    )


def noisy(folder: Path) -> Path:
    """Write y = noise in the shape of x: no two answers are the same."""
    return _save(
        folder / "noisy.onnx",
        [helper.make_node("RandomNormalLike", ["x"], ["y"])],
        [_value("x", TensorProto.FLOAT, ["n", 3])],
        [_value("y", TensorProto.FLOAT, ["n", 3])],
    )


def pick(folder: Path) -> Path:
    """Write y = the words that the ids name, of a vocabulary of four: other ids are refused by the model itself."""
    words = helper.make_tensor("words", TensorProto.FLOAT, [4], [10.0, 11.0, 12.0, 13.0])
    return _save(
        folder / "pick.onnx",
        [helper.make_node("Gather", ["words", "ids"], ["y"])],
        [_value("ids", TensorProto.INT64, ["n", "length"])],
        [_value("y", TensorProto.FLOAT, ["n", "length"])],
        [words],
    )


def fixed(folder: Path) -> Path:
    """Write y = x + x for exactly two rows of two."""
    return _save(
        folder / "fixed.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [_value("x", TensorProto.DOUBLE, [2, 2])],
        [_value("y", TensorProto.DOUBLE, [2, 2])],
    )


def wordy(folder: Path) -> Path:
    """Write y = x for text, which serve does not take."""
    return _save(
        folder / "wordy.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [_value("x", TensorProto.STRING, ["n"])],
        [_value("y", TensorProto.STRING, ["n"])],
    )


def score(folder: Path) -> Path:
    """Write y = x[0] + 10 x[1] + 100 x[2] + amount: three features of an entity, and one number of the request."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 1], [1.0, 10.0, 100.0])
    return _save(
        folder / "score.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["s"]), helper.make_node("Add", ["s", "amount"], ["y"])],
        [_value("x", TensorProto.FLOAT, ["n", 3]), _value("amount", TensorProto.FLOAT, ["n", 1])],
        [_value("y", TensorProto.FLOAT, ["n", 1])],
        [weights],
    )
