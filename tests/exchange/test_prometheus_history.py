"""A Prometheus' past becomes recordings, one a machine and stretch, and nothing of it twice."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from joulewise.exchange.prometheus_history import question, record, samples_of, windows, without
from joulewise.measuring.meters.prometheus import Sample
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component
from tests.services import missing

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def watts(values: dict[int, float], **labels: str) -> dict[float, list[Sample]]:
    return {START.timestamp() + t: [Sample("power", labels, w)] for t, w in values.items()}


class TestRecord:
    def joules(self, samples, asked=None, step_s=60.0) -> list[float | None]:
        made = record("n1", samples, asked or question("power"), "http://p", (START, START + HOUR), step_s)
        assert made is not None
        return [j[0] for _, j in made.series]

    def test_watts_are_integrated(self):
        """Watts are integrated between samples; over a gap of many steps nothing is made up."""
        assert self.joules(watts({0: 100.0, 60: 200.0, 120: 200.0})) == [0.0, 9000.0, 21000.0]
        assert self.joules(watts({0: 100.0, 60: 100.0, 1860: 100.0, 1920: 100.0})) == [0, 6000, 6000, 12000]

    def test_counters_are_added_up(self):
        """A counter that begins anew goes on from where it stood; a gap in it loses nothing."""
        counted = question("joules", "J", Component.CPU)

        assert self.joules(watts({0: 500.0, 60: 1500.0, 120: 200.0, 1800: 700.0}), counted) == [0.0, 1000.0, 1200.0, 1700.0]  # fmt: skip

    def test_presets(self):
        """DCGM's boards are told by their counters, each once; the whole node's sensor has the node's boundary."""
        samples = {
            START.timestamp() + t: [
                Sample("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", {"UUID": "GPU-1", "GPU_I_ID": i}, 1000.0 * t)
                for i in "12"
            ]
            for t in (0, 60)
        }
        made = record("n1", samples, question("dcgm"), "http://p", (START, START + HOUR), 60.0)
        node = record("n1", watts({0: 1.0, 60: 1.0}), question("ipmi"), "http://p", (START, START + HOUR), 60.0)  # fmt: skip

        assert [d.component for d in made.devices] == [Component.GPU]
        assert made.series[-1][1] == (60.0,)
        assert (node.devices[0].component, node.devices[0].boundary) == (Component.OTHER, Boundary.NODE)
        assert node.devices[0].basis is Basis.MEASURED
        assert record("n1", watts({0: 1.0}), question("ipmi"), "", (START, START + HOUR), 60.0) is None

    def test_stretches(self):
        """What is covered is taken out of a stretch; a long one is asked for in pieces that meet."""
        assert without(START, START + 4 * HOUR, [(START + HOUR, START + 2 * HOUR)]) == [
            (START, START + HOUR),
            (START + 2 * HOUR, START + 4 * HOUR),
        ]
        assert without(START, START + HOUR, [(START - HOUR, START + 9 * HOUR)]) == []
        pieces = list(windows(START, START + timedelta(days=30), 60.0))
        assert [a for a, _ in pieces[1:]] == [b for _, b in pieces[:-1]]
        assert (pieces[0][0], pieces[-1][1]) == (START, START + timedelta(days=30))

    def test_no_answer(self):
        """What is no answer to such a question is one line; an unknown unit is named."""
        for answer in (None, [], {"status": "success", "data": {"resultType": "matrix"}}):
            with pytest.raises(UsageError, match="is not a Prometheus server's"):
                samples_of(answer)
        with pytest.raises(UsageError, match="Prometheus says: bad query"):
            samples_of({"status": "error", "error": "bad\nquery"})
        with pytest.raises(UsageError, match="must give a series over time"):
            samples_of({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}})
        with pytest.raises(UnknownName, match="unit"):
            question("power", "horses")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[tuple[str, datetime]]:
    """Give a real Prometheus that holds six hours of two nodes: 250 W and 300 W, and a counter that began anew."""
    tools = [shutil.which(name) for name in ("prometheus", "promtool")]
    if None in tools:
        missing("prometheus and promtool are not installed (sh scripts/services.sh installs them on Debian)")  # fmt: skip
    folder: Path = tmp_path_factory.mktemp("prometheus")
    start = datetime.fromtimestamp((time.time() - 30 * 3600) // 3600 * 3600, UTC)
    lines = ["# TYPE ipmi_dcmi_power_consumption_watts gauge"]
    seconds = range(0, 6 * 3600 + 1, 30)
    for node, power in (("n1", 250), ("n2", 300)):
        lines += [f'ipmi_dcmi_power_consumption_watts{{instance="{node}:9290"}} {power} {start.timestamp() + s:.0f}' for s in seconds]  # fmt: skip
    lines.append("# TYPE cpu_joules counter")
    lines += [f'cpu_joules_total{{instance="n1:9100"}} {40 * (s if s < 7200 else s - 7200)} {start.timestamp() + s:.0f}' for s in seconds]  # fmt: skip
    (folder / "past.txt").write_text("\n".join([*lines, "# EOF\n"]))
    data = folder / "data"
    subprocess.run([str(tools[1]), "tsdb", "create-blocks-from", "openmetrics", folder / "past.txt", data], check=True, capture_output=True)  # fmt: skip
    (folder / "prometheus.yml").write_text("")
    port = free_port()
    process = subprocess.Popen(
        [str(tools[0]), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={data}",
         f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=10d", "--log.level=error"],
    )  # fmt: skip
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        with suppress(urllib.error.URLError), urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready"):
            break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}", start
    process.terminate()
    process.wait(30)


@pytest.mark.service
@pytest.mark.timeout(240)
class TestRealPrometheus:
    def test_past(self, server, joulewise):
        """Joules are those of the series; again nothing is new, and of a longer time only what is new."""
        pytest.importorskip("httpx", reason="asking needs the extra online")
        url, start = server
        asked = ("import", "prometheus", url, "--query", "ipmi", "--step", "30s", "--json")

        def until(hours: int) -> dict[str, object]:
            done = joulewise(*asked, "--from", start.isoformat(), "--to", (start + hours * HOUR).isoformat())
            assert done.returncode == 0, done.stderr
            told: dict[str, object] = json.loads(done.stdout)
            return told

        first, again, longer = until(2), until(2), until(6)
        assert (first["machines"], len(first["new"]), len(again["new"]), len(longer["new"])) == (["n1:9290", "n2:9290"], 2, 0, 2)  # type: ignore[arg-type]  # lists  # fmt: skip
        runs = json.loads(joulewise("runs", "--json").stdout)["runs"]
        for node, power in (("n1", 250.0), ("n2", 300.0)):
            found = [r["energy_j"] for r in runs if r["name"] == node]
            assert sum(f["value"] for f in found) == pytest.approx(power * 6 * 3600)
            assert found[0]["basis"] == "measured"
            assert found[0]["low"] == pytest.approx(0.9 * found[0]["value"])

    def test_counter(self, server, joulewise):
        """A counter of one's own, in joules: its restart loses nothing but what fell into it."""
        url, start = server
        done = joulewise(
            "import", "prometheus", url, "--query", "cpu_joules_total", "--unit", "J", "--component", "cpu", "--step", "30s",
            "--from", start.isoformat(), "--to", (start + 6 * HOUR).isoformat(),
        )  # fmt: skip
        assert done.stdout == "1 recordings made of 1 machine\n", done.stderr
        (run,) = json.loads(joulewise("runs", "--json").stdout)["runs"]

        assert run["components_j"] == {"cpu": pytest.approx(40 * (6 * 3600 - 30))}

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("--query", "ipmi", "--from", "1d", "--to", "2d"), "must lie before"),
            (("--query", "ipmi", "--from", "soon"), "--from is 'soon'"),
            (("--query", "sum(", "--from", "1d"), "refused it: 400"),
            (("--query", "ipmi", "--from", "1d", "--step", "0.1s"), "at least 1s"),
        ],
    )
    def test_wrong_use(self, server, joulewise, options, said):
        """Wrong use is one line and exit code 2."""
        done = joulewise("import", "prometheus", server[0], *options)

        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert said in done.stderr

    def test_away(self, joulewise):
        """A server that is away is one line."""
        done = joulewise("import", "prometheus", "http://127.0.0.1:1", "--query", "ipmi", "--from", "1d")

        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "cannot be reached" in done.stderr
