"""Prometheus: the page is one by its own tool, and a real Prometheus scrapes it and answers the dashboard's queries."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from joulewise.exchange import prometheus
from joulewise.ledger.summary import Summary
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.recording import EndState
from tests.services import missing

EXAMPLES = Path(__file__).parents[2] / "examples" / "prometheus"
FIGURE = Figure(100.0, 90.0, 120.0, Basis.MEASURED)
RUN = Summary(
    "20260301T120000-digits-abcdef", "digits", "host", "run", datetime(2026, 3, 1, 12, tzinfo=UTC), 10.0, EndState.RUNNING,
    energy_j=FIGURE, idle_j=FIGURE, machine_j=FIGURE, components_j={"cpu": 80.0, "gpu": None},
)  # fmt: skip
HOSTILE = replace(RUN, name='x"} 1\n# evil\\', energy_j=None, components_j=None)


def test_samples():
    """Known components are counters with the run's labels; unknown ones are left out, not zero."""
    text = prometheus.write([RUN], {"finished": 3})
    assert (
        'joulewise_work_energy_joules_total{run="20260301T120000-digits-abcdef",name="digits",host="host",component="cpu"} 80.0'
        in text
    )
    assert 'component="gpu"' not in text
    assert 'joulewise_runs{state="finished"} 3.0' in text


def test_hostile_labels():
    """A name with quotes and line breaks stays within its label."""
    lines = prometheus.write([HOSTILE], {}).splitlines()
    assert all(line.startswith(("# HELP joulewise_", "# TYPE joulewise_", "joulewise_")) for line in lines)


def needed(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        missing(f"{tool} is not installed (sh scripts/services.sh installs it on Debian)")
    return str(path)


@pytest.mark.service
def test_by_its_own_tool(tmp_path):
    """Promtool finds no fault in the page, the rules and the configuration."""
    promtool = needed("promtool")
    page = prometheus.write([RUN, HOSTILE], {"finished": 3})
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    for kind, name in (("rules", "rules.yml"), ("config", "prometheus.yml")):
        done = subprocess.run(
            [promtool, "check", kind, EXAMPLES / name], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.service
@pytest.mark.timeout(240)
class TestRealPrometheus:
    @pytest.fixture
    def asked(self, joulewise, home: Path, tmp_path: Path) -> Iterator[str]:
        """Record a program, serve the ledger, and have a real Prometheus scrape it."""
        pytest.importorskip("starlette", reason="the dashboard needs the extra web")
        path = needed("prometheus")
        web, port = free_port(), free_port()
        shutil.copy(EXAMPLES / "rules.yml", tmp_path)
        config = (EXAMPLES / "prometheus.yml").read_text().replace("localhost:8484", f"127.0.0.1:{web}")
        config = "global: {evaluation_interval: 1s}\n" + config.replace(
            "scrape_interval: 5s", "scrape_interval: 1s"
        )
        (tmp_path / "prometheus.yml").write_text(config)
        commands = [
            [sys.executable, "-m", "joulewise", "web", "--port", str(web)],
            [sys.executable, "-m", "joulewise", "run", "--quiet", "--name", "busy", "--", sys.executable, "-c",
             "import time\nend = time.time() + 60\nwhile time.time() < end: sum(range(10**6))"],
            [path, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
        ]  # fmt: skip
        running = [
            subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for c in commands
        ]
        yield f"http://127.0.0.1:{port}"
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)

    def test_scraped(self, asked):
        """Joules are scraped as counters, the recording rules make watts of them, and every panel has an answer."""
        expressions = [
            t["expr"]
            for p in json.loads((EXAMPLES / "grafana.json").read_text())["panels"]
            for t in p["targets"]
        ]
        end = time.monotonic() + 150
        waiting = [
            *expressions,
            'rate(joulewise_work_energy_joules_total{name="busy",component="cpu"}[30s]) > 0',
        ]
        while waiting and time.monotonic() < end:
            waiting = [e for e in waiting if not self.answer(asked, e)]
            time.sleep(1)
        assert waiting == []

    def answer(self, address: str, expression: str) -> list[object]:
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"{address}/api/v1/query?{query}", timeout=5) as told:
                found: list[object] = json.load(told)["data"]["result"]
                return found
        except (urllib.error.URLError, OSError):
            return []
