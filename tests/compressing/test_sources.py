"""What the user has becomes one ONNX file that says the same; pickles are refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from joulewise.compressing import runtime
from joulewise.compressing.sources import load_weights, to_onnx
from joulewise.vocabulary.errors import UsageError
from tests.compressing.models import dense


def answers(path, x):
    session = runtime.session(path)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def test_onnx(tmp_path):
    """An ONNX file and a model in memory are written as one file."""
    path = dense(tmp_path / "m.onnx")
    for number, model in enumerate((path, str(path), onnx.load(path))):
        to_onnx(model, tmp_path / f"{number}.onnx")
        assert np.array_equal(
            answers(tmp_path / f"{number}.onnx", np.ones((2, 8), np.float32)),
            answers(path, np.ones((2, 8), np.float32)),
        )


def test_external_weights_are_brought_in(tmp_path):
    """Weights that lie beside the model come into the one file."""
    path = dense(tmp_path / "m.onnx")
    (tmp_path / "apart").mkdir()
    onnx.save(
        onnx.load(path),
        tmp_path / "apart" / "m.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    to_onnx(tmp_path / "apart" / "m.onnx", tmp_path / "whole.onnx")

    assert (tmp_path / "apart" / "m.onnx").stat().st_size < 10_000 < (tmp_path / "whole.onnx").stat().st_size


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.pkl", b"\x80\x04.", "nothing is unpickled"),
        ("m.pt", b"PK", "nothing is unpickled"),
        ("m.txt", b"", "other files are not read"),
        ("m.safetensors", b"", "holds weights without a network"),
        ("m.onnx", b"this is no model at all", "is not ONNX"),
        ("none.onnx", None, "cannot read the model .*No such file"),
    ],
)
def test_refused_files(tmp_path, name, content, said):
    """A file that is no ONNX model is refused unread."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        to_onnx(tmp_path / name, tmp_path / "out.onnx")


def test_refused_objects(tmp_path):
    """What is no model is refused by its type."""
    with pytest.raises(UsageError, match=r"cannot compress a builtins\.dict"):
        to_onnx({}, tmp_path / "out.onnx")


def test_scikit_learn(tmp_path):
    """An estimator, also in a pipeline, says the same in ONNX; its input is called as the data are."""
    pytest.importorskip("skl2onnx")
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    classes = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    numbers = MLPRegressor(hidden_layer_sizes=(16,), max_iter=500, tol=1).fit(x, x[:, 0])
    for model in (classes, numbers):
        to_onnx(model, tmp_path / "m.onnx", {"x": x})
        assert answers(tmp_path / "m.onnx", x).ravel() == pytest.approx(model.predict(x), abs=1e-4)
    with pytest.raises(UsageError, match="classes are text"):
        to_onnx(LogisticRegression().fit(x, np.where(y, "yes", "no")), tmp_path / "m.onnx", {"x": x})


@pytest.mark.slow
def test_torch(tmp_path):
    """A PyTorch module says the same in ONNX for any number of rows, and is left in the mode that it had."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3)
    )
    x = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    to_onnx(model, tmp_path / "m.onnx", {"input": x})

    assert model.training
    with torch.no_grad():
        assert answers(tmp_path / "m.onnx", x) == pytest.approx(
            model.eval()(torch.from_numpy(x)).numpy(), abs=1e-5
        )


@pytest.mark.slow
def test_weights(tmp_path):
    """Weights come from safetensors only, whole and exactly."""
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    one, other, wider = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2), torch.nn.Linear(4, 2)
    safetensors.save_file(one.state_dict(), tmp_path / "w.safetensors")
    torch.save(one.state_dict(), tmp_path / "w.pt")
    load_weights(other, tmp_path / "w.safetensors")

    assert torch.equal(one.weight, other.weight)
    with pytest.raises(UsageError, match="does not fit the module"):
        load_weights(wider, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="nothing is unpickled"):
        load_weights(other, tmp_path / "w.pt")
