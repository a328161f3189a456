"""The manifest says what KServe's own API knows, and what our server takes."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from joulewise.cli.serve import command
from joulewise.serving.folder import ModelFolder, Variant
from joulewise.serving.kserve import manifest
from joulewise.vocabulary.errors import UsageError

FOLDER = ModelFolder(Path("fashion"), "Fashion_MNIST", (Variant("fp32", Path("fashion/fp32.onnx")),))


def made(**more):
    return manifest(FOLDER, image="registry/joulewise:1", storage="pvc://models/fashion", **more)


def test_manifest():
    """Name, image, storage, replicas and probes are where they belong; the model keeps its own name inside."""
    told = made(least=1, most=3, arguments=("--floor", "0.9"))
    predictor = told["spec"]["predictor"]
    (container,) = predictor["containers"]
    assert told["metadata"]["name"] == "fashion-mnist"
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 3)
    assert container["env"][0] == {"name": "STORAGE_URI", "value": "pvc://models/fashion"}
    assert container["command"][:5] == ["joulewise", "serve", "/mnt/models", "--name", "Fashion_MNIST"]
    assert container["readinessProbe"]["httpGet"]["port"] == container["ports"][0]["containerPort"]


def test_our_own_options():
    """Every option in the container's command is one that `joulewise serve` has."""
    options = {name for parameter in command.params for name in parameter.opts}
    (container,) = made()["spec"]["predictor"]["containers"]
    assert {word for word in container["command"] if word.startswith("--")} <= options


@pytest.mark.parametrize("wrong", [{"least": 2, "most": 1}, {"most": 0}, {"least": -1}])
def test_refused(wrong):
    """Replicas that cannot be, and names that Kubernetes cannot take, are refused."""
    with pytest.raises(UsageError):
        made(**wrong)
    with pytest.raises(UsageError, match="begin it with a letter"):
        manifest(ModelFolder(Path("9"), "9", ()), image="a", storage="pvc://a")
    with pytest.raises(UsageError, match="pvc://"):
        manifest(FOLDER, image="a", storage="/tmp")


def known(model):
    """Return the JSON names that a class of KServe's generated client knows."""
    places = find_spec("kserve").submodule_search_locations or []
    folder = Path(places[0]) / "models"
    text = (folder / f"{model}.py").read_text()
    body = text.split("attribute_map = {", 1)[1].split("}", 1)[0]
    return set(re.findall(r":\s*'(\w+)'", body))


@pytest.mark.skipif(
    find_spec("kserve") is None, reason="pip install --no-deps kserve: its generated client is the schema"
)
def test_kserve_knows_it():
    """KServe's own generated client knows every field of the service, its spec and its predictor."""
    told = made()
    assert told.keys() <= known("v1beta1_inference_service")
    assert told["spec"].keys() <= known("v1beta1_inference_service_spec")
    assert told["spec"]["predictor"].keys() <= known("v1beta1_predictor_spec")
