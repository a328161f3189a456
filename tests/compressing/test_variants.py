"""Each variant is what its name says, or there is a reason."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from joulewise.compressing import runtime
from joulewise.compressing.data import of_arrays
from joulewise.compressing.variants import VARIANTS, CannotMake, Maker, cpu_flags, fixed_rows, inputs_of
from tests.compressing.models import dense, rows_for, save


def maker(path, **more):
    rows = rows_for(path)
    return Maker(path, path.parent, of_arrays(rows, {"x": np.float32}, "y").split()[0], **more)


@pytest.mark.parametrize(
    ("name", "ops"), [("int8-dynamic", "MatMulInteger"), ("int8-static", "QuantizeLinear")]
)
def test_int8(tmp_path, name, ops):
    """An int8 variant computes in integers, is less than half as large, and says nearly the same."""
    path = dense(tmp_path / "m.onnx")
    made = maker(path).make(name)
    x = rows_for(path)["x"]
    before, after = (runtime.session(p).run(None, {"x": x})[0] for p in (path, made))

    assert ops in {node.op_type for node in onnx.load(made).graph.node}
    assert made.stat().st_size < path.stat().st_size / 2
    assert 0 < np.abs(after - before).max() < 0.2 * np.abs(before).max()


def test_a_fixed_batch_is_calibrated_in_whole_batches(tmp_path):
    """A model whose batch has a fixed size is calibrated on whole ones."""
    made = maker(dense(tmp_path / "m.onnx", rows=7)).make("int8-static")

    assert fixed_rows(runtime.session(made)) == 7


def test_seven_bits_without_vnni(tmp_path):
    """Where pairs of products saturate, weights take seven bits."""
    path = dense(tmp_path / "m.onnx")

    def largest(flags: str) -> int:
        made = maker(path, flags=frozenset({flags})).make("int8-dynamic")
        return max(  # type: ignore[no-any-return]
            np.abs(onnx.numpy_helper.to_array(one).astype(int)).max()
            for one in onnx.load(made).graph.initializer
            if one.data_type == onnx.TensorProto.INT8
        )

    assert largest("avx2") <= 64 < largest("avx_vnni")


def test_half_precision(tmp_path):
    """fp16 is made where the device has it, with inputs and outputs as before; else there is a reason."""
    path = dense(tmp_path / "m.onnx")
    with pytest.raises(CannotMake, match="no half-precision arithmetic on this processor"):
        maker(path, flags=frozenset({"avx2"})).make("fp16")
    made = maker(path, flags=frozenset({"asimdhp"})).make("fp16")

    assert inputs_of(runtime.session(made)) == {"x": np.float32}
    assert made.stat().st_size < 0.6 * path.stat().st_size


def test_brain_float_has_a_reason(tmp_path):
    """bf16 is left out with the reason."""
    with pytest.raises(CannotMake, match="no bfloat16 kernels"):
        maker(dense(tmp_path / "m.onnx")).make("bf16")


def test_nothing_to_quantise(tmp_path):
    """A model without products has no int8 form."""
    path = save(tmp_path / "t.onnx", [helper.make_node("Tanh", ["x"], ["y"])], 8, 8, {})
    for name in ("int8-dynamic", "int8-static"):
        with pytest.raises(CannotMake, match="no operator that can be computed in int8"):
            maker(path).make(name)


def test_every_name_is_made_or_refused(tmp_path, caplog):
    """Each name of the table leads somewhere, and the root logger is not written to."""
    path, refused = dense(tmp_path / "m.onnx"), []
    for name in VARIANTS:
        try:
            assert maker(path).make(name).is_file()
        except CannotMake as why:
            refused.append(str(why))
    assert all(refused)
    assert not caplog.records
    assert all(isinstance(flag, str) for flag in cpu_flags())
