"""The small picture of a run's power."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from joulewise.measuring.sparkline import sparkline


def test_words():
    """The label says how long and how much, so that it needs no eyes."""
    picture = sparkline([1.0, 2.0, 3.0], [10.0, None, 30.0])

    assert 'aria-label="power over 3.0 s, 30.0 W at most"' in picture
    assert "currentColor" in picture


def test_nothing_to_show():
    """One step is no line."""
    assert sparkline([], []) == ""
    assert sparkline([1.0], [5.0]) == ""
    assert sparkline([1.0, 2.0], [None, 5.0]) == ""


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=2, max_size=600))
def test_stays_inside(watts):
    """Whatever the power was: whole markup, every point inside the picture, no more points than it has room for."""
    picture = sparkline([float(t + 1) for t in range(len(watts))], watts)
    if picture:
        line = ET.fromstring(picture)[-1].attrib["d"]
        numbers = [float(n) for n in re.findall(r"[0-9.]+", line)]
        assert all(0 <= n <= 320.05 for n in numbers)
        assert line.count("H") <= 160
