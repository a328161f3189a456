"""Where to listen: an address of our own, or sockets that systemd or our own parent hands over."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from contextlib import ExitStack

from joulewise.vocabulary.errors import UsageError

_FIRST_FD = 3  # of those that are handed over


def check_host(host: str, api_key: str) -> None:
    """Refuse an address that others can reach, unless there is a key. Raises UsageError."""
    if not api_key and not is_loopback(host):
        raise UsageError(
            f"--host is {host}, which others can reach: set JOULEWISE_API_KEY (or --api-key), or serve on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes any free one. Raises UsageError.

    The socket says that it is TCP: only then does asyncio switch off Nagle's algorithm, which would hold back the body of
    each answer until its header is acknowledged, some 40 ms later.
    """
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as unless_bound:
            opened = unless_bound.enter_context(
                socket.socket(family, kind, protocol)
            )  # asyncio knows TCP by it
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            unless_bound.pop_all()
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return opened


def activated() -> tuple[list[socket.socket], bool]:
    """Return the listening sockets that were handed over (none if nobody did), and whether our own parent did it, not systemd."""
    told = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    parent = os.environ.pop("JOULEWISE_PARENT", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if told[0] != str(os.getpid()) or not told[1].isdigit():
        return [], False
    if parent:
        _end_with(int(parent))
    opened = [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + int(told[1]))]
    for one in opened:
        one.set_inheritable(False)
    return opened, bool(parent)


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent has gone: nobody would wake it again."""
    import ctypes

    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        raise SystemExit(0)
