"""Claims: the word "same" needs a margin declared before, three paired seeds and an interval within the margin."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.training.claim import Attempt, Claim, Declaration, Outcome, judge
from joulewise.vocabulary.errors import UsageError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DECLARED = Declaration("accuracy", margin=0.01, higher_is_better=True, declared_at=NOON)


def outcomes(qualities: list[float], energy_j: float, started_at: datetime = NOON) -> list[Outcome]:
    return [Outcome(seed, q, energy_j + seed, started_at) for seed, q in enumerate(qualities)]


BASE = outcomes([0.915, 0.917, 0.912], 1000.0, NOON - timedelta(days=9))
LEAN = outcomes([0.916, 0.916, 0.913], 150.0)


def test_the_same():
    """A candidate whose whole interval lies within the margin is the same, and the sentence says what it saves."""
    claim = judge(DECLARED, BASE, LEAN, finding_j=1700.0)

    assert claim.same
    assert claim.pays_after == 2
    assert str(claim) == (
        "the same accuracy within 0.01 (+0.0003333, -0.001613 to +0.00228; 3 paired seeds); "
        "850 J less a run (850 to 850); finding it cost 1.7e+03 J, earned back after 2 runs"
    )


def test_interval_is_students_t():
    """Differences of 1, 2 and 3 have mean 2 with arms of 2.920 / sqrt(3)."""
    claim = judge(
        replace(DECLARED, margin=9.0), outcomes([0, 0, 0], 1.0), outcomes([1, 2, 3], 1.0), finding_j=0
    )

    assert (claim.difference.low, claim.difference.high) == pytest.approx((2 - 1.6859, 2 + 1.6859), rel=1e-3)


def refused(claim: Claim) -> str:
    assert not claim.same
    assert "the same" not in str(claim)
    return str(claim)


def test_two_seeds_are_too_few():
    """With two paired seeds the word is refused."""
    assert "2 paired seeds, at least 3 are needed" in refused(
        judge(DECLARED, BASE[:2], LEAN[:2], finding_j=0)
    )


def test_a_margin_declared_afterwards():
    """Candidate runs from before the declaration do not count."""
    late = replace(DECLARED, declared_at=NOON + timedelta(hours=1))

    assert "3 candidate runs started before the margin was declared" in refused(
        judge(late, BASE, LEAN, finding_j=0)
    )


def test_a_seed_left_out():
    """A seed without its partner is refused: it may have been left out because of what it showed."""
    more = [*LEAN, Outcome(7, 0.5, 150.0, NOON)]

    assert "seeds 7 have no partner" in refused(judge(DECLARED, BASE, more, finding_j=0))


def test_noise_that_could_hide_a_loss():
    """An equal mean whose interval reaches beyond the margin is not the same."""
    noisy = outcomes([0.895, 0.937, 0.912], 150.0)

    assert "it may be worse by 0.03" in refused(judge(DECLARED, BASE, noisy, finding_j=0))


def test_lower_is_better():
    """For a loss, worse is higher."""
    declared = Declaration("loss", margin=0.01, higher_is_better=False, declared_at=NOON)

    assert judge(declared, outcomes([0.5, 0.5, 0.5], 9), outcomes([0.4, 0.41, 0.4], 3), finding_j=0).same
    assert "it may be worse" in refused(
        judge(declared, outcomes([0.4, 0.41, 0.4], 9), outcomes([0.5, 0.5, 0.5], 3), finding_j=0)
    )


def test_target():
    """A declared target must be reached besides."""
    declared = replace(DECLARED, target=0.93)

    assert "its mean 0.915 misses the target 0.93" in refused(judge(declared, BASE, LEAN, finding_j=0))


def test_not_a_number():
    """A run without a finite quality is named, and nothing is averaged over it."""
    broken = [*LEAN[:2], replace(LEAN[2], quality=nan)]
    claim = judge(DECLARED, BASE, broken, finding_j=0)

    assert "seeds 2 have no finite accuracy" in refused(claim)
    assert claim.difference is None


def test_failed_recipes_count():
    """Joules of recipes that failed are part of the cost of finding, and are listed."""
    failed = (Attempt("one-cycle, 6 epochs", 800.0, "missed the target"),)
    claim = judge(DECLARED, BASE, LEAN, finding_j=200.0, failed=failed)

    assert claim.finding_j == 1000
    assert claim.failed == failed
    assert "1 failed recipes in it" in str(claim)


def test_a_dearer_recipe_never_pays():
    """A candidate that costs more than the baseline is never earned back."""
    claim = judge(DECLARED, LEAN, outcomes([0.916, 0.917, 0.914], 900.0), finding_j=5.0)

    assert claim.pays_after is None
    assert "never earned back" in str(claim)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=40), st.floats(0.001, 0.5))
def test_itself_is_always_the_same(qualities, margin):
    """Any recipe is the same as itself, and never better than itself by a margin."""
    runs = outcomes(qualities, 10.0)
    claim = judge(replace(DECLARED, margin=margin), runs, runs, finding_j=0)

    assert claim.same
    assert claim.difference.value == 0


@given(st.lists(st.floats(0, 1), min_size=3, max_size=10), st.floats(0.011, 0.9))
def test_worse_by_more_than_the_margin_never_is(qualities, loss):
    """A candidate that is worse by more than the margin on each seed is never the same."""
    assert not judge(
        DECLARED, outcomes(qualities, 9.0), outcomes([q - loss for q in qualities], 1.0), finding_j=0
    ).same


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: replace(DECLARED, margin=0.0), "margin is 0"),
        (lambda: replace(DECLARED, declared_at=NOON.replace(tzinfo=None)), "without a time zone"),
        (lambda: judge(DECLARED, BASE, LEAN, finding_j=-1), "finding_j is -1"),
        (lambda: judge(DECLARED, [*BASE, BASE[0]], LEAN, finding_j=0), "baseline has two runs of seed 0"),
        (
            lambda: judge(DECLARED, BASE, outcomes([0.9], 1.0, NOON.replace(tzinfo=None)), finding_j=0),
            "candidate of seed 0 started without a time zone",
        ),
    ],
)
def test_bad_input(act, message):
    """A margin of nothing, times without a zone, negative joules and a seed twice are refused in one line."""
    with pytest.raises(UsageError, match=message):
        act()
