"""What the verbs share when they print."""

from __future__ import annotations

import json
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.cli.output import as_json, figure_fields, figure_text, finite, plain, table
from joulewise.vocabulary.figures import Basis, Figure


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("train", "train"),
        ("a\x1b[31mred\x1b[0m", "a [31mred [0m"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("right\u202eto left", "rightto left"),
        ("lone \ud800 surrogate", "lone surrogate"),
    ],
)
def test_plain(text, shown):
    """Nothing that comes out of a recording can steer a terminal."""
    assert plain(text) == shown


@given(st.text(), st.integers(1, 50))
def test_plain_is_short_and_printable(text, most):
    """Whatever the text, it is one printable line of at most so many characters."""
    shown = plain(text, most)

    assert len(shown) <= most
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in shown)
    assert len(shown.splitlines()) <= 1


def test_json_has_a_version_and_no_infinity():
    """JSON text names its schema's version first, and what is not finite is null."""
    text = as_json({"a": math.inf, "b": [1.5, math.nan], "c": {"d": -math.inf}})

    assert json.loads(text) == {"schema_version": 1, "a": None, "b": [1.5, None], "c": {"d": None}}
    assert text.startswith('{\n  "schema_version"')


def test_finite_keeps_the_rest():
    """Numbers, texts and None stay what they are."""
    assert finite({"a": 1, "b": "x", "c": None, "d": (2.0,)}) == {"a": 1, "b": "x", "c": None, "d": [2.0]}


def test_unknown_is_not_zero():
    """A figure that is not known is null and the word unknown; one that is zero is 0."""
    zero = Figure(0.0, 0.0, 0.0, Basis.MEASURED)

    assert (figure_fields(None), figure_text(None, "J")) == (None, "unknown")
    assert figure_text(zero, "J") == "0 J"
    fields = figure_fields(zero)
    assert fields is not None
    assert (fields["value"], fields["basis"], fields["boundary"]) == (0.0, "measured", "device")


def test_table_aligns():
    """Columns line up, numbers to the right, and text that looks like a number is left as it is."""
    assert table([["a", "1.50"], ["bb", "10"]], ("x", "y"), right=(1,)).splitlines() == [
        "x       y",
        "a    1.50",
        "bb     10",
    ]
