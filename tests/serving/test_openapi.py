"""The description tells the truth about requests and answers, and the page shows it."""

from __future__ import annotations

import json

import jsonschema
import pytest

from joulewise.serving import openapi
from joulewise.serving.onnx_model import OnnxModel
from joulewise.serving.protocol import plain_request
from joulewise.serving.tensors import Refused
from tests.serving import models


@pytest.fixture
def model(tmp_path):
    return OnnxModel(models.double(tmp_path))


def schemas(model):
    post = openapi.description(model, False, model.name)["paths"]["/predict"]["post"]
    asked = post["requestBody"]["content"]["application/json"]["schema"]
    return asked, post["responses"]["200"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": [[1, 2, 3]]},
        {"x": [[1, 2, 3.5]] * 4},
        {"x": [[1, 2]]},
        {"x": [[1, 2, "3"]]},
        {"x": []},
        {"x": 1},
        {},
        {"x": [[1, 2, 3]], "z": 1},
    ],
)
def test_request_schema(model, inputs):
    """The schema takes exactly what the server takes."""
    asked, _ = schemas(model)
    body = {"inputs": inputs}
    try:
        plain_request(model, json.dumps(body).encode())
        taken = True
    except Refused:
        taken = False
    assert jsonschema.Draft202012Validator(asked).is_valid(body) is taken


def test_answer_schema(model):
    """What the server answers is what the schema says."""
    ask = plain_request(model, b'{"inputs": {"x": [[1, 2, 3]]}}')
    jsonschema.Draft202012Validator(schemas(model)[1]).validate(
        json.loads(ask.encode(model.run(ask.tensors)).body)
    )


def test_key(model):
    """A key is in the description where it is needed, and only there."""
    assert openapi.description(model, True, model.name)["security"] == [{"key": []}]
    assert "security" not in openapi.description(model, False, model.name)


def test_page(model):
    """The page names every endpoint, input and header, runs no script and lets no name become markup."""
    model.name = "<script>"
    described = openapi.description(model, False, model.name)
    page = openapi.page(described)
    assert "<script" not in page
    assert "FP32 [any, 3]" in page
    for word in ("/predict", "/v2/models/&lt;script&gt;/infer", *openapi.HEADERS):
        assert word in page
