import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulewise.scheduling.consolidate import (
    Machine,
    Small,
    consolidate,
    idle_devices,
    measured,
    measured_run,
    standing,
)
from joulewise.testing.meters import device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.recording import Component

NODE = Machine("node", 16, 64e9, 2, 40e9, idle_w=120.0)
shapes = st.lists(
    st.tuples(st.floats(0.1, 14), st.floats(1e8, 6e10), st.floats(0, 1.8), st.floats(0, 8e10)), max_size=40
)


def jobs_of(rows):
    return [Small(f"j{n}", *row) for n, row in enumerate(rows)]


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_no_machine_is_overfilled_and_no_job_is_lost(rows):
    """Every job lies on exactly one machine, memory is never beyond, cores and GPUs never beyond the fill."""
    jobs = {j.name: j for j in jobs_of(rows)}
    packed = consolidate(jobs.values(), NODE)

    assert sorted([n for group in packed.machines for n in group] + list(packed.unplaced)) == sorted(jobs)
    for group in packed.machines:
        assert sum(jobs[n].memory_bytes for n in group) <= NODE.memory_bytes * (1 + 1e-9)
        assert sum(jobs[n].gpu_memory_bytes for n in group) <= 2 * 40e9 * (1 + 1e-9)
        assert sum(jobs[n].cores for n in group) <= 16 * 0.9 * (1 + 1e-9)
        assert sum(jobs[n].gpu for n in group) <= 2 * 0.9 * (1 + 1e-9)
    assert packed.bound <= len(packed.machines)


def test_halves_and_quarters_are_packed_exactly():
    """Jobs that fill machines exactly need exactly so many, and what is spared is said."""
    jobs = jobs_of([(7.2, 32e9, 0, 0)] * 4 + [(3.6, 16e9, 0, 0)] * 8)
    packed = consolidate(jobs, NODE)

    assert len(packed.machines) == packed.bound == 4
    assert packed.above_bound == 0
    assert packed.spared_w == 8 * 120


def test_what_fits_no_machine_is_said():
    """A job larger than the machine, or with a GPU where there is none, is left out."""
    plain = Machine("plain", 16, 64e9)
    packed = consolidate(jobs_of([(20, 1e9, 0, 0), (1, 1e9, 1, 1e9), (1, 1e9, 0, 0)]), plain)

    assert packed.unplaced == ("j0", "j1")


def test_sharing_a_gpu_says_what_protects_it():
    """MIG gives each job its own memory; MPS does not, and the notes say which."""
    job = [Small("a", 1, 1e9, 0.2, 1e9)]

    assert "not protected" in consolidate(job, NODE).notes[0]
    assert "MIG" in consolidate(job, Machine("m", 16, 64e9, 2, 40e9, sliced=True)).notes[0]


def test_measured_jobs_keep_room_for_what_still_grows():
    """Memory that was still growing when last seen is packed beyond its peak; steady memory with a tenth on top."""
    steady = measured("a", [1, 2, 3], [2e9] * 8)
    growing = measured("b", [1], [1e9, 2e9, 3e9, 4e9])

    assert steady.memory_bytes == pytest.approx(2e9 * 1.1)
    assert growing.memory_bytes == pytest.approx((4e9 + 3e9) * 1.1)
    assert steady.cores == 3


def test_idle_devices_are_named_with_their_cost():
    """A GPU that stood by for a day at 50 W cost 1.2 kWh; a busy one and a short pause are not named."""
    seen = [
        ("gpu0", "anna", 0.01, 50.0, 86400.0),
        ("gpu1", "anna", 0.9, 50.0, 86400.0),
        ("gpu2", "ben", 0.0, 50.0, 60.0),
        ("gpu3", "ben", 0.0, 80.0, 86400.0),
    ]
    found = idle_devices(seen, g_per_kwh=400.0, price_per_kwh=0.3)

    assert [i.name for i in found] == ["gpu3", "gpu0"]
    assert found[1].energy_j == pytest.approx(1.2 * 3.6e6)
    assert found[1].carbon_g == pytest.approx(480.0)
    assert found[1].cost == pytest.approx(0.36)
    assert idle_devices(seen)[0].carbon_g is None


def test_wrong_use_is_refused():
    """Two jobs of one name, a fill of nothing and a job without samples are refused."""
    with pytest.raises(UsageError):
        consolidate([Small("a", 1, 1), Small("a", 1, 1)], NODE)
    with pytest.raises(UsageError):
        consolidate([], NODE, fill=0)
    with pytest.raises(UsageError):
        measured("a", [], [])


def test_a_run_is_packed_by_its_ticks():
    """Cores are CPU seconds a second, the GPU counts by the work's share of it, and memory keeps its room."""
    run = recording(
        [device("perf:0", Component.CPU), device("nvml:0", Component.GPU)],
        {"perf:0": 50.0, "nvml:0": 40.0},
        work_cpus=2.5,
        gpu_share=0.5,
    )
    small = measured_run(run)

    assert small.name == "test"
    assert small.cores == pytest.approx(2.5)
    assert small.memory_bytes == pytest.approx(1.1e9)
    assert small.gpu == pytest.approx(0.45)
    assert small.gpu_memory_bytes == 0


def test_a_gpu_that_the_work_never_held_is_not_its_own():
    """A GPU with no share of the work's is not packed, but stands in what was seen with its watts."""
    run = recording([device("nvml:0", Component.GPU)], {"nvml:0": 40.0}, gpu_share=0.0)

    assert measured_run(run).gpu == 0
    ((name, holder, utilisation, watts, seconds),) = standing(run)
    assert (name, holder) == ("host nvml:0", "test")
    assert (utilisation, watts, seconds) == pytest.approx((0.9, 40.0, 10.0))
