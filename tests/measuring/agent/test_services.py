"""Requests of servers: counted in the process that answers them, whatever it logs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.measuring.agent.running import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the agent is tested on Linux")

ASK = """
import http.client, threading
def ask(port, count):
    for _ in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/"); assert connection.getresponse().read() == b"answer"; connection.close()
"""
PLAIN = (
    ASK
    + """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"answer")
    def log_message(self, *args): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
client = threading.Thread(target=lambda: (ask(server.server_port, 7), server.shutdown()))
client.start(); server.serve_forever(); client.join()
"""
)
UVICORN = (
    ASK
    + """
import socket, uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
app = FastAPI()
@app.get("/")
def answer(): return PlainTextResponse("answer")
sock = socket.socket(); sock.bind(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, http="PROTOCOL"))
def client():
    while not server.started: pass
    ask(sock.getsockname()[1], 7); server.should_exit = True
thread = threading.Thread(target=client)
thread.start(); server.run(sockets=[sock]); thread.join()
"""
)


def test_plain_server(tmp_path: Path):
    """The standard library's server, which logs nothing here."""
    ran = run(PLAIN, tmp_path)

    assert (ran.code, ran.err) == (0, "")
    assert ran.view.requests == 7


@pytest.mark.slow
@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_uvicorn(http: str, tmp_path: Path):
    """A FastAPI program on uvicorn without its access log, with both of its protocols."""
    for name in ("fastapi", "uvicorn", http):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed here")
    ran = run(UVICORN.replace("PROTOCOL", http), tmp_path)

    assert ran.code == 0, ran.err
    assert ran.view.requests == 7
