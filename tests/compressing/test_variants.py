"""Each variant is what its name says, or there is a reason."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from joulewise.compressing import narrow_floats, runtime
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
    """fp16 is made for any processor, with inputs and outputs as before: what it costs there the energy gate tells."""
    path = dense(tmp_path / "m.onnx")
    made = maker(path).make("fp16")

    assert inputs_of(runtime.session(made)) == {"x": np.float32}
    assert made.stat().st_size < 0.6 * path.stat().st_size


def test_brain_float(tmp_path, monkeypatch):
    """bf16 is ARM's fast products on such a processor, a converted graph on a GPU that has it, and else there is a reason."""
    path = dense(tmp_path / "m.onnx")
    with pytest.raises(CannotMake, match="none of its products can be computed in bfloat16 here"):
        maker(path, flags=frozenset({"avx512_bf16"})).make("bf16")
    marked = maker(path, flags=frozenset({"bf16"})).make("bf16")
    assert {one.key: one.value for one in onnx.load(marked).metadata_props} == {"joulewise.precision": "bf16"}

    with pytest.raises(CannotMake, match=r"compute capability is 7\.5: bfloat16 arithmetic begins with 8\.0"):
        maker(path, device="cuda", capability=lambda: (7, 5)).make("bf16")
    monkeypatch.setattr(narrow_floats, "taken_by", lambda device: lambda _alone: device == "cuda")
    for told in ((8, 0), None):  # what nothing tells is tried
        made = maker(path, device="cuda", capability=lambda told=told: told).make("bf16")
        assert made.stat().st_size < 0.6 * path.stat().st_size


def test_capability(monkeypatch):
    """The least of the GPUs counts; without a driver, a GPU or the library nothing is known."""

    def pynvml(*told: tuple[int, int], works: bool = True):
        def init() -> None:
            if not works:
                raise Lost

        class Lost(Exception):
            pass

        return SimpleNamespace(
            NVMLError=Lost,
            nvmlInit=init,
            nvmlDeviceGetCount=lambda: len(told),
            nvmlDeviceGetHandleByIndex=lambda k: k,
            nvmlDeviceGetCudaComputeCapability=lambda k: told[k],
        )

    for module, found in (
        (pynvml((9, 0), (7, 5)), (7, 5)),
        (pynvml(), None),
        (pynvml((9, 0), works=False), None),
        (None, None),
    ):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        assert narrow_floats.capability() == found


def test_nothing_to_quantise(tmp_path):
    """A model without products has no int8 form."""
    path = save(tmp_path / "t.onnx", [helper.make_node("Tanh", ["x"], ["y"])], 8, 8, {})
    for name in ("int8-dynamic", "int8-static"):
        with pytest.raises(CannotMake, match="no operator that can be computed in int8"):
            maker(path).make(name)


def test_a_model_of_trees(tmp_path, capfd):
    """What is no arithmetic of matrices at all (scikit-learn's trees, its linear classifiers) has none of these forms, and a reason for each."""
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[2.0])
    path = save(tmp_path / "t.onnx", [node], 8, 8, {})
    model = onnx.load(path)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    onnx.save(model, path)
    trees = Maker(path, tmp_path, of_arrays(rows_for(path), {"x": np.float32}, "y").split()[0])
    for name in VARIANTS:
        with pytest.raises(
            CannotMake, match=r"no operator that can be computed in int8|none of its products"
        ):
            trees.make(name)
    assert capfd.readouterr().err == ""


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
