"""Packed rows: layout, missing values, keys."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from joulewise.features.rows import HEADER, Layout, differences, key_of, tombstone  # noqa: E402
from joulewise.features.views import NUMBERS, Column  # noqa: E402


@given(
    st.lists(st.tuples(st.sampled_from(NUMBERS), st.integers(-128, 127)), min_size=1, max_size=70),
    st.integers(-(2**62), 2**62),
)
@settings(deadline=None)
def test_values_come_back(columns, at):
    """Every type comes back as it was, in both ways of unpacking, however many columns there are."""
    layout = Layout([Column(f"v{n}", kind) for n, (kind, _) in enumerate(columns)])
    given_values = [value != 0 if kind == "bool" else value for kind, value in columns]
    arrays = {
        f"v{n}": np.array([v]).astype(kind)
        for n, ((kind, _), v) in enumerate(zip(columns, given_values, strict=True))
    }
    packed = layout.pack(np.array([at]), arrays).tobytes()
    parsed = layout.parse(packed)

    assert len(packed) == layout.size
    assert parsed[0] == layout.stamp
    assert parsed[1] == at
    assert list(parsed[2 + layout.words :]) == given_values


def test_missing():
    """Masked entries and NaN are marked as missing, the 65th column in the second word."""
    layout = Layout([Column(f"v{n}", "float64") for n in range(65)])
    arrays = {f"v{n}": np.array([1.0, 2.0]) for n in range(65)}
    arrays["v3"] = np.ma.masked_array([1.0, 2.0], [True, False])
    arrays["v64"] = np.array([1.0, np.nan])
    rows = layout.pack(np.array([0, 0]), arrays)

    assert rows["missing"].tolist() == [[1 << 3, 0], [0, 1]]


def test_stamp_tells_layouts_apart():
    """Name, type and order of the columns make the stamp; defaults do not."""
    base = Layout([Column("a", "int32"), Column("b", "int32")]).stamp

    assert base == Layout([Column("a", "int32", 7), Column("b", "int32")]).stamp
    assert base != Layout([Column("b", "int32"), Column("a", "int32")]).stamp
    assert base != Layout([Column("a", "int64"), Column("b", "int32")]).stamp
    assert len(tombstone(base, 5)) == HEADER.size


def test_keys():
    """One key stays what it is, several become one text without collisions, other kinds are refused."""
    assert key_of(7, ("user",)) == 7
    assert key_of(np.int32(7), ("user",)) == 7
    assert key_of(("x",), ("user",)) == "x"
    assert key_of((1, 'a"b'), ("user", "shop")) == '[1,"a\\"b"]'
    assert key_of(("a,b", "c"), ("u", "s")) != key_of(("a", "b,c"), ("u", "s"))
    for wrong in (1.5, None, True):
        with pytest.raises(TypeError, match="must be a whole number or text"):
            key_of(wrong, ("user",))
    with pytest.raises(TypeError, match="give a tuple of 2"):
        key_of(1, ("user", "shop"))


def test_differences():
    """A change of columns is said in words."""
    old = [Column("a", "int32"), Column("b", "float32")]

    assert differences(old, [Column("a", "int32", 3), Column("b", "float32")]) == ""
    assert differences(old, [Column("a", "int64"), Column("c", "bool")]) == "+c, -b, a int32 -> int64"
    assert differences(old, old[::-1]) == "another order"
