"""OpenTelemetry observes what Prometheus reads."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from joulewise.serving.app import Limits, of_model
from joulewise.serving.energy import Rate
from joulewise.serving.onnx_model import OnnxModel
from joulewise.vocabulary.figures import Basis
from tests.cli.conftest import home
from tests.serving import models
from tests.serving.asking import ask, x

metrics = pytest.importorskip("opentelemetry.sdk.metrics")

from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402

from joulewise.serving.otel import export, observe  # noqa: E402

__all__ = ["home"]


def test_observe(tmp_path):
    """Each counter and gauge has its value at the moment the reader asks, with its labels."""
    service = of_model(OnnxModel(models.double(tmp_path)), Limits())
    reader = InMemoryMetricReader()
    provider = metrics.MeterProvider([reader])
    observe(service, provider.get_meter("test"))
    for _ in range(2):
        asyncio.run(ask(service, body=x((1, 2, 3))))

    told = {
        metric.name: {tuple(sorted(p.attributes.items())): p.value for p in metric.data.data_points}
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    }

    assert told["joulewise.serve.responses"] == {(("status", "200"),): 2}
    assert told["joulewise.serve.cache"][("model", "double"), ("result", "hit")] == 1
    assert told["joulewise.serve.rows"] == {(("model", "double"), ("variant", "double")): 1}
    provider.shutdown()


@pytest.fixture
def receiver(monkeypatch):
    """Return an OTLP receiver on the loopback, where the environment sends metrics to; it decodes by the official schema."""
    official = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    got: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in official.ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in resource.scope_metrics[0].metrics:
                    points = metric.sum.data_points or metric.gauge.data_points
                    got[metric.name] = {
                        tuple(sorted((a.key, a.value.string_value) for a in p.attributes)): p.as_double
                        or p.as_int
                        for p in points
                    }
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield got
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_export(tmp_path, receiver):
    """What is exported by OTLP arrives at a receiver that reads it by the official schema, the last values at the end."""
    service = of_model(
        OnnxModel(models.double(tmp_path)), Limits(), lambda: Rate(15.0, 0.002, Basis.MODELLED)
    )
    end = export(service)
    for _ in range(3):
        asyncio.run(ask(service, body=x((1, 2, 3))))
    end()

    assert receiver["joulewise.serve.responses"] == {(("status", "200"),): 3}
    assert receiver["joulewise.serve.cache"][("model", "double"), ("result", "hit")] == 2
    assert receiver["joulewise.serve.joules_per_cpu_second"] == {(): 15.0}
    assert receiver["joulewise.serve.joules"][()] > 0


@pytest.mark.slow
def test_the_verb_exports(home, receiver):
    """`joulewise serve --otel` sends what it answered, as the environment says."""
    models.double(home)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "joulewise", "serve", "double.onnx", "--port", str(port), "--otel"]
    with subprocess.Popen(
        command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        for _ in range(600):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
                connection.request("POST", "/predict", json.dumps(x((1, 2, 3))))
                assert connection.getresponse().read() == b'{"outputs":{"y":[[2.0,4.0,6.0]]}}'
                connection.close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        server.terminate()
        server.wait(40)

    assert receiver["joulewise.serve.responses"] == {(("status", "200"),): 1}
