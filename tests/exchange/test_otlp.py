"""OTLP: what we send is read by the official schema, and arrives at a receiver."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from joulewise.exchange import otlp
from joulewise.exchange.sending import request
from joulewise.vocabulary.errors import UsageError
from tests.exchange.test_forms import run

service = pytest.importorskip(
    "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2", reason="needs opentelemetry-proto"
)


def decoded(text: str):
    from google.protobuf import json_format

    return json_format.Parse(text, service.ExportMetricsServiceRequest(), ignore_unknown_fields=False)


def test_official_schema():
    """The request is one by the official schema; energies are monotonic sums in joules with host and device."""
    account = run()
    (resource,) = decoded(otlp.write([account])).resource_metrics
    about = {a.key: a.value.string_value for a in resource.resource.attributes}
    metrics = {m.name: m for m in resource.scope_metrics[0].metrics}

    assert about["host.name"] == "host"
    assert about["joulewise.run_id"] == account.recording.run_id
    energy = metrics["hw.energy"]
    assert (energy.unit, energy.sum.is_monotonic, energy.sum.aggregation_temporality) == ("J", True, 2)
    values = [p.as_double for p in energy.sum.data_points]
    assert values == [6000.0, 10000.0]
    point = energy.sum.data_points[-1]
    assert (point.time_unix_nano - point.start_time_unix_nano) / 1e9 == 100
    assert {a.key: a.value.string_value for a in point.attributes}["hw.type"] == "cpu"
    ends = {
        next(a.value.string_value for a in p.attributes if a.key == "joulewise.end"): p.as_double
        for p in metrics["joulewise.work.energy"].sum.data_points
        if any(a.key == "joulewise.end" for a in p.attributes)
    }
    assert ends["low"] < ends["value"] == pytest.approx(account.footprint.device_j.value)
    assert metrics["joulewise.work.co2e"].unit == "g"


class _Receiver(BaseHTTPRequestHandler):
    """An OTLP receiver over HTTP that decodes what it gets."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = 200
        try:
            self.server.got.append((self.path, decoded(body.decode())))
        except Exception:
            status = 400
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_args):
        pass


@pytest.fixture
def receiver():
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_arrives(receiver, joulewise, recorded):
    """The verb sends a recording to a receiver, which reads it by the official schema."""
    recorded("one", "sum(range(30_000_000))")
    done = joulewise("export", "one", "--as", "otlp", "--to", f"http://127.0.0.1:{receiver.server_port}")

    assert done.returncode == 0, done.stderr
    ((path, got),) = receiver.got
    assert path == "/v1/metrics"
    assert "hw.energy" in [m.name for m in got.resource_metrics[0].scope_metrics[0].metrics]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/", "cannot be reached"),
        ("file:///etc/passwd", "is no address"),
        ("localhost", "is no address"),
    ],
)
def test_not_sent(url, said):
    """What cannot be reached or is no address is one clear line."""
    with pytest.raises(UsageError, match=said):
        request("POST", url, content=b"{}")


def test_refused(receiver):
    """A service's refusal is told with its status."""
    with pytest.raises(UsageError, match="refused it: 400"):
        request("POST", f"http://127.0.0.1:{receiver.server_port}/v1/metrics", content=b"no json")
