"""Embodied carbon: the arithmetic of ISO/IEC 21031 over sourced figures."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.catalogue.embodied import (
    YEAR_S,
    embodied_share,
    expected_life,
    gpu_g,
    gpus_g,
    machine_g,
    vcpus_g,
)
from joulewise.catalogue.uplift import Chassis
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, exact


def test_worked_example():
    """A tenth of a 1,000 kg machine for a year of four is 25 kg."""
    share = embodied_share(exact(1e6), YEAR_S, 0.1, exact(4 * YEAR_S))

    assert share.value == pytest.approx(25_000)


@given(st.floats(0, 1e8), st.floats(0, 1), st.floats(0, 1))
def test_halves_make_the_whole(time_s, share, cut):
    """Two stretches of time, or two shares of one machine, carry together what the whole does."""
    whole_g, life_s = machine_g(Chassis.SERVER), expected_life()
    whole = embodied_share(whole_g, time_s, share, life_s).value

    by_time = sum(embodied_share(whole_g, t, share, life_s).value for t in (time_s * cut, time_s * (1 - cut)))
    by_share = sum(embodied_share(whole_g, time_s, s, life_s).value for s in (share * cut, share * (1 - cut)))

    assert by_time == pytest.approx(whole, rel=1e-9, abs=1e-12)
    assert by_share == pytest.approx(whole, rel=1e-9, abs=1e-12)


def test_the_whole_life_carries_everything():
    """A machine owned for its whole life carries all that making it cost."""
    life_s = expected_life(5)

    assert embodied_share(exact(2e6), life_s.value, 1.0, life_s).value == pytest.approx(2e6)


def test_a_longer_life_costs_less():
    """The interval's low end belongs to the longest life and the lightest machine."""
    share = embodied_share(machine_g(Chassis.SERVER), 3600, 1.0, expected_life())

    assert share.basis is Basis.ASSUMED
    assert 0 < share.low < share.value < share.high


def test_machines():
    """Every chassis has a sourced figure, a server's above a laptop's, the unknown's across both."""
    laptop, server, unknown = (machine_g(c) for c in (Chassis.LAPTOP, Chassis.SERVER, Chassis.UNKNOWN))

    assert laptop.value < server.value
    assert unknown.low <= laptop.low
    assert unknown.high > server.value
    assert all("(20" in machine_g(c).source for c in Chassis)
    assert machine_g(Chassis.SERVER, 1200).value == 1.2e6


@pytest.mark.parametrize(
    ("model", "kg"),
    [
        ("NVIDIA H100 80GB HBM3", 164),
        ("NVIDIA A100-SXM4-80GB", 128),
        ("B200", 284),
        ("Tesla K80", 150),
        ("", 150),
        ("GeForce RTX 3090", 150),
    ],
)
def test_gpus(model, kg):
    """A GPU is found in the driver's name for it; one that is not known gets the range of all."""
    assert gpu_g(model).value == kg * 1000


def test_eight_of_one_kind():
    """Eight boards of one kind share one error, so the sum is as wide as one board, times eight."""
    eight: Any = gpus_g(["NVIDIA H100 80GB HBM3"] * 8)

    assert eight.value == 1_312_000
    assert eight.high == pytest.approx(8 * gpu_g("H100").high)
    assert gpus_g([]) is None


def test_virtual_processors():
    """A cloud machine carries its server by the share of vCPUs."""
    assert vcpus_g(4).value == 68_000


@pytest.mark.parametrize("call", [lambda: expected_life(0), lambda: machine_g(Chassis.LAPTOP, -1)])
def test_impossible_settings_are_refused(call):
    """A life or a mass of nothing is refused."""
    with pytest.raises(UsageError, match="must be more than 0"):
        call()


def test_impossible_shares_are_refused():
    """More than the whole machine cannot be owned."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        embodied_share(exact(1), 1, 1.1, exact(1))
