"""Whose joules are these: this work, idle and others add up to the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.measuring.attribution import Attribution, attribute_by_tick, tenants_by_tick
from joulewise.testing.meters import device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.figures import Basis
from joulewise.vocabulary.recording import Component, Machine

MACHINE = Machine("host", cpus=4, owned_cpus=4.0, memory_bytes=16_000_000_000, owned_memory_bytes=None)
PACKAGE = device("rapl:package-0")


def cpu(work_s: float, busy_s: float) -> dict[str, float | None]:
    return {"work_cpu_s": work_s, "busy_cpu_s": busy_s}


def after(devices, joules, counters, gauges=None, span_s=10.0):
    """Return the split after one stretch from zero."""
    attribution = Attribution(devices, MACHINE)
    attribution.add(0.0, dict.fromkeys(joules, 0.0), dict.fromkeys(counters, 0.0), gauges or {})
    attribution.add(span_s, joules, counters, gauges or {})
    return attribution.split()


def test_half_of_the_busy_time():
    """Who used half of the busy CPU seconds gets half of what is above standing by."""
    part = after([PACKAGE], {PACKAGE.id: 1000.0}, cpu(10.0, 20.0)).devices[0]

    assert part.work_j.value == pytest.approx(part.others_j.value)
    assert part.work_j.value + part.idle_j.value + part.others_j.value == pytest.approx(1000.0)
    assert part.work_j.basis is Basis.MODELLED
    assert part.total_j.basis is Basis.MEASURED


def test_idle_machine_is_all_idle():
    """When nobody worked, nothing is charged to the work and everything is standing by."""
    part = after([PACKAGE], {PACKAGE.id: 300.0}, cpu(0.0, 0.0)).devices[0]

    assert part.work_j.value == 0.0
    assert part.idle_j.value == pytest.approx(300.0)


def test_neighbours_are_not_charged():
    """Busy neighbours do not change what a work of one CPU second costs by more than the curve's bend."""
    alone = after([PACKAGE], {PACKAGE.id: 400.0}, cpu(10.0, 10.0)).devices[0].work_j
    beside = after([PACKAGE], {PACKAGE.id: 900.0}, cpu(10.0, 40.0)).devices[0].work_j

    assert beside.value < alone.value


@given(
    joules=st.floats(0.0, 1e6),
    work_s=st.floats(0.0, 40.0),
    other_s=st.floats(0.0, 40.0),
    modelled=st.booleans(),
)
def test_adds_up(joules, work_s, other_s, modelled):
    """Work, idle and others always add up to the device, and none is negative."""
    model = {"full_load_w": 100.0, "idle_share": 0.12} if modelled else {}
    which = device("cpu", model=model)
    part = after([which], {"cpu": joules}, cpu(work_s, work_s + other_s)).devices[0]

    assert part.work_j.value + part.idle_j.value + part.others_j.value == pytest.approx(joules)
    assert min(part.work_j.low, part.idle_j.low, part.others_j.low) >= 0.0


def test_two_tenants_add_up():
    """What two recorders charge to two works that share a machine, plus idle, is the machine."""
    one = after([PACKAGE], {PACKAGE.id: 1000.0}, cpu(12.0, 30.0)).devices[0]
    other = after([PACKAGE], {PACKAGE.id: 1000.0}, cpu(18.0, 30.0)).devices[0]

    assert one.work_j.value + other.work_j.value + one.idle_j.value == pytest.approx(1000.0)


def test_halves_are_the_whole():
    """Splitting in two stretches gives the joules of one."""
    attribution = Attribution([PACKAGE], MACHINE)
    for t_s in (0.0, 5.0, 10.0):
        attribution.add(t_s, {PACKAGE.id: 50.0 * t_s}, cpu(t_s, 2 * t_s), {})

    whole = after([PACKAGE], {PACKAGE.id: 500.0}, cpu(10.0, 20.0))

    assert attribution.split().work_j.value == pytest.approx(whole.work_j.value)


def test_unreadable_tick_loses_nothing():
    """Joules used while a device could not be read are counted at the next good reading."""
    attribution = Attribution([PACKAGE], MACHINE)
    for t_s, joules in ((0.0, 0.0), (5.0, None), (10.0, 500.0)):
        attribution.add(t_s, {PACKAGE.id: joules}, cpu(t_s, t_s), {})

    assert attribution.split().machine_j.value == pytest.approx(500.0)


def test_never_read_is_unknown():
    """A device that was never read is unknown, not zero."""
    attribution = Attribution([PACKAGE], MACHINE)
    attribution.add(0.0, {PACKAGE.id: None}, cpu(0.0, 0.0), {})

    assert attribution.split().machine_j is None
    assert attribution.split().devices[0].total_j is None


def test_unknown_cpu_time_is_not_split():
    """Without CPU seconds the device's joules are known and their split is not."""
    part = after([PACKAGE], {PACKAGE.id: 100.0}, {"work_cpu_s": None, "busy_cpu_s": None}).devices[0]

    assert part.total_j.value == 100.0
    assert part.work_j is None


GPU = device("nvml:GPU-1", Component.GPU)


@pytest.mark.parametrize(
    ("share", "work", "idle", "others"),
    [(1.0, 500.0, 0.0, 0.0), (0.0, 0.0, 500.0, 0.0), (0.5, 250.0, 0.0, 250.0)],
)
def test_gpu_by_holder(share, work, idle, others):
    """A GPU is charged to whom holds it; held by nobody, it stands by."""
    gauges = {"gpu_work_share:nvml:GPU-1": share, "gpu_utilisation:nvml:GPU-1": 0.0}
    part = after([GPU], {GPU.id: 500.0}, cpu(1.0, 1.0), gauges).devices[0]

    assert (part.work_j.value, part.idle_j.value, part.others_j.value) == pytest.approx((work, idle, others))


def test_gpu_of_another():
    """A GPU that others keep busy is neither this work's nor idle."""
    gauges = {"gpu_work_share:nvml:GPU-1": 0.0, "gpu_utilisation:nvml:GPU-1": 0.9}
    part = after([GPU], {GPU.id: 500.0}, cpu(1.0, 1.0), gauges).devices[0]

    assert part.others_j.value == pytest.approx(500.0)


def test_gpu_holder_unknown():
    """Where the driver does not tell who holds a GPU, it is charged, with a lower bound of zero."""
    part = after([GPU], {GPU.id: 500.0}, cpu(1.0, 1.0)).devices[0]

    assert part.work_j.value == 500.0
    assert part.work_j.low == 0.0


def test_four_gpus_sum():
    """Several devices add up; none is averaged."""
    gpus = [device(f"nvml:GPU-{n}", Component.GPU) for n in range(4)]

    assert after(gpus, {g.id: 100.0 for g in gpus}, cpu(0.0, 0.0)).machine_j.value == pytest.approx(400.0)


def test_memory_by_resident_bytes():
    """Memory is split by what is resident; what nobody uses stands by."""
    memory = device("memory", Component.MEMORY)
    gauges = {"resident_bytes": 4e9, "memory_used_bytes": 8e9}
    part = after([memory], {"memory": 160.0}, cpu(0.0, 0.0), gauges).devices[0]

    assert (part.work_j.value, part.idle_j.value, part.others_j.value) == pytest.approx((40.0, 80.0, 40.0))


def test_node_sensor_is_not_added():
    """A sensor of the whole machine is shown and never added to the parts."""
    node = device("psys", Component.NODE)

    assert after([PACKAGE, node], {PACKAGE.id: 100.0, "psys": 170.0}, cpu(1.0, 1.0)).machine_j.value == 100.0


def test_interval_follows_the_load():
    """A modelled processor whose interval depends on its load is known best where the servers agree best: at 10 %."""
    which = device("cpu", basis=Basis.MODELLED, model={"full_load_w": 100.0, "arms_by_load": True})

    def width(busy_s):
        total_j = after([which], {"cpu": 500.0}, cpu(busy_s, busy_s)).devices[0].total_j
        return total_j.high / total_j.low

    assert width(4.0) < width(36.0)


def early(work_s, *, then=0.0, which=None):
    """Return the split where the first reading came when the work had used `work_s` CPU seconds already."""
    split = Attribution([which or device("cpu")], MACHINE)
    split.add(0.1, {"cpu": 0.0}, {"work_cpu_s": work_s, "busy_cpu_s": 50.0}, {})
    split.add(2.1, {"cpu": 100.0}, {"work_cpu_s": work_s + then, "busy_cpu_s": 50.0 + then}, {}, last=True)
    return split


class TestBeforeTheFirstReading:
    def test_costs_what_later_seconds_cost(self):
        """CPU seconds before the first reading cost what those after it did."""
        none, some = early(0.0, then=4.0).split().devices[0], early(0.4, then=4.0).split().devices[0]

        assert some.work_j.value == pytest.approx(1.1 * none.work_j.value)
        assert some.idle_j.value == none.idle_j.value
        assert some.total_j.value - none.total_j.value == pytest.approx(0.1 * none.work_j.value)

    def test_a_program_that_ended_before_it(self):
        """A modelled processor's share of a program that was over before the first reading is not zero."""
        which = device("cpu", basis=Basis.MODELLED, model={"full_load_w": 100.0, "idle_share": 0.12})
        split = Attribution([which], MACHINE)
        split.add(0.1, {"cpu": 0.0}, {"work_cpu_s": None, "busy_cpu_s": 50.0}, {})
        split.add(0.11, {"cpu": 0.2}, {"work_cpu_s": 0.05, "busy_cpu_s": 50.0}, {}, last=True)
        part = split.split().devices[0]

        assert part.work_j.value == pytest.approx(0.05 * 88.0 / MACHINE.cpus)
        assert split.work_joules == part.work_j.value

    def test_they_say_nothing_of_the_power_now(self):
        """What a program used before the first reading is in its joules, and not in what it has used since."""
        assert early(3.0, then=4.0).read_joules == early(0.0, then=4.0).read_joules
        assert early(3.0, then=4.0).work_joules > 1.5 * early(0.0, then=4.0).work_joules

    def test_unknown_stays_unknown(self):
        """With a counter and nothing after the first reading, nobody can say what the CPU seconds cost: unknown, not 0."""
        split = Attribution([device("cpu")], MACHINE)
        split.add(0.1, {"cpu": 0.0}, {"work_cpu_s": None, "busy_cpu_s": 50.0}, {})
        split.add(0.11, {"cpu": 0.2}, {"work_cpu_s": 0.05, "busy_cpu_s": 50.0}, {}, last=True)

        assert split.split().devices[0].work_j is None


def test_tenants_add_up_at_every_tick():
    """At every tick the joules of this work's parts, idle, others and what is not split are the machine's so far."""
    gpu = device("nvml:GPU-1", Component.GPU)
    inner = device("rapl:psys", Component.NODE)
    watts = {PACKAGE.id: 100.0, gpu.id: 250.0, inner.id: 400.0}
    run = recording([PACKAGE, gpu, inner], watts, busy_cpus=3.0, gpu_share=0.5)
    tenants, (split, work_j) = tenants_by_tick(run), attribute_by_tick(run)

    for at, t_s in enumerate(run.ticks.t_s):
        assert sum(column[at] for column in tenants.values()) == pytest.approx(350.0 * t_s)
        assert tenants["cpu"][at] + tenants["gpu"][at] == pytest.approx(work_j[at])
    assert split.idle_j is not None
    assert tenants["idle"][-1] == pytest.approx(split.idle_j.value)


def test_what_cannot_be_split_stands_apart():
    """Without the machine's CPU seconds the joules are nobody's known: neither this work's, idle nor others'."""
    run = recording([PACKAGE], {PACKAGE.id: 100.0})
    del run.ticks.counters["busy_cpu_s"]
    tenants = tenants_by_tick(run)

    assert tenants["unsplit"][-1] == pytest.approx(1000.0)
    assert tenants["idle"][-1] == tenants["others"][-1] == 0.0


def test_no_ticks_no_tenants():
    """A recording without a device has nobody who used anything."""
    assert sum(sum(column) for column in tenants_by_tick(recording([], {}, seconds=0)).values()) == 0.0

    def test_a_moment_that_was_not_seen_to_cost_anything(self):
        """Where hardly anything was seen after the first reading, the model tells what the seconds before it cost."""
        which = device("cpu", basis=Basis.MODELLED, model={"full_load_w": 100.0, "idle_share": 0.12})
        split = Attribution([which], MACHINE)
        split.add(0.1, {"cpu": 0.0}, {"work_cpu_s": 0.09, "busy_cpu_s": 50.0}, {})
        split.add(0.13, {"cpu": 0.3}, {"work_cpu_s": 0.19, "busy_cpu_s": 50.1}, {}, last=True)
        part = split.split().devices[0]

        assert part.work_j.value >= 0.09 * 88.0 / MACHINE.cpus
