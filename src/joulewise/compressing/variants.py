"""The forms a model can take: dynamic and static int8, fp16, bf16; each an ONNX file, or the reason why there is none.

    int8-dynamic   weights in int8 once, activations at each call by their range: no calibration
    int8-static    both in int8 by ranges seen on calibration rows (QDQ, per channel)
    fp16           weights and arithmetic in half precision, inputs and outputs as before; where a processor has none of it
                   (x86) ONNX Runtime casts back and forth, and the energy gate tells what that costs
    bf16           the same with fp32's range, where the device has such arithmetic (`narrow_floats.py`)

A processor without VNNI adds pairs of 8-bit products in 16 bits, which saturate: there weights take 7 bits, or answers differ
from one machine to the next (microsoft/onnxruntime #14642).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from joulewise.compressing import narrow_floats, runtime
from joulewise.compressing.data import Array, Data

_CALIBRATE_AT_ONCE = 16
_INTEGER_OPS = {
    "DynamicQuantizeLinear",
    "QuantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "QLinearMatMul",
    "QLinearConv",
}
_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
_FAST_MATH = {"bf16"}  # as Linux names it on ARM; x86's avx512_bf16 and amx_bf16 are not used by ONNX Runtime
_DENSE = ("MatMul", "Gemm")
_NO_INTEGERS = "it has no operator that can be computed in int8"
_NVIDIA = ("cuda", "tensorrt")
_BRAIN_SINCE = (8, 0)  # CUDA's compute capability


class CannotMake(Exception):  # noqa: N818 - it names the state
    """This variant cannot be had of this model, or not for this device; the message is the reason."""


@final
class Maker:
    """Makes variants of one model, whose graph is folded once for all of them."""

    def __init__(
        self,
        base: Path,
        folder: Path,
        calibration: Data,
        device: str = "cpu",
        flags: frozenset[str] | None = None,
        capability: Callable[[], tuple[int, int] | None] = narrow_floats.capability,
    ) -> None:
        self.base = base
        self._folder = folder
        self._calibration = calibration
        self._device = device
        self._flags = cpu_flags() if flags is None else flags
        self._capability = capability
        self._folded: Path | None = None

    def make(self, name: str) -> Path:
        """Return the file of a variant. Raises CannotMake, and KeyError for a name that is none of `VARIANTS`."""
        path = self._folder / f"{name}.onnx"
        failures: tuple[type[Exception], ...] = (
            *runtime.runtime_errors(),
            ValueError,
            RuntimeError,
            NotImplementedError,
        )
        try:
            _MAKERS[name](self, path)
        except failures as error:
            raise CannotMake(f"it could not be made: {' '.join(str(error).split())[:200]}") from None
        return path

    def _fold(self) -> Path:
        """Return the model with constants folded and batch norms in their convolutions, as quantising wants it."""
        if self._folded is None:
            import onnx
            import onnxruntime
            from onnxruntime.quantization.quant_utils import add_pre_process_metadata

            if all(node.domain not in ("", "ai.onnx") for node in _nodes(self.base)):
                raise CannotMake(_NO_INTEGERS)
            path = self._folder / "folded.onnx.tmp"
            options = runtime.options()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
            options.optimized_model_filepath = str(path)
            onnxruntime.InferenceSession(
                str(self.base),
                options,
                providers=[runtime.PROVIDERS["cpu"]],
                disabled_optimizers=[
                    "MatMulAddFusion"
                ],  # quantising per channel fails on its Gemm where a bias has two dimensions
            )
            told = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
            add_pre_process_metadata(told)  # or quantising warns on the root logger that nobody prepared it
            onnx.save(told, str(path))
            self._folded = path
        return self._folded

    def _dynamic(self, path: Path) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            self._fold(), path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=self._seven_bits
        )
        _changed(path)

    def _static(self, path: Path) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        if not self._calibration.rows:
            raise CannotMake("there are no rows to calibrate on")
        kinds = {node.op_type for node in _nodes(self.base)}
        if not kinds & {"Conv", *_DENSE}:
            raise CannotMake(_NO_INTEGERS)
        quantize_static(
            self._fold(),
            path,
            _Reader(self._calibration, _fixed_rows(self.base)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=self._seven_bits,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=None if "Conv" in kinds else list(_DENSE),
        )
        _changed(path)

    def _half(self, path: Path) -> None:
        self._narrow(narrow_floats.FP16, path)

    def _brain(self, path: Path) -> None:
        if self._device == "cpu" and self._flags & _FAST_MATH:
            narrow_floats.mark(self.base, path)
            return
        there = self._capability() if self._device in _NVIDIA else None
        if there is not None and there < _BRAIN_SINCE:
            raise CannotMake(
                f"this GPU's compute capability is {there[0]}.{there[1]}: bfloat16 arithmetic begins with 8.0"
            )
        self._narrow(narrow_floats.BF16, path)

    def _narrow(self, kind: narrow_floats.Kind, path: Path) -> None:
        import onnx

        takes = narrow_floats.taken_by(self._device)
        onnx.save(narrow_floats.convert(onnx.load(str(self.base)), kind, takes), str(path))

    @property
    def _seven_bits(self) -> bool:
        return self._device == "cpu" and not self._flags & _VNNI


_MAKERS: Mapping[str, Callable[[Maker, Path], None]] = {
    "int8-dynamic": Maker._dynamic,  # noqa: SLF001 - its own table
    "int8-static": Maker._static,  # noqa: SLF001
    "fp16": Maker._half,  # noqa: SLF001
    "bf16": Maker._brain,  # noqa: SLF001
}
VARIANTS = tuple(_MAKERS)


class _Reader:
    """Hands calibration rows to ONNX Runtime, some at once."""

    def __init__(self, data: Data, fixed: int | None) -> None:
        step = fixed or _CALIBRATE_AT_ONCE
        last = data.rows - data.rows % step if fixed else data.rows
        self._batches: Iterator[dict[str, Array]] = (
            {name: values[first : first + step] for name, values in data.inputs.items()}
            for first in range(0, last, step)
        )

    def get_next(self) -> dict[str, Array] | None:
        """Return the next batch, None after the last."""
        return next(self._batches, None)


def cpu_flags() -> frozenset[str]:
    """Return what this machine's processor says it can do (Linux; elsewhere nothing)."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            line = next((line for line in file if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())


def inputs_of(session: Any) -> dict[str, Any]:
    """Return a session's inputs: the numpy type of each by its name."""
    return {node.name: _DTYPES.get(node.type, np.float32) for node in session.get_inputs()}


_DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16, "tensor(uint32)": np.uint32, "tensor(uint64)": np.uint64, "tensor(bool)": np.bool_,
}  # fmt: skip


def fixed_rows(session: Any) -> int | None:
    """Return how many rows every call must have, None if any number will do."""
    sizes = [node.shape[0] for node in session.get_inputs() if node.shape]
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)


def _fixed_rows(path: Path) -> int | None:
    return fixed_rows(runtime.session(path))


def _nodes(path: Path) -> Any:
    import onnx

    return onnx.load(str(path), load_external_data=False).graph.node


def _changed(path: Path) -> None:
    """Raise CannotMake if nothing in a model was quantised."""
    if not _INTEGER_OPS & {node.op_type for node in _nodes(path)}:
        raise CannotMake(_NO_INTEGERS)
