"""The diff for a function that prepares the same data in every call: what it changes, and that the results stay the same."""

from __future__ import annotations

import pytest

from joulewise.diagnosing.preparation_diff import preparation_diff
from joulewise.vocabulary.observed import Preparation
from tests.diagnosing.test_validation_diff import applied
from tests.diagnosing.views import view

SWEEP = '''\
"""A sweep."""
import math

made = []


class Scaler:
    def fit_transform(self, rows):
        made.append(1)
        return [math.sqrt(row) for row in rows]


def load(count):
    return list(range(count)), [1] * count


def run(c, *, offset=0):
    """One setting."""
    x, y = load(10)
    scaler = Scaler()
    a = scaler.fit_transform(x)  # slow
    total = math.fsum(a) * c + offset
    return total + y[0]


print(round(sum(run(c) for c in (1, 2, 3)), 6), len(made))
'''


def seen(method="fit_transform", calls=6):
    """Return a run whose estimator got the same rows several times."""
    return view(preparations=(Preparation("Scaler", method, "f", "s", 10, calls, 1.0, 1.0, 5.0, 5.0),))


def test_made_once(tmp_path):
    """What depends on no argument is made once; the results are the same."""
    diff = preparation_diff(SWEEP, seen(), "train.py")
    before = applied(SWEEP, "", tmp_path).split()

    assert diff is not None
    assert "+    y, a = prepared_for_run()\n" in diff
    assert before[1] == "3"
    assert applied(SWEEP, diff, tmp_path).split() == [before[0], "1"]


@pytest.mark.parametrize(
    "source",
    [
        SWEEP.replace("load(10)", "load(10 * c)"),
        SWEEP.replace("    total =", "    a.append(c)\n    total ="),
        SWEEP.replace("    total =", "    a[0] = c\n    total ="),
        SWEEP.replace("    total =", "    a += [c]\n    total ="),
        SWEEP.replace("    total =", "    b = a\n    b[0] = c\n    total ="),
        SWEEP.replace("math.fsum(a)", "load(a)"),
        SWEEP.replace("    return total + y[0]", "    yield total + y[0]"),
        SWEEP.replace("(self, rows)", "(self, cache)"). replace("for row in rows", "for row in cache"),
        SWEEP.replace("c, *, offset=0", "").replace(" * c + offset", ""),
        "def run(:",
        "",
    ],
)  # fmt: skip
def test_what_cannot_be_read(source):
    """What depends on an argument, is written into afterwards or handed to the program's own functions gets no diff."""
    assert preparation_diff(source, seen(), "sweep.py") is None


def test_nothing_repeated():
    """Where an estimator got its rows once, or another one did, there is no diff."""
    assert preparation_diff(SWEEP, seen(calls=1), "sweep.py") is None
    assert preparation_diff(SWEEP, seen("transform"), "sweep.py") is None
