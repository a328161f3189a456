"""The powercap double: the kernel's layout, an exact truth, and unmodified readers in a namespace of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulewise.testing.powercap import (
    RANGE_UJ,
    Layout,
    PowercapTree,
    main,
    pulsed_uj,
    read_truth,
    true_joules,
)


def counter(folder: Path, zone: str) -> int:
    """Return what a zone's counter shows."""
    return int((folder / zone / "energy_uj").read_text())


class TestPowercapTree:
    def test_the_layout_of_linux(self, tmp_path: Path) -> None:
        """Zones are real folders below devices/virtual/powercap, nested, with relative links in class/powercap."""
        tree = PowercapTree(tmp_path)

        assert sorted(os.listdir(tree.folder)) == [
            "intel-rapl",
            "intel-rapl:0",
            "intel-rapl:0:0",
            "intel-rapl:0:1",
            "intel-rapl:1",
        ]
        assert os.readlink(tree.folder / "intel-rapl:0:1") == (
            "../../devices/virtual/powercap/intel-rapl/intel-rapl:0/intel-rapl:0:1"
        )
        assert [(tree.folder / f"intel-rapl:{z}" / "name").read_text() for z in ("0", "0:0", "0:1", "1")] == [
            "package-0\n",
            "core\n",
            "dram\n",
            "psys\n",
        ]
        assert (tree.folder / "intel-rapl:0" / "max_energy_range_uj").read_text() == f"{RANGE_UJ}\n"
        assert (tree.folder / "intel-rapl:0" / "subsystem").resolve() == tree.folder

    def test_counters_wrap(self, tmp_path: Path) -> None:
        """A counter that is moved over its end goes on from zero."""
        tree = PowercapTree(tmp_path, Layout(range_uj=10_000_000, start_uj=9_000_000))
        tree.advance("package-0", 3)

        assert counter(tree.folder, "intel-rapl:0") == 2_000_000

    def test_mirrored_dies_move_together(self, tmp_path: Path) -> None:
        """Mirrored dies show one counter; dies of their own stand apart from the start."""
        mirrored = PowercapTree(tmp_path / "one", Layout(dies=2, mirrored=True))
        own = PowercapTree(tmp_path / "two", Layout(dies=2))
        mirrored.advance("package-0-die-0", 4)

        assert [counter(mirrored.folder, f"intel-rapl:{n}") for n in (0, 1)] == [4_000_000, 4_000_000]
        assert counter(own.folder, "intel-rapl:0") != counter(own.folder, "intel-rapl:1")
        assert (mirrored.folder / "intel-rapl:1/name").read_text() == "package-0-die-1\n"

    def test_the_mmio_twin_moves_with_its_package(self, tmp_path: Path) -> None:
        """intel-rapl-mmio shows the same energy as the package that it repeats."""
        tree = PowercapTree(tmp_path, Layout(mmio=True))
        tree.advance("package-0", 4)

        assert counter(tree.folder, "intel-rapl-mmio:0") == counter(tree.folder, "intel-rapl:0") == 4_000_000

    def test_denied_counters_have_no_open_mode(self, tmp_path: Path) -> None:
        """A denied counter lets nobody in by its mode; a readable one lets everybody."""
        PowercapTree(tmp_path / "one", Layout(deny=True))
        PowercapTree(tmp_path / "two")
        zone = "devices/virtual/powercap/intel-rapl/intel-rapl:0/energy_uj"

        assert (tmp_path / "one" / zone).stat().st_mode & 0o077 == 0
        assert (tmp_path / "two" / zone).stat().st_mode & 0o777 == 0o444

    def test_a_lost_counter_comes_back_where_it_stands(self, tmp_path: Path) -> None:
        """What is used while a counter is away is on it when it is back."""
        tree = PowercapTree(tmp_path)
        tree.lose("dram-0")
        assert not (tree.folder / "intel-rapl:0:1/energy_uj").exists()
        tree.advance("dram-0", 2)
        tree.restore("dram-0")

        assert counter(tree.folder, "intel-rapl:0:1") == 2_000_000


class TestTruth:
    def test_the_pulse(self) -> None:
        """A package draws 200 W for 0.2 s and 40 W for 0.8 s of each second: 72 J a second."""
        assert [pulsed_uj(t) for t in (0, 0.1, 0.2, 1, 40)] == [
            0,
            20_000_000,
            40_000_000,
            72_000_000,
            2_880_000_000,
        ]

    def test_the_platform_is_the_sum_and_fifteen_watts(self) -> None:
        """The platform (psys) holds every package and memory and 15 W more; mirrored dies are one."""
        assert true_joules(Layout(), 10) == {"package-0": 720, "core-0": 432, "dram-0": 80, "psys": 950}
        assert true_joules(Layout(packages=2, core=False, dram=False), 1)["psys"] == 159
        assert true_joules(Layout(dies=2, mirrored=True, core=False), 1) == {
            "package-0-die-0": 72,
            "dram-0-die-0": 8,
            "psys": 95,
        }

    def test_counters_end_where_the_truth_says(self, tmp_path: Path) -> None:
        """After the command has ended, each counter stands at its start plus the truth, to the microjoule."""
        truth = tmp_path / "truth.json"
        code = main(
            [f"--root={tmp_path}", f"--truth={truth}", "--range=300000", "--start=299999", "--", "true"]
        )
        end = read_truth(truth)

        assert code == 0
        assert end.sequence % 2 == 0
        for label, zone in {
            "package-0": "intel-rapl:0",
            "dram-0": "intel-rapl:0:1",
            "psys": "intel-rapl:1",
        }.items():
            shown = counter(tmp_path / "class/powercap", zone)
            assert shown == (299_999 + round(end.joules[label] * 1e6)) % 300_000


class TestMain:
    def test_the_exit_code_of_the_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The truth process answers as a shell would: the command's code, 128 + signal, 127 where it is missing."""
        assert main([f"--root={tmp_path / 'a'}", "--", "sh", "-c", "exit 7"]) == 7
        assert main([f"--root={tmp_path / 'b'}", "--", "sh", "-c", "kill -9 $$"]) == 137
        with pytest.raises(SystemExit) as missing:
            main([f"--root={tmp_path / 'c'}", "--", "no-such-program"])
        assert missing.value.code == 127
        assert "no-such-program: not found" in capsys.readouterr().err

    def test_a_start_above_the_range(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A start that the counter can never show is refused with both values."""
        with pytest.raises(SystemExit):
            main([f"--root={tmp_path}", "--range=10", "--start=10"])

        assert "--start is 10, but must be at least 0 and below --range (10)" in capsys.readouterr().err


READER = """
import json, sys, time
from pathlib import Path
from joulewise.measuring.meters.rapl import find_powercap
from joulewise.testing.powercap import settled
truth = Path(sys.argv[1])
found, start = settled(truth, find_powercap)
until = time.monotonic() + float(sys.argv[2])
readings, end = [], start
while time.monotonic() < until:
    time.sleep(0.05)
    readings, end = settled(truth, lambda: [meter.read() for meter in found.meters])
energy = {reading.device: reading.energy_j for reading in readings}
true = {label: end.joules[label] - start.joules[label] for label in end.joules}
print(json.dumps({
    "energy": energy,
    "true": true,
    "counted": [meter.device.id for meter in found.meters if meter.device.counted],
    "why": [reading.why for reading in readings],
    "missing": [f"{missing.why} | {missing.remedy}" for missing in found.missing],
    "turned": bool(readings) and readings[0].raw < 1_900_000_000,
}))
"""


def read_in_namespace(tmp_path: Path, *options: str, seconds: float = 3.0) -> dict[str, object]:
    """Run our reader, unmodified and by its default path, beside the truth process; return what it printed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.fail("needs root on Linux") if os.environ.get("CI") == "true" else pytest.skip(
            "needs root on Linux"
        )
    truth = tmp_path / "truth.json"
    double = [
        sys.executable,
        "-m",
        "joulewise.testing.powercap",
        "--namespace",
        "--truth",
        str(truth),
        *options,
    ]
    answer = subprocess.run(
        [*double, "--", sys.executable, "-c", READER, str(truth), str(seconds)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare:" in answer.stderr and os.environ.get("CI") != "true":
        pytest.skip("this container does not let root make a mount namespace")
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert isinstance(document, dict)
    return document


@pytest.mark.service
class TestNamespace:
    def test_an_unmodified_reader_agrees(self, tmp_path: Path) -> None:
        """Over three seconds of pulsed load and one wrap, package, memory and platform are true within 0.5 %."""
        answer = read_in_namespace(tmp_path, "--range=2000000000", "--start=1900000000", "--mmio")
        energy, true = answer["energy"], answer["true"]
        assert isinstance(energy, dict)
        assert isinstance(true, dict)

        assert answer["turned"], "the package's counter did not reach its end"
        assert set(energy) == {"rapl:package-0", "rapl:dram-0", "rapl:psys"}
        assert true["package-0"] > 150
        for label in ("package-0", "dram-0", "psys"):
            assert energy[f"rapl:{label}"] == pytest.approx(true[label], rel=0.005)
        assert answer["counted"] == ["rapl:package-0", "rapl:dram-0"]
        assert set(answer["why"]) == {""}  # type: ignore[call-overload]

    def test_denied_even_to_root(self, tmp_path: Path) -> None:
        """With --deny, root meets what users meet: nothing is measured, and the message has the line to run."""
        answer = read_in_namespace(tmp_path, "--deny", seconds=0)

        assert answer["energy"] == {}
        missing = str(answer["missing"])
        assert "/sys/class/powercap/intel-rapl:0/energy_uj (and 2 more) is readable by root only" in missing
        assert "sudo chmod a+r /sys/class/powercap/intel-rapl*:*/energy_uj" in missing

    def test_nobody_else_sees_it(self, tmp_path: Path) -> None:
        """The zones are gone from this process's /sys, and other classes stay where they were for the command."""
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("needs root on Linux")
        before = os.listdir("/sys/class")
        look = "import os; print(os.listdir('/sys/class/net') and sorted(os.listdir('/sys/class')))"
        double = [
            sys.executable,
            "-m",
            "joulewise.testing.powercap",
            "--namespace",
            "--",
            sys.executable,
            "-c",
            look,
        ]
        answer = subprocess.run(double, capture_output=True, text=True, timeout=60, check=True)

        assert answer.stdout.strip() == str(sorted({*before, "powercap"}))
        assert os.listdir("/sys/class") == before
