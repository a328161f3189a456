"""A model is tried before it is trusted: whether rows may share a batch, and whether answers repeat."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.serving.onnx_model import OnnxModel
from joulewise.serving.tensors import Refused, Spec
from joulewise.vocabulary.errors import UsageError
from tests.serving import models


def test_loads(tmp_path):
    """Name, version by content, inputs and outputs are told; it computes."""
    model = OnnxModel(models.double(tmp_path))

    assert model.name == "double"
    assert model.inputs == (Spec("x", "FP32", (None, 3)),)
    assert (model.batches, model.repeats, model.notes) == (True, True, ())
    assert model.run([np.ones((2, 3), np.float32)])[0].tolist() == [[2, 2, 2]] * 2
    assert model.version == OnnxModel(models.double(tmp_path), "other").version
    assert model.version != OnnxModel(models.pick(tmp_path)).version


@pytest.mark.parametrize(
    ("make", "batches", "repeats", "note"),
    [
        (models.centred, False, True, "rows computed together differ"),
        (models.noisy, False, False, "gave two answers"),
        (models.fixed, False, True, "first dimension is not free"),
    ],
)
def test_not_trusted(tmp_path, make, batches, repeats, note):
    """Rows that depend on each other are not batched, noise is not cached, and the reason is told."""
    model = OnnxModel(make(tmp_path))

    assert (model.batches, model.repeats) == (batches, repeats)
    assert note in " ".join(model.notes)


def test_refuses_an_input(tmp_path):
    """What the model itself cannot take is the request's fault (422), in one line."""
    with pytest.raises(Refused, match="out of data bounds") as caught:
        OnnxModel(models.pick(tmp_path)).run([np.array([[99]])])
    assert caught.value.status == 422
    assert "\n" not in caught.value.reason


def test_cannot_load(tmp_path):
    """No file, no ONNX file, a pickle and text inputs are refused in one line that says why."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    for path, why in (
        (tmp_path / "none.onnx", "No such file"),
        (broken, "cannot load"),
        (tmp_path / "model.pkl", "nothing is unpickled"),
        (models.wordy(tmp_path), r"tensor\(string\)"),
    ):
        with pytest.raises(UsageError, match=why) as caught:
            OnnxModel(path)
        assert "\n" not in str(caught.value)


def test_threads_do_not_spin(tmp_path):
    """After a call with two threads the process uses next to no CPU: spinning would burn it for as long as it waits."""
    import time

    model = OnnxModel(models.double(tmp_path), threads=2)
    options = model._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    model.run([np.ones((2, 3), np.float32)])
    before_s = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before_s < 0.1


def test_another_file(tmp_path):
    """A file that is not the one that was measured is not served."""
    with pytest.raises(UsageError, match="not the file that was measured"):
        OnnxModel(models.double(tmp_path), sha256="0" * 64)
