"""What `joulewise serve` does once its command line is understood: wait, wake, serve a period and record it, show a life."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, plain, table
from joulewise.cli.serve_feeding import Feeding
from joulewise.vocabulary.quantities import format_si
from joulewise.vocabulary.recording import EndState

if TYPE_CHECKING:
    from joulewise.serving.folder import ModelFolder
    from joulewise.serving.replicas import Replicas
    from joulewise.vocabulary.signal import Signal


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for, checked."""

    folders: Sequence[ModelFolder]
    latency_target_s: float
    deadline_s: float
    cache_bytes: int
    cache_ttl_s: float
    threads: int
    sleep_s: float | None
    may_sleep: bool
    always_on: tuple[str, ...]
    quality: float | None
    floor: float | None
    dirty: float | None
    budget_j: float | None
    replicas: tuple[int, int]
    canary: tuple[str, float] | None
    flags: Mapping[str, Any]
    zone: str | None
    api_key: str
    store: str | None
    otel: bool
    as_json: bool


def show_life(folder: ModelFolder, *, as_json: bool) -> None:
    """Print a model's life so far, from its folder and the recordings of its serving periods."""
    from joulewise.serving.life import period, whole

    accounts = [
        one
        for one in wiring.recordings(f"serve-{folder.name}", limit=100_000)
        if one.recording.role == "serve" and one.recording.params.get("model") == folder.name
    ]
    told = whole(
        folder.life,
        (
            period(
                (point.values for point in one.recording.points),
                one.footprint.total_j.value if one.footprint.total_j else None,
            )
            for one in accounts
        ),
    )
    if as_json:
        echo_json({"model": folder.name, "periods": len(accounts), **asdict(told)})
        return
    echo(f"{folder.name}: {told.requests:,} requests in {len(accounts)} serving periods")
    rows = [[part.name, _joules(part.joules), _joules(part.per_million_j)] for part in told.parts]
    echo(table(rows, ["part", "so far", "per million requests"], right=(1, 2)))
    if told.passes_at is not None:
        echo(f"serving passes making at {told.passes_at:,.0f} requests")
    if told.unknown:
        echo(f"not known: {', '.join(told.unknown)}")


def _joules(value: float | None) -> str:
    return "unknown" if value is None else format_si(value, "J")


def become_parent(listening: Sequence[socket.socket], *, once: bool) -> None:
    """Become the small process that waits; this command, given the sockets, is its worker. With `once` it ends when nobody asks."""
    from importlib.util import find_spec as found

    program = found("joulewise.serving.parent")
    assert program is not None  # noqa: S101 - it is a file of ours
    assert program.origin is not None  # noqa: S101 - a file has a place
    for one in listening:
        one.set_inheritable(True)
    fds = ",".join(str(one.fileno()) for one in listening)
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    how = ["--once"] if once else []
    os.execv(sys.executable, [sys.executable, "-I", "-S", program.origin, *how, fds, *command])  # noqa: S606


def zygote(asked: Asked, listening: Sequence[socket.socket]) -> int:
    """Wait with everything imported, and fork a worker when somebody asks."""
    import gc

    import onnxruntime  # noqa: F401 - what a worker would import

    from joulewise.serving import hosting, running  # noqa: F401 - as above
    from joulewise.serving.parent import KEEPING, Parent

    with suppress(ImportError):
        import uvloop  # noqa: F401

    def begin(place: str) -> int:
        os.environ[KEEPING] = place
        serve_period(asked, listening)
        sys.stdout.flush()
        return 0

    gc.collect()
    gc.freeze()  # pages that nobody writes to stay shared
    return Parent([one.fileno() for one in listening], begin).keep()


def serve_period(asked: Asked, listening: Sequence[socket.socket]) -> None:
    """Serve until told to end, or until nobody asks; record the period and print its card (asleep: one line)."""
    from joulewise.serving.choosing import Policy
    from joulewise.serving.endpoint import Limits
    from joulewise.serving.hosting import host
    from joulewise.serving.keeping import keeper as keeper_of
    from joulewise.serving.otel import export as export_metrics
    from joulewise.serving.running import ASLEEP, RateOf, Rest, serve

    limits = Limits(
        latency_target_s=asked.latency_target_s,
        deadline_s=asked.deadline_s,
        cache_bytes=asked.cache_bytes,
        cache_ttl_s=asked.cache_ttl_s,
    )
    names = [folder.name for folder in asked.folders]
    recorder = wiring.recorder(
        os.getpid(),
        f"serve-{names[0]}",
        sys.orig_argv,
        role="serve",
        params={"model": names[0], "models": names, "threads": asked.threads},
        flags=asked.flags,
    )
    policy = Policy(
        wanted=asked.quality,
        floor=asked.floor,
        latency_target_s=asked.latency_target_s,
        dirty_g_per_kwh=inf if asked.dirty is None else asked.dirty,
        budget_j_per_day=inf if asked.budget_j is None else asked.budget_j,
    )

    def tell(note: str) -> None:
        recorder.note("serve", note)
        click.echo(f"joulewise: {plain(note)}", err=True)

    place = wiring.place(chosen=wiring.settings(asked.flags))
    feeding = Feeding(asked.store)
    service = host(
        asked.folders,
        limits,
        RateOf(recorder, place),
        asked.api_key,
        threads=asked.threads,
        always_on=asked.always_on,
        policy=policy,
        canary=asked.canary,
        g_per_kwh=Intensity(place.zone.code) if asked.dirty is not None and place.zone else lambda: None,
        told=tell,
        feed=feeding,
    )
    service.more = feeding.counters
    recorder.start()
    first = next(iter(service.endpoints.values()))
    recorder.append("params", params={"version": first.model.version})
    end_export = export_metrics(service) if asked.otel else lambda: None
    keeper = keeper_of()
    others = (
        keeper is not None and keeper.number > 0
    )  # others are there: this one neither sleeps nor shows a card
    if keeper is None and asked.replicas[1] > 1:
        tell("one replica: more need memory that outlives a worker, which only Linux has")
    if not others:  # now it is sure that it can
        click.echo(f"joulewise: serving {', '.join(names)} on {url(listening[0])}", err=True)
    start_cpu_s = time.process_time()
    rest = Rest(service, start_cpu_s, asked.sleep_s, may_sleep=asked.may_sleep and not others)
    try:
        why = serve(service, listening, recorder, rest, keeper, _replicas(asked, names[0], tell))
    except BaseException as error:
        recorder.stop(EndState.FAILED, reason=f"{type(error).__name__}: {error}"[:500])
        raise
    finally:
        end_export()
        feeding.close()
    recording = recorder.stop(EndState.FINISHED, exit_code=0, reason=why)
    if recorder.fault:
        click.echo(f"joulewise: not everything was kept: {recorder.fault}", err=True)
    if why.startswith(ASLEEP):
        click.echo(f"joulewise: {why} ({service.counters.requests} answers); waiting for the next", err=True)
        return
    if others:
        click.echo(f"joulewise: replica {keeper.number if keeper else 0} ended: {why}", err=True)
        return
    account = wiring.account(recording, asked.zone)
    if asked.as_json:
        from joulewise.cli.results import account_json

        echo(account_json(account))
    else:
        from joulewise.cli.card import render

        echo(render(account).rstrip("\n"))


def url(listening: socket.socket) -> str:
    """Return where the page of the first model is."""
    address = listening.getsockname()
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return str(address)
    host, port = address[:2]
    return f"http://[{host}]:{port}/docs" if ":" in host else f"http://{host}:{port}/docs"


def _replicas(asked: Asked, name: str, tell: Callable[[str], None]) -> Replicas | None:
    """Return who decides how many workers there are; None where there is only ever one."""
    least, most = asked.replicas
    if most == 1:
        return None
    from joulewise.serving.replicas import Replicas
    from joulewise.serving.scaling import Scaling, minutes_of

    def minutes() -> list[float]:
        accounts = wiring.recordings(f"serve-{name}", limit=10_000)
        periods = [
            (
                one.recording.started_utc.timestamp(),
                [(p.t_s, float(p.values.get("requests", 0))) for p in one.recording.points],
            )
            for one in accounts
            if one.recording.role == "serve"
        ]
        return minutes_of(periods, time.time())

    return Replicas(
        Scaling(least=least, most=most, target_s=max(0.05, asked.latency_target_s)),
        minutes=minutes,
        told=tell,
    )


class Intensity:
    """The grid's intensity of the hour, from what is at hand; worked out once a day."""

    def __init__(self, zone: str) -> None:
        self._zone = zone
        self._outlook: Signal | None = None

    def __call__(self) -> float | None:
        """Return g/kWh now, None if it is not known."""
        now = datetime.now(UTC)
        if self._outlook is None or self._outlook.at(now) is None:
            self._outlook = wiring.outlook(self._zone, 48).signal
        point = self._outlook.at(now)
        return None if point is None else point.value
