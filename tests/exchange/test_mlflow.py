"""MLflow: runs are tagged by the plugin and get what they cost, on a real server with SQLite."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from joulewise.exchange import mlflow
from joulewise.vocabulary.errors import UsageError
from tests.exchange.test_forms import run

PROGRAM = """
import mlflow
with mlflow.start_run(run_name="train"):
    mlflow.log_metric("loss", 0.5)
    sum(range(20_000_000))
"""


def test_measurements():
    """Figures are metrics with the ends of their interval; how each is known is a tag; power is a series over time."""
    account = run()
    metrics, tags = mlflow.measurements(account)
    by_name = {m["key"]: m["value"] for m in metrics}

    assert by_name["joulewise/energy_j"] == account.footprint.total_j.value
    assert (
        by_name["joulewise/energy_j_low"] < by_name["joulewise/energy_j"] < by_name["joulewise/energy_j_high"]
    )
    assert {"key": "joulewise.energy_j.basis", "value": account.footprint.total_j.basis.word} in tags
    assert len([m for m in metrics if m["key"] == "system/cpu_power_w"]) == 100


def test_the_plugin_knows_the_recording(monkeypatch):
    """The context provider tags only inside a recording."""
    provider = mlflow.RecordingContext()
    monkeypatch.delenv("JOULEWISE_RECORDING", raising=False)
    assert not provider.in_context()
    monkeypatch.setenv("JOULEWISE_RECORDING", "/somewhere/2026-01-01/20260101T000000-x-abcdef")
    assert provider.in_context()
    assert provider.tags() == {"joulewise.run_id": "20260101T000000-x-abcdef"}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """Start a real MLflow server on SQLite."""
    if find_spec("mlflow") is None:
        pytest.skip(
            "needs MLflow, which is large: make test-integration installs it in an environment of its own"
        )
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_server(server, joulewise, home: Path):
    """A run of a real client inside `joulewise run` is tagged by the plugin, and export gives it its joules."""
    done = joulewise("run", "--quiet", "--name", "tracked", "--", sys.executable, "-c", PROGRAM,
                     env={**os.environ, "MLFLOW_TRACKING_URI": server})  # fmt: skip
    assert done.returncode == 0, done.stderr
    sent = joulewise("export", "tracked", "--as", "mlflow", "--to", server)
    assert sent.returncode == 0, sent.stderr
    again = joulewise("export", "tracked", "--as", "mlflow", "--to", server)
    assert again.returncode == 0, again.stderr

    body = json.dumps({"experiment_ids": ["0"], "max_results": 10}).encode()
    asked = urllib.request.Request(
        f"{server}/api/2.0/mlflow/runs/search", body, {"content-type": "application/json"}
    )
    (found,) = json.load(urllib.request.urlopen(asked, timeout=30))["runs"]
    metrics = {m["key"]: m["value"] for m in found["data"]["metrics"]}
    tags = {t["key"]: t["value"] for t in found["data"]["tags"]}
    assert metrics["joulewise/energy_j"] > 0
    assert metrics["loss"] == 0.5
    assert "system/cpu_power_w" in metrics
    assert tags["joulewise.run_id"].split("-")[1] == "tracked"
    assert tags["joulewise.energy_j.basis"] in ("measured", "modelled", "assumed")


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_such_run(server):
    """A recording without a run there is one clear line."""
    with pytest.raises(UsageError, match=r"is tagged joulewise\.run_id"):
        mlflow.send([run()], server)
