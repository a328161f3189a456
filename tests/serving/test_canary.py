"""A canary takes over when it is credibly as good and no dearer, and ends as soon as it is credibly not."""

from __future__ import annotations

import random

import pytest

from joulewise.serving.canary import Bar, Comparison, Course, Side, judge, wilson

GOOD = Side(1000, 0, 1000, 4.0)


@pytest.mark.parametrize(
    ("seen", "course"),
    [
        (Comparison(GOOD, Side(1000, 0, 1000, 2.0), 1000, 999), Course.PROMOTE),
        (Comparison(GOOD, Side(1000, 0, 1000, 2.0), 20, 20), Course.GO_ON),  # too few compared
        (Comparison(GOOD, Side(100, 0, 100, 0.2), 1000, 999), Course.GO_ON),  # too few answers
        (Comparison(GOOD, Side(1000, 0, 1000, 4.6), 1000, 999), Course.ROLL_BACK),  # dearer
        (Comparison(GOOD, Side(100, 0, 100, 0.2), 100, 80), Course.ROLL_BACK),  # says other things
        (Comparison(GOOD, Side(50, 30, 50, 0.1), 0, 0), Course.ROLL_BACK),  # errors
    ],
)
def test_judge(seen, course):
    """Each of agreement, errors and joules can end it; all must be good to promote."""
    assert judge(seen, Bar()).course is course


def test_wilson():
    """The interval holds the share, is everything without a trial, and narrows."""
    assert wilson(0, 0) == (0.0, 1.0)
    assert list(wilson(50, 100)) == pytest.approx([0.404, 0.596], abs=0.001)
    assert wilson(100, 100)[1] == pytest.approx(1.0)


def test_wrong_judgements_are_rare():
    """Looked at after every comparison, a canary clearly above the bar is rolled back in few of 200 runs, one clearly below promoted in none."""
    draw = random.Random(3)

    def run(share):
        agreed = 0
        for n in range(1, 1500):
            agreed += draw.random() < share
            found = judge(Comparison(GOOD, Side(1000, 0, 1000, 2.0), n, agreed), Bar())
            if found.course is not Course.GO_ON:
                return found.course
        return Course.GO_ON

    good = [run(0.999) for _ in range(200)]
    bad = [run(0.90) for _ in range(200)]
    assert good.count(Course.ROLL_BACK) <= 10
    assert good.count(Course.PROMOTE) >= 180
    assert bad.count(Course.PROMOTE) == 0
