"""Others' programs agree with us: Triton's public client speaks to the server, Schemathesis finds nothing against the description."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

from joulewise.serving.app import Limits, of_model
from joulewise.serving.onnx_model import OnnxModel
from tests.serving import models
from tests.serving.asking import on_the_wire

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    triton = pytest.importorskip("tritonclient.http")


@pytest.fixture
def service(tmp_path):
    return of_model(OnnxModel(models.double(tmp_path)), Limits())


def tensor(values, binary):
    given = triton.InferInput("x", list(values.shape), "FP32")
    given.set_data_from_numpy(values, binary_data=binary)
    return given


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_triton(service, sent, wanted):
    """Triton's client sends tensors as bytes or JSON and has the answer in either, with its id; metadata and health are its own, too."""
    values = np.array([[1, 2, 3], [4, 5, 6.5]], np.float32)
    with on_the_wire(service) as address:
        client = triton.InferenceServerClient(address)
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("double")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        assert client.get_model_metadata("double")["inputs"][0]["shape"] == [-1, 3]
        outputs = [triton.InferRequestedOutput("y", binary_data=wanted)]
        told = client.infer("double", [tensor(values, sent)], outputs=outputs, request_id="7")
        assert told.as_numpy("y").tolist() == (2 * values).tolist()
        assert told.get_response()["id"] == "7"
        assert ("parameters" in told.get_response()["outputs"][0]) is wanted
        assert (
            client.infer("double", [tensor(values, sent)], model_version="double").as_numpy("y") is not None
        )
        client.close()


def test_triton_hears_errors(service):
    """An error reaches Triton's client as its own exception, with our line."""
    with on_the_wire(service) as address:
        client = triton.InferenceServerClient(address)
        with pytest.raises(triton.InferenceServerException, match=r"must be \[any, 3\]"):
            client.infer("double", [tensor(np.ones((1, 2), np.float32), True)])
        client.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (models.double, ["--include-path", "/predict"]),
        # no schema says that v2's shape and data agree, or which words a vocabulary has
        (models.double, ["--exclude-checks", "positive_data_acceptance"]),
        (models.pick, ["--exclude-checks", "positive_data_acceptance"]),
    ],
)
def test_schemathesis(tmp_path, make, options):
    """Requests made from the description, right and wrong ones, are answered as it says."""
    pytest.importorskip("schemathesis")
    service = of_model(OnnxModel(make(tmp_path)), Limits())
    # a deadline of a millisecond is a right request, and 504 the right answer
    told = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "504"]\n'
    (tmp_path / "schemathesis.toml").write_text(told)
    with on_the_wire(service) as address:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://{address}/openapi.json"]
        command += [
            "--max-examples",
            "15",
            "--seed",
            "1",
            "--no-color",
            *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert service.counters.responses.keys() <= {200, 400, 404, 405, 422, 504}
