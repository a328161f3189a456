"""A Redis of one's own."""

from __future__ import annotations

import socket

import pytest

from joulewise.testing import redis as private
from joulewise.testing.redis import private_redis, redis_binary


@pytest.mark.service
def test_starts_and_ends():
    """It answers on loopback while the block lasts, and is gone afterwards."""
    if redis_binary() is None:
        pytest.skip("no Redis server is installed (sh scripts/services.sh installs it on Debian)")
    with private_redis() as url:
        host, port = url.removeprefix("redis://").removesuffix("/0").split(":")
        with socket.create_connection((host, int(port)), 5) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(7) == b"+PONG\r\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 5)


def test_not_installed(monkeypatch):
    """Where there is no server it says which package has it."""
    monkeypatch.setattr(private, "redis_binary", lambda: None)
    with pytest.raises(FileNotFoundError, match="apt-get install redis-server"), private_redis():
        pass
