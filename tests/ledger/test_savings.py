"""Savings: kept for good, and how good the promises have been."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from joulewise.ledger.savings import keep, keep_plan, plans, settlements, track_record
from joulewise.ledger.store import open_store
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.finding import Cause, Settlement
from joulewise.vocabulary.settled import Report, Settled

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTLED = Settlement(
    before="a",
    after="b",
    cause=Cause.SMALL_BATCH,
    unit="J",
    promised_share=Figure(0.5, 0.4, 0.6, Basis.MODELLED, "promised"),
    realised_share=Figure(0.45, 0.4, 0.5, Basis.MEASURED, "realised"),
    realised=Figure(90.0, 80.0, 100.0, Basis.MEASURED, "realised"),
    wall_share=0.4,
    equal_quality=True,
    quality="acc 0.8 before, 0.8 after",
)


@pytest.fixture
def ledger(tmp_path):
    opened = open_store(tmp_path / "ledger.db")
    yield opened
    opened.close()


def test_kept_for_good(ledger):
    """What was settled comes back as it was."""
    keep(ledger, SETTLED, NOW)
    assert settlements(ledger) == [SETTLED]


def test_settled_again(ledger):
    """Settling the same runs again replaces what was kept; a run without a finding is kept, too."""
    bare = replace(SETTLED, after="c", cause=None, promised_share=None, equal_quality=None)
    keep(ledger, replace(SETTLED, wall_share=0.1), NOW)
    keep(ledger, SETTLED, NOW)
    keep(ledger, bare, NOW.replace(hour=13))

    assert settlements(ledger) == [bare, SETTLED]


def test_track_record():
    """Bias and coverage are over promises whose outcome is no worse in quality."""
    missed = replace(SETTLED, realised_share=Figure(0.1, 0.05, 0.15, Basis.MEASURED))
    worse = replace(SETTLED, equal_quality=False)
    record = track_record([SETTLED, missed, worse, replace(SETTLED, promised_share=None)])

    assert (record.settled, record.promised, record.within) == (3, 2, 1)
    assert record.bias == pytest.approx((-0.05 - 0.4) / 2)
    assert record.mean_error == pytest.approx(0.225)
    assert track_record([]).bias is None


PART = Settled("train", NOW, 200.0, 500.0, 350.0, 250.0, None, None, 0.0, "saved")


def test_plans_are_kept_beside_findings(ledger):
    """A settled plan comes back placement by placement, and the track record of findings does not count it."""
    lost = replace(PART, name="lost", now_g=0.0, ran_g=10.0, verdict="worse than running now")
    keep(ledger, SETTLED, NOW)
    keep_plan(ledger, "plan-1", Report((PART, lost)), NOW)

    assert plans(ledger) == [("plan-1", lost), ("plan-1", PART)]
    assert settlements(ledger) == [SETTLED]


def test_a_plan_settled_again_is_replaced(ledger):
    """Better data replace what was kept of a plan; another plan's rows stay, the newest settled first."""
    keep_plan(ledger, "plan-1", Report((PART,)), NOW)
    keep_plan(ledger, "plan-2", Report((PART,)), NOW.replace(hour=13))
    better = replace(PART, ran_g=300.0)
    keep_plan(ledger, "plan-1", Report((better,)), NOW.replace(hour=14))

    assert plans(ledger) == [("plan-1", better), ("plan-2", PART)]
    row = ledger.query("SELECT * FROM savings WHERE before_run = 'plan-1'")[0]
    assert row["promised_share"] == pytest.approx(0.4)
    assert row["realised_share"] == pytest.approx(0.4)
