"""Serve until told to end or until nobody asks, drain, and keep the recording's pace.

At SIGTERM or Ctrl-C the socket is closed, requests that are inside get their answers, kept connections are closed,
then the queue's thread ends. A second Ctrl-C ends at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Protocol, final

from joulewise.catalogue.place import Place
from joulewise.measuring.meters.modelled import MEMORY_W_PER_BYTE
from joulewise.measuring.recorder import Snapshot
from joulewise.measuring.watching import spent
from joulewise.serving.app import Service
from joulewise.serving.endpoint import Hosted
from joulewise.serving.energy import Rate, pace, rate
from joulewise.serving.keeping import Keeper
from joulewise.serving.replicas import Replicas
from joulewise.serving.sleeping import Standby, sleep_after_s
from joulewise.serving.wire import Front

_NOTE_EVERY_S = 10.0
_AROUND = 2.0  # times a tick: with what follows from it in the event loop (a new rate, this pace, a point)
_DRAIN_S = 30
_UNKNOWN_S = 1.0  # while the rate is not known it is looked for so often, however rare the ticks are
_SHORTEST_S, _LOOK_AGAIN_S = 1.0, 60.0  # between two looks whether it is time to rest
_BACKLOG = 512
_USUAL_BYTES = 100_000_000
_USUAL_J_PER_CPU_S = 15.0  # until the recording tells
ASLEEP = "asleep"


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
    """The joules of a CPU-second as the recording shows them, worked out anew at most once a tick."""

    def __init__(self, recorder: Records, place: Place, now_s: Callable[[], float] = time.monotonic) -> None:
        self._recorder = recorder
        self._place = place
        self._now_s = now_s
        self._looked_s = float("-inf")
        self._rate: Rate | None = None

    def __call__(self) -> Rate | None:
        """Return the rate, None while it is not known."""
        now_s = self._now_s()
        every_s = self._recorder.interval_s  # between two ticks there is nothing new
        if now_s - self._looked_s >= (every_s if self._rate else min(every_s, _UNKNOWN_S)):
            self._looked_s = now_s
            latest = self._recorder.latest
            if latest is not None:
                currency = self._place.tariff.currency if self._place.tariff else ""
                so_far = spent(latest, self._place, latest.t_s)
                self._rate = rate(so_far, latest.work_cpu_s, currency) or self._rate
        return self._rate


def serve(
    service: Service,
    listening: Sequence[socket.socket],
    recorder: Records,
    rest: Rest | None = None,
    keeper: Keeper | None = None,
    replicas: Replicas | None = None,
) -> str:
    """Serve until SIGTERM, Ctrl-C or, with `rest`, until nobody asks any more; returns why when the last answer is out.

    With a `keeper` connections outlive this worker; with `replicas`, too, it is one of several. A second Ctrl-C ends at once; a
    second SIGTERM does not: systemd sends one to all, and the parent hands its own on.
    """
    gc.freeze()  # what is loaded stays: nobody need look at it again and again
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):
        from uvloop import new_event_loop
    note(service, recorder)  # the zero that rates are counted from
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(_serve(service, listening, recorder, rest, keeper, replicas))
    finally:
        gc.unfreeze()
        note(service, recorder)


async def _serve(
    service: Service,
    listening: Sequence[socket.socket],
    recorder: Records,
    rest: Rest | None,
    keeper: Keeper | None,
    replicas: Replicas | None,
) -> str:
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[str] = loop.create_future()
    front = Front(service)
    if keeper is not None:
        _outlive(front, keeper, asked)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int) -> None:
        if not asked.done():
            asked.set_result("asked to end")
        elif number == signal.SIGINT:
            os._exit(130)

    for number in before:
        loop.add_signal_handler(number, ask, number)
    servers = [await loop.create_server(front, sock=one, backlog=_BACKLOG) for one in listening]
    tasks = [asyncio.create_task(_keep_pace(service, recorder))]
    if keeper is not None:
        keeper.up()
        if replicas is not None:
            tasks.append(asyncio.create_task(replicas.keep(service, keeper)))
    if rest is not None:
        tasks.append(asyncio.create_task(_rest(service, rest, recorder, asked)))
    try:
        why = await asked
        service.ready = False
        for server in servers:
            server.close()
        front.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while front.connections:
                    await asyncio.sleep(0.01)
                    front.drain()  # what has become silent meanwhile
        await service.close()
        return why
    finally:
        for task in tasks:
            task.cancel()
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _outlive(front: Front, keeper: Keeper, asked: asyncio.Future[str]) -> None:
    """Let connections outlive this worker, go on with those of others, and hear what the parent says."""
    loop = asyncio.get_running_loop()
    front.keeper = keeper
    for endpoint in front.service.endpoints.values():
        endpoint.on_take = keeper.taken

    def told(word: bytes) -> None:
        if word == b"b":
            front.share()
        elif word == b"e" and not asked.done():
            keeper.giving = True
            asked.set_result("fewer replicas are needed")

    def heard() -> None:
        if not keeper.heard(front.adopt, told):
            loop.remove_reader(keeper.fileno())

    loop.add_reader(keeper.fileno(), heard)


async def _keep_pace(service: Service, recorder: Records) -> None:
    """Write down what was answered, and let the recorder tick more slowly while little comes."""
    seen, noted_s, busy_s, ticks_s, tick_s = 0, time.monotonic(), 0.0, _recorder_cpu_s(), 0.0
    while True:
        over_s = recorder.interval_s  # a tick is weighed against what came since the last one
        await asyncio.sleep(over_s)
        busy_now_s, ticks_now_s = service.tally.busy_s, _recorder_cpu_s()
        tick_s = (tick_s + ticks_now_s - ticks_s) / 2  # a mean: now and then none or two fall into one look
        recorder.interval_s = pace(over_s, busy_now_s - busy_s, over_s, _AROUND * tick_s)
        busy_s, ticks_s = busy_now_s, ticks_now_s
        now_s = time.monotonic()
        if service.counters.requests > seen and now_s - noted_s >= _NOTE_EVERY_S:
            seen, noted_s = service.counters.requests, now_s
            note(service, recorder)


@final
class Rest:
    """When this server, or a model in it, has stood by for as long as waking costs.

    `limit_s` is the user's own limit; without it the limit follows from the joules of waking (the CPU time of this start, at
    the recording's joules of a CPU-second) and of standing by (memory, and CPU time while nobody asked).
    """

    def __init__(
        self, service: Service, start_cpu_s: float, limit_s: float | None = None, *, may_sleep: bool = True
    ) -> None:
        self.limit_s = limit_s
        self.may_sleep = may_sleep
        self._service = service
        self._start_cpu_s = start_cpu_s
        self._began_s = time.monotonic()

    def after_s(self) -> float:
        """Return after how many seconds of silence to sleep."""
        if self.limit_s is not None:
            return self.limit_s
        joules = self._joules
        standing_s = max(1.0, time.monotonic() - self._began_s)
        idle_w = (
            _resident_bytes() * MEMORY_W_PER_BYTE + joules * self._service.tally.standing_by_s / standing_s
        )
        return sleep_after_s(Standby(idle_w, joules * self._start_cpu_s), self._service.silences_s)

    def unload_after_s(self, one: Hosted) -> float:
        """Return after how many seconds without a request to unload a variant."""
        if self.limit_s is not None:
            return self.limit_s
        if one.load_cpu_s is None:
            return self.after_s()
        idle_w = one.size_bytes * MEMORY_W_PER_BYTE
        return sleep_after_s(Standby(idle_w, self._joules * one.load_cpu_s), ())

    @property
    def _joules(self) -> float:
        rate = self._service.rate()
        return _USUAL_J_PER_CPU_S if rate is None else rate.joules


async def _rest(service: Service, rest: Rest, recorder: Records, asked: asyncio.Future[str]) -> None:
    """Unload what nobody asks, and end the server when nobody asks anything."""
    while True:
        now_s, due_s = time.monotonic(), inf
        for endpoint in service.endpoints.values():
            for one in endpoint.hosted.values():
                if (
                    endpoint.always_on
                    or one.model is None
                    or (rest.may_sleep and len(service.endpoints) == 1)
                ):
                    continue
                left_s = one.used_s + rest.unload_after_s(one) - now_s
                if left_s <= 0 and endpoint.unload(one):
                    trim()
                    recorder.append(
                        "note",
                        kind="serve",
                        text=f"{endpoint.name}/{one.variant.name} was unloaded: nobody asked",
                    )
                else:
                    due_s = min(due_s, left_s)
        if rest.may_sleep:
            limit_s = rest.after_s()
            left_s = limit_s - (now_s - service.used_s)
            if left_s <= 0 and service.tally.inside == 0 and not asked.done():
                asked.set_result(f"{ASLEEP}: nobody asked for {limit_s:.3g} s")
                return
            due_s = min(due_s, left_s)
        await asyncio.sleep(min(max(due_s, _SHORTEST_S), rest.limit_s or _LOOK_AGAIN_S))


def trim() -> None:
    """Give memory that was freed back to the system, where the C library knows how."""
    import ctypes

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no /proc: a guess is better than to stand by for ever
        return _USUAL_BYTES


def _recorder_cpu_s() -> float:
    """Return the CPU seconds of the recorder's thread in this process, 0 if there is none or it cannot be seen."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    return sum(
        time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.name == "joulewise" and thread.ident is not None and thread.is_alive()
    )


def keep_notes(service: Service, recorder: Records, every_s: float = 30.0) -> None:
    """Write points into a recording from a thread, where the event loop is another's (Ray Serve)."""
    note(service, recorder)

    def keep() -> None:
        while True:
            time.sleep(every_s)
            note(service, recorder)

    threading.Thread(target=keep, name="joulewise-notes", daemon=True).start()


def note(service: Service, recorder: Records) -> None:
    """Add a point to the recording: requests, rows, batches, what the cache did, CPU time by use."""
    count, tally, models = service.counters, service.tally, service.endpoints.values()
    recorder.append(
        "point",
        values={
            "requests": count.requests,
            "rows": count.rows,
            "batches": count.batches,
            "cache_hits": sum(one.counters.hits for one in models),
            "cache_shared": sum(one.counters.shared for one in models),
            "answers_j": round(count.joules, 4),
            "joules_unknown": count.unknown,
            "requests_cpu_s": round(tally.busy_s, 4),
            "standing_by_cpu_s": round(tally.standing_by_s, 4),
            **{
                f"rows:{name}": hosted.counters.rows
                for one in models
                if len(one.hosted) > 1
                for name, hosted in one.hosted.items()
            },
            **service.more(),
        },
    )
