"""A life is what making cost once, what answers cost and what standing by cost; unknown parts are named."""

from __future__ import annotations

import pytest

from joulewise.serving.folder import Life
from joulewise.serving.life import Period, period, whole


def test_whole():
    """Parts per million requests, and the number of requests at which serving and standing by pass making."""
    told = whole(
        Life(search_j=1000.0, training_j=8000.0, compressing_j=1000.0),
        [Period(400, 60.0, 100.0), Period(600, 90.0, 100.0)],
    )

    assert told.requests == 1000
    assert {part.name: part.joules for part in told.parts} == {
        "search": 1000.0, "training": 8000.0, "compressing": 1000.0, "answers": 150.0, "standing by": 50.0,
    }  # fmt: skip
    assert next(p for p in told.parts if p.name == "answers").per_million_j == pytest.approx(150_000)
    assert told.passes_at == pytest.approx(50_000)  # 10 kJ at 0.2 J for a request and its standing by
    assert told.unknown == ()


def test_unknown():
    """What is not known is named and counted nowhere; nothing is promised from nothing."""
    told = whole(Life(training_j=100.0), [Period(10, None, None), Period(10, 1.0, 2.0)])
    assert told.unknown == ("search", "compressing", "the joules of 1 serving periods")
    assert told.passes_at == pytest.approx(500)
    assert whole(Life(), []).passes_at is None
    assert whole(Life(training_j=1.0), []).passes_at is None


def test_period():
    """A period's counts are those of its last point."""
    points = [{"requests": 0, "answers_j": 0.0}, {"requests": 7, "answers_j": 0.5}]
    assert period(points, 2.0) == Period(7, 0.5, 2.0)
    assert period([{"requests": 8, "answers_j": 0.5, "joules_unknown": 4}], 2.0) == Period(8, 1.0, 2.0)
    assert period([{"requests": 8, "answers_j": 0.0, "joules_unknown": 8}], 2.0) == Period(8, None, 2.0)
    assert period([], None) == Period(0, None, None)
    assert period([{"requests": 3}], 2.0) == Period(3, None, 2.0)
