"""A materialised view without a reader."""

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


@pytest.mark.parametrize(
    ("since", "words"),
    [("", "was never read"), ("2026-10-01T08:00:00+00:00", "was not read since 2026-10-01")],
)
def test_the_whole_run(since, words):
    """Nothing of the run was of use to anybody."""
    (finding,) = found(unread_since=since)

    assert finding.cause == "view_nobody_reads"
    assert finding.saving.share == pytest.approx(1.0)
    assert f"view spend {words}" in finding.evidence


def test_a_view_that_is_read():
    """Without the note there is nothing to say."""
    assert found() == ()
