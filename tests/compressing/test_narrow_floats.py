"""Narrow numbers stand where a device computes in them, casts where it ends; what comes out is the same but for rounding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from joulewise.compressing import narrow_floats, runtime
from joulewise.compressing.narrow_floats import BF16, FP16, convert
from tests.compressing.models import dense, save


def only(*kinds):
    """Return a device's double that computes these operators in bfloat16, and what it was asked."""
    asked = []

    def takes(model):
        asked.append(model.graph.node[0].op_type)
        return model.graph.node[0].op_type in kinds

    return takes, asked


def answers(model, **inputs):
    told = ReferenceEvaluator(model).run(None, inputs)
    assert isinstance(told, list)
    return told[0]


def kinds_of(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("taken", [("MatMul", "Tanh", "Relu"), ("MatMul",), ("MatMul", "Tanh")])
@pytest.mark.parametrize("kind", [BF16, FP16], ids=["bf16", "fp16"])
def test_answers_stay(tmp_path, taken, kind):
    """Whatever part a device takes, answers differ by rounding only, and inputs and outputs stay fp32."""
    before = onnx.load(dense(tmp_path / "m.onnx"))
    x = np.random.default_rng(5).normal(size=(40, 8)).astype(np.float32)

    after = convert(before, kind, only(*taken)[0])
    told, exact = answers(after, x=x), answers(before, x=x)

    assert told.dtype == np.float32
    assert 1e-6 < np.abs(told - exact).max() < 0.03 * np.abs(exact).max()
    assert (told.argmax(1) == exact.argmax(1)).mean() > 0.9
    assert [v.type.tensor_type.elem_type for v in (*after.graph.input, *after.graph.output)] == [
        TensorProto.FLOAT
    ] * 2
    assert {w.data_type for w in after.graph.initializer} == {kind.number}
    assert after.ByteSize() < 0.6 * before.ByteSize()


def test_no_cast_between_neighbours(tmp_path):
    """Casts stand at the edges of what a device takes, and nowhere else."""
    takes, asked = only("MatMul", "Tanh", "Relu")
    model = onnx.load(dense(tmp_path / "m.onnx"))

    assert kinds_of(convert(model, BF16, takes)) == [
        "Cast",
        "MatMul",
        "Tanh",
        "MatMul",
        "Relu",
        "MatMul",
        "Cast",
    ]
    assert sorted(asked) == ["MatMul", "Relu", "Tanh"]  # each kind once


def test_what_is_shared_is_cast_once(tmp_path):
    """A value that bfloat16 and fp32 both read is there in both, by one cast; so is a weight."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Sin", ["a"], ["b"]),
        helper.make_node("Cos", ["a"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("Add", ["d", "w"], ["y"]),
    ]
    before = onnx.load(save(tmp_path / "m.onnx", nodes, 8, 8, {"w": np.eye(8)}, rows=8))
    after = convert(before, BF16, only("MatMul")[0])
    x = np.random.default_rng(5).normal(size=(8, 8)).astype(np.float32)

    assert kinds_of(after).count("Cast") == 2
    assert sorted((w.name, w.data_type) for w in after.graph.initializer) == [
        ("w", TensorProto.FLOAT),
        ("w__bfloat16", TensorProto.BFLOAT16),
    ]
    assert np.abs(answers(after, x=x) - answers(before, x=x)).max() < 0.05


def test_inner_graphs_stay(tmp_path):
    """A branch stays fp32 and finds what it reads from outside in fp32."""
    value = helper.make_tensor_value_info
    branch = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["r"])], "then", [], [value("r", TensorProto.FLOAT, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["a"], ["s"])], "else", [], [value("s", TensorProto.FLOAT, None)]
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "zero"], ["p"]),
        helper.make_node("If", ["p"], ["y"], then_branch=branch, else_branch=other),
    ]
    weights = {"w": np.eye(8), "zero": np.float32(0)}
    before = onnx.load(save(tmp_path / "m.onnx", nodes, 8, 8, weights))
    after = convert(before, BF16, only("MatMul", "Relu", "Neg", "If")[0])
    x = np.random.default_rng(5).normal(size=(3, 8)).astype(np.float32)

    for sign in (1, -1):
        given = {"x": sign * np.abs(x)}
        assert np.abs(answers(after, **given) - answers(before, **given)).max() < 0.02


def test_convolutions(tmp_path):
    """Convolutions can be bfloat16 from operator set 22 on: an older model is brought there first."""
    draw = np.random.default_rng(1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("MaxPool", ["a"], ["c"], kernel_shape=[2, 2]),
            helper.make_node("Flatten", ["c"], ["y"]),
        ],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 196])],
        [
            numpy_helper.from_array(draw.normal(size=s).astype(np.float32), k)
            for k, s in (("w", (4, 1, 3, 3)), ("b", (4,)))
        ],
    )
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    after = convert(before, BF16, only("Conv")[0])

    assert kinds_of(after) == ["Cast", "Conv", "Cast", "MaxPool", "Flatten"]
    assert {w.data_type for w in after.graph.initializer} == {TensorProto.BFLOAT16}


def test_nothing_to_gain(tmp_path):
    """Where no product is computed in bfloat16 there is no such form; operators nobody has a schema of stay as they are."""
    model = onnx.load(dense(tmp_path / "m.onnx"))
    with pytest.raises(ValueError, match="none of its products can be computed in bfloat16 here"):
        convert(model, BF16, only("Tanh", "Relu")[0])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node[1].domain, model.graph.node[1].op_type = "com.microsoft", "Gelu"

    assert "Gelu" in kinds_of(convert(model, BF16, only("MatMul")[0]))


def test_this_processor_is_asked(tmp_path):
    """What ONNX Runtime has is found out by asking it: on a processor it moves bfloat16 about and multiplies none."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 1]),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Concat", ["b", "b"], ["y"], axis=1),
    ]
    model = onnx.load(save(tmp_path / "m.onnx", nodes, 8, 16, {"w": np.eye(8)}))
    takes = narrow_floats.taken_by("cpu")
    told: dict[str, bool] = {}

    def noted(alone):
        return told.setdefault(alone.graph.node[0].op_type, takes(alone))

    with pytest.raises(ValueError, match="none of its products"):
        convert(model, BF16, noted)
    assert told == {"Transpose": True, "MatMul": False, "Concat": True}


def test_marked(tmp_path):
    """A marked model is another file with the same answers, and its session is set for ARM's bfloat16."""
    base = dense(tmp_path / "m.onnx")
    narrow_floats.mark(base, tmp_path / "bf16.onnx")
    x = np.ones((2, 8), np.float32)

    sessions = [runtime.session(base), runtime.session(tmp_path / "bf16.onnx", precision="bf16")]

    assert base.read_bytes() != (tmp_path / "bf16.onnx").read_bytes()
    first, second = (one.run(None, {"x": x})[0] for one in sessions)
    assert np.allclose(first, second, atol=0.02 * np.abs(first).max())
    told = [one.get_session_options() for one in sessions]
    assert told[1].get_session_config_entry(runtime.FAST_MATH) == "1"
    with pytest.raises(RuntimeError):
        told[0].get_session_config_entry(runtime.FAST_MATH)


def test_out_of_range(tmp_path):
    """A weight that is out of the type's range is the largest in it, not infinite: masks are added, not multiplied."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "mask"], ["y"])]
    mask = np.array([0, np.finfo(np.float32).min] * 4)
    model = onnx.load(save(tmp_path / "m.onnx", nodes, 8, 8, {"w": np.eye(8), "mask": mask}))

    told = answers(convert(model, FP16, only("MatMul", "Add")[0]), x=np.ones((2, 8), np.float32))

    assert told[0].tolist() == [1.0, -65504.0] * 4
