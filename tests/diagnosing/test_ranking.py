from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing import first_line
from joulewise.diagnosing.case import Estimate, about
from joulewise.diagnosing.ranking import price, rank
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.recording import Component
from tests.diagnosing.views import case

RUN = case()
ONE = Estimate(
    Cause.SMALL_BATCH,
    about(40, 30, 50),
    about(40, 30, 50),
    "seen",
    Remedy(RemedyKind.SETTING, "do"),
    "none",
    "p",
    "a",
)


def names(*estimates, **options):
    return [f.cause.value for f in rank(RUN, estimates, **options)]


def test_largest_first():
    """The largest saving is first, whatever the order of the estimators."""
    other = replace(
        ONE, cause=Cause.OVER_TRAINING, cpu_s=about(60, 50, 70), wall_s=about(60, 50, 70), claim="b"
    )
    assert names(ONE, other) == names(other, ONE) == ["over_training", "small_batch"]


def test_one_claim():
    """Of two estimates of the same seconds the larger stays."""
    other = replace(ONE, cause=Cause.OVER_TRAINING, cpu_s=about(60, 50, 70))
    assert names(ONE, other) == ["over_training"]


@pytest.mark.parametrize(
    "change",
    [
        {"cpu_s": about(4.9, 4, 6), "wall_s": about(4.9, 4, 6)},
        {"cpu_s": about(40, 0, 50), "wall_s": about(0, 0, 0)},  # perhaps nothing
        {"cpu_s": about(-10, -20, 0)},  # saves wall time and costs CPU time
    ],
)
def test_not_worth(change):
    """What is small, may be nothing, or costs CPU time is not shown."""
    assert names(replace(ONE, **change)) == []


def test_absolute_floor():
    """A large share of next to nothing is not shown."""
    toy = case(seconds=1)
    tiny = replace(ONE, cpu_s=about(0.4, 0.3, 0.5), wall_s=about(0.4, 0.3, 0.5))
    assert rank(toy, [tiny]) == ()


def test_slower():
    """A remedy that lengthens the run by more than 5 % is shown only if slower is allowed."""
    slower = replace(ONE, wall_s=about(-6, -8, -4))
    assert names(slower) == []
    assert names(slower, allow_slower=True) == ["small_batch"]
    assert names(replace(ONE, wall_s=about(-4, -5, -3))) == ["small_batch"]


def test_prices():
    """Processor joules follow CPU seconds, the others wall seconds; grams and money follow joules."""
    saving = price(RUN, replace(ONE, wall_s=about(0, 0, 0)))
    cost = RUN.account.footprint
    assert cost.total_j is not None
    assert cost.carbon_g is not None
    assert saving.energy_j is not None
    assert saving.carbon_g is not None

    cpu_j, memory_j = (cost.energy_j[c].value for c in (Component.CPU, Component.MEMORY))
    share = 0.4 * cpu_j / (cpu_j + memory_j)
    assert saving.energy_share == pytest.approx(share)
    assert saving.energy_j.value == pytest.approx(share * cost.total_j.value)
    assert saving.carbon_g.value == pytest.approx(share * cost.carbon_g.value)
    assert saving.energy_j.low < saving.energy_j.value < saving.energy_j.high


def test_no_more_than_the_run():
    """No saving is larger than the run."""
    assert price(RUN, replace(ONE, cpu_s=about(500, 50, 900))).cpu_share == 1.0


def test_first_line():
    """The card's line says cause, remedy, joules and risk; it is empty without findings."""
    line = first_line(rank(RUN, [ONE]))
    assert line.startswith("40 % of it was waste (small batch): do would have saved ")
    assert "J (" in line
    assert line.endswith("Risk: none")
    assert first_line(()) == ""


def test_within_a_deadline():
    """A slower remedy is shown where the longer run still fits."""
    slower = replace(ONE, wall_s=about(-20, -25, -15))
    assert names(slower, most_s=110.0) == []
    assert names(slower, most_s=125.0) == ["small_batch"]


def test_fewer_joules_for_more_work():
    """What costs CPU time is shown only if it saves joules in sum: here the processor draws most of them."""
    more = replace(ONE, cpu_s=about(-10, -20, 0), wall_s=about(60, 50, 70))
    assert names(more) == []

    idle = case(cpus=0.01)  # memory draws most of them
    assert [f.cause.value for f in rank(idle, [replace(more, cpu_s=about(-0.01, -0.02, 0.0))])] == [
        "small_batch"
    ]


def test_noise_of_one_run():
    """An estimate that knows its seconds exactly is uncertain by what the next run takes: s (1 - s) sqrt(2) of 6 %."""
    exact = price(RUN, replace(ONE, cpu_s=about(50, 50, 50)))
    assert exact.cpu_s.high - exact.cpu_s.value == pytest.approx(1.645 * 0.25 * 2**0.5 * 6)
    assert price(RUN, replace(ONE, cpu_s=about(100, 100, 100))).cpu_s.low == pytest.approx(100)
