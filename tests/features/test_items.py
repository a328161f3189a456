"""Items on disk: what comes back is what was put, type and bytes."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from joulewise.features.items import LeafReader, LeafWriter, keeping_s, kinds, leaves, rebuilt, structure  # noqa: E402
from joulewise.vocabulary.errors import UsageError  # noqa: E402


def round_trip(folder, items):
    """Return what is read after writing items, and the readers."""
    shape = structure(items[0], 0)
    writers = [LeafWriter(folder, n, kind) for n, kind in enumerate(kinds(shape))]
    for number, item in enumerate(items):
        for writer, leaf in zip(writers, leaves(item), strict=True):
            writer.put(leaf, number)
    told = [w.finish() for w in writers]
    readers = [LeafReader(folder, n, t, len(items)) for n, t in enumerate(told)]
    return [rebuilt(shape, (r.get(n) for r in readers)) for n in range(len(items))], readers


def same(one, other):
    if isinstance(one, np.ndarray | np.generic):
        return (
            type(one) is type(other)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, tuple | list):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    return type(one) is type(other) and (one == other or one != one)


def test_every_kind(tmp_path):
    """Arrays of many dtypes, numbers, text, bytes, nested in tuples, lists and dictionaries come back the same."""
    items = [
        (
            {"x": np.full((2, 3), n, d), "t": f"text {n} ü"},
            [n, n / 3, n % 2 == 0, complex(n, 1)],
            np.float32(n),
            bytes([n, 0]),
            (),
        )
        for d in (">i2", "float16", "bool", "complex64", "U3", "datetime64[ns]", "uint8")
        for n in range(3)
    ]
    by_dtype = [items[k : k + 3] for k in range(0, len(items), 3)]
    for number, group in enumerate(by_dtype):
        folder = tmp_path / str(number)
        folder.mkdir()
        found, _ = round_trip(folder, group)
        assert same(found, group)


@given(st.lists(st.lists(st.integers(-5, 5), max_size=6), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_ragged(tmp_path_factory, rows):
    """Property: arrays of different lengths, empty ones included, come back the same in any order."""
    items = [np.array(r, "int16") for r in rows]
    found, (reader,) = round_trip(tmp_path_factory.mktemp("items"), items)

    assert same(found, items)
    assert (reader.whole is None) == (len({len(r) for r in rows}) > 1)


def test_whole(tmp_path):
    """Items of one shape are one read-only array without a copy; an item is a copy that may be changed."""
    items = [np.full(3, n, "float32") for n in range(4)]
    found, (reader,) = round_trip(tmp_path, items)
    found[1][:] = -1

    assert np.array_equal(reader.whole, np.stack(items))
    assert reader.get(1).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        reader.whole[0, 0] = 5


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (object(), "item 4 of the recipe holds builtins.object, which cannot be cached"),
        ({1: 2}, "has keys that are no text"),
        (np.array([None]), "holds numpy.ndarray, which cannot be cached"),
        (np.zeros(1, [("a", "i4")]), "is a structured array; give one array for each field"),
        (2**70, "needs more than 64 bits"),
        (None, "holds builtins.NoneType"),
    ],
)
def test_refused(item, message):
    """What cannot come back unchanged is refused with the item's number."""
    with pytest.raises(UsageError, match=message):
        structure(item, 4)


def test_other_axes(tmp_path):
    """Items with another number of axes are refused."""
    writer = LeafWriter(tmp_path, 0, "array:<f8")
    writer.put(np.zeros(2), 0)
    with pytest.raises(UsageError, match="item 1 of the recipe has 2 axes, items before it had 1"):
        writer.put(np.zeros((2, 2)), 1)
    writer.close()


def test_what_keeping_takes():
    """Writing and reading are tried on a few items; what cannot be kept is refused."""
    write_s, read_s = keeping_s([(np.ones(9), 1), (np.ones(9), 2)])

    assert write_s > 0
    assert read_s > 0
    with pytest.raises(UsageError, match="cannot be cached"):
        keeping_s([object()])
