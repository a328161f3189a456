"""A cluster's own figures: Cray's counters read together, Slurm's accounting without double counting."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from joulewise.measuring.meters.cluster import (
    CrayCounters,
    SlurmEnergyMeter,
    find_cray,
    run_command,
    slurm_energy,
)
from joulewise.measuring.meters.port import Found, Meter
from joulewise.testing.clock import FakeClock
from joulewise.testing.contracts import MeterContract, MeterRig
from joulewise.vocabulary.errors import MeterError, UsageError
from joulewise.vocabulary.figures import Boundary, Figure
from joulewise.vocabulary.recording import Component, Missing


class Node:
    """The files of one Cray node. Every change moves `freshness`, as the board's controller does."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder / "pm_counters"
        self.folder.mkdir()
        self.joules = {name: 35_000 + 1000 * at for at, name in enumerate(names or ("energy",))}
        self.freshness, self.startup = 100, 1
        (self.folder / "power").write_text("330 W 1663836010131873 us\n")
        self.show()

    def show(self) -> None:
        self.freshness += 1
        for name, joules in self.joules.items():
            (self.folder / name).write_text(f"{joules} J 1663836010131873 us\n")
        (self.folder / "freshness").write_text(f"{self.freshness}\n")
        (self.folder / "startup").write_text(f"{self.startup}\n")

    def use(self, **joules: int) -> None:
        for name, used in joules.items():
            self.joules[name] += used
        self.show()


def find(node: Node, clock: FakeClock | None = None) -> Found:
    """Look for counters as on a host named `host`."""
    return find_cray(node.folder, monotonic=(clock or FakeClock()).monotonic_s, host="host")


def by_id(found: Found) -> dict[str, Meter]:
    """Return the meters found, by their device."""
    return {meter.device.id: meter for meter in found.meters}


class TestCrayMeter(MeterContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> MeterRig:
        node = Node(tmp_path, "energy", "accel0_energy")
        # the counter has whole joules; what the contract uses in fractions is carried over
        carried = [0.0]

        def advance(joules: float) -> None:
            carried[0] += joules
            node.use(accel0_energy=int(carried[0]))
            carried[0] -= int(carried[0])

        (meter, _) = find(node).meters
        return MeterRig(
            meter,
            advance=advance,
            lose=(node.folder / "accel0_energy").unlink,
            restore=node.show,
            exact_to=0.02,
        )

    def test_what_a_node_has(self, tmp_path: Path) -> None:
        """The node is shown and never added; processor, memory and accelerators are its parts and count."""
        node = Node(tmp_path, "energy", "cpu_energy", "memory_energy", "accel0_energy", "accel1_energy")
        devices = {meter.device.id: meter.device for meter in find(node).meters}

        assert {key: device.component for key, device in devices.items()} == {
            "cray:node": Component.NODE,
            "cray:cpu": Component.CPU,
            "cray:memory": Component.MEMORY,
            "cray:accel0": Component.GPU,
            "cray:accel1": Component.GPU,
        }
        assert [key for key, device in devices.items() if not device.counted] == ["cray:node"]
        assert devices["cray:node"].boundary is Boundary.NODE
        assert devices["cray:accel1"].uuid == "host:cray-accel1"

    def test_sockets_are_inside_their_sum(self, tmp_path: Path) -> None:
        """Where the controller shows each socket and their sum, only the sum counts."""
        node = Node(tmp_path, "cpu_energy", "cpu0_energy", "cpu1_energy")

        assert [m.device.id for m in find(node).meters if m.device.counted] == ["cray:cpu"]

    def test_one_moment_for_all(self, tmp_path: Path) -> None:
        """All counters of one round of reads come from one moment, and no meter gets a moment twice."""
        clock = FakeClock()
        node = Node(tmp_path, "energy", "cpu_energy")
        found = by_id(find(node, clock))
        node.use(energy=10, cpu_energy=5)
        assert found["cray:cpu"].read().energy_j == 5
        node.use(energy=10, cpu_energy=5)
        assert found["cray:node"].read().energy_j == 10  # of the moment that cpu was read
        assert found["cray:node"].read().energy_j == 20
        node.use(energy=10, cpu_energy=5)
        clock.sleep(1)

        assert found["cray:cpu"].read().energy_j == 15  # the moment before is too old to share

    def test_read_again_while_it_moves(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If freshness moved while the files were read, they are read again."""
        node = Node(tmp_path, "energy", "cpu_energy")
        read_text, moves = Path.read_text, [1]

        def slow(self: Path, *arguments: str, **options: str) -> str:
            text = read_text(self, *arguments, **options)
            if self.name == "energy" and moves:
                moves.pop()
                node.use(energy=10, cpu_energy=10)
            return text

        monkeypatch.setattr(Path, "read_text", slow)
        moment = CrayCounters(node.folder, ["energy", "cpu_energy"]).moment()

        assert moment.joules["cpu_energy"] - moment.joules["energy"] == 1000

    def test_counters_that_begin_anew(self, tmp_path: Path) -> None:
        """When `startup` changes the counters began at zero, even if they stand higher than before."""
        node = Node(tmp_path)
        (meter,) = find(node).meters
        node.startup, node.joules["energy"] = 2, 35_500
        node.show()
        reading = meter.read()

        assert reading.energy_j == 35_500
        assert "restarted" in reading.why

    def test_a_controller_that_hangs(self, tmp_path: Path) -> None:
        """Figures whose freshness stands still are unknown after five seconds, and come back whole."""
        clock = FakeClock()
        node = Node(tmp_path)
        (meter,) = find(node, clock).meters
        clock.sleep(4)
        assert meter.read().energy_j == 0
        clock.sleep(4)
        assert meter.read().energy_j is None
        node.use(energy=900)

        assert (meter.read().energy_j, meter.read().why) == (900, "")

    @pytest.mark.parametrize("text", ["", "nonsense", "12 W 1 us", "x J 1 us"])
    def test_what_is_no_energy(self, tmp_path: Path, text: str) -> None:
        """A file that does not hold joules is missing by name, with what it holds."""
        node = Node(tmp_path)
        (node.folder / "energy").write_text(text)
        (missing,) = find(node).missing

        assert missing.source == "cray:node"
        assert "not joules" in missing.why

    def test_other_machines(self, tmp_path: Path) -> None:
        """Where there is no such folder nothing is found and nothing is missing."""
        assert find_cray(tmp_path / "absent") == Found()


def slurm(sacct: str = "", sstat: str = "") -> Callable[[Sequence[str]], str]:
    """Return a runner that answers as these two commands."""
    return lambda command: {"sacct": sacct, "sstat": sstat}[command[0]]


class TestSlurmEnergy:
    def test_the_jobs_own_row(self) -> None:
        """The job's row is the value, of the node's boundary, and its source says when it is the job's own."""
        figure = slurm_energy("4711", slurm("4711|2000\n4711.extern|1990\n4711.batch|1900\n4711.0|1800\n"))

        assert isinstance(figure, Figure)
        assert figure.value == 2000
        assert figure.boundary is Boundary.NODE
        assert "only if it had them to itself" in figure.source

    def test_rows_that_disagree(self) -> None:
        """Where the job's row adds up overlapping steps, the interval reaches down to what the steps tell."""
        figure = slurm_energy("4711", slurm("4711|3700\n4711.batch|1900\n4711.0|1800\n"))

        assert isinstance(figure, Figure)
        assert (figure.value, figure.low) == (3700, 1900 * 0.9)

    def test_steps_only(self) -> None:
        """Without the job's row the steps are added, but not those that lie inside another."""
        figure = slurm_energy("7", slurm("7|\n7.batch|900\n7.0|300\n7.1|400\n"))

        assert isinstance(figure, Figure)
        assert figure.value == 900

    def test_a_running_job(self) -> None:
        """While sacct tells nothing yet, sstat is asked."""
        figure = slurm_energy("7", slurm("7|0\n7.batch|\n", "7.batch|500\n"))

        assert isinstance(figure, Figure)
        assert figure.value == 500

    @pytest.mark.parametrize("text", ["", "7|\n7.0|\n", "7|0\n7.0|0\n", "7|18446744073709551614\n"])
    def test_zero_is_unknown(self, text: str) -> None:
        """Nothing, empty, 0 and Slurm's own "none" all mean that nobody measured: unknown, never zero."""
        missing = slurm_energy("7", slurm(text, text))

        assert isinstance(missing, Missing)
        assert "not measured" in missing.why
        assert "AcctGatherEnergyType" in missing.remedy

    def test_no_slurm_here(self) -> None:
        """Without Slurm's commands the line says which is missing."""

        def absent(command: Sequence[str]) -> str:
            raise MeterError(f"{command[0]} is not installed here")

        missing = slurm_energy("7", absent)

        assert isinstance(missing, Missing)
        assert missing.why == "sacct is not installed here"

    @pytest.mark.parametrize("job_id", ["", "--help", "7; rm", "seven"])
    def test_what_is_no_job(self, job_id: str) -> None:
        """Only numbers reach a command line."""
        with pytest.raises(UsageError, match="must be a number"):
            slurm_energy(job_id)

    def test_array_tasks(self) -> None:
        """An array's tasks and a heterogeneous job's parts add up."""
        figure = slurm_energy("7", slurm("7_1|100\n7_1.batch|100\n7_2|150\n7_2.batch|150\n"))

        assert isinstance(figure, Figure)
        assert figure.value == 250


class TestSlurmEnergyMeter(MeterContract):
    @pytest.fixture
    def rig(self) -> MeterRig:
        told, broken, clock, carried = [5000], [False], FakeClock(), [0.0]

        def run(command: Sequence[str]) -> str:
            if broken[0]:
                raise MeterError("sstat did not answer")
            return f"7.batch|{told[0]}\n"

        meter = SlurmEnergyMeter("7", run, monotonic=clock.monotonic_s, threaded=False)

        def advance(joules: float) -> None:
            carried[0] += joules
            told[0] += int(carried[0])
            carried[0] -= int(carried[0])
            meter.refresh()

        def lose() -> None:
            broken[0] = True
            clock.sleep(100)
            meter.refresh()

        def restore() -> None:
            broken[0] = False
            meter.refresh()

        return MeterRig(meter, advance=advance, lose=lose, restore=restore, exact_to=0.02)

    def test_steps_that_end(self) -> None:
        """A step that ended is told no more by sstat; its joules stay."""
        answers = iter(["7.0|100\n", "7.0|180\n7.1|10\n", "7.1|50\n", "7.1|60\n7.extern|300\n"])
        meter = SlurmEnergyMeter("7", lambda _: next(answers), threaded=False)
        seen = [meter.read().energy_j]
        for _ in range(3):
            meter.refresh()
            seen.append(meter.read().energy_j)

        assert seen == [0, 90, 130, 200]

    def test_not_asked_more_often(self) -> None:
        """However often it is read, sstat is asked every thirty seconds at most."""
        asked: list[Sequence[str]] = []

        def run(command: Sequence[str]) -> str:
            asked.append(command)
            return "7.0|100\n"

        meter = SlurmEnergyMeter("7", run, interval_s=0.001, threaded=False)
        for _ in range(100):
            meter.read()

        assert len(asked) == 1
        assert meter._poller.interval_s == 30

    def test_nothing_configured(self) -> None:
        """A cluster that does not measure is unknown, not zero."""
        meter = SlurmEnergyMeter("7", lambda _: "7.0|0\n", threaded=False)

        assert meter.read().energy_j is None
        assert "not measured" in meter.read().why

    def test_never_added(self) -> None:
        """Whole nodes are shown beside the parts."""
        assert not SlurmEnergyMeter("7", lambda _: "7.0|1\n", threaded=False).device.counted


class TestRunCommand:
    def test_what_it_prints(self) -> None:
        """The answer is what the command prints."""
        assert run_command(["echo", "4711|5"]) == "4711|5\n"

    def test_faults(self, tmp_path: Path) -> None:
        """A command that is missing, not runnable or fails is one clear line."""
        (tmp_path / "program").write_text("")

        with pytest.raises(MeterError, match="joulewise-absent is not installed here"):
            run_command(["joulewise-absent"])
        with pytest.raises(MeterError, match="did not answer"):
            run_command([os.fspath(tmp_path / "program")])
        with pytest.raises(MeterError, match="sh ended with 3: no such job"):
            run_command(["sh", "-c", "echo no such job >&2; exit 3"])
