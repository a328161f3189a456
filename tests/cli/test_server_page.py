"""`diagnose --requests`: a file, a URL that is asked once, or the ports of a run that lasts. Real servers on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from joulewise.cli.server_page import listening_ports, page, requests_told
from joulewise.vocabulary.errors import UsageError

PAGE = 'vllm:request_success_total{finished_reason="stop"} 17.0\n'


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Serve a metrics page at /metrics, and nothing elsewhere; yields the server's URL and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/metrics" else 302 if self.path == "/moved" else 404)
            self.send_header("Location", "/metrics")
            self.end_headers()
            self.wfile.write(PAGE.encode() if self.path == "/metrics" else b"")

        def log_message(self, *_: object) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}", asked
    http.shutdown()
    http.server_close()


def test_url(server):
    """A URL is asked once; without a path its /metrics is."""
    url, asked = server

    assert requests_told(url, [], "run") == 17
    assert requests_told(f"{url}/metrics", [], "run") == 17
    assert asked == ["/metrics", "/metrics"]


def test_ports_of_processes(server):
    """`auto` finds the ports on which the run's processes listen, and asks each for its metrics page."""
    url, _ = server

    assert int(url.rpartition(":")[2]) in listening_ports([os.getpid()])
    assert listening_ports([2**22 + 1]) == []


def test_auto_asks_those_ports(server, monkeypatch):
    """A port that does not answer is passed over."""
    url, _ = server
    ports = [1, int(url.rpartition(":")[2])]
    monkeypatch.setattr("joulewise.cli.server_page.listening_ports", lambda _: ports)

    assert requests_told("auto", [os.getpid()], "run") == 17


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("http://127.0.0.1:1/metrics", "cannot ask http://127.0.0.1:1/metrics: "),
        ("http://", "is no URL of a server"),
        ("http://127.0.0.1:99999", "is no URL of a server"),
        ("http://user:word@127.0.0.1:1", "is no URL of a server"),
        ("nowhere.log", "cannot read nowhere.log"),
        ("auto", "has ended"),
    ],
)
def test_wrong(given: str, says: str):
    """What cannot be asked or read is one line."""
    with pytest.raises(UsageError, match=says) as error:
        requests_told(given, [], "run-1")
    assert "\n" not in str(error.value)


def test_no_page(server):
    """A path without a page says what the server answered; a redirect is not followed."""
    url, asked = server
    with pytest.raises(UsageError, match="answers 404"):
        page(f"{url}/other")
    with pytest.raises(UsageError, match="answers 302"):
        page(f"{url}/moved")
    assert asked == ["/other", "/moved"]


SERVER = """
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"http_requests_total 2\\n")
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", 0), Handler).serve_forever()
"""


def test_of_a_run_that_lasts(home, joulewise):
    """`--requests auto` asks the server of a recording that still grows; after its end it says so."""
    (home / "server.py").write_text(SERVER)
    run = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "joulewise",
            "run",
            "--quiet",
            "--name",
            "server",
            "--",
            sys.executable,
            "server.py",
        ],
        cwd=home,
    )
    try:
        deadline = time.monotonic() + 60
        done = joulewise("diagnose", "server", "--requests", "auto")
        while done.returncode and time.monotonic() < deadline:
            time.sleep(0.3)
            done = joulewise("diagnose", "server", "--requests", "auto")
    finally:
        run.send_signal(signal.SIGTERM)
        run.wait(30)
    assert done.returncode == 0, done.stderr

    after = joulewise("diagnose", "server", "--requests", "auto")
    assert after.returncode == 2
    assert "has ended" in after.stderr
