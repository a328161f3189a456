"""Exporters and Prometheus servers as a source: both formats, presets, faults, staleness, politeness."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator

import pytest

from joulewise.measuring.meters.host import host_key
from joulewise.measuring.meters.port import Found
from joulewise.measuring.meters.prometheus import (
    PrometheusMeter,
    find_prometheus,
    parse_answer,
    parse_exposition,
)
from joulewise.testing.clock import FakeClock
from joulewise.testing.contracts import MeterContract, MeterRig
from joulewise.testing.exporter import Exporter
from joulewise.vocabulary.errors import MeterError
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component

ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
POWER = "DCGM_FI_DEV_POWER_USAGE"
KEPLER = "kepler_node_cpu_joules_total"
BOARD = {"UUID": "GPU-1", "gpu": "0", "modelName": "NVIDIA H100", "Hostname": "node7"}


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with Exporter() as server:
        yield server


def find(
    exporter: Exporter, query: str = "dcgm", *, clock: FakeClock | None = None, server: bool = False
) -> Found:
    """Ask the double once, without a thread."""
    url = exporter.server_url if server else exporter.metrics_url
    return find_prometheus(
        url, query, host="node7", monotonic=(clock or FakeClock()).monotonic_s, threaded=False, timeout_s=5
    )


def meters(found: Found) -> list[PrometheusMeter]:
    """Return the meters found, of the leaf's own type."""
    assert not found.missing
    return [meter for meter in found.meters if isinstance(meter, PrometheusMeter)]


class Rig:
    """One board of an exporter, asked at once whenever something happened."""

    def __init__(self, exporter: Exporter, *, server: bool) -> None:
        self.exporter, self.clock, self.millijoules = exporter, FakeClock(), 7_000_000
        exporter.set(ENERGY, self.millijoules, **BOARD)
        (self.meter,) = meters(find(exporter, clock=self.clock, server=server))

    def advance(self, joules: float) -> None:
        self.millijoules += round(joules * 1000)
        self.exporter.set(ENERGY, self.millijoules, **BOARD)
        self.meter.refresh()

    def lose(self) -> None:
        self.exporter.fault = "500"
        self.clock.sleep(10)
        self.meter.refresh()

    def restore(self) -> None:
        self.exporter.fault = ""
        self.meter.refresh()


class TestExporter(MeterContract):
    server = False

    @pytest.fixture
    def rig(self, exporter: Exporter) -> MeterRig:
        rig = Rig(exporter, server=self.server)
        return MeterRig(rig.meter, advance=rig.advance, lose=rig.lose, restore=rig.restore)


class TestServer(TestExporter):
    server = True


class TestDcgm:
    def test_four_boards(self, exporter: Exporter) -> None:
        """Each board is a device by its uuid, and the four add up."""
        for board in range(4):
            exporter.set(ENERGY, 1000, UUID=f"GPU-{board}", modelName="NVIDIA A10")
        found = meters(find(exporter))
        for board in range(4):
            exporter.set(ENERGY, 1000 + 500 * (board + 1), UUID=f"GPU-{board}", modelName="NVIDIA A10")
        found[0].refresh()

        assert [m.device.uuid for m in found] == ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]
        assert sum(m.read().energy_j or 0 for m in found) == 5.0
        assert found[0].device.model["name"] == "NVIDIA A10"

    def test_mig_instances_are_one_board(self, exporter: Exporter) -> None:
        """Every MIG instance shows the whole board's energy: it is taken once, and said."""
        for instance in ("3", "5", "9"):
            exporter.set(ENERGY, 9000, **BOARD, GPU_I_ID=instance)
        (meter,) = meters(find(exporter))

        assert meter.device.uuid == "GPU-1"
        assert "MIG" in meter.device.note

    def test_power_where_there_is_no_counter(self, exporter: Exporter) -> None:
        """A board without a counter has its power integrated, with a wider error and a note."""
        clock = FakeClock()
        exporter.set(POWER, 100.0, **BOARD)
        exporter.set(ENERGY, 2.0**63, **BOARD)  # DCGM's "no value"
        (meter,) = meters(find(exporter, clock=clock))
        exporter.set(POWER, 300.0, **BOARD)
        clock.sleep(2)
        meter.refresh()

        assert meter.read().energy_j == 400.0
        assert meter.device.error_high == 0.30
        assert "power, integrated" in meter.device.note

    def test_counter_before_power(self, exporter: Exporter) -> None:
        """With both the counter is taken; when it is missing once, power does not stand in for it."""
        exporter.set(ENERGY, 1000, **BOARD)
        exporter.set(POWER, 100.0, **BOARD)
        (meter,) = meters(find(exporter))
        exporter.drop(ENERGY, **BOARD)
        meter.refresh()
        assert meter.read().why.endswith("no longer tells this device")
        exporter.set(ENERGY, 3000, **BOARD)
        meter.refresh()

        assert meter.read().energy_j == 2.0

    def test_counter_reset(self, exporter: Exporter) -> None:
        """A counter that restarts adds what it shows then, and says so once."""
        exporter.set(ENERGY, 10_000_000, **BOARD)
        (meter,) = meters(find(exporter))
        exporter.set(ENERGY, 4_000, **BOARD)
        meter.refresh()
        reading = meter.read()

        assert reading.energy_j == 4.0
        assert "restarted" in reading.why

    def test_a_server_knows_other_hosts(self, exporter: Exporter) -> None:
        """Of a cluster's server only the series of this host are taken, with or without domain and port."""
        exporter.set(ENERGY, 1000, UUID="GPU-1", Hostname="node7.example.org")
        exporter.set(ENERGY, 1000, UUID="GPU-2", instance="node7:9400", Hostname="dcgm-exporter-x2x")
        exporter.set(ENERGY, 1000, UUID="GPU-3", Hostname="node70")
        found = meters(find(exporter, server=True))

        assert [m.device.uuid for m in found] == ["GPU-1", "GPU-2"]


class TestKepler:
    def test_zones(self, exporter: Exporter) -> None:
        """Packages and memory count by number, psys is the node, what is inside a package is left out."""
        for zone, path in (
            ("package", ":0"),
            ("package", ":1"),
            ("dram", ":0:1"),
            ("core", ":0:0"),
            ("psys", ":2"),
        ):
            exporter.set(
                KEPLER, 100.0, zone=zone, path=f"/sys/class/powercap/intel-rapl{path}", node_name="node7"
            )
        devices = {m.device.id: m.device for m in find(exporter, "kepler").meters}

        assert sorted(devices) == [
            "prometheus:dram-0",
            "prometheus:package-0",
            "prometheus:package-1",
            "prometheus:psys-2",
        ]
        assert devices["prometheus:dram-0"].component is Component.MEMORY
        assert not devices["prometheus:psys-2"].counted
        assert devices["prometheus:package-1"].uuid == f"{host_key()}:package-1"

    def test_one_package_by_two_roads(self, exporter: Exporter) -> None:
        """A package that is shown by the mmio road, too, is counted once."""
        for road in ("intel-rapl", "intel-rapl-mmio"):
            exporter.set(KEPLER, 100.0, zone="package", path=f"/sys/class/powercap/{road}:0")
        (meter,) = meters(find(exporter, "kepler"))
        for road in ("intel-rapl", "intel-rapl-mmio"):
            exporter.set(KEPLER, 130.0, zone="package", path=f"/sys/class/powercap/{road}:0")
        meter.refresh()

        assert meter.read().energy_j == 30.0

    def test_names_before_0_10(self, exporter: Exporter) -> None:
        """Before 0.10 idle and dynamic joules of a package are two series: they add up."""
        name = "kepler_node_package_joules_total"
        for mode in ("idle", "dynamic"):
            exporter.set(name, 100.0, mode=mode, package="0", source="rapl-sysfs")
        (meter,) = meters(find(exporter, "kepler"))
        exporter.set(name, 107.0, mode="idle", package="0", source="rapl-sysfs")
        exporter.set(name, 105.0, mode="dynamic", package="0", source="rapl-sysfs")
        meter.refresh()

        assert meter.read().energy_j == 12.0
        assert meter.device.basis is Basis.MEASURED

    def test_a_regression_is_no_meter(self, exporter: Exporter) -> None:
        """What Kepler computed by a model is modelled here, too."""
        exporter.set(
            "kepler_node_package_joules_total", 1.0, mode="idle", package="0", source="trained_power_model"
        )
        (meter,) = meters(find(exporter, "kepler"))

        assert meter.device.basis is meter.read().basis is Basis.MODELLED
        assert meter.device.error_high == 0.5


class TestOwnQuery:
    def test_a_node_by_default(self, exporter: Exporter) -> None:
        """Joules of something unknown are shown as the node and never added."""
        exporter.set("rack_joules_total", 5.0, socket="3")
        exporter.set("rack_joules_total", 5.0, socket="4")
        for server in (False, True):
            (meter,) = meters(find(exporter, 'rack_joules_total{socket="3"}', server=server))

            assert (meter.device.component, meter.device.boundary) == (Component.NODE, Boundary.NODE)
            assert "not known what it covers" in meter.device.note

    def test_a_component_that_is_told(self, exporter: Exporter) -> None:
        """Who knows what the query covers says so, and it counts."""
        exporter.set("tpu_joules_total", 5.0)
        found = find_prometheus(
            exporter.metrics_url, "tpu_joules_total", component=Component.GPU, threaded=False
        )

        assert found.meters[0].device.counted

    def test_promql_needs_a_server(self, exporter: Exporter) -> None:
        """An exporter cannot compute: an expression is refused in a line that says whom to ask."""
        (missing,) = find(exporter, "sum(rack_joules_total)").missing

        assert "ask a Prometheus server" in missing.why
        assert exporter.requests == []

    def test_what_the_server_says(self, exporter: Exporter) -> None:
        """A query that the server refuses is missing in the server's words."""
        (missing,) = find(exporter, "sum(", server=True).missing

        assert "Prometheus says: the double only knows selectors, not sum(" in missing.why


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ("500", "answers 500"),
            ("cut", "cut off"),
            ("torn", "cut off"),
            ("html", "tells nothing"),
            ("redirect", "answers 302"),
        ],
    )
    def test_from_the_start(self, exporter: Exporter, fault: str, words: str) -> None:
        """An exporter that fails when it is first asked is missing, and the line says how."""
        exporter.set(ENERGY, 1000, **BOARD)
        exporter.fault = fault
        (missing,) = find(exporter).missing

        assert missing.source == "prometheus"
        assert words in missing.why
        assert "curl http://127.0.0.1:" in missing.remedy

    @pytest.mark.parametrize("fault", ["500", "cut", "torn", "html"])
    def test_a_server_in_between(self, exporter: Exporter, fault: str) -> None:
        """A server's broken answer never moves a total, and the value before stays with its age until stale."""
        clock = FakeClock()
        exporter.set(ENERGY, 1000, **BOARD)
        (meter,) = meters(find(exporter, clock=clock, server=True))
        exporter.set(ENERGY, 9000, **BOARD)
        exporter.fault = fault
        clock.sleep(2)
        meter.refresh()
        fresh = meter.read()
        clock.sleep(4)
        stale = meter.read()
        exporter.fault = ""
        meter.refresh()

        assert fresh.energy_j == 0
        assert fresh.why.endswith("the value is 2.0 s old")
        assert stale.energy_j is None
        assert "last answered 6 s ago" in stale.why
        assert (meter.read().energy_j, meter.read().why) == (8.0, "")

    def test_one_that_never_answers(self, exporter: Exporter) -> None:
        """Whoever looks for devices waits no longer than it was told, and nothing waits afterwards."""
        exporter.fault = "silent"
        (missing,) = find_prometheus(exporter.metrics_url, timeout_s=0.05).missing

        assert "no answer" in missing.why or "timed out" in missing.why

    def test_nobody_there(self) -> None:
        """A port where nobody listens is missing in one line."""
        (missing,) = find_prometheus("http://127.0.0.1:9/metrics", threaded=False).missing

        assert "does not answer" in missing.why
        assert "\n" not in missing.why

    @pytest.mark.parametrize(
        "url", ["file:///etc/passwd", "node7:9400", "ftp://node7/metrics", "http://:x/metrics", ""]
    )
    def test_what_is_no_address(self, url: str) -> None:
        """Only http and https are asked; anything else is missing and shows an example."""
        (missing,) = find_prometheus(url).missing

        assert repr(url) in missing.why
        assert "http://host:9400/metrics" in missing.why


class TestPoliteness:
    def test_one_question_for_all(self, exporter: Exporter) -> None:
        """However many devices and reads, the source is asked by its own thread only."""
        for board in range(8):
            exporter.set(ENERGY, 1000, UUID=f"GPU-{board}")
        found = find_prometheus(exporter.metrics_url, interval_s=3600, timeout_s=5)
        for _ in range(50):
            for meter in found.meters:
                assert meter.read().energy_j == 0
        for meter in found.meters:
            meter.close()

        assert exporter.requests == ["/metrics"]

    def test_a_password_is_sent_and_never_shown(self, exporter: Exporter) -> None:
        """A user and password in the URL become a header; no device, reason or remedy shows them."""
        exporter.set(ENERGY, 1000, **BOARD)
        url = exporter.metrics_url.replace("http://", "http://joe:s3cret@")
        found = find_prometheus(url, threaded=False)
        exporter.fault = "500"
        broken = find_prometheus(url, threaded=False)

        assert exporter.headers["Authorization"] == "Basic " + base64.b64encode(b"joe:s3cret").decode()
        assert "s3cret" not in f"{found.meters[0].device} {broken.missing}"

    def test_no_proxy_for_this_machine(self, exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy in the environment is not asked for an address on this machine."""
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        exporter.set(ENERGY, 1000, **BOARD)

        assert len(find(exporter).meters) == 1


class TestParsing:
    def test_labels(self) -> None:
        """Quoted commas, braces and escapes in labels, exponents and times after the value are read right."""
        text = (
            "# TYPE m counter\n"
            'm{a="x,y}",b="say \\"hi\\" \\\\ \\n"} 1.5e+06 1700000000000\n'
            "m_other 3\nm 2\nm nonsense\nm NaN\n"
        )
        samples = parse_exposition(text, ["m"])

        assert [(s.labels, s.value) for s in samples] == [
            ({"a": "x,y}", "b": 'say "hi" \\ \n'}, 1.5e6),
            ({}, 2.0),
        ]

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "{}", '{"status": "success"}', '{"status": "success", "data": {"resultType": "matrix", "result": [{}]}}'],
    )  # fmt: skip
    def test_answers_of_something_else(self, text: str) -> None:
        """What is not a Prometheus server's answer is refused in one line."""
        with pytest.raises(MeterError, match="is the URL right"):
            parse_answer(text)

    def test_scalars_and_missing_numbers(self) -> None:
        """A scalar is one sample; NaN and infinity are no values."""
        scalar = '{"status": "success", "data": {"resultType": "scalar", "result": [1, "42"]}}'
        vector = '{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "NaN"]}]}}'

        assert [s.value for s in parse_answer(scalar)] == [42.0]
        assert parse_answer(vector) == []

    def test_this_host_by_default(self, exporter: Exporter) -> None:
        """Without a host told, this machine's name is what is looked for."""
        exporter.set(ENERGY, 1000, UUID="GPU-1", Hostname=os.uname().nodename)

        assert len(find_prometheus(exporter.server_url, threaded=False).meters) == 1
