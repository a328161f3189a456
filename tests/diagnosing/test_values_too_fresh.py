"""A view that is made anew more often than anybody needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing import diagnose, values_too_fresh
from tests.diagnosing.views import case


def laid(**params):
    """Return a materialisation of 100 s that noted these facts."""
    made = case()
    told = {"view": "spend", "rows": 7, "full": False, **params}
    return replace(made, recording=replace(made.recording, params=told))


def found(**params):
    """Return its findings."""
    made = laid(**params)
    return diagnose(made.recording, (), made.account)


def estimated(**params):
    """Return the CPU seconds of its one estimate."""
    (one,) = values_too_fresh.estimate(laid(**params))
    return one.cpu_s


def test_the_runs_between():
    """Of twelve full runs one is needed; an incremental one has to compute what changed in any case."""
    full = found(full=True, made_every_s=300.0, needed_every_s=3600.0, fresh_why="tolerated")[0]
    part = found(made_every_s=300.0, needed_every_s=3600.0, fresh_why="reads")[0]

    assert full.saving.cpu_s.value == pytest.approx(100 * 11 / 12)
    assert part.saving.cpu_s.low < part.saving.cpu_s.value < part.saving.cpu_s.high
    exact = estimated(
        full=True, made_every_s=300.0, needed_every_s=3600.0, fresh_why="tolerated"
    )  # without the ranking's noise
    wide = estimated(made_every_s=300.0, needed_every_s=3600.0, fresh_why="reads")
    assert exact.low == exact.value == pytest.approx(100 * 11 / 12)
    assert wide.low < wide.value < wide.high == pytest.approx(100 * 11 / 12)
    assert "every 5m 00s, every 1h 00m would do: every reader is content with older values" in full.evidence
    assert "it is read less often" in part.evidence
    assert full.remedy.text == 'every = "3600s" in view spend'


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"made_every_s": 300.0},
        {"made_every_s": 300.0, "needed_every_s": 200.0},
        {"made_every_s": "x", "needed_every_s": 1.0},
    ],
)
def test_nothing_to_say(params):
    """Without both times, or where more often is needed, nothing is named."""
    assert found(**params) == ()
