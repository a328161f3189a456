"""`joulewise doctor` says what can be read here and what it would take."""

from __future__ import annotations

import json
import os
import stat

import pytest
from click.testing import CliRunner

from joulewise import wiring
from joulewise.cli.doctor import command, host_checks, setting_checks, unwritable
from joulewise.measuring.machine import machine
from joulewise.measuring.meters.port import Found
from joulewise.settings import Settings
from joulewise.testing.meters import HandMeter, device
from joulewise.testing.procfs import FakeProc
from joulewise.vocabulary.errors import MeterError
from joulewise.vocabulary.figures import Basis
from joulewise.vocabulary.recording import Component, Missing


def asked():
    result = CliRunner().invoke(command, ["--json"], catch_exceptions=False)
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["schema_version"] == 1
    return answer


def by_name(checks):
    return {check.name: check for check in checks}


@pytest.fixture
def families(monkeypatch):
    """Give a machine whose counter is not permitted, whose model stands in, and whose GPU is read."""
    meters = {
        "model": HandMeter(device("model:cpu", Component.CPU, Basis.MODELLED, error=0.4)),
        "gpu": HandMeter(device("nvml:GPU-1", Component.GPU)),
    }
    denied = Missing("RAPL (perf)", "not permitted", "sudo sysctl kernel.perf_event_paranoid=0")

    def broken(_settings, _pid):
        raise MeterError("the driver says no")

    found = {
        "perf": (Component.CPU, lambda _settings, _pid: Found((), (denied,))),
        "nvml": (Component.GPU, lambda _settings, _pid: Found((meters["gpu"],))),
        "modelled": (Component.CPU, lambda _settings, _pid: Found((meters["model"],))),
    }
    chosen = tuple(wiring.Family(n, frozenset({c}), find) for n, (c, find) in found.items())
    monkeypatch.setattr(wiring.meters, "FAMILIES", chosen)
    return meters


def test_families(families):
    """Each family says what it reads or why it cannot; what a recording would use is marked, and meters are closed."""
    answer = asked()

    told = {f["name"]: f for f in answer["families"]}
    assert (told["perf"]["used"], told["perf"]["devices"]) == (False, [])
    assert told["perf"]["missing"][0]["why"] == "not permitted"
    assert told["nvml"]["used"]
    assert [d["id"] for d in told["modelled"]["devices"]] == ["model:cpu"]
    assert all(meter.closed for meter in families.values())


def test_error_to_expect(families):
    """Each component that is read has the arms of its interval; one that nobody reads is named."""
    answer = asked()
    output = CliRunner().invoke(command).output

    assert [(c["component"], c["error_low"]) for c in answer["components"]] == [("cpu", 0.4), ("gpu", 0.05)]
    assert answer["unread"] == ["memory", "storage", "network"]
    assert "-40 % to +40 %" in output


def test_exact_line(families):
    """What is not permitted comes with the exact line to run."""
    answer = asked()
    output = CliRunner().invoke(command).output

    assert {"for": "RAPL (perf): not permitted", "do": "sudo sysctl kernel.perf_event_paranoid=0"} in answer[
        "remedies"
    ]
    assert "    sudo sysctl kernel.perf_event_paranoid=0\n" in output


def test_family_that_fails_is_told(monkeypatch):
    """A family that cannot even look is a line, not an end."""
    calls = []

    def find(_settings, _pid):
        calls.append(1)
        if len(calls) > 1:
            raise MeterError("the driver says no")
        return Found()

    monkeypatch.setattr(wiring.meters, "FAMILIES", (wiring.Family("nvml", frozenset({Component.GPU}), find),))

    assert asked()["families"][0]["missing"][0]["why"] == "the driver says no"


def test_this_machine():
    """On whatever machine this runs, there is an answer, and CPU and memory are read or modelled."""
    answer = asked()

    assert {"cpu", "memory"} <= {c["component"] for c in answer["components"]}
    assert {"cgroup", "pressure", "I/O wait", "zone", "tariff", "recordings", "ledger"} <= {
        c["name"] for c in answer["checks"]
    }


def test_kernel_without_pressure_and_delays(tmp_path):
    """Pressure that is absent and delay accounting that is off are said, with what to do."""
    proc = FakeProc(tmp_path)
    proc.pressure(None)

    checks = by_name(host_checks(machine(), str(tmp_path)))

    assert (checks["pressure"].good, checks["I/O wait"].good) == (False, False)
    assert "sysctl kernel.task_delayacct=1" in checks["I/O wait"].remedy


def test_kernel_that_tells_all(tmp_path):
    """Pressure and delay accounting that are there need nothing."""
    proc = FakeProc(tmp_path)
    proc.delay_accounting(on=True)

    checks = by_name(host_checks(machine(), str(tmp_path)))

    assert (checks["pressure"].good, checks["I/O wait"].good) == (True, True)
    assert not checks["pressure"].remedy


def test_quota(tmp_path):
    """A CPU quota of the cgroup is seen."""
    FakeProc(tmp_path)
    group = tmp_path / "cgroup"
    (group / "job").mkdir(parents=True)
    (group / "job" / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/job\n")
    (tmp_path / "self" / "mountinfo").write_text(f"1 2 0:3 / {group} rw - cgroup2 cgroup2 rw\n")

    assert "CPU quota: 0.5 CPUs" in by_name(host_checks(machine(), str(tmp_path)))["cgroup"].words


def test_settings_unset(tmp_path):
    """Without zone and tariff the line to set them is there; folders that can be made are fine, and are not made."""
    checks = by_name(
        setting_checks(Settings(runs=str(tmp_path / "a/runs"), ledger=str(tmp_path / "b/ledger.db")))
    )

    assert "JOULEWISE_ZONE" in checks["zone"].remedy
    assert "JOULEWISE_TARIFF" in checks["tariff"].remedy
    assert (checks["recordings"].good, checks["ledger"].good) == (True, True)
    assert list(tmp_path.iterdir()) == []


def test_settings_set(tmp_path):
    """A zone and a tariff are shown as they are understood."""
    checks = by_name(setting_checks(Settings(zone="germany", tariff="0.30EUR/kWh")))

    assert checks["zone"].words.startswith("DE, Germany")
    assert (checks["tariff"].good, checks["tariff"].words) == (True, "0.3EUR/kWh")


def test_settings_wrong():
    """A zone or tariff that cannot be understood, and homes that are unknown, are lines with a remedy."""
    checks = by_name(setting_checks(Settings(zone="Germny", tariff="cheap")))

    assert [checks[n].good for n in ("zone", "tariff", "recordings", "ledger")] == [False] * 4
    assert "Germany" in checks["zone"].words
    assert all(check.remedy for check in checks.values())


def test_foreign_ledger(tmp_path):
    """A ledger that is no database is said, and its password never is."""
    file = tmp_path / "ledger.db"
    file.write_text("not a database, and long enough to be read as one" * 40)

    assert by_name(setting_checks(Settings(ledger=str(file))))["ledger"].good is False
    unknown = by_name(setting_checks(Settings(ledger="mysql://ann:hush@db/x")))["ledger"]
    assert unknown.good is False
    assert "hush" not in unknown.words


def test_unwritable(tmp_path):
    """A folder that a file stands in the way of, or that the user may not write to, says so."""
    (tmp_path / "file").write_text("")
    closed = tmp_path / "closed"
    closed.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)

    assert "is no folder" in unwritable(str(tmp_path / "file" / "runs"))
    assert unwritable(str(tmp_path / "new" / "runs")) == ""
    if os.geteuid() != 0:
        assert "not writable" in unwritable(str(closed / "runs"))
