"""The user's rows are read as they are, or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.compressing.data import of_arrays, read
from joulewise.vocabulary.errors import UsageError

INPUTS = {"x": np.float32}


def test_split():
    """Rows to calibrate on and rows that judge are never the same, keep their order, and are the same each time."""
    rows = np.arange(1000, dtype=np.float32)
    data = of_arrays({"x": rows, "y": rows}, INPUTS, "y")
    calibration, held = data.split()

    assert (calibration.rows, held.rows) == (200, 800)
    assert not set(calibration.inputs["x"]) & set(held.inputs["x"])
    assert np.all(np.diff(held.inputs["x"]) > 0)
    assert held.targets is not None
    assert np.array_equal(held.inputs["x"], held.targets)
    assert np.array_equal(data.split()[0].inputs["x"], calibration.inputs["x"])


def test_feed_begins_again():
    """A batch beyond the end goes on at the beginning."""
    assert of_arrays({"x": np.arange(3)}, INPUTS, "y").feed(2, 4)["x"].tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("held", "inputs", "target", "said"),
    [
        ({"z": np.zeros(3)}, INPUTS, "y", "data holds z, but the model's inputs are x: there is no 'x'"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, INPUTS, "y", "arrays differ in rows: x 3, y 4"),
        ({"x": np.zeros(0)}, INPUTS, "y", "has no rows"),
        ({"y": np.zeros(3)}, {"y": np.float32}, "y", "'y' is an input of the model"),
        ({"x": np.array(["a", "b"])}, INPUTS, "y", "must be rows of numbers"),
        ({"x": np.array([0.5])}, {"x": np.int64}, "y", "has fractions, but the model takes int64"),
    ],
)
def test_refused(held, inputs, target, said):
    """What does not fit the model is told with names and sizes."""
    with pytest.raises(UsageError, match=said):
        of_arrays(held, inputs, target)


def test_nothing_is_unpickled(tmp_path):
    """An .npz that holds objects is refused, and so is what is no .npz."""
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    (tmp_path / "text.npz").write_text("x,y\n1,2\n")
    for name, said in (
        ("objects", "nothing is unpickled"),
        ("text", "nothing is unpickled"),
        ("none", "No such file"),
    ):
        with pytest.raises(UsageError, match=said):
            read(tmp_path / f"{name}.npz", INPUTS)
