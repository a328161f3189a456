"""The NVML leaf: counters, power with its window, faults, forks, MIG, who holds a board; on doubles only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from joulewise.measuring.meters import nvml
from joulewise.measuring.meters.nvml import NvmlMeter, find_nvml, work_share
from joulewise.measuring.meters.port import Found, UsedMeter
from joulewise.testing.clock import FakeClock
from joulewise.testing.contracts import MeterContract, MeterRig
from joulewise.testing.nvml import build, compiler, environment
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, GpuUsage

UNINITIALISED, INVALID, NOT_SUPPORTED, NO_PERMISSION, NOT_LOADED, LOST, UNKNOWN = 1, 2, 3, 4, 9, 15, 999


class NvmlFault(Exception):
    """What the module raises; `value` is NVML's error number."""

    def __init__(self, value: int) -> None:
        super().__init__(f"fault {value}")
        self.value = value


class Library:
    """A module like pynvml over boards in memory; `faults` maps a function's name to the error it raises."""

    NVMLError = NvmlFault

    def __init__(self, boards: int = 1) -> None:
        self.millijoules = [5_000_000_000 + n for n in range(boards)]
        self.milliwatts = 100_000
        self.faults: dict[str, int] = {}
        self.fields: dict[int, int] = {}
        self.architecture = 9
        self.name = "NVIDIA H100"
        self.mig = 0
        self.processes: list[int] = []
        self.calls: list[str] = []
        self.users = 0
        self.generation = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answers: dict[str, Callable[..., Any]] = {
            "nvmlInit": self._init,
            "nvmlShutdown": self._shut_down,
            "nvmlDeviceGetCount": lambda: len(self.millijoules),
            "nvmlDeviceGetHandleByIndex": lambda index: (self.generation, index),
            "nvmlDeviceGetHandleByUUID": lambda uuid: (self.generation, int(uuid[-1])),
            "nvmlDeviceGetUUID": lambda board: f"GPU-{board[1]}",
            "nvmlDeviceGetName": lambda board: self.name,
            "nvmlDeviceGetTotalEnergyConsumption": lambda board: self.millijoules[board[1]],
            "nvmlDeviceGetPowerUsage": lambda board: self.milliwatts,
            "nvmlDeviceGetFieldValues": self._fields,
            "nvmlDeviceGetArchitecture": lambda board: self.architecture,
            "nvmlDeviceGetMigMode": lambda board: [self.mig, self.mig],
            "nvmlDeviceGetVirtualizationMode": lambda board: 0,
            "nvmlDeviceGetMultiGpuBoard": lambda board: 0,
            "nvmlDeviceGetEnforcedPowerLimit": lambda board: 700_000,
            "nvmlDeviceGetUtilizationRates": lambda board: SimpleNamespace(gpu=70, memory=10),
            "nvmlDeviceGetMemoryInfo": lambda board: SimpleNamespace(total=80, free=60, used=20),
            "nvmlDeviceGetComputeRunningProcesses": lambda board: [
                SimpleNamespace(pid=pid) for pid in self.processes
            ],
            "nvmlDeviceGetGraphicsRunningProcesses": lambda board: [],
        }
        if name.startswith("nvmlGpm") and name not in answers:
            raise AttributeError(name)
        answer = answers[name]

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if name in self.faults:
                raise NvmlFault(self.faults[name])
            if arguments and isinstance(arguments[0], tuple) and arguments[0][0] != self.generation:
                raise NvmlFault(UNINITIALISED)
            return answer(*arguments)

        return call

    def _init(self) -> None:
        self.users += 1
        self.generation += 1

    def _shut_down(self) -> None:
        self.users -= 1

    def _fields(self, board: Any, wanted: list[int]) -> list[Any]:
        return [
            SimpleNamespace(
                nvmlReturn=0 if field in self.fields else NOT_SUPPORTED,
                valueType=1,
                value=SimpleNamespace(uiVal=self.fields.get(field, 0)),
            )
            for field in wanted
        ]


def meters(library: Library, clock: FakeClock | None = None) -> list[NvmlMeter]:
    """Return the meters found on a library."""
    found = find_nvml(library, monotonic=(clock or FakeClock()).monotonic_s)
    assert not found.missing
    return [meter for meter in found.meters if isinstance(meter, NvmlMeter)]


class TestNvmlMeter(MeterContract):
    @pytest.fixture
    def rig(self) -> MeterRig:
        library = Library()

        def advance(joules: float) -> None:
            library.millijoules[0] += round(joules * 1000)

        (meter,) = meters(library)
        return MeterRig(
            meter,
            advance=advance,
            lose=lambda: library.faults.update(nvmlDeviceGetTotalEnergyConsumption=LOST),
            restore=library.faults.clear,
        )

    def test_one_call_a_read(self) -> None:
        """A read costs one call of the library and nothing else."""
        library = Library()
        (meter,) = meters(library)
        library.calls.clear()
        meter.read()

        assert library.calls == ["nvmlDeviceGetTotalEnergyConsumption"]

    def test_what_it_is(self) -> None:
        """A board is named by its uuid, knows its model, counts as a GPU and can tell how it is used."""
        (meter,) = meters(Library())
        device = meter.device

        assert (device.id, device.uuid, device.model["name"]) == ("nvml:GPU-0", "GPU-0", "NVIDIA H100")
        assert (device.component, device.boundary, device.basis) == (
            Component.GPU,
            Boundary.DEVICE,
            Basis.MEASURED,
        )
        assert (device.error_low, device.error_high, device.note) == (0.05, 0.05, "")
        assert isinstance(meter, UsedMeter)

    def test_four_boards_sum_exactly(self) -> None:
        """Four boards are four devices, and their joules add up to what all used."""
        library = Library(boards=4)
        found = meters(library)
        for board in range(4):
            library.millijoules[board] += 1000 * (board + 1)

        assert sum(meter.read().energy_j or 0 for meter in found) == 10.0
        assert len({meter.device.uuid for meter in found}) == 4

    def test_a_driver_that_is_loaded_again(self) -> None:
        """The counter restarts with the driver: it goes on from there and says what is not known."""
        library, clock = Library(), FakeClock()
        (meter,) = meters(library, clock)
        library.millijoules[0] += 50_000
        meter.read()
        library.millijoules[0] = 2_000
        clock.sleep(1)
        reading = meter.read()

        assert reading.energy_j == pytest.approx(52.0)
        assert "restarted" in reading.why

    @pytest.mark.parametrize(
        "fault", [LOST, UNKNOWN, NOT_SUPPORTED, NOT_LOADED, UNINITIALISED, NO_PERMISSION]
    )
    def test_each_fault_is_unknown_and_passes(self, fault: int) -> None:
        """Whatever NVML says is wrong: the reading is unknown, says NVML's words, and recovers by itself."""
        library, clock = Library(), FakeClock()
        (meter,) = meters(library, clock)
        library.faults["nvmlDeviceGetTotalEnergyConsumption"] = fault
        reading = meter.read()
        library.faults.clear()
        library.millijoules[0] += 3_000

        assert (reading.energy_j, reading.why) == (None, f"NVML: fault {fault} (error {fault})")
        assert meter.read().energy_j == 3.0

    def test_a_driver_that_went_away(self) -> None:
        """After the driver was unloaded the library is initialised anew, for all boards, and not at every read."""
        library, clock = Library(boards=2), FakeClock()
        one, two = meters(library, clock)
        library.generation = 77  # the handles of before mean nothing
        library.faults["nvmlInit"] = NOT_LOADED
        assert [one.read().energy_j, two.read().energy_j] == [None, None]
        library.calls.clear()
        clock.sleep(1)
        one.read()
        assert "nvmlInit" not in library.calls
        library.faults.clear()
        library.millijoules = [m + 4_000 for m in library.millijoules]
        clock.sleep(10)

        assert [one.read().energy_j, two.read().energy_j] == [4.0, 4.0]
        assert library.calls.count("nvmlInit") == 1

    def test_a_broken_board_is_left_alone(self) -> None:
        """Initialising is tried ever less often while a board stays lost, because it can take seconds."""
        library, clock = Library(), FakeClock()
        (meter,) = meters(library, clock)
        library.faults["nvmlDeviceGetTotalEnergyConsumption"] = LOST
        library.calls.clear()
        for _ in range(3600):
            meter.read()
            clock.sleep(1)

        assert library.calls.count("nvmlInit") < 20

    def test_the_last_meter_shuts_the_library_down(self) -> None:
        """The library is initialised once for all boards, and given back by the last meter, once."""
        library = Library(boards=3)
        found = meters(library)
        assert library.users == 1
        for meter in found:
            assert library.users == 1
            meter.close()
            meter.close()

        assert library.users == 0
        assert found[0].read().why.endswith("was closed")
        assert library.users == 0

    def test_a_forked_child_initialises_for_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In another process than the one that opened it the library is initialised again, once, and goes on."""
        library = Library()
        (meter,) = meters(library)
        library.millijoules[0] += 1_000
        meter.read()
        library.calls.clear()
        monkeypatch.setattr(os, "getpid", lambda: 4711)
        library.millijoules[0] += 1_000

        assert meter.read().energy_j == 2.0
        assert meter.read().energy_j == 2.0
        assert library.calls.count("nvmlInit") == 1


class TestPower:
    """Boards without an energy counter."""

    def without_counter(self, **facts: Any) -> tuple[Library, NvmlMeter, FakeClock]:
        """Return a board that tells power only, its meter and the clock."""
        library, clock = Library(), FakeClock()
        library.faults["nvmlDeviceGetTotalEnergyConsumption"] = NOT_SUPPORTED
        for name, value in facts.items():
            setattr(library, name, value)
        (meter,) = meters(library, clock)
        return library, meter, clock

    def test_the_mean_of_a_second(self) -> None:
        """Where field 185 is told each value is the mean of a second; read once a second nothing is missed."""
        library, meter, clock = self.without_counter(fields={185: 160_000, 186: 400_000})
        library.fields[185] = 240_000
        clock.sleep(1)
        reading = meter.read()

        assert (reading.energy_j, reading.raw) == (240.0, 240_000)
        assert meter.device.error_high == 0.10
        assert "the mean of 1 s" in meter.device.note

    def test_the_moment(self) -> None:
        """Where only the moment is told the trapezoid is taken, the error is wider and the note says so."""
        library, meter, clock = self.without_counter(fields={186: 100_000})
        library.fields[186] = 200_000
        clock.sleep(2)

        assert meter.read().energy_j == 300.0
        assert meter.device.error_high == 0.30
        assert "of the moment" in meter.device.note

    @pytest.mark.parametrize(
        ("architecture", "name", "mean"),
        [
            (9, "NVIDIA H100 80GB HBM3", True),
            (7, "NVIDIA GeForce RTX 3090", True),
            (7, "NVIDIA A10", True),
            (7, "NVIDIA A100-SXM4-80GB", False),
            (7, "NVIDIA A30", False),
            (4, "Tesla P100", False),
            (0xFFFFFFFF, "NVIDIA Unknown", False),
        ],
    )
    def test_drivers_without_fields(self, architecture: int, name: str, mean: bool) -> None:
        """Without fields the board decides: from Ampere on, except GA100, the power is the mean of a second."""
        _, meter, _ = self.without_counter(architecture=architecture, name=name)

        assert ("the mean of 1 s" in meter.device.note) is mean

    def test_neither_energy_nor_power(self) -> None:
        """A board that tells nothing is missing by its number, not zero; the others are read."""
        library = Library()
        library.faults = dict.fromkeys(
            ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"), NOT_SUPPORTED
        )
        found = find_nvml(library)

        assert found.meters == ()
        assert found.missing[0].source == "nvml:0"
        assert "neither energy nor power" in found.missing[0].why
        assert library.users == 0


class TestUsage:
    def test_all_that_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Utilisation is a share, memory is bytes, and the ids are those of all who hold the board."""
        monkeypatch.setattr(nvml, "_HOST_PID_NAMESPACE", os.stat("/proc/self/ns/pid").st_ino)
        library = Library()
        library.processes = [20, 10]
        (meter,) = meters(library)

        assert meter.usage() == GpuUsage(0.7, 20, 80, (10, 20))

    def test_hidden_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a container of its own ids that mean nothing here are left out, and an empty list is not believed."""
        monkeypatch.setattr(nvml, "_HOST_PID_NAMESPACE", -1)
        library = Library()
        (meter,) = meters(library)
        assert meter.usage().process_ids is None
        library.processes = [2**22 + 5, os.getpid()]

        assert meter.usage().process_ids == (os.getpid(),)

    def test_what_the_driver_does_not_tell(self) -> None:
        """What is not supported (utilisation under MIG, processes in WSL) is None; the rest is there."""
        library = Library()
        library.faults = dict.fromkeys(
            ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetComputeRunningProcesses"), NOT_SUPPORTED
        )
        (meter,) = meters(library)

        assert meter.usage() == GpuUsage(None, 20, 80, None)

    def test_a_lost_board(self) -> None:
        """A board that is lost tells nothing of its use, and nothing is raised."""
        library = Library()
        (meter,) = meters(library)
        library.faults["nvmlDeviceGetUtilizationRates"] = LOST

        assert meter.usage() == GpuUsage(None, None, None)

    def test_work_share(self) -> None:
        """Busy time decides where it is told; otherwise holders share in equal parts; unknown stays unknown."""
        assert work_share((1, 2), {1}, {1: 0.6, 2: 0.2}) == pytest.approx(0.75)
        assert work_share((1, 2, 3, 4), {1}, {}) == 0.25
        assert work_share((1, 2), {1}, {1: 0.0, 2: 0.0}) == 0.5
        assert work_share((), {1}) == 0.0
        assert work_share(None, {1}) is None
        assert work_share(None, {1}, {1: 0.5}) == 1.0


class TestFindNvml:
    def test_no_sign_of_a_gpu(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a driver nothing is found, nothing is missing, and no library is even looked for."""
        monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
        monkeypatch.setitem(sys.modules, "pynvml", None)

        assert find_nvml(root=tmp_path) == Found()

    def test_a_driver_without_its_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A driver whose Python module or library cannot be loaded is missing, with a remedy."""
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev" / "nvidiactl").touch()
        monkeypatch.setitem(sys.modules, "pynvml", None)
        (missing,) = find_nvml(root=tmp_path).missing

        assert (missing.source, missing.remedy) == ("nvml", "pip install nvidia-ml-py")

    @pytest.mark.parametrize(
        ("fault", "remedy"),
        [(12, "--gpus all"), (9, "modprobe nvidia"), (18, "reboot"), (4, "/dev/nvidia"), (999, "nvidia-smi")],
    )
    def test_a_library_that_fails(self, fault: int, remedy: str) -> None:
        """Each way in which the library can fail has its remedy."""
        library = Library()
        library.faults["nvmlInit"] = fault
        (missing,) = find_nvml(library).missing

        assert remedy in missing.remedy
        assert f"(error {fault})" in missing.why

    def test_one_board_of_two(self) -> None:
        """A board that is lost from the start is missing; the other is read."""
        library = Library(boards=2)
        handle = library.nvmlDeviceGetHandleByIndex

        def by_index(index: int) -> Any:
            if index == 0:
                raise NvmlFault(LOST)
            return handle(index)

        vars(library)["nvmlDeviceGetHandleByIndex"] = by_index
        found = find_nvml(library)

        assert [m.device.id for m in found.meters] == ["nvml:GPU-1"]
        assert found.missing[0].source == "nvml:0"

    def test_mig_is_said(self) -> None:
        """Under MIG the board counts as one device, and the note says that others may be in it."""
        library = Library()
        library.mig = 1
        (meter,) = meters(library)

        assert "MIG: the whole board's energy" in meter.device.note
        assert meter.device.counted


PROGRAM = r"""
import json, os, sys, time
from joulewise.measuring.meters.nvml import find_nvml
from joulewise.testing.nvml import true_energy_j

def knob(name, value=""):
    os.environ["JOULEWISE_FAKE_NVML_" + name] = str(value)

told = {}
before = time.monotonic(); meters = find_nvml().meters; after = time.monotonic()
time.sleep(0.3)
start = time.monotonic(); readings = [m.read() for m in meters]; end = time.monotonic()
told["ids"] = [m.device.id for m in meters]
told["energy"] = [r.energy_j for r in readings]
told["least"], told["most"] = true_energy_j(after, start), true_energy_j(before, end)
told["usage"] = [[m.usage().utilisation, m.usage().process_ids] for m in meters]
told["busy"] = list(meters[0].process_utilisation().values())
one = time.monotonic(); meters[0].usage(); two = time.monotonic()
time.sleep(1.0)
three = time.monotonic(); told["activity"] = meters[0].usage().sm_activity; four = time.monotonic()
told["active"] = [(true_energy_j(a, b) - 100 * (b - a)) / 300 / (c - d) for a, b, c, d in ((two, three, four, one), (one, four, three, two))]
knob("NO_GPM_PERMISSION", 1)
told["untold"] = [meters[1].usage().sm_activity, meters[1].usage().sm_activity, meters[1].usage().utilisation]
knob("NO_GPM_PERMISSION")

child = os.fork()
if not child:
    reading = meters[0].read()
    meters[0].close()
    os._exit(0 if reading.energy_j and reading.energy_j >= readings[0].energy_j else 1)
told["child"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

knob("LOSE_AFTER_S", 0); knob("LOSE_GPU", 1)
lost = [m.read() for m in meters]
told["lost"] = [[r.energy_j is None, r.why] for r in lost]
knob("LOSE_AFTER_S")
told["back"] = [m.read().energy_j > e for m, e in zip(meters, told["energy"])]
knob("RESET_AT_S", time.monotonic())
reset = meters[2].read()
told["reset"] = [reset.why, reset.energy_j >= told["energy"][2]]
knob("RESET_AT_S")
for m in meters: m.close()

knob("NO_COUNTER", 1); knob("MIG", 1)
found = find_nvml()
told["note"] = found.meters[0].device.note
told["raw"] = [m.read().raw for m in found.meters]
for m in found.meters: m.close()
knob("DRIVER_FAULT", 9)
told["missing"] = [[m.source, m.why, m.remedy] for m in find_nvml().missing]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if compiler() is None:
        pytest.skip("no C compiler: the double of NVML cannot be built; install gcc or set CC")
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="module")
def told(library: Path) -> dict[str, Any]:
    """Return what a program with nvidia-ml-py itself sees of the double's four boards."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment(library, GPUS=4, PROCESS=os.getpid(), UTILISATION=0.25),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


class TestThroughTheLibrary:
    """nvidia-ml-py, unmodified, on the double."""

    def test_four_boards_are_exact(self, told: dict[str, Any]) -> None:
        """Each board's joules, and the sum of four, lie between the true energy of the shortest and longest time."""
        assert len(set(told["ids"])) == 4
        # the counter shows whole millijoules: two readings may be off by one
        assert all(told["least"] - 1e-3 <= e <= told["most"] + 1e-3 for e in told["energy"])
        assert 4 * told["least"] - 4e-3 <= sum(told["energy"]) <= 4 * told["most"] + 4e-3

    def test_usage(self, told: dict[str, Any]) -> None:
        """Utilisation, processes and each process's share come through the real structures."""
        assert told["usage"] == [[0.25, [os.getpid()]]] * 4
        assert told["busy"] == [0.4]

    def test_sm_activity(self, told: dict[str, Any]) -> None:
        """The share of time in which multiprocessors work comes through the real structures; where it is root's, None."""
        least, most = told["active"]
        assert least - 1e-6 <= told["activity"] <= most + 1e-6
        assert 0.1 < told["activity"] < 0.3
        assert told["untold"] == [None, None, 0.25]

    def test_fork(self, told: dict[str, Any]) -> None:
        """A forked child goes on reading."""
        assert told["child"] == 0

    def test_a_lost_board(self, told: dict[str, Any]) -> None:
        """One board of four falls off the bus: it is unknown, the others go on, and it comes back."""
        assert [lost for lost, _ in told["lost"]] == [False, True, False, False]
        assert told["lost"][1][1] == "NVML: GPU is lost (error 15)"
        assert told["back"] == [True] * 4

    def test_reset(self, told: dict[str, Any]) -> None:
        """A counter that restarts is seen and goes on."""
        assert "restarted" in told["reset"][0]
        assert told["reset"][1]

    def test_without_a_counter(self, told: dict[str, Any]) -> None:
        """Power comes through the field values: the mean of a second is 160 W whenever it is asked for."""
        assert "the mean of 1 s" in told["note"]
        assert "MIG" in told["note"]
        assert told["raw"] == [pytest.approx(160_000, abs=1)] * 4

    def test_a_driver_that_is_not_loaded(self, told: dict[str, Any]) -> None:
        """A library without its driver is missing, with NVML's words and the line to run."""
        assert told["missing"] == [
            ["nvml", "NVML: Driver Not Loaded (error 9)", "load the driver: sudo modprobe nvidia"]
        ]
