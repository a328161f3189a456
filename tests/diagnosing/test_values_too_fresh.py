"""A view that is made anew more often than anybody needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing import diagnose
from tests.diagnosing.views import case


def found(**params):
    """Return the findings of a materialisation of 100 s that noted these facts."""
    laid = case()
    recording = replace(laid.recording, params={"view": "spend", "rows": 7, "full": False, **params})
    return diagnose(recording, (), laid.account)


def test_the_runs_between():
    """Of twelve full runs one is needed; an incremental one has to compute what changed in any case."""
    full = found(full=True, made_every_s=300.0, needed_every_s=3600.0, fresh_why="tolerated")[0]
    part = found(made_every_s=300.0, needed_every_s=3600.0, fresh_why="reads")[0]

    assert full.saving.cpu_s.value == pytest.approx(100 * 11 / 12)
    assert part.saving.cpu_s.low < part.saving.cpu_s.value < full.saving.cpu_s.value
    assert part.saving.cpu_s.high >= 100 * 11 / 12
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
