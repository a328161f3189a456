"""Fingerprints: the same is the same, in every process; anything else is another."""

from __future__ import annotations

import functools
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from joulewise.features.fingerprint import code_fingerprint, fingerprint
from joulewise.vocabulary.errors import UsageError

FACTOR = 2


def helper(x):
    return x * FACTOR


def recipe(x):
    return helper(x) + 1


class Dataset:
    scale = 3

    def __init__(self, rows) -> None:
        self.rows = rows

    def __getitem__(self, n) -> object:
        return self.rows[n] * self.scale


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2), (1, True), (1, 1.0), (0.0, -0.0), ("1", 1), ("a", b"a"), ([1], (1,)), ([1, 2], [2, 1]), (["ab"], ["a", "b"]),
        ({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), ({1}, {2}), (None, 0), (range(3), range(4)), ([[1], 2], [[1, 2]]),
        (Dataset([1]), Dataset([2])),
    ],
)  # fmt: skip
def test_values_are_told_apart(one, other):
    """Different values have different fingerprints, equal ones the same."""
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


def test_equal_objects():
    """Two objects that hold the same have one fingerprint; the order in which a set was filled does not count."""
    assert fingerprint(Dataset([1, {"a": 2}])) == fingerprint(Dataset([1, {"a": 2}]))
    assert fingerprint({"x", "y", "z"}) == fingerprint({"z", "y", "x"})


def test_circular():
    """A thing that contains itself has a fingerprint."""
    ring: list[object] = [1]
    ring.append(ring)

    assert fingerprint(ring) == fingerprint(ring)


def test_arrays():
    """Arrays count by dtype, shape and bytes, whatever their place in memory."""
    np = pytest.importorskip("numpy")
    base = np.arange(12).reshape(3, 4)

    assert fingerprint(base) == fingerprint(np.asfortranarray(base))
    others = [base.T, base.reshape(4, 3), base.astype("int32"), base + 1, base.astype(object)]
    assert len({fingerprint(a) for a in [base, *others]}) == 6


def test_files(tmp_path):
    """A path counts with what is there: size and times of a file, every file below a folder."""
    file = tmp_path / "a" / "x.bin"
    file.parent.mkdir()
    file.write_bytes(b"1")
    as_path, as_text, folder = fingerprint(file), fingerprint([str(file)]), fingerprint(file.parent)
    file.write_bytes(b"22")

    assert fingerprint(file) != as_path
    assert fingerprint([str(file)]) != as_text
    changed = fingerprint(file.parent)
    assert changed != folder
    (file.parent / "deep").mkdir()
    (file.parent / "deep" / "y").write_bytes(b"")
    assert fingerprint(file.parent) != changed


def test_same_size_and_mtime(tmp_path):
    """A file that was changed and given its old time of change back is another one all the same."""
    file = tmp_path / "x.bin"
    file.write_bytes(b"1")
    status, before = file.stat(), fingerprint(file)
    file.write_bytes(b"2")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert fingerprint(file) != before


def test_separators_are_no_folders():
    """A slash in code is not taken for the whole disk."""
    assert fingerprint("/") == fingerprint("/")


def test_code(monkeypatch):
    """What a function names counts: its helpers, their constants, its defaults and closure."""
    base = code_fingerprint(recipe)

    def closed(k):
        return lambda x: x + k

    def default(k):
        def inner(x, k=k):
            return x + k

        return inner

    assert code_fingerprint(recipe) == base
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3)
    assert code_fingerprint(recipe) != base
    assert code_fingerprint(closed(1)) != code_fingerprint(closed(2))
    assert code_fingerprint(closed(1)) == code_fingerprint(closed(1))
    assert code_fingerprint(default(1)) != code_fingerprint(default(2))
    assert code_fingerprint(functools.partial(recipe, 1)) != code_fingerprint(functools.partial(recipe, 2))
    assert code_fingerprint(Dataset([1]).__getitem__) != code_fingerprint(Dataset([2]).__getitem__)


def test_a_line_more_is_no_change():
    """Where the code stands in its file does not count; what it does counts."""
    programs = [
        "def f(x):\n    return x + 1\n",
        "\n# a comment\ndef f(x):\n\n    return x + 1  # more\n",
        "def f(x):\n    return x - 1\n",
    ]
    prints = []
    for text in programs:
        names: dict[str, object] = {}
        exec(text, names)
        prints.append(code_fingerprint(names["f"]))

    assert prints[0] == prints[1] != prints[2]


def test_class_of_a_callable(monkeypatch):
    """The methods and constants of a class count, those of its bases, too."""

    class Step(Dataset):
        def __call__(self, x) -> object:
            return x

    base = code_fingerprint(Step([1]))
    monkeypatch.setattr(Dataset, "scale", 4)

    assert code_fingerprint(Step([1])) != base


def test_same_in_another_process():
    """Another process, with other seeds of hashing, has the same fingerprints."""
    program = (
        "from tests.features.test_fingerprint import recipe, Dataset\n"
        "from joulewise.features.fingerprint import code_fingerprint, fingerprint\n"
        "print(code_fingerprint(recipe), fingerprint(Dataset([{'a', 'b'}, {'k': 1.5}])))"
    )
    root = Path(__file__).resolve().parents[2]
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert told == {f"{code_fingerprint(recipe)} {fingerprint(Dataset([{'a', 'b'}, {'k': 1.5}]))}\n"}


def test_attributes_are_no_globals():
    """A global that is only called like an attribute, and a logger, do not count."""
    log = logging.getLogger("of the user")

    def one(x):
        log.info("x")
        return x.sys

    assert code_fingerprint(one) == code_fingerprint(one)


def test_hidden(tmp_path):
    """What does not show what it holds is refused with its place and the way out."""
    with (
        (tmp_path / "x").open("wb") as file,
        pytest.raises(UsageError, match=r"whether dataset.rows has changed.*fingerprint="),
    ):
        fingerprint(Dataset(file), "dataset")
    with pytest.raises(UsageError, match=r"cannot tell whether value\[1\] has changed: _thread.lock"):
        fingerprint([1, threading.Lock()])


def test_patterns():
    """A compiled pattern is its text and its flags."""
    one = fingerprint(re.compile("[a-z]+"))

    assert fingerprint(re.compile("[a-z]+")) == one
    assert (
        len({one, fingerprint(re.compile("[a-z]*")), fingerprint(re.compile("[a-z]+", re.IGNORECASE))}) == 3
    )
