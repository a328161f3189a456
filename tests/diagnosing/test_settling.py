from __future__ import annotations

from dataclasses import replace
from math import hypot

import pytest

from joulewise.catalogue.place import place
from joulewise.diagnosing.quality import Quality
from joulewise.diagnosing.settling import REPEAT_ARM, settle
from joulewise.measuring.accounting import Account, account
from joulewise.testing.recordings import recording
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.recording import Point
from tests.diagnosing.test_over_training import PLATEAU, trainer
from tests.diagnosing.views import CPU, found

PROMISE = found(trainer(PLATEAU))[0]  # 54 % of the CPU seconds
GOOD = Quality("val_acc", 0.80, 1.0, 2000)


def run(seconds: int, devices=(CPU,)) -> Account:
    made = recording(list(devices), {"cpu0": 20.0}, seconds=seconds)
    return account(replace(made, run_id=f"run-{seconds}"), place(zone="DE"))


def test_kept():
    """A promise is kept where promise and outcome agree within both intervals."""
    settled = settle([run(100)], [run(50)], PROMISE, (GOOD, GOOD))

    assert settled.unit == "J"
    assert settled.realised_share.value == pytest.approx(0.5)
    assert settled.cause == "over_training"
    assert settled.equal_quality is True
    assert settled.kept is True
    assert settled.wall_share == pytest.approx(0.5)


def test_what_both_runs_share():
    """What moves the joules of both runs together leaves the share that was saved nearly as it is."""
    settled = settle([run(100)], [run(50)], PROMISE, (GOOD, GOOD))
    joules = settled.realised
    noise = REPEAT_ARM * hypot(1, 0.5)

    assert joules.high - joules.low > 0.2 * joules.value
    assert settled.realised_share.value - settled.realised_share.low == pytest.approx(noise, rel=0.2)
    assert settled.realised_share.high - settled.realised_share.value == pytest.approx(noise, rel=0.2)


def test_not_kept():
    """A saving far below the promise is shown as one that was not kept."""
    settled = settle([run(100)], [run(90)], PROMISE, (GOOD, GOOD))
    assert settled.kept is False


def test_lower_quality():
    """What costs quality is no saving."""
    worse = replace(GOOD, value=0.70)
    settled = settle([run(100)], [run(50)], PROMISE, (GOOD, worse))

    assert settled.equal_quality is False
    assert settled.kept is None
    assert settled.quality == "val_acc 0.8 before, 0.7 after"


def period(seconds: int, requests: int, name: str) -> Account:
    made = recording([CPU], {"cpu0": 20.0}, seconds=seconds)
    points = (Point(1.0, {"requests": requests // 2}), Point(2.0, {"requests": requests}))
    return account(replace(made, run_id=name, role="serve", points=points), place(zone="DE"))


def test_serving_periods():
    """Serving periods are compared for as many requests: half the joules for half the requests save nothing."""
    quiet = settle([period(100, 1000, "a")], [period(50, 500, "b")], None, (None, None))
    lean = settle([period(100, 1000, "a")], [period(100, 2000, "b")], PROMISE, (None, None))

    assert quiet.realised_share.value == pytest.approx(0.0, abs=1e-9)
    assert lean.realised_share.value == pytest.approx(0.5)
    assert 0.4 < lean.realised_share.low < 0.5 < lean.realised_share.high < 0.6
    with pytest.raises(UsageError, match="b answered no request"):
        settle([period(100, 1000, "a")], [period(100, 0, "b")], None, (None, None))


def test_cpu_seconds_without_joules():
    """Where no joules are known, CPU seconds are settled."""
    assert settle([run(100, ())], [run(50, ())], PROMISE, (None, None)).unit == "cpu_s"


def test_noise_of_single_runs():
    """A single run a side is taken to vary by 6 %."""
    settled = settle([run(100, ())], [run(100, ())], None, (None, None))
    half = (settled.realised_share.high - settled.realised_share.low) / 2

    assert half == pytest.approx(REPEAT_ARM * 2**0.5)
    assert settled.promised_share is None
    assert settled.kept is None


def test_noise_of_repeats():
    """With several runs a side the noise is theirs."""
    settled = settle(
        [run(s, ()) for s in (100, 101, 99)], [run(s, ()) for s in (50, 50, 50)], None, (None, None)
    )
    half = (settled.realised_share.high - settled.realised_share.low) / 2
    assert half == pytest.approx(2.92 * 1.0 / 3**0.5 / 100)


def test_nothing_known():
    """Without joules and CPU seconds nothing can be settled, in one line."""
    blind = run(50, ())
    ticks = replace(blind.recording.ticks, counters={})
    blind = account(replace(blind.recording, ticks=ticks), place(zone="DE"))
    with pytest.raises(UsageError, match="neither joules nor CPU seconds"):
        settle([blind], [blind], None, (None, None))
