"""Trying: how long a trial is, when it is refused, and what its sides say of a finding."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing.case import about
from joulewise.diagnosing.trial_plan import knobs_of, plan_trial
from joulewise.diagnosing.trying import Side, apply_trials, compare, counted_j
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.finding import Cause, Finding, Remedy, RemedyKind, Saving
from joulewise.vocabulary.observed import CurvePoint, LoaderView, Window
from joulewise.vocabulary.trial import TrialVerdict, trial_from_json
from tests.diagnosing.views import case, evaluations, phases, view


def trained(**fields):
    """Return a process that trains for 80 of 100 s: 4,000 steps of 8 items in 5 epochs, its first step after 5 s."""
    loader = LoaderView("Items", 6400, 8, 0, True, False, False, False, 5, 4000, 1.0, 0.0, 0.0)
    told = {
        "phases": phases(setup=2.0, data=10.0, forward=20.0, backward=40.0, optimiser=(4000, 10.0), validation=18.0),
        "steps": 4000, "samples": 32_000, "epochs": 5, "batch_sizes": {8: 4000}, "dataset_items": 6400,
        "loaders": (loader,), "curve": (CurvePoint(5.0, 1, 0.0, {"loss": 1.0}),),
    }  # fmt: skip
    return view(**{**told, **fields})


def side(
    each_s: float, *, start_s: float = 0.0, batch: int = 8, loss: float = 1.0, evaluations_s: float = 0.0
) -> Side:
    """Return a side of two passes in which a sample costs `each_s`, and a pass's start `start_s` more."""
    windows, begin_s = [], start_s + 2 * batch * each_s
    for _ in range(2):
        windows.append(Window("start", 2 * batch, 2, begin_s, begin_s, 0, 0.0, 0.0, 1.0))
        for n in range(8):
            apart = evaluations_s if n % 4 == 0 else 0.0
            windows.append(
                Window("steps", 2 * batch, 2, 2 * batch * each_s + apart, 2 * batch * each_s + apart, int(apart > 0), apart, apart, 1.0)
            )  # fmt: skip
    return Side(tuple(windows), tuple(CurvePoint(0.1 * s, s, 0.0, {"loss": loss / s}) for s in range(1, 30)))


def plan(knobs, *views, findings=(), future=10, **options):
    return plan_trial(case(*(views or (trained(),))), findings, knobs, future_runs=future, **options)


def tried(base: Side, other: Side, knob="batch", value="x4", pairs=1, **options):
    return compare(plan({knob: value}, **options), knob, [(base, other)] * pairs, 1.0)


def test_default_budget_is_five_per_cent_or_fifty_steps():
    """A side has start-up and 50 steps at least; a long run's 5 % allow more of them."""
    short = plan({"batch": "x4"})
    long = plan_trial(
        case(trained(phases=phases(setup=2.0, forward=980.0), duration_s=1000.0, cpu_s=1000.0, steps=49_000), seconds=1000),
        (), {"batch": "x4"}, future_runs=10,
    )  # fmt: skip

    assert short.budget_s == pytest.approx(2 * (5 + 50 * 80 / 4000))
    assert short.steps >= 50
    assert short.passes == 3
    assert short.pairs == 1
    assert long.budget_s == pytest.approx(50.0)
    assert long.pairs == 3
    assert long.steps > 50
    assert long.lasts_s <= long.budget_s * 1.1


def test_a_trial_that_costs_more_than_it_saves_is_refused():
    """The refusal names the cost, what is hoped for, and how often the program would have to run."""
    with pytest.raises(UsageError, match=r"not worth a trial: it would take about 12 s .*say --future 2"):
        plan({"batch": "x4"}, future=1)


def test_only_a_training_loop_can_be_tried():
    """Without steps there is nothing to measure; early stopping needs a whole run."""
    with pytest.raises(UsageError, match="no training steps"):
        plan({"batch": "x4"}, view())
    with pytest.raises(UsageError, match="cannot be tried on a short piece"):
        plan({"early-stop": ""})


def test_one_pass_is_measured_in_a_row():
    """A single epoch has no later pass to measure: some steps of it are."""
    single = replace(trained().loaders[0], passes=1)
    told = plan({"batch": "x4"}, trained(epochs=1, loaders=(single,)))

    assert (told.passes, told.batches) == (0, 0)
    assert told.spec == f"steps={told.steps} passes=0 batches=0"


def test_what_is_worth_trying():
    """The remedies of the findings; without any, what watching cannot settle."""
    laid = case(trained())

    assert knobs_of(laid, ()) == {"batch": "x4"}
    four = replace(trained().loaders[0], workers=4)
    assert knobs_of(case(trained(loaders=(four,), batch_sizes={128: 250})), ()) == {"workers": "0"}


def test_a_saving_is_measured_and_carried_to_the_run():
    """Half of what a sample costs, in the part of the run that steps are."""
    trial = tried(side(0.0025), side(0.00125, batch=32))

    assert trial.step_share.value == pytest.approx(0.5)
    assert 0.35 < trial.run_share.value < 0.45  # steps are 80 % of the run
    assert trial.verdict is TrialVerdict.CORRECTED  # nothing was promised
    assert trial.cause is Cause.SMALL_BATCH
    assert trial_from_json(trial.as_json()) == trial


def test_what_is_kept_is_made_once():
    """A trial compares later passes, in which kept items cost nothing; the first of five makes them in the run as well."""
    without = tried(side(0.0025), side(0.00125), "batch", "x4")
    kept = tried(side(0.0025), side(0.00125), "cache", "on")

    assert kept.step_share.value == pytest.approx(without.step_share.value)
    assert kept.run_share.value == pytest.approx(0.8 * without.run_share.value)


def test_kept_items_of_evaluations_count():
    """What a cache keeps of evaluations saves as much of what making those took; no window of a trial holds it."""
    training = replace(
        trained().loaders[0],
        fetched=32_000,
        fetch_s=40.0,
        fetch_cpu_s=40.0,
        collate_s=0.0,
        compared_items=9,
        same_items=9,
    )
    scoring = replace(
        training, items=640, fetched=3_200, fetch_s=4.0, fetch_cpu_s=4.0, evaluates=True, batches=20
    )
    seen = trained(loaders=(training, scoring))

    def share(*changed):
        other = replace(side(0.00125), changed=changed)
        return compare(plan({"cache": "on"}, seen), "cache", [(side(0.0025), other)], 1.0).run_share.value

    both = share(
        "cache: Items: 6400 items kept in memory (9 MB)", "cache: Items: 640 items kept in memory (1 MB)"
    )
    assert both == pytest.approx(1.1 * share("cache: Items: 6400 items kept in memory (9 MB)"))


def test_start_of_a_pass_counts_by_the_runs_own_items():
    """Workers that start at each pass cost their share of an epoch, not of the trial's short pass."""
    trial = tried(side(0.001, start_s=6.4), side(0.001), "workers", "0", future=50)

    assert trial.step_share.value == pytest.approx(
        0.5, abs=0.02
    )  # 6.4 s over 6,400 items are a millisecond each


def test_windows_disturbed_by_neighbours_do_not_decide():
    """The median of the windows counts, so one dear window changes nothing."""
    quiet = side(0.001)
    noisy = replace(quiet, windows=(*quiet.windows[:-1], replace(quiet.windows[-1], cpu_s=1.0, wall_s=1.0)))

    assert tried(noisy, side(0.0005)).step_share.value == pytest.approx(0.5, abs=0.01)


def test_noise_comes_from_the_windows_or_the_pairs():
    """One pair is good to 6 % a side at best; equal pairs to 2 %."""
    one, three = (tried(side(0.001), side(0.0005), pairs=n).step_share for n in (1, 3))

    assert (one.high - one.low) / 2 == pytest.approx(0.5 * 0.06 * 2**0.5, rel=0.01)
    assert (three.high - three.low) / 2 == pytest.approx(0.02)


def test_beside_neighbours_one_pair_settles_large_savings_only():
    """A side that waited for a CPU as long as it computed may be a third off: a small difference is no outcome then."""
    crowded = [replace(side(each_s), waited=1.0) for each_s in (0.001, 0.0009, 0.0002)]

    assert tried(crowded[0], crowded[1]).verdict is TrialVerdict.UNCLEAR
    assert tried(side(0.001), side(0.0008)).verdict is TrialVerdict.CORRECTED
    assert tried(crowded[0], crowded[2]).verdict is TrialVerdict.CORRECTED


def test_nothing_saved_is_withdrawn():
    """A knob that saves nothing, or makes it dearer, withdraws the finding."""
    assert tried(side(0.001), side(0.0011)).verdict is TrialVerdict.WITHDRAWN
    assert tried(side(0.001), side(0.00101), pairs=3).verdict is TrialVerdict.WITHDRAWN


def test_first_advice_that_is_wrong():
    """Workers that are said to cost more than they give, and do not: the trial withdraws the advice, and it is shown no more."""
    laid = case(trained(loaders=(replace(trained().loaders[0], workers=2),)))
    promise = Finding(
        Cause.TOO_MANY_LOADER_WORKERS, "", Saving(about(35, 30, 40), about(35, 30, 40), 0.35, 0.35),
        Remedy(RemedyKind.SETTING, "num_workers=0 instead of 2"), "none",
    )  # fmt: skip
    knobs = knobs_of(laid, [promise])
    trial = compare(
        plan_trial(laid, [promise], knobs, future_runs=10), "workers", [(side(0.001), side(0.0014))], 1.0
    )

    assert knobs == {"workers": "0"}
    assert (trial.cause, trial.verdict) == (Cause.TOO_MANY_LOADER_WORKERS, TrialVerdict.WITHDRAWN)
    assert trial.promised_share is not None
    assert apply_trials(laid, [promise], [trial]) == ((), (trial,))


def test_first_advice_that_promises_too_much():
    """Advice that saves a third of what it promised is corrected: what is shown then is what the trial measured."""
    laid = case(trained())
    promise = Finding(
        Cause.SMALL_BATCH, "", Saving(about(60, 55, 65), about(60, 55, 65), 0.6, 0.6),
        Remedy(RemedyKind.COMMAND, "batch size 32 instead of 8"), "the learning rate",
    )  # fmt: skip
    trial = compare(
        plan_trial(laid, [promise], {"batch": "x4"}, future_runs=10),
        "batch",
        [(side(0.0025), side(0.0019))],
        1.0,
    )
    ((finding, _),), gone = apply_trials(laid, [promise], [trial])

    assert (trial.verdict, gone) == (TrialVerdict.CORRECTED, ())
    assert finding.saving.cpu_share == pytest.approx(0.24 * 0.8, rel=0.2)


def test_quality():
    """The same losses are the same quality; a knob that computes otherwise is judged by its loss, a batch not at all."""
    same = tried(side(0.001), side(0.0005), "cache", "on")
    worse = tried(side(0.001), side(0.0005, loss=3.0), "precision", "bf16")

    assert (same.equal_quality, same.quality) == (True, "the same losses in 29 steps")
    assert (worse.equal_quality, worse.verdict) == (False, TrialVerdict.WITHDRAWN)
    assert tried(side(0.001), side(0.0005)).equal_quality is None


def test_quality_by_what_was_printed():
    """Where no losses are seen, the same numbers printed after the same calls are the same results; other ones tell nothing."""
    mute = replace(side(0.001), curve=(), printed=("C=1: 0.81", "C=2: 0.83"))
    same = tried(mute, replace(side(0.0005), curve=(), printed=mute.printed), "cache", "on")
    assert (same.equal_quality, same.quality) == (True, "both sides printed the same 2 lines with numbers")

    other = tried(mute, replace(side(0.0005), curve=(), printed=("C=1: 0.81", "C=2: 0.79")), "cache", "on")
    silent = tried(replace(mute, printed=()), replace(side(0.0005), curve=()), "cache", "on")
    assert (other.equal_quality, silent.equal_quality) == (None, None)


def test_validation_is_tried_with_its_evaluations():
    """As it is, a side pays for its evaluations; once per epoch it does not; the epochs' own are kept."""
    many = trained(evaluation_calls=100, evaluations=evaluations(list(range(40, 4000, 40)), seconds=0.18))
    trial = tried(
        side(0.001, evaluations_s=0.016), side(0.001, evaluations_s=0.016), "validate", "epoch", future=50
    )
    asked = plan({"validate": "epoch"}, many, future=50)

    assert trial.step_share.value == pytest.approx(
        0.2, abs=0.01
    )  # two evaluations of 16 ms in eight windows of 16 ms
    assert asked.batches >= 3 * 40


def test_a_side_that_measured_nothing():
    """A program that ended before its steps is said to have."""
    with pytest.raises(UsageError, match="measured no steps"):
        tried(side(0.001), Side((), ()))


def test_findings_as_trials_left_them():
    """A trial's saving replaces the promise, a withdrawn finding is gone, an unforeseen one is added."""
    laid = case(trained())
    saves = tried(side(0.0025), side(0.00125))
    nothing = replace(saves, verdict=TrialVerdict.WITHDRAWN)

    ((finding, known),), gone = apply_trials(laid, (), [saves])
    assert (finding.cause, known, gone) == (Cause.SMALL_BATCH, saves, ())
    assert finding.saving.cpu_share == pytest.approx(saves.run_share.value)
    assert "--with batch=x4" in finding.remedy.text
    assert apply_trials(laid, (finding,), [nothing]) == ((), (nothing,))
    unclear = replace(saves, verdict=TrialVerdict.UNCLEAR)
    assert apply_trials(laid, (finding,), [unclear, saves]) == (((finding, unclear),), ())


def test_joules_by_counters():
    """Where counters tell the joules, a sample's are those between the ticks, without the evaluations."""
    windows = tuple(Window("steps", 10, 5, 10.0, 10.0, 0, 0.0, 0.0, 20.0 + 10 * n) for n in range(3))
    laid = case(trained())
    evaluated = tuple(replace(w, apart_wall_s=5.0) for w in windows)
    whole = counted_j(laid.recording, windows)

    assert whole is not None
    assert whole == pytest.approx(15.0, rel=0.01)  # the work's own 15 W for 30 s, 30 samples
    assert counted_j(laid.recording, evaluated) == pytest.approx(whole / 2)
    assert counted_j(laid.recording, windows[:0]) is None
    doubled = compare(
        plan({"precision": "bf16"}), "precision",
        [(replace(side(0.001), sample_j=4.0), replace(side(0.001), sample_j=1.0))], 1.0,
    )  # fmt: skip
    assert doubled.step_share.value == pytest.approx(0.75)  # the seconds are the same: a GPU draws less
