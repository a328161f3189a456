from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.vocabulary.library_calls import Step
from joulewise.vocabulary.observed import Preparation
from tests.diagnosing.views import causes, found, view

SCALED = Preparation("StandardScaler", "fit_transform", "f1", "s1", 3000, 6, 0.6, 0.6, 60.0, 60.0, 10.0)


def test_all_but_the_first():
    """Five of six calls are saved, and what came before them."""
    finding = found(view(preparations=(SCALED,)))[0]

    assert finding.cause == "repeated_preprocessing"
    assert finding.saving.cpu_s.value == pytest.approx(50.0 + 0.5)
    assert "the same 3000 rows 6 times" in finding.evidence


@pytest.mark.parametrize(
    "change",
    [
        {"calls": 1, "first_before_s": None},
        {"method": "predict"},  # looking at one prediction again and again
        {"method": "fit"},  # a sweep over settings
        {"first_before_s": 1.0},  # what came before the others was something else: training by hand
        {"first_before_s": 40.0},
        {"first_before_s": None},
    ],
)
def test_not_claimed(change):
    """Single calls, other methods, and time before that is not like the first's are not claimed."""
    assert causes(view(preparations=(replace(SCALED, **change),))) == []


def test_already_handed_out():
    """Calls that `run --with cache` handed out are no waste any more; what was made before each of them still is."""
    handed = (
        "cache: StandardScaler.fit_transform of equal input and settings came out the same twice: from then on it is handed out",
    )
    dear = replace(SCALED, wall_s=60.0, cpu_s=60.0)
    finding = found(view(preparations=(dear,), changed=handed))[0]
    assert finding.saving.cpu_s.value == pytest.approx(50.0)

    alone = replace(dear, before_s=0.0, before_cpu_s=0.0, first_before_s=0.0)
    assert causes(view(preparations=(alone,))) == ["repeated_preprocessing"]
    assert causes(view(preparations=(alone,), changed=handed)) == []


STEP = Step("PCA", "fold1", "s1", 2000, 6, 30.0, 30.0, 4_000_000, 800_000)


def test_steps_of_a_pipeline():
    """Five of six fits of a pipeline's step are saved, less what the memory takes to hash, write and read."""
    finding = found(view(pipeline_steps=(STEP,)))[0]
    kept_s = 6 * (2e-3 + 4e6 / 0.4e9) + 0.8e6 / 0.5e9 + 5 * 0.8e6 / 1.5e9

    assert finding.cause == "repeated_preprocessing"
    assert finding.saving.cpu_s.value == pytest.approx(25.0 - kept_s)
    assert "memory=" in finding.remedy.text
    assert "bit for bit" in finding.risk


def test_steps_in_several_processes():
    """What two workers fitted on one fold is one repetition, and saves each of them half of the time."""
    workers = [
        view(
            process=f"w{n}",
            pid=n,
            kind="child",
            pipeline_steps=(replace(STEP, calls=3, cpu_s=15.0, wall_s=15.0),),
        )
        for n in (1, 2)
    ]
    finding = found(*workers)[0]

    assert "fitted 6 times" in finding.evidence
    assert finding.saving.wall_s.value == pytest.approx(finding.saving.cpu_s.value / 2)


@pytest.mark.parametrize(
    "steps",
    [
        [replace(STEP, calls=1)],
        [replace(STEP, settings=f"degree={n}", calls=1) for n in range(6)],  # each candidate's own
        [replace(STEP, fingerprint=f"fold{n}", calls=1) for n in range(6)],
        [replace(STEP, cpu_s=0.1, wall_s=0.1, in_bytes=40_000_000)],  # hashing would take longer
        [replace(STEP, fingerprint="")],
    ],
)
def test_steps_left_alone(steps):
    """Steps that differ, that came once, or that are cheaper than their keeping."""
    assert causes(view(pipeline_steps=tuple(steps))) == []


def test_a_step_that_draws():
    """Of a step without a fixed state the risk says that candidates share one draw."""
    assert "one draw" in found(view(pipeline_steps=(replace(STEP, random=True),)))[0].risk


def test_a_pipeline_scores_a_fold():
    """What a pipeline transforms again to score a fold is not kept by its memory, so nothing is promised of it."""
    scored = replace(SCALED, estimator="PCA", method="transform")
    assert causes(view(preparations=(scored,))) == ["repeated_preprocessing"]
    assert causes(view(preparations=(scored,), pipeline_steps=(replace(STEP, calls=1),))) == []


def settings(*before_s, **fields):
    """Fits with other settings on one input, each after so many CPU seconds."""
    return tuple(
        replace(Preparation("Ridge", "fit", "f1", f"alpha={n}", 3000, 1, 0.1, 0.1, s, s, s), **fields)
        for n, s in enumerate(before_s)
    )


def test_an_input_made_again_for_every_fit():
    """Three of four makings are saved; two workers that made them share the wall time."""
    finding = found(view(preparations=settings(10.0, 9.0, 11.0, 10.0)))[0]
    workers = [
        view(
            process=f"w{n}",
            pid=n,
            kind="fork",
            preparations=settings(10.0, 9.0)[n : n + 1] + settings(11.0, 10.0)[n : n + 1],
        )
        for n in (0, 1)
    ]

    assert finding.cause == "repeated_preprocessing"
    assert finding.saving.cpu_s.value == pytest.approx(30.0)
    assert found(*workers)[0].saving.wall_s.value == pytest.approx(15.0)


@pytest.mark.parametrize(
    "fits",
    [
        settings(10.0, 0.01, 0.01, 0.01),  # made once
        settings(10.0, 5.0, 5.0, 5.0),  # the rest is something else, scoring by hand
        settings(10.0, 10.0),
        settings(0.02, 0.02, 0.02, 0.02),  # the loop's own
        settings(10.0, 10.0, 10.0, 10.0, fingerprint=""),
    ],
)
def test_ready_inputs(fits):
    """Inputs that were made once, and other work between fits."""
    assert causes(view(preparations=fits)) == []
