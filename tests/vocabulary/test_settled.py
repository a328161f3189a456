"""Settled placements: their arithmetic and their way through a file."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.settled import Report, Settled, settled_as_json, settled_from_json

GOOD = Settled(
    "train", datetime(2026, 3, 1, tzinfo=UTC), 200.0, 500.0, 350.0, 250.0, None, None, 0.0, "saved"
)
BAD = replace(GOOD, name="bad", ran_g=600.0, oracle_g=0.0, consequence_g=-90.0, saved_cost=-0.1)


def test_sums_hold_the_days_that_went_wrong():
    """Losses are in the sum like savings, and the placements that lost are named."""
    report = Report((GOOD, BAD))

    assert report.saved_g == pytest.approx(50)
    assert report.promised_g == pytest.approx(400)
    assert report.saved_share == pytest.approx(0.05)
    assert report.share_of_oracle == pytest.approx(0.2)
    assert report.regret_g == pytest.approx(200)
    assert report.wrong == (BAD,)


def test_nothing_to_save_has_no_share():
    """Where no planner could have saved there is no share of the oracle, and of no grams no share was saved."""
    assert BAD.share_of_oracle is None
    assert Report(()).share_of_oracle is None
    assert Report(()).saved_share == 0


@pytest.mark.parametrize("part", [GOOD, BAD])
def test_a_settled_placement_survives_its_text(part):
    """What was written is read back as it was, unknowns included."""
    assert settled_from_json(json.loads(json.dumps(settled_as_json(part)))) == part


def test_what_is_no_settled_placement_is_refused():
    """Something else is refused in one line."""
    with pytest.raises(UsageError, match="no settled placement"):
        settled_from_json({"name": "a"})
