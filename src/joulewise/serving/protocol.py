"""The two dialects: plain JSON, and Open Inference Protocol v2 (REST, JSON).

    plain   {"inputs": {"x": [[1, 2]]}}                        ->  {"outputs": {"y": [[3.0]]}}
    v2      {"id": "7", "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
            ->  {"model_name": ..., "model_version": ..., "id": "7", "outputs": [{"name": "y", "shape": ..., ...}]}

The binary tensor extension is not spoken: what asks for it is refused. A number that is not finite in an output is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from joulewise.serving.engine import Encode
from joulewise.serving.onnx_model import Model
from joulewise.serving.tensors import Refused, Spec, Tensor, tensor


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that was understood: tensors in the model's order, and how its answer is written."""

    tensors: tuple[Tensor, ...]
    encode: Encode


def plain_request(model: Model, body: bytes) -> Ask:
    """Return what a plain request asks. Raises Refused (400) in one line."""
    asked = _object(body)
    given = asked.get("inputs")
    if not isinstance(given, dict):
        raise Refused(
            400, f'"inputs" must be an object of tensors by name: {_names(model.inputs)}; see /openapi.json'
        )
    _known("field", asked, ["inputs"])
    _known("input", given, [spec.name for spec in model.inputs])
    tensors = tuple(tensor(spec, _given(given, spec.name)) for spec in model.inputs)
    _same_rows(model, tensors)
    names = [spec.name for spec in model.outputs]

    def encode(outputs: list[Tensor]) -> bytes:
        return _json({"outputs": dict(zip(names, map(_written, outputs), strict=True))})

    return Ask(tensors, encode)


def v2_request(model: Model, body: bytes) -> Ask:
    """Return what a request of Open Inference Protocol v2 asks. Raises Refused (400) in one line."""
    asked = _object(body)
    given = _by_name(asked.get("inputs"), "inputs")
    _known("input", given, [spec.name for spec in model.inputs])
    tensors = tuple(_v2_tensor(spec, _given(given, spec.name)) for spec in model.inputs)
    _same_rows(model, tensors)
    wanted = _by_name(asked.get("outputs") or [], "outputs")
    names = [spec.name for spec in model.outputs]
    _known("output", wanted, names)
    if any(_binary(one) for one in wanted.values()) or _binary(asked, "binary_data_output"):
        raise Refused(400, "binary tensors are not supported: ask for JSON (binary_data false)")
    chosen = [(k, spec) for k, spec in enumerate(model.outputs) if not wanted or spec.name in wanted]
    head = {"model_name": model.name, "model_version": model.version}
    if isinstance(asked.get("id"), str):
        head["id"] = asked["id"]

    def encode(outputs: list[Tensor]) -> bytes:
        told = [
            {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": list(outputs[k].shape),
                "data": _written(outputs[k].reshape(-1)),
            }
            for k, spec in chosen
        ]
        return _json({**head, "outputs": told})

    return Ask(tensors, encode)


def v2_metadata(model: Model) -> dict[str, Any]:
    """Return the model's metadata as v2 tells it; -1 is a dimension of any size."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx",
        "inputs": [_v2_spec(spec) for spec in model.inputs],
        "outputs": [_v2_spec(spec) for spec in model.outputs],
    }


def _v2_spec(spec: Spec) -> dict[str, Any]:
    shape = [-1 if size is None else size for size in spec.shape]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}


def _v2_tensor(spec: Spec, given: Mapping[str, Any]) -> Tensor:
    shape = given.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise Refused(400, f"tensor {spec.name!r} needs a shape: a list of integers of at least 0")
    if given.get("datatype") != spec.datatype:
        raise Refused(
            400, f"tensor {spec.name!r} has datatype {given.get('datatype')!r}, but must be {spec.datatype}"
        )
    parameters = given.get("parameters")
    if isinstance(parameters, dict) and "binary_data_size" in parameters:
        raise Refused(400, f"tensor {spec.name!r} is binary, which is not supported: send its data as JSON")
    if not isinstance(given.get("data"), list):
        raise Refused(400, f"tensor {spec.name!r} needs its data: a list")
    return tensor(spec, given["data"], shape)


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON: {str(error)[:100]}") from None
    if not isinstance(asked, dict):
        raise Refused(400, "the body must be a JSON object")
    return asked


def _by_name(given: Any, what: str) -> dict[str, dict[str, Any]]:
    if not isinstance(given, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in given
    ):
        raise Refused(400, f'"{what}" must be a list of objects, each with a name')
    named = {one["name"]: one for one in given}
    if len(named) != len(given):
        raise Refused(400, f'"{what}" names a tensor twice')
    return named


def _known(what: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise Refused(400, f"unknown {what} {name[:80]!r}; known: {', '.join(known)}")


def _given(given: Mapping[str, Any], name: str) -> Any:
    if name not in given:
        raise Refused(400, f"the input {name!r} is missing")
    return given[name]


def _same_rows(model: Model, tensors: Sequence[Tensor]) -> None:
    if model.batches and len({t.shape[0] for t in tensors}) > 1:
        rows = {spec.name: t.shape[0] for spec, t in zip(model.inputs, tensors, strict=True)}
        raise Refused(400, f"the inputs differ in their first dimension: {rows}")


def _binary(asked: Mapping[str, Any], name: str = "binary_data") -> bool:
    parameters = asked.get("parameters")
    return isinstance(parameters, dict) and bool(parameters.get(name))


def _names(specs: Sequence[Spec]) -> str:
    return ", ".join(spec.name for spec in specs)


def _written(output: Tensor) -> Any:
    """Return an output as orjson writes it: it knows numpy's types but half precision."""
    return np.ascontiguousarray(output.astype(np.float32) if output.dtype == np.float16 else output)


def _json(fields: Mapping[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)
