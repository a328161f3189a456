"""Packing small jobs from files and runs, and the devices that stand by."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from joulewise import wiring
from joulewise.cli.packing import pack, read_machine, read_used
from joulewise.scheduling.consolidate import Machine
from joulewise.testing.recordings import recording
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device, Recording

HEADS = "name,cores,memory,gpu,gpu_memory\n"
GPU = Device("nvml:0", Component.GPU, "nvml", Basis.MEASURED, Boundary.DEVICE, 0.05, 0.05, "NVML")


@pytest.fixture
def file(home):
    """Write text to a file of jobs and return its path."""

    def write(text):
        (home / "small.csv").write_text(text)
        return home / "small.csv"

    return write


def test_rows_of_one_name_are_samples_of_one_job(file):
    """Cores count by the 95th percentile of a name's rows, memory by the peak with room; an empty cell is no GPU."""
    etl, serve = read_used(file(HEADS + "etl,2,4GB,,\netl,3,5GB,,\netl,1,5GB,,\nserve,1,1GB,0.5,2GB\n"))

    assert (etl.name, etl.cores, etl.gpu) == ("etl", 3, 0)
    assert etl.memory_bytes == pytest.approx((5e9 + 1e9) * 1.1)  # it grew by 1 GB, and may again
    assert serve.gpu == 0.5
    assert serve.gpu_memory_bytes == pytest.approx(2.2e9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADS + "a,1,1GB,,\nb,one,1GB,,\n", "line 3: cannot read 'one' as a quantity"),
        (HEADS + "a,1,,,\n", "line 2: a job needs cores and memory"),
        (HEADS + "a,1,1kg,,\n", "line 2: memory is '1kg'"),
        ("name,cpu\na,1\n", "line 1 has the column 'cpu'"),
        (HEADS, "holds no job"),
    ],
)
def test_a_bad_row_is_named_by_its_line(file, text, said):
    """What is no job is refused with the line, the value and what to write."""
    with pytest.raises(UsageError) as caught:
        read_used(file(text))
    assert said in str(caught.value)


def test_a_machine_is_read():
    """Cores and memory, and with GPUs their number and the memory of each; anything else is refused."""
    assert read_machine("16,64GB", 0.0, sliced=False) == Machine("16,64GB", 16, 64e9)
    assert read_machine("16, 64GB, 2, 40GB", 9.0, sliced=True) == Machine(
        "16, 64GB, 2, 40GB", 16, 64e9, 2, 40e9, 9.0, sliced=True
    )
    for text in ("16", "16,64GB,2", "16,64kg"):
        with pytest.raises(UsageError, match="--machine"):
            read_machine(text, 0.0, sliced=False)


def test_jobs_of_a_file_are_packed(joulewise, file):
    """Machines, the bound, what standing by is spared a day, and what fits nowhere, with exit code 1."""
    file(HEADS + "".join(f"j{n},7.2,20GB,,\n" for n in range(4)) + "big,99,1GB,,\n")
    asked = ("rightsize", "--pack", "small.csv", "--machine", "16,64GB", "--idle-power", "100")
    done = joulewise(*asked, "--json")
    told = json.loads(done.stdout)

    assert done.returncode == 1
    assert told["schema_version"] == 1
    assert sorted(name for group in told["machines"] for name in group) == ["j0", "j1", "j2", "j3"]
    assert (len(told["machines"]), told["bound"], told["above_bound"]) == (2, 2, 0)
    assert told["spared_w"] == 200
    assert told["unplaced"] == ["big"]
    text = joulewise(*asked).stdout
    assert "4 jobs on 2 machines of 16,64GB; at least 2 are needed (0% above)" in text
    assert "4.8 kWh, " in text
    assert "cost unknown (no tariff) a day of standing by are spared" in text
    assert "grams: zone unknown: world range (OWID/Ember)" in text
    assert "left out: big fits no such machine" in text


def held(utilisation: float, seconds: int = 1200) -> Recording:
    """Return a run that held a GPU of 50 W."""
    made = recording([GPU], {"nvml:0": 50.0}, seconds=seconds, gpu_share=1.0, name="notebook")
    gauges = made.ticks.gauges | {
        "gpu_utilisation:nvml:0": [utilisation] * (seconds + 1),
        "gpu_memory_bytes:nvml:0": [6e9] * (seconds + 1),
    }
    return replace(made, ticks=replace(made.ticks, gauges=gauges))


def packed(monkeypatch, capsys, runs):
    monkeypatch.setattr(wiring, "find", runs.__getitem__)
    pack(list(runs), "16,64GB,1,40GB", 0.0, 0.9, sliced=True, as_json=True)
    return json.loads(capsys.readouterr().out)


def test_an_idle_device_is_named_with_its_day(home, monkeypatch, capsys):
    """A GPU held at 1 % for twenty minutes is named with the joules, grams and money of a day; one that works is not."""
    monkeypatch.setenv("JOULEWISE_ZONE", "DE")
    monkeypatch.setenv("JOULEWISE_TARIFF", "0.30EUR/kWh")
    told = packed(monkeypatch, capsys, {"idle": held(0.01), "busy": replace(held(0.8), name="train")})

    assert [d["holder"] for d in told["idle_per_day"]] == ["notebook"]
    device = told["idle_per_day"][0]
    assert device["name"] == "host nvml:0"
    assert device["energy_j"] == pytest.approx(50 * 86400)
    assert device["cost"] >= 1.2 * 0.30
    assert device["carbon_g"] > 0
    jobs = {job["name"]: job for job in told["jobs"]}
    assert jobs["train"]["gpu"] == pytest.approx(0.8)
    assert jobs["train"]["gpu_memory_bytes"] == pytest.approx(6.6e9)
    assert "MIG" in told["notes"][0]


def test_a_short_pause_names_nobody(home, monkeypatch, capsys):
    """A GPU that idled for a minute is not called idle; runs of one name are told apart by their ids."""
    told = packed(monkeypatch, capsys, {"a": held(0.0, 60), "b": replace(held(0.0, 60), run_id="other")})

    assert told["idle_per_day"] == []
    assert sorted(job["name"] for job in told["jobs"]) == ["20261123T080000-test-000000", "other"]


def test_a_recorded_run_is_packed(joulewise, recorded):
    """A run recorded by the real verb is packed by its ticks on this machine."""
    recorded("small", "import time; time.sleep(2.5)")
    done = joulewise("rightsize", "--pack", "small", "--json")
    told = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert told["machines"] == [["small"]]
    assert told["jobs"][0]["memory_bytes"] > 1e6


def test_wrong_use(joulewise, home):
    """Nothing to pack, a missing file and options without --pack are one line and exit code 2."""
    for arguments, said in (
        (("--pack",), "name what to pack"),
        (("--pack", "none.csv"), "there is no file none.csv"),
        (("--machine", "16,64GB", "--probe", "1=1"), "add --pack"),
    ):
        done = joulewise("rightsize", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
