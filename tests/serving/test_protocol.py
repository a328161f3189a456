"""Both dialects understand what they should, answer in their own form, and refuse the rest in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from joulewise.serving.onnx_model import OnnxModel
from joulewise.serving.protocol import plain_request, v2_metadata, v2_request
from joulewise.serving.tensors import Refused
from tests.serving import models


@pytest.fixture
def model(tmp_path):
    return OnnxModel(models.double(tmp_path))


def answer(ask, model):
    return json.loads(ask.encode(model.run(ask.tensors)))


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
            "model_version": model.version,
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
    told = v2_metadata(model)
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert told["versions"] == [model.version]


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
        (v2_body(parameters={"binary_data_size": 12}), "is binary"),
        (v2_body(name="z"), "unknown input"),
    ],
)
def test_v2_refused(model, body, why):
    """What does not follow the protocol is refused with what is wrong about it."""
    with pytest.raises(Refused, match=why) as caught:
        v2_request(model, body)
    assert caught.value.status == 400


def test_not_finite_is_null(model):
    """An output that is no number is null: JSON has no other word."""
    ask = plain_request(model, b'{"inputs": {"x": [[1, 2, 3]]}}')
    assert json.loads(ask.encode([np.array([[np.nan, np.inf, 1]], np.float32)])) == {
        "outputs": {"y": [[None, None, 1.0]]}
    }
    assert json.loads(ask.encode([np.ones((1, 1), np.float16)])) == {"outputs": {"y": [[1.0]]}}
