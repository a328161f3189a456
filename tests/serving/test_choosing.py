"""The cheapest variant that is good enough answers; down to the floor in tight hours, never below, and without swinging."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.serving.choosing import Hour, Option, Policy, choose, line_through

FP32 = Option("fp32", 0.92, {1: 4.0, 32: 2.0}, {1: 0.02, 32: 0.3})
INT8 = Option("int8", 0.91, {1: 2.0, 32: 1.5}, {1: 0.01, 32: 0.2})
TINY = Option("tiny", 0.80, {1: 0.1}, {1: 0.001})
ALL = (FP32, INT8, TINY)
LATER = Hour(held_s=1e6)


def test_usual_and_tight():
    """Usually the cheapest worth what is wanted; in a dirty hour, or above the budget's share, the cheapest above the floor."""
    policy = Policy(wanted=0.92, floor=0.9, dirty_g_per_kwh=400, budget_j_per_day=1000)
    assert choose(ALL, policy, LATER, "fp32").name == "fp32"
    dirty = choose(ALL, policy, Hour(g_per_kwh=450, held_s=1e6), "fp32")
    assert (dirty.name, dirty.tight) == ("int8", True)
    assert "450 g/kWh are above 400" in dirty.why
    assert choose(ALL, policy, Hour(spent_j=600, day_share=0.5, held_s=1e6), "fp32").name == "int8"
    assert choose(ALL, policy, Hour(spent_j=400, day_share=0.5, held_s=1e6), "int8").name == "fp32"


def test_band():
    """A tight hour ends only when the intensity is a tenth below the line."""
    policy = Policy(wanted=0.92, floor=0.9, dirty_g_per_kwh=400)
    assert choose(ALL, policy, Hour(g_per_kwh=380, tight=True, held_s=1e6), "int8").tight
    assert not choose(ALL, policy, Hour(g_per_kwh=380, held_s=1e6), "fp32").tight
    assert not choose(ALL, policy, Hour(g_per_kwh=350, tight=True, held_s=1e6), "int8").tight


def test_hysteresis():
    """A switch soon after the last, or for less than a tenth of the joules, is not made; one below the floor always is."""
    policy = Policy(floor=0.9, hold_s=60)
    assert choose(ALL, policy, Hour(held_s=10), "fp32").name == "fp32"
    assert choose(ALL, policy, Hour(held_s=61), "fp32").name == "int8"
    assert choose(ALL, policy, Hour(held_s=1), "tiny").name == "int8"
    near = Option("near", 0.95, {1: 1.9})
    assert choose((INT8, near), policy, LATER, "int8").name == "int8"


def test_latency():
    """A variant that is too slow for the target is left for one that is not; if all are, the fastest worthy answers."""
    assert choose(ALL, Policy(wanted=0.92, floor=0.9, latency_target_s=0.015), LATER, "fp32").name == "fp32"
    assert choose(ALL, Policy(floor=0.9, latency_target_s=0.015), LATER, "fp32").name == "int8"
    assert choose(ALL, Policy(floor=0.9, latency_target_s=0.001), LATER, "").name == "int8"


def test_size_of_the_batch_decides():
    """A device that is dear to call and cheap to fill answers where batches are large: CPU against accelerator by joules."""
    cpu = Option("cpu", 0.9, {1: 1.0, 32: 1.0})
    gpu = Option("gpu", 0.9, {1: 20.0, 32: 0.9}, device="cuda")
    assert choose((cpu, gpu), Policy(), Hour(rows=1, held_s=1e6), "cpu").name == "cpu"
    assert choose((cpu, gpu), Policy(), Hour(rows=64, held_s=1e6), "cpu").name == "gpu"
    assert choose((cpu, gpu), Policy(), Hour(rows=2, held_s=1e6), "gpu").name == "cpu"


def test_line():
    """J(n) = a n + b through what was measured; unknown without a point, proportional with one."""
    line = line_through({1: 3.0, 2: 5.0, 4: 9.0})
    assert (line.a, line.b) == (pytest.approx(2), pytest.approx(1))
    assert line_through({}) is None
    assert line_through({4: 8.0}).at(1) == 2.0
    assert line_through({1: 5.0, 2: 4.0}).a == 0.0


quality = st.one_of(st.none(), st.floats(0, 1))
options = st.lists(
    st.builds(Option, st.sampled_from("abcdef"), quality, st.dictionaries(st.integers(1, 64), st.floats(0.1, 9), max_size=3)),
    min_size=1, max_size=6, unique_by=lambda one: one.name,
)  # fmt: skip


@given(
    options, st.floats(0, 1), st.sampled_from("abcdef"), st.floats(0, 1000), st.floats(0, 200), st.booleans()
)
def test_never_below_the_floor(some, floor, current, g_per_kwh, held_s, tight):
    """Whatever the hour, nothing below the floor answers while something at or above it is there."""
    policy = Policy(wanted=0.9, floor=floor, dirty_g_per_kwh=500)
    choice = choose(some, policy, Hour(g_per_kwh=g_per_kwh, held_s=held_s, tight=tight), current)
    chosen = next(one for one in some if one.name == choice.name)
    worthy = [one for one in some if one.quality is not None and one.quality >= floor]
    assert not worthy or chosen in worthy
    again = choose(some, policy, Hour(g_per_kwh=g_per_kwh, held_s=0, tight=choice.tight), choice.name)
    assert again.name == choice.name  # nothing swings within the hold
