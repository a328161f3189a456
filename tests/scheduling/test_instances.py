import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.catalogue.instances import InstanceType, find_instance
from joulewise.scheduling.instances import By, Probe, rank
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary, Figure, exact

PUE = Figure(1.2, 1.1, 1.3, Basis.ASSUMED, "test", Boundary.FACILITY)
GRID = exact(360.0, "test")
FAST = InstanceType("test", "fast", 8, 3e10, "V100", 1, (50.0, 100.0, 200.0, 400.0))
SLOW = InstanceType("test", "slow", 4, 1e10, "T4", 1, (10.0, 20.0, 50.0, 100.0))


def test_joules_are_time_times_watts_times_pue():
    """A thousand units at ten a second on 400 W and a PUE of 1.2 take 48 kJ and 4.8 g at 360 g/kWh."""
    one = rank(1000, {"fast": Probe(10)}, [FAST], pue=PUE, intensity=GRID).ranked[0]

    assert one.seconds == 100
    assert one.energy_j.value == pytest.approx(48e3)
    assert one.energy_j.basis is Basis.ASSUMED
    assert one.carbon_g is not None
    assert one.carbon_g.value == pytest.approx(4.8)
    assert one.idle_share == pytest.approx(50 / 400)


def test_the_slow_type_wins_where_it_does_more_per_joule():
    """A type of a quarter of the watts and a third of the speed is leaner; by money the order may turn."""
    probes = {"fast": Probe(30), "slow": Probe(10)}
    prices = {"fast": 3.0, "slow": 1.5}

    lean = rank(1e4, probes, [FAST, SLOW], pue=PUE)
    cheap = rank(1e4, probes, [FAST, SLOW], pue=PUE, prices_per_h=prices, by=By.MONEY)
    assert [r.type.name for r in lean.ranked] == ["slow", "fast"]
    assert [r.type.name for r in cheap.ranked] == ["fast", "slow"]


def test_what_was_not_probed_is_not_ranked():
    """No throughput is guessed from a data sheet; what is missing is said."""
    no_probe = rank(1, {}, [find_instance("p3.2xlarge")], pue=PUE)
    no_price = rank(1, {"fast": Probe(1)}, [FAST], pue=PUE, by=By.MONEY)
    no_zone = rank(1, {"fast": Probe(1)}, [FAST], pue=PUE, by=By.GRAMS)

    assert [why.split(":")[0] for r in (no_probe, no_price, no_zone) for _, why in r.left_out] == [
        "no probe",
        "no price",
        "no intensity",
    ]


@given(st.floats(0.1, 1e4), st.floats(0.1, 10))
def test_twice_the_work_costs_twice(work, rate):
    """Joules, embodied grams and seconds are proportional to the work."""
    one, two = (
        rank(w, {"fast": Probe(rate)}, [FAST], pue=PUE, intensity=GRID).ranked[0] for w in (work, 2 * work)
    )

    assert two.energy_j.value == pytest.approx(2 * one.energy_j.value)
    assert two.embodied_g.value == pytest.approx(2 * one.embodied_g.value)
    assert (two.total_g or 0) == pytest.approx(2 * (one.total_g or 0))


def test_a_probe_that_did_nothing_is_refused():
    """Rates of zero, loads above one and no work are refused."""
    with pytest.raises(UsageError):
        Probe(0)
    with pytest.raises(UsageError):
        Probe(1, 1.1)
    with pytest.raises(UsageError):
        rank(0, {}, [], pue=PUE)


def test_measured_watts_stand_before_the_model():
    """A probe that measured 250 W is priced by them, with the interval of a measurement."""
    one, modelled = (
        rank(1000, {"fast": p}, [FAST], pue=exact(1.0, boundary=Boundary.FACILITY)).ranked[0]
        for p in (Probe(10, watts=250.0), Probe(10))
    )

    assert one.energy_j.value == pytest.approx(25e3)
    assert one.energy_j.basis is Basis.MEASURED
    assert one.energy_j.relative_high < modelled.energy_j.relative_high
    with pytest.raises(UsageError):
        Probe(1, watts=0)
