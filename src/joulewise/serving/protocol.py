"""The two dialects: plain JSON, and Open Inference Protocol v2 (REST, JSON or binary tensors).

    plain   {"inputs": {"x": [[1, 2]]}}                        ->  {"outputs": {"y": [[3.0]]}}
    v2      {"id": "7", "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
            ->  {"model_name": ..., "model_version": ..., "id": "7", "outputs": [{"name": "y", "shape": ..., ...}]}

With v2's binary tensor extension the body is JSON and then the tensors' bytes (little-endian, row-major), in both directions;
the header `inference-header-content-length` tells where the JSON ends. A number that is not finite in an output is null in
JSON, and itself in binary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from joulewise.serving.engine import Encode
from joulewise.serving.exchange import BINARY, JSON, Answer
from joulewise.serving.onnx_model import Model
from joulewise.serving.tensors import Refused, Spec, Tensor, binary_tensor, no_truth, tensor

JSON_BYTES = b"inference-header-content-length"
Headers = Mapping[bytes, bytes]
_NONE: Headers = {}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that was understood: tensors in the model's order, and how its answer is written."""

    tensors: tuple[Tensor, ...]
    encode: Encode


def plain_request(model: Model, body: bytes, _headers: Headers = _NONE, _name: str = "") -> Ask:
    """Return what a plain request asks. Raises Refused (400) in one line."""
    asked = _object(body)
    given = asked.get("inputs")
    if not isinstance(given, dict):
        raise Refused(
            400, f'"inputs" must be an object of tensors by name: {_names(model.inputs)}; see /openapi.json'
        )
    if len(asked) > 1 or len(given) > len(model.inputs):
        _known("field", asked, ["inputs"])
        _known("input", given, [spec.name for spec in model.inputs])
    if b"true" in body or b"false" in body:
        for spec in model.inputs:
            no_truth(spec, given.get(spec.name))
    tensors = tuple([tensor(spec, _given(given, spec.name)) for spec in model.inputs])
    _same_rows(model, tensors)

    def encode(outputs: list[Tensor]) -> Answer:
        told = {spec.name: _written(y) for spec, y in zip(model.outputs, outputs, strict=True)}
        return Answer(json_bytes({"outputs": told}))

    return Ask(tensors, encode)


def v2_request(model: Model, body: bytes, headers: Headers = _NONE, name: str = "") -> Ask:
    """Return what a request of Open Inference Protocol v2 asks. Raises Refused (400) in one line."""
    head, raw = _parts(body, headers)
    asked = _object(head)
    given = _by_name(asked.get("inputs"), "inputs")
    _known("input", given, [spec.name for spec in model.inputs])
    binary = _slices(given, raw)
    tensors = tuple(
        _v2_tensor(spec, _given(given, spec.name), binary.get(spec.name)) for spec in model.inputs
    )
    _same_rows(model, tensors)
    wanted = _by_name(asked.get("outputs") or [], "outputs")
    _known("output", wanted, [spec.name for spec in model.outputs])
    chosen = [(k, spec) for k, spec in enumerate(model.outputs) if not wanted or spec.name in wanted]
    usual = _parameter(asked, "binary_data_output") is True
    binaries = {
        spec.name: _parameter(wanted.get(spec.name, {}), "binary_data", usual) is True for _k, spec in chosen
    }
    front: dict[str, Any] = {"model_name": name or model.name, "model_version": model.name}
    if isinstance(asked.get("id"), str):
        front["id"] = asked["id"]

    def encode(outputs: list[Tensor]) -> Answer:
        return _v2_answer(front, [(spec, outputs[k], binaries[spec.name]) for k, spec in chosen])

    return Ask(tensors, encode)


def kind(answer: Answer) -> bytes:
    """Return the content type of an answer."""
    return BINARY if answer.json_bytes else JSON


def _v2_answer(front: Mapping[str, Any], outputs: Sequence[tuple[Spec, Tensor, bool]]) -> Answer:
    told, raw = [], []
    for spec, output, binary in outputs:
        one: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": list(output.shape)}
        if binary:
            raw.append(output.astype(output.dtype.newbyteorder("<"), copy=False).tobytes())
            one["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            one["data"] = _written(output.reshape(-1))
        told.append(one)
    head = json_bytes({**front, "outputs": told})
    return Answer(b"".join((head, *raw)), len(head)) if raw else Answer(head)


def _parts(body: bytes, headers: Headers) -> tuple[bytes, memoryview]:
    """Return the JSON of a v2 body, and the binary tensors after it."""
    told = headers.get(JSON_BYTES)
    if told is None:
        return body, memoryview(b"")
    if not (told.isdigit() and len(told) < 10 and int(told) <= len(body)):
        raise Refused(
            400, f"{JSON_BYTES.decode()} is {told[:20]!r}, but must be at most the body's {len(body)} bytes"
        )
    return body[: int(told)], memoryview(body)[int(told) :]


def _slices(given: Mapping[str, dict[str, Any]], raw: memoryview) -> dict[str, memoryview]:
    """Return the bytes of each binary input: they follow each other in the order of the inputs."""
    slices, end = {}, 0
    for name, one in given.items():
        size = _parameter(one, "binary_data_size")
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(raw) - end:
            raise Refused(
                400,
                f"tensor {name!r} has a binary_data_size of {size!r}, but {len(raw) - end} bytes are there",
            )
        slices[name] = raw[end : end + size]
        end += size
    if end != len(raw):
        raise Refused(400, f"{len(raw) - end} bytes after the JSON belong to no input")
    return slices


def v2_metadata(model: Model, name: str, versions: Sequence[str]) -> dict[str, Any]:
    """Return the model's metadata as v2 tells it; -1 is a dimension of any size."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime_onnx",
        "inputs": [_v2_spec(spec) for spec in model.inputs],
        "outputs": [_v2_spec(spec) for spec in model.outputs],
    }


def _v2_spec(spec: Spec) -> dict[str, Any]:
    shape = [-1 if size is None else size for size in spec.shape]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}


def _v2_tensor(spec: Spec, given: Mapping[str, Any], raw: memoryview | None) -> Tensor:
    shape = given.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise Refused(400, f"tensor {spec.name!r} needs a shape: a list of integers of at least 0")
    if given.get("datatype") != spec.datatype:
        raise Refused(
            400, f"tensor {spec.name!r} has datatype {given.get('datatype')!r}, but must be {spec.datatype}"
        )
    if raw is not None:
        return binary_tensor(spec, raw, shape)
    if not isinstance(given.get("data"), list):
        raise Refused(400, f"tensor {spec.name!r} needs its data: a list")
    no_truth(spec, given["data"])
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
    if len(tensors) > 1 and model.batches and len({t.shape[0] for t in tensors}) > 1:
        rows = {spec.name: t.shape[0] for spec, t in zip(model.inputs, tensors, strict=True)}
        raise Refused(400, f"the inputs differ in their first dimension: {rows}")


def _parameter(asked: Mapping[str, Any], name: str, usual: Any = None) -> Any:
    parameters = asked.get("parameters")
    return parameters.get(name, usual) if isinstance(parameters, dict) else usual


def _names(specs: Sequence[Spec]) -> str:
    return ", ".join(spec.name for spec in specs)


def _written(output: Tensor) -> Any:
    """Return an output as orjson writes it: it knows numpy's types but half precision."""
    return np.ascontiguousarray(output.astype(np.float32) if output.dtype == np.float16 else output)


def json_bytes(fields: Any) -> bytes:
    """Return a value as JSON."""
    return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)
