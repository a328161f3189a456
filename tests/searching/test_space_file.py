"""Spaces in TOML files."""

from __future__ import annotations

import pytest

from joulewise.searching.space import Choice, Float, Int
from joulewise.searching.space_file import read_space
from joulewise.vocabulary.errors import UsageError


def space(tmp_path, text):
    path = tmp_path / "space.toml"
    path.write_text(text)
    return read_space(path)


def test_all_kinds(tmp_path):
    """Ranges are whole where both ends are, lists are choices, conditions name parents."""
    read = space(
        tmp_path,
        'rate = { low = 1e-4, high = 1, log = true }\nlayers = { low = 1, high = 5 }\noptimiser = ["sgd", "adam"]\n'
        'momentum = { low = 0.1, high = 0.9, when = { optimiser = ["sgd"] } }\n'
        'schedule = { values = ["step"], when = { layers = [2, 3] } }\n',
    )

    assert read.parameters == {
        "rate": Float(1e-4, 1.0, log=True),
        "layers": Int(1, 5),
        "optimiser": Choice(("sgd", "adam")),
        "momentum": Float(0.1, 0.9, when={"optimiser": ("sgd",)}),
        "schedule": Choice(("step",), when={"layers": (2, 3)}),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the space is empty"),
        ("x = 3", "x is 3, but must be a list of choices or a range"),
        ("x = {low = 1}", "x goes from 1 to None"),
        ("x = {low = true, high = 2}", "x goes from True to 2"),
        ("x = {low = 1, hihg = 2}", "unknown key 'hihg'; did you mean high. of x in the space"),
        ("x = {values = 3}", "the values of x are 3, but must be a list"),
        ("x = {low = 1, high = 2, when = {y = 1}}", "when of x is {'y': 1}, but must name parents"),
        ("x = {low = 1, high = 2, when = {y = [1]}}", "unknown parameter 'y'; in the condition of x"),
        ("x = {low = 2, high = 1}", "x goes from 2 to 1, which holds nothing"),
        ("x = {low = ", "cannot read the space"),
    ],
)
def test_refused(tmp_path, text, message):
    """Whatever is wrong with the file is said in one line."""
    with pytest.raises(UsageError, match=message) as refused:
        space(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_missing(tmp_path):
    """A file that is not there is said so."""
    with pytest.raises(UsageError, match=r"cannot read the space .*: No such file"):
        read_space(tmp_path / "none.toml")
