"""The account: pure, complete, and honest about what is not known."""

from __future__ import annotations

import pytest

from joulewise.catalogue.place import place
from joulewise.measuring.accounting import account
from joulewise.testing.meters import device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.figures import Basis
from joulewise.vocabulary.recording import Component, Point, Span

PACKAGE = device("rapl:package-0")
WATTS = {PACKAGE.id: 100.0}


def test_parts_are_the_devices():
    """Work, idle and others of every device add up to the machine."""
    what = account(recording([PACKAGE], WATTS, busy_cpus=3.0), place())
    part = what.devices[0]

    assert part.work_j.value + part.idle_j.value + part.others_j.value == pytest.approx(1000.0)
    assert what.footprint.machine_j.value == pytest.approx(1000.0)
    assert part.mean_w == pytest.approx(100.0)


def test_same_recording_same_account():
    """The account is a pure function: computed again, it is the same."""
    one = recording([PACKAGE], WATTS)

    assert account(one, place("DE")) == account(one, place("DE"))


def test_zone_changes_grams_not_joules():
    """Another zone changes the grams and never the joules."""
    one = recording([PACKAGE], WATTS)
    clean, dirty = account(one, place("SE")).footprint, account(one, place("PL")).footprint

    assert clean.total_j == dirty.total_j
    assert clean.carbon_g.value < dirty.carbon_g.value


def test_phases_by_time():
    """A phase gets the joules of its time; overlapping spans of one name count once."""
    spans = [Span("data", 0.0, 4.0, 1), Span("data", 2.0, 4.0, 2, parent=1), Span("train", 4.0, 10.0, 3)]
    what = account(recording([PACKAGE], WATTS, spans=spans), place())
    phases = {p.name: p for p in what.phases}

    assert (phases["data"].calls, phases["data"].seconds) == (2, 4.0)
    assert phases["train"].energy_j.value / phases["data"].energy_j.value == pytest.approx(1.5, rel=0.01)
    assert phases["data"].energy_j.basis >= Basis.MODELLED


def test_open_span_ends_with_the_recording():
    """A phase that was open when the recording ended lasts until then."""
    what = account(recording([PACKAGE], WATTS, spans=[Span("train", 4.0, None, 1)]), place())

    assert what.phases[0].seconds == 6.0


def test_throughput_of_what_was_logged():
    """Throughput is the growth of the first counted thing that was logged."""
    points = [Point(0.0, {"samples": 0, "epoch": 0}), Point(5.0, {"samples": 1000, "epoch": 1})]
    usage = account(recording([PACKAGE], WATTS, points=points), place()).usage

    assert (usage.throughput_per_s, usage.throughput_of) == (200.0, "samples")


def test_io_wait_names_its_source():
    """Without delay accounting and pressure, waiting for I/O is unknown and says so."""
    usage = account(recording([PACKAGE], WATTS), place()).usage

    assert usage.io_wait_share is None
    assert "neither" in usage.io_wait_source


def test_power_by_component():
    """Power over time is by component, and devices of one component add up."""
    packages = [device("rapl:package-0"), device("rapl:package-1")]
    series = account(recording(packages, {p.id: 50.0 for p in packages}), place()).power_series

    assert series.watts["cpu"] == pytest.approx([100.0] * 10)


def test_empty_recording():
    """A recording without a tick or a device has no joules, and that is unknown, not zero."""
    what = account(recording([], {}, seconds=0), place())

    assert what.footprint.total_j is None
    assert "joules" in what.footprint.unknown
    assert what.usage.cpu_utilisation is None


def test_unheld_gpu_is_not_charged():
    """A GPU that the work does not hold is no part of its joules."""
    gpu = device("nvml:GPU-1", Component.GPU)
    what = account(recording([PACKAGE, gpu], {**WATTS, gpu.id: 300.0}, gpu_share=0.0), place())

    assert what.footprint.energy_j[Component.GPU].value == 0.0


def test_a_sum_says_what_it_lacks():
    """A device whose joules nobody can split is in no sum, and is named as missing with what it read."""
    made = recording([PACKAGE], {PACKAGE.id: 100.0})
    made.ticks.counters["work_cpu_s"][:] = [None] * len(made.ticks.t_s)
    cost = account(made, place("DE")).footprint

    assert cost.total_j is None
    assert [m.source for m in cost.missing] == [PACKAGE.id]
    assert "1e+03 J cannot be split" in cost.missing[0].why


def test_cpu_seconds_before_the_first_tick():
    """What the work used before the first tick counts, and over the whole time."""
    made = recording([PACKAGE], {PACKAGE.id: 100.0}, seconds=10, work_cpus=1.0)
    made.ticks.counters["work_cpu_s"][:] = [v + 2.0 for v in made.ticks.counters["work_cpu_s"]]

    assert account(made, place("DE")).usage.cpu_s == pytest.approx(12.0)
    assert account(made, place("DE")).usage.mean_cpus == pytest.approx(1.2)
