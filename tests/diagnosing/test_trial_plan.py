"""The plan of a trial of a program without training steps: calls of estimators stand for steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing import diagnose
from joulewise.diagnosing.trial_plan import knobs_of, plan_trial
from joulewise.diagnosing.trying import Side, compare
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.finding import Cause
from joulewise.vocabulary.observed import Preparation, Window
from joulewise.vocabulary.trial import TrialVerdict
from tests.diagnosing.test_over_training import PLATEAU, trainer
from tests.diagnosing.views import case, found, phases, view


def fitted(calls: int = 40, **fields):
    """Return a process that fits for 80 of 100 s, each call 2 s with what comes before it."""
    made = Preparation(
        "Forest", "fit", "f", "s", 1000, calls, 1.5 * calls, 1.5 * calls, 0.5 * calls, 0.5 * calls
    )
    told = {
        "phases": phases(setup=5.0, optimiser=(calls, 60.0), other=20.0),
        "preparations": (made,),
    }
    return view(**{**told, **fields})


def side(each_s: float, calls: int = 6) -> Side:
    """Return a side whose calls take from half to one and a half of `each_s`."""
    spent = [each_s * (0.5 + n / (calls - 1)) for n in range(calls)]
    return Side(tuple(Window("steps", 1, 1, s, s, 0, 0.0, 0.0, 1.0) for s in spent), ())


def test_calls_stand_for_steps():
    """A side has nine calls at least, or what the budget allows; the process is told to count calls."""
    plan = plan_trial(case(fitted()), (), {"threads": "1"}, future_runs=20)

    assert (plan.by_calls, plan.steps, plan.passes) == (True, 9, 0)
    assert plan.spec == "steps=9 passes=0 batches=0 calls=1"
    assert plan.side_s == pytest.approx(5 + 9 * 2.0)


def test_what_cannot_be_tried():
    """A batch has no meaning there, and a program of one long call has no short piece."""
    with pytest.raises(UsageError, match="batch changes nothing in a program without training steps"):
        plan_trial(case(fitted()), (), {"batch": "x4"}, future_runs=20)
    with pytest.raises(UsageError, match="made 3 calls of estimators, too few"):
        plan_trial(case(fitted(3)), (), {"threads": "1"}, future_runs=20)


def test_a_memory_needs_equal_fits():
    """A side holds six equal fits, of which the first two are computed in any case; where there are fewer, no piece is tried."""
    other = Preparation("Encoder", "transform", "g", "s", 1000, 80, 0.1, 0.1, 0.0, 0.0)
    mixed = fitted(20)
    mixed = replace(mixed, preparations=(*mixed.preparations, other))

    assert plan_trial(case(mixed), (), {"cache": "on"}, future_runs=50).steps >= 30
    with pytest.raises(UsageError, match="makes no equal fit 6 times"):
        plan_trial(
            case(replace(fitted(5), preparations=(*fitted(5).preparations, other))),
            (),
            {"cache": "on"},
            future_runs=50,
        )


def test_files_that_a_loop_of_its_own_opens():
    """A cache of fits and of loaders' items keeps no file that the program opens itself: that finding is not tried by it."""
    reread = replace(found(trainer(PLATEAU))[0], cause=Cause.REREADING_INPUT)

    assert "cache" not in knobs_of(case(fitted()), [reread])


def test_calls_are_compared_as_a_whole():
    """Calls are unlike each other: it is their sum that counts, carried to the run by the share that calls have in it."""
    plan = plan_trial(case(fitted()), (), {"threads": "1"}, future_runs=20)
    trial = compare(plan, "threads", [(side(2.0), side(1.0))], 1.0)

    assert trial.step_share.value == pytest.approx(0.5)
    assert trial.run_share.value == pytest.approx(0.5 * 0.8, rel=0.1)
    assert (trial.cause, trial.verdict) == (Cause.THREAD_OVERSUBSCRIPTION, TrialVerdict.CORRECTED)
    same = compare(plan, "threads", [(side(2.0), side(2.0))], 1.0)
    assert same.verdict is TrialVerdict.WITHDRAWN


def test_what_is_guessed():
    """Without a finding, threads are what cannot be settled by watching; a program held to one has none."""
    assert knobs_of(case(fitted()), ()) == {"threads": "1"}


def test_what_the_program_makes_itself_is_not_tried():
    """`cache` hands out an estimator's calls; where their input is what takes the time, no trial of it settles the finding."""
    own = Preparation("Scaler", "fit_transform", "f", "s", 3000, 8, 0.8, 0.8, 40.0, 40.0, 5.0)
    theirs = replace(own, wall_s=40.0, cpu_s=40.0, before_s=0.8, before_cpu_s=0.8, first_before_s=0.1)
    for made, tried in ((own, False), (theirs, True)):
        laid = case(fitted(preparations=(made,), phases=phases(optimiser=(8, 60.0), other=40.0)))
        findings = diagnose(laid.recording, laid.views, laid.account)

        assert findings[0].cause is Cause.REPEATED_PREPROCESSING
        assert ("cache" in knobs_of(laid, findings)) is tried
