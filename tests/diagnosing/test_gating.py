"""The gate: ratio per unit of work, noise from repeats, equal quality."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.catalogue.place import place
from joulewise.diagnosing.gating import Decision, Measure, gate
from joulewise.diagnosing.quality import Quality
from joulewise.measuring.accounting import Account, account
from joulewise.testing.recordings import recording
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.recording import End, EndState, Point
from tests.diagnosing.views import CPU

DE = place(zone="DE")
GOOD = Quality("val_acc", 0.80, 1.0, 2000)


def run(seconds: int, *, epochs: int = 0, devices=(CPU,), **changes) -> Account:
    points = [Point(float(e), {"epoch": e}) for e in range(1, epochs + 1)]
    made = recording(list(devices), {"cpu0": 20.0}, seconds=seconds, points=points)
    return account(replace(made, run_id=f"run-{seconds}-{epochs}", **changes), DE)


def judge(before, after, limit=1.1, qualities=None, **options):
    known = qualities or ([None] * len(before), [None] * len(after))
    return gate(before, after, known, limit=limit, **options)


BASE = [run(100), run(101), run(99)]


def test_pass():
    """Runs that cost the same pass, where the whole interval lies within the limit."""
    found = judge(BASE, [run(100), run(102), run(99)])

    assert found.decision is Decision.PASS
    assert found.ratio is not None
    assert found.ratio.high < 1.1
    assert found.runs == (3, 3)


def test_fail():
    """Runs that cost a fifth more fail a limit of a tenth."""
    found = judge(BASE, [run(120), run(121), run(119)])

    assert found.decision is Decision.FAIL
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(1.2, rel=0.01)
    assert found.ratio.low > 1.1


def test_cannot_tell_says_how_many_repeats():
    """Where the limit lies inside the interval, the gate asks for as many repeats as would decide."""
    found = judge([run(97), run(103)], [run(98), run(104)])

    assert found.decision is Decision.CANNOT_TELL
    assert found.repeats is not None
    assert found.repeats > 2
    more = judge([run(97), run(103)] * found.repeats, [run(98), run(104)] * found.repeats)
    assert more.decision is Decision.PASS


def test_noise_is_never_guessed():
    """One run a side cannot tell, however far apart the runs are; two on one side can."""
    assert judge([run(100)], [run(300)]).decision is Decision.CANNOT_TELL
    assert judge([run(100)], [run(300)]).noise is None
    assert judge(BASE, [run(300)]).decision is Decision.FAIL


def test_per_unit_of_work():
    """Twice the epochs for twice the joules is no increase."""
    found = judge([run(s, epochs=5) for s in (100, 101)], [run(s, epochs=10) for s in (200, 201)])

    assert found.decision is Decision.PASS
    assert found.per == "epoch"
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(1.0, abs=0.01)


def test_per_run_where_one_side_counts_nothing():
    """A count that only one side has is no unit."""
    assert judge([run(100, epochs=5), run(101, epochs=5)], [run(100), run(101)]).per == "run"


def test_lower_quality_fails():
    """Cheaper at lower quality is no pass; a drop within the noise of the repeats is none."""
    cheap = [run(50), run(51)]
    worse = replace(GOOD, value=0.70)
    found = judge(BASE[:2], cheap, qualities=([GOOD, GOOD], [worse, worse]))
    assert found.decision is Decision.FAIL
    assert found.reason == "the quality is lower: val_acc 0.8 before, 0.7 after"

    noisy = [replace(GOOD, value=v) for v in (0.72, 0.84)]
    assert judge(BASE[:2], cheap, qualities=([GOOD, GOOD], noisy)).decision is Decision.PASS


def test_quality_can_be_required():
    """With `require_quality`, runs of which nobody knows the quality cannot pass."""
    found = judge(BASE, BASE, require_quality=True)
    assert found.decision is Decision.CANNOT_TELL
    assert "quality is not known" in found.reason


def test_failed_run():
    """A run that failed is never compared."""
    broken = run(100, end=End(EndState.FAILED, 100.0, exit_code=1))
    found = judge(BASE, [broken, run(100)])
    assert found.decision is Decision.CANNOT_TELL
    assert "failed: only finished runs compare" in found.reason


def test_nothing_cancels():
    """Runs of unlike devices cannot tell in joules, and name the way out; in CPU seconds they can."""
    none = [run(s, devices=()) for s in (100, 101)]
    assert "joules are not known" in judge(BASE, none).reason
    assert judge(BASE, none, measure=Measure.CPU_TIME).decision is Decision.PASS


def test_unlike_processors():
    """CPU seconds of unlike processors do not compare."""
    machine = replace(BASE[0].recording.machine, cpu_model="Other CPU")
    found = judge(BASE, [run(100, machine=machine)], measure=Measure.CPU_TIME)
    assert found.decision is Decision.CANNOT_TELL
    assert "unlike processors" in found.reason


def test_bad_input():
    """A limit of nothing and an empty side are refused in one line."""
    with pytest.raises(UsageError, match="limit is 0 times"):
        judge(BASE, BASE, limit=0)
    with pytest.raises(UsageError, match="candidate has no run"):
        judge(BASE, [])
