"""Both dialects understand what they should, answer in their own form, and refuse the rest in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from joulewise.serving.onnx_model import OnnxModel
from joulewise.serving.protocol import JSON_BYTES, plain_request, v2_metadata, v2_request
from joulewise.serving.tensors import Refused
from tests.serving import models


@pytest.fixture
def model(tmp_path):
    return OnnxModel(models.double(tmp_path))


def answer(ask, model):
    return json.loads(ask.encode(model.run(ask.tensors)).body)


def v2_body(**changes):
    one = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3], **changes}
    return json.dumps({"id": "7", "inputs": [{k: v for k, v in one.items() if v is not None}]}).encode()


def test_plain(model):
    """Tensors by name in, tensors by name out."""
    assert answer(plain_request(model, b'{"inputs": {"x": [[1, 2, 3], [4, 5, 6]]}}'), model) == {
        "outputs": {"y": [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]}
    }


def test_v2(model):
    """The answer names model, version, id and the tensor with shape, type and flat data; data may be nested."""
    for data in ([1, 2, 3], [[1, 2, 3]]):
        assert answer(v2_request(model, v2_body(data=data)), model) == {
            "model_name": "double",
            "model_version": "double",
            "id": "7",
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 6.0]}],
        }


def test_v2_chooses_outputs(model):
    """Outputs may be chosen by name; an unknown one is refused."""
    asked = json.loads(v2_body())
    asked["outputs"] = [{"name": "y", "parameters": {"binary_data": False}}]
    assert answer(v2_request(model, json.dumps(asked).encode()), model)["outputs"][0]["name"] == "y"
    asked["outputs"] = [{"name": "z"}]
    with pytest.raises(Refused, match="unknown output 'z'"):
        v2_request(model, json.dumps(asked).encode())


def test_v2_metadata(model):
    """Metadata has names, types and shapes, with -1 for any size."""
    told = v2_metadata(model, "double", ["double"])
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert told["versions"] == ["double"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b'{"inputs": {"x": [[1, 2, 3]]', "not JSON"),
        (b'{"inputs": {"x": [[1, 2, NaN]]}}', "not JSON"),
        (b'\xff\xfe{"inputs"', "not JSON"),
        (b"[1]", "a JSON object"),
        (b"{}", '"inputs" must be an object'),
        (b'{"inputs": {}}', "'x' is missing"),
        (b'{"inputs": {"x": [[1, 2, 3]], "z": 1}}', "unknown input 'z'"),
        (b'{"inputs": {"x": [[1, 2, 3]]}, "input": 1}', "unknown field"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_plain_refused(model, body, why):
    """What is no request is refused with what is wrong about it."""
    with pytest.raises(Refused, match=why.replace("[", r"\[")) as caught:
        plain_request(model, body)
    assert caught.value.status == 400
    assert "\n" not in caught.value.reason


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"inputs": {}}', "must be a list"),
        (b'{"inputs": [1]}', "must be a list"),
        (v2_body(shape=None), "needs a shape"),
        (v2_body(shape=[-1, 3]), "needs a shape"),
        (v2_body(shape=[True, 3]), "needs a shape"),
        (v2_body(shape=[2, 3]), "needs 6"),
        (v2_body(datatype="INT64"), "must be FP32"),
        (v2_body(data=None), "needs its data"),
        (v2_body(parameters={"binary_data_size": 12}), "0 bytes are there"),
        (v2_body(parameters={"binary_data_size": True}), "0 bytes are there"),
        (v2_body(name="z"), "unknown input"),
    ],
)
def test_v2_refused(model, body, why):
    """What does not follow the protocol is refused with what is wrong about it."""
    with pytest.raises(Refused, match=why) as caught:
        v2_request(model, body)
    assert caught.value.status == 400


def binary_body(raw, shape=(1, 3), datatype="FP32", **more):
    one = {"name": "x", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [one], **more}).encode()
    return head + raw, {JSON_BYTES: b"%d" % len(head)}


def test_v2_binary(model):
    """A tensor in bytes is understood, and answered in bytes if asked: JSON first, its length told."""
    body, headers = binary_body(
        np.array([[1, 2, 3]], "<f4").tobytes(), parameters={"binary_data_output": True}
    )
    ask = v2_request(model, body, headers)

    told = ask.encode(model.run(ask.tensors))

    head, raw = told.body[: told.json_bytes], told.body[told.json_bytes :]
    assert json.loads(head)["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
    ]
    assert np.frombuffer(raw, "<f4").tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize(
    ("raw", "shape", "cut", "why"),
    [
        (np.ones(3, "<f4").tobytes(), (1, 4), 0, "needs 16"),
        (np.ones(4, "<f4").tobytes(), (1, 4), 0, "must be"),
        (np.array([1, np.nan, 1], "<f4").tobytes(), (1, 3), 0, "not finite"),
        (np.ones(3, "<f4").tobytes(), (1, 3), 4, "bytes are there"),
        (np.ones(3, "<f4").tobytes() + b"more", (1, 3), -4, "belong to no input"),
    ],
)
def test_v2_binary_refused(model, raw, shape, cut, why):
    """Bytes that are too few, too many, of another shape or not finite are refused."""
    body, headers = binary_body(raw[: len(raw) + min(cut, 0)], shape)
    body = body[: len(body) - cut] if cut > 0 else body + raw[len(raw) + cut :] if cut else body
    with pytest.raises(Refused, match=why):
        v2_request(model, body, headers)


@pytest.mark.parametrize("told", [b"-1", b"x", b"", b"99999", b"9" * 30])
def test_v2_binary_header_refused(model, told):
    """A header that tells nonsense about the length of the JSON is refused."""
    with pytest.raises(Refused, match="inference-header-content-length"):
        v2_request(model, v2_body(), {JSON_BYTES: told})


def test_not_finite_is_null(model):
    """An output that is no number is null: JSON has no other word."""
    ask = plain_request(model, b'{"inputs": {"x": [[1, 2, 3]]}}')
    assert json.loads(ask.encode([np.array([[np.nan, np.inf, 1]], np.float32)]).body) == {
        "outputs": {"y": [[None, None, 1.0]]}
    }
    assert json.loads(ask.encode([np.ones((1, 1), np.float16)]).body) == {"outputs": {"y": [[1.0]]}}
