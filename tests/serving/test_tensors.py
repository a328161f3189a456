"""Only what is exactly of the model's type and shape becomes a tensor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.serving.tensors import Refused, Spec, tensor

FLOATS = Spec("x", "FP32", (None, 2))
INTS = Spec("i", "INT8", (None,))


def refused(spec, data, shape=None):
    with pytest.raises(Refused) as caught:
        tensor(spec, data, shape)
    assert caught.value.status == 400
    assert "\n" not in caught.value.reason
    return caught.value.reason


def test_taken():
    """Nested lists, and flat ones with a shape, become the tensor; integers are taken for floats."""
    assert tensor(FLOATS, [[1, 2.5]]).dtype == np.float32
    assert tensor(FLOATS, [1, 2, 3, 4], (2, 2)).tolist() == [[1, 2], [3, 4]]
    assert tensor(INTS, [-128, 127]).tolist() == [-128, 127]
    assert tensor(Spec("b", "BOOL", (None,)), [True, False]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("spec", "data", "why"),
    [
        (FLOATS, [[1, 2], [3]], "ragged"),
        (FLOATS, [[1, None]], "null"),
        (FLOATS, [["1", "2"]], "text"),
        (FLOATS, [[True, False]], "true or false"),
        (FLOATS, [[1, 1e39]], "finite"),
        (FLOATS, [[float("nan"), 1]], "finite"),
        (FLOATS, [[1, 2, 3]], "[any, 2]"),
        (FLOATS, [1, 2], "shape [2]"),
        (FLOATS, [], "shape [0]"),
        (FLOATS, {"a": 1}, "something else"),
        (INTS, [1.5], "fraction"),
        (INTS, [128], "outside of INT8"),
        (INTS, [10**30], "something else"),
        (Spec("b", "BOOL", (None,)), [1], "integers"),
    ],
)
def test_refused(spec, data, why):
    """What does not fit is refused in one line that names the tensor and what is wrong."""
    reason = refused(spec, data)
    assert why in reason
    assert f"'{spec.name}'" in reason


def test_shape_and_data_disagree():
    """A shape needs as many elements as it says, however large it says it is."""
    assert "needs 4" in refused(FLOATS, [1, 2, 3], (2, 2))
    assert "elements" in refused(FLOATS, [1, 2], (2**31 - 1, 2))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)


@given(json_values, st.sampled_from([FLOATS, INTS]))
def test_any_json(data, spec):
    """Any JSON value is a tensor of the right type, shape and finite numbers, or refused; nothing else is raised."""
    try:
        made = tensor(spec, data)
    except Refused:
        return
    assert made.dtype == spec.dtype
    assert made.ndim == len(spec.shape)
    assert np.isfinite(made).all()
