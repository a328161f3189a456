"""A Redis of one's own for tests: a fresh server on loopback, in memory, gone afterwards."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_READY_WITHIN_S = 20.0


def redis_binary() -> str | None:
    """Return the server's path; None if none is installed."""
    return shutil.which("redis-server")


@contextmanager
def private_redis(port: int | None = None) -> Iterator[str]:
    """Start a server on loopback (on a free port) and yield its URL; stop it afterwards. Raises FileNotFoundError if none is installed."""
    binary = redis_binary()
    if binary is None:
        raise FileNotFoundError("no Redis server is installed; on Debian: apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="joulewise-redis-") as folder:
        port = port or _free_port()
        command = [
            binary,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            folder,
        ]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(port, server)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(5)
            server.kill()
            server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + _READY_WITHIN_S
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as client:
            client.sendall(b"PING\r\n")
            if client.recv(7) == b"+PONG\r\n":
                return
        if server.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"Redis did not start on port {port}")
        time.sleep(0.02)
