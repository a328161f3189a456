"""The leaf that knows uvicorn: listen, serve until told to end, drain, and keep the recording's pace.

At SIGTERM or Ctrl-C the socket is closed, requests that are inside get their answers, kept connections are closed,
then the queue's thread ends. A second Ctrl-C ends at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol, final

from joulewise.catalogue.place import Place
from joulewise.measuring.recorder import Snapshot
from joulewise.measuring.watching import spent
from joulewise.serving.app import Service
from joulewise.serving.energy import Rate, pace, rate
from joulewise.vocabulary.errors import UsageError

_LOOK_EVERY_S = 10.0
_DRAIN_S = 30


class Records(Protocol):
    """The part of a recorder that serving needs."""

    interval_s: float

    @property
    def latest(self) -> Snapshot | None:
        """The recording as of its last tick."""

    def append(self, kind: str, /, **values: Any) -> None:
        """Add a line."""


@final
class RateOf:
    """The joules of a CPU-second as the recording shows them, worked out anew at most once a second."""

    def __init__(self, recorder: Records, place: Place, now_s: Callable[[], float] = time.monotonic) -> None:
        self._recorder = recorder
        self._place = place
        self._now_s = now_s
        self._looked_s = float("-inf")
        self._rate: Rate | None = None

    def __call__(self) -> Rate | None:
        """Return the rate, None while it is not known."""
        now_s = self._now_s()
        if now_s - self._looked_s >= 1.0:
            self._looked_s = now_s
            latest = self._recorder.latest
            if latest is not None:
                self._rate = rate(spent(latest, self._place, latest.t_s), latest.work_cpu_s) or self._rate
        return self._rate


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


def serve(service: Service, listening: socket.socket, recorder: Records) -> None:
    """Serve until SIGTERM or Ctrl-C, and return when the last answer is out."""
    import uvicorn

    config = uvicorn.Config(
        service,
        log_level="error",
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    server = uvicorn.Server(config)

    async def both() -> None:
        keeper = asyncio.create_task(_keep_pace(service, recorder))
        await server.serve(sockets=[listening])
        keeper.cancel()

    # uvicorn raises what it caught again when all is over: here that is a normal end
    before = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGTERM, signal.SIGINT)}
    note(service, recorder)  # the zero that rates are counted from
    try:
        asyncio.run(both())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        note(service, recorder)


async def _keep_pace(service: Service, recorder: Records) -> None:
    """Write down what was answered, and let the recorder tick more slowly while nothing comes."""
    seen = 0
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        came = service.counters.requests - seen
        seen += came
        recorder.interval_s = pace(recorder.interval_s, came)
        if came:
            note(service, recorder)


def note(service: Service, recorder: Records) -> None:
    """Add a point to the recording: requests, rows, batches, what the cache did, CPU time by use."""
    count, tally = service.counters, service.tally
    recorder.append(
        "point",
        values={
            "requests": count.requests,
            "rows": count.rows,
            "batches": count.batches,
            "cache_hits": count.hits,
            "cache_shared": count.shared,
            "requests_cpu_s": round(tally.busy_s, 4),
            "standing_by_cpu_s": round(tally.standing_by_s, 4),
            **service.more(),
        },
    )
