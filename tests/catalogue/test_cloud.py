"""The cloud's metadata service: three providers told apart, every fault answered with a reason and a way on."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from joulewise.catalogue.cloud import CloudAnswer, ask_cloud, metadata_opener, region_zone
from joulewise.catalogue.tables import read_facts
from joulewise.catalogue.zones import find_zone

TOKEN = "AQAAAEXAMPLE=="


class MetadataServer(ThreadingHTTPServer):
    """A loopback server and what it is to play."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Metadata)
        self.provider, self.region, self.fault = "aws", "eu-central-1", ""
        self.asked: list[object] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Metadata(BaseHTTPRequestHandler):
    """One provider's metadata service as documented, with faults to order (`server.provider`, `server.fault`)."""

    server: MetadataServer

    def do_PUT(self):
        if self.server.provider != "aws":
            return self.say(405, "")
        if self.path != "/latest/api/token" or "X-aws-ec2-metadata-token-ttl-seconds" not in self.headers:
            return self.say(400, "")
        if self.server.fault == "token refused":
            return self.say(403, "")
        if self.server.fault == "garbage":
            return self.say(200, "\x00\x01 not a token")
        return self.say(200, TOKEN)

    def do_GET(self):
        if self.server.fault == "redirect":
            return self.say(302, "", {"Location": "/elsewhere"})
        if self.server.fault == "garbage":
            return self.say(200, "<html>hello</html>")
        if self.server.fault == "bytes":
            return self.say(200, b"\xff\xfe\x00")
        if self.server.fault == "endless":
            return self.say(200, "x" * 300_000)
        return getattr(self, f"get_{self.server.provider}")()

    def get_aws(self):
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            return self.say(401, "")
        answers = {
            "/latest/meta-data/placement/region": self.server.region,
            "/latest/meta-data/instance-type": "p4d.24xlarge",
        }
        return self.answer(answers.get(self.path))

    def get_gcp(self):
        if self.headers.get("Metadata-Flavor") != "Google":
            return self.say(403, "")
        answers = {
            "/computeMetadata/v1/instance/zone": f"projects/42/zones/{self.server.region}-b",
            "/computeMetadata/v1/instance/machine-type": "projects/42/machineTypes/a2-highgpu-1g",
        }
        return self.answer(answers.get(self.path), {"Metadata-Flavor": "Google"})

    def get_azure(self):
        if self.headers.get("Metadata") != "true" or "api-version=" not in self.path:
            return self.say(400, '{"error": "Bad request"}')
        compute = {"location": self.server.region, "vmSize": "Standard_ND96asr_v4", "tags": "Kühlung"}
        return self.answer(
            json.dumps(compute, ensure_ascii=False)
            if self.path.startswith("/metadata/instance/compute?")
            else None
        )

    def get_none(self):
        return self.say(404, "")

    def answer(self, text, headers=None):
        return self.say(404, "") if text is None else self.say(200, text, headers)

    def say(self, code, text, headers=None):
        body = text if isinstance(text, bytes) else text.encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        self.server.asked.append(args)


@pytest.fixture
def service() -> Iterator[MetadataServer]:
    server = MetadataServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("provider", "region", "answer"),
    [
        ("aws", "eu-central-1", CloudAnswer("aws", "eu-central-1", "DE", "p4d.24xlarge")),
        ("gcp", "us-central1", CloudAnswer("gcp", "us-central1", "US-IA", "a2-highgpu-1g")),
        ("azure", "swedencentral", CloudAnswer("azure", "swedencentral", "SE", "Standard_ND96asr_v4")),
    ],
)
def test_providers(service, provider, region, answer):
    """Each provider's service tells region, zone and instance type."""
    service.provider, service.region = provider, region

    assert ask_cloud(service.url) == answer


def test_an_unlisted_region(service):
    """A region newer than the catalogue is told by name, without a zone, and with what to do."""
    service.region = "eu-moon-1"

    answer = ask_cloud(service.url)

    assert (answer.provider, answer.region, answer.zone) == ("aws", "eu-moon-1", "")
    assert "'eu-moon-1' is not in the catalogue; name the zone yourself" in answer.why


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("token refused", "aws: HTTP 403"),
        ("garbage", "aws: the token is not one"),
        ("redirect", "aws: HTTP 302"),
        ("bytes", "aws: the answer is not text"),
        ("endless", "aws: the answer is too long"),
    ],
)
def test_faults(service, fault, why):
    """A service that refuses, redirects or answers nonsense gives no zone, and the reason names each provider."""
    service.fault = fault

    answer = ask_cloud(service.url)

    assert answer.provider == answer.zone == ""
    assert why in answer.why
    assert "gcp: " in answer.why
    assert "azure: " in answer.why
    assert answer.why.endswith("--zone DE")


def test_a_service_that_knows_nothing(service):
    """A server that answers 404 to everything is no cloud."""
    service.provider = "none"

    assert "aws: HTTP 405; gcp: HTTP 404; azure: HTTP 404" in ask_cloud(service.url).why


def test_nobody_answers():
    """A refused connection ends the search at once: the other providers use the same address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        assert "no cloud metadata service" in ask_cloud(url).why


def test_a_service_that_never_answers():
    """A server that accepts and stays silent is given up after the time limit, once."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        answer = ask_cloud(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.05)

    assert "timed out" in answer.why


def test_a_service_that_speaks_no_http():
    """A server of another protocol is no cloud."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def speak():
            for _ in range(3):
                connection, _ = other.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        answer = ask_cloud(f"http://127.0.0.1:{other.getsockname()[1]}")
        thread.join()

    assert "aws: no HTTP answer" in answer.why


def test_no_proxy_is_used(service, monkeypatch):
    """The link-local address is asked directly, whatever proxy the environment names."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert ask_cloud(service.url, opener=metadata_opener()).zone == "DE"


def test_the_opener_can_be_given(service):
    """A given opener is the one that asks."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    assert ask_cloud(service.url, opener=opener).zone == "DE"
    assert service.asked


def test_every_region_has_a_zone():
    """Every region of the table lies in a zone that the catalogue knows, and is listed once."""
    rows = list(read_facts("cloud_regions.csv"))

    assert len({(row["provider"], row["region"]) for row in rows}) == len(rows) > 130
    for row in rows:
        assert find_zone(row["zone"]).code == row["zone"] == region_zone(row["provider"], row["region"])
    assert region_zone("aws", "nowhere") == ""
