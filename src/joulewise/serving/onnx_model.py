"""The leaf that knows ONNX Runtime: load a model, learn what may be done with it, run it.

Its session is the one that `compressing` measures with.

A model says that its first dimension may vary, not that its rows are independent of each other. So `load` tries: the
same rows alone and together must give the same answers (or nothing is batched), and the same input twice the same
output (or nothing is cached). What it found is in `notes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from joulewise.compressing import runtime
from joulewise.serving.tensors import TYPES, Refused, Spec, Tensor
from joulewise.vocabulary.errors import UsageError

_PROBE_ROWS = 3
_PROBE_SIZE = 4  # for dimensions that may vary
_TOLERANCE = 0.01  # of the largest output: rounding differs with the size of a batch
_SHARED_SCALE = b"DynamicQuantizeLinear"  # such a model scales its integers by all that is in the batch
_SHARED_SCALE_RMS = 0.5  # of the outputs' RMS: rows that depend on each other by design differ by about 1


class Model(Protocol):
    """Something that answers: tensors in the order of `inputs` become tensors in the order of `outputs`."""

    name: str
    version: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    batches: bool  # rows of several requests may be computed together
    repeats: bool  # the same input gives the same output
    waits: bool  # it may wait for a network: never run where requests are read

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs. Raises Refused if the model cannot take these inputs."""


@final
class OnnxModel:
    """An ONNX file in ONNX Runtime on a device; with `sha256`, no other file than that."""

    def __init__(
        self,
        path: Path,
        name: str = "",
        threads: int = 1,
        sha256: str = "",
        device: str = "cpu",
        precision: str = "",
    ) -> None:
        data = _read(path)
        digest = hashlib.sha256(data).hexdigest()
        if sha256 and digest != sha256:
            raise UsageError(
                f"{path} is not the file that was measured: its sha256 is {digest[:12]}..., not {sha256[:12]}..."
            )
        self.name = name or path.stem
        self.version = digest[:16]
        self._session = runtime.session(path, threads, device, precision)
        self.inputs = tuple(_spec(node, path) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node, path) for node in self._session.get_outputs())
        if not self.inputs:
            raise UsageError(f"{path} takes no input: there is nothing to ask it")
        self._input_names = [spec.name for spec in self.inputs]
        self._output_names = [spec.name for spec in self.outputs]
        self.notes: tuple[str, ...] = ()
        self.waits = False
        self._shares_scale = _SHARED_SCALE in data
        self.batches, self.repeats = self._probe()

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs. Raises Refused (422) if the model cannot take these inputs."""
        try:
            return [
                np.asarray(y)
                for y in self._session.run(
                    self._output_names, dict(zip(self._input_names, tensors, strict=True))
                )
            ]
        except runtime.runtime_errors() as error:
            raise Refused(
                422, f"the model cannot take this input: {' '.join(str(error).split())[:300]}"
            ) from None

    def _probe(self) -> tuple[bool, bool]:
        """Return whether rows may share a batch and whether answers repeat; why not is added to `notes`."""
        free = all(spec.shape and spec.shape[0] is None for spec in (*self.inputs, *self.outputs))
        rows = _PROBE_ROWS if free else None
        feeds = [_sample(spec, rows) for spec in self.inputs]
        try:
            together, again = self.run(feeds), self.run(feeds)
            alone = [self.run([x[i : i + 1] for x in feeds]) for i in range(_PROBE_ROWS)] if free else []
        except Refused as refused:
            self.notes += (f"neither batching nor cache: a trial input failed ({refused.reason})",)
            return False, False
        repeats = all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(together, again, strict=True)
        )
        if not repeats:
            self.notes += ("no cache: the same input twice gave two answers",)
        if not free:
            self.notes += ("no batching: the first dimension is not free in every input and output",)
            return False, repeats
        shaped = all(
            whole.shape[:1] == (_PROBE_ROWS,)
            and all(part[k].shape == (1, *whole.shape[1:]) for part in alone)
            for k, whole in enumerate(together)
        )
        pairs = [(whole, np.concatenate([part[k] for part in alone])) for k, whole in enumerate(together)] if shaped else []  # fmt: skip
        if shaped and all(_near(whole, one) for whole, one in pairs):
            return True, repeats
        off = max((_rms_off(whole, one) for whole, one in pairs), default=np.inf)
        if self._shares_scale and off < _SHARED_SCALE_RMS:
            told = f"rows computed together differ by {100 * off:.2g} % (RMS) from rows computed alone"
            self.notes += (f"its int8 scales depend on the whole batch: {told}",)
            return True, repeats
        self.notes += ("no batching: rows computed together differ from rows computed alone",)
        return False, repeats


def _rms_off(one: Tensor, other: Tensor) -> float:
    """Return the RMS of a difference as a share of the RMS of what it should be; inf where that says nothing."""
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else np.inf
    size = float(np.sqrt(np.mean(np.square(other, dtype=np.float64))))
    off = float(np.sqrt(np.mean(np.square(one - other, dtype=np.float64))))
    return off / size if size > 0 and np.isfinite(off) else np.inf


def _near(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    largest = float(np.abs(other).max(initial=0.0))
    return bool(np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE * largest + 1e-12, equal_nan=True))


def _sample(spec: Spec, rows: int | None) -> Tensor:
    """Return an input to try: small integers (a vocabulary has at least two words), numbers from 0 to 1."""
    shape = [_PROBE_SIZE if size is None else size for size in spec.shape]
    if rows is not None:
        shape[0] = rows
    draw = np.random.default_rng(7)
    if spec.datatype.startswith("FP"):
        return draw.random(shape).astype(spec.dtype)
    return draw.integers(0, 2, shape).astype(spec.dtype)


def _read(path: Path) -> bytes:
    if path.suffix != ".onnx":
        raise UsageError(f"{path} does not end in .onnx: serve takes ONNX models only, nothing is unpickled")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the model {path}: {error.strerror}") from None


def _spec(node: Any, path: Path) -> Spec:
    if node.type not in TYPES:
        raise UsageError(
            f"{path}: {node.name!r} is {node.type}, but serve takes tensors of numbers only "
            "(a scikit-learn model: convert it with zipmap=False)"
        )
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return Spec(node.name, TYPES[node.type][0], shape)
