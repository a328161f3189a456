"""`joulewise serve MODEL...`: answer requests with little standing by, and record the serving period."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from math import inf
from typing import TYPE_CHECKING, Any, final

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option, plain, table
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.quantities import format_si, parse_duration, split_quantity
from joulewise.vocabulary.recording import EndState

if TYPE_CHECKING:
    from joulewise.features.online import OnlineStore
    from joulewise.serving.features import Feed
    from joulewise.serving.folder import ModelFolder
    from joulewise.serving.onnx_model import Model
    from joulewise.vocabulary.signal import Signal

_REDIS_WAIT_S = 0.25  # a request waits for its features at most this long
_NEEDED = ("onnxruntime", "numpy", "httptools", "orjson")
_BYTES = {"": 1.0, "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}
_JOULES = {"J": 1.0, "kJ": 1e3, "MJ": 1e6, "GJ": 1e9, "Wh": 3.6e3, "kWh": 3.6e6, "MWh": 3.6e9}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@click.command("serve")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--name", metavar="NAME", default="", help="Name of the (one) model; without it, the file's.")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8600, show_default=True, help="0 takes any free one."
)
@click.option(
    "--latency-target", metavar="TIME", default="100ms", show_default=True, help="Batches are bounded by it."
)
@click.option(
    "--deadline", metavar="TIME", default="5s", show_default=True, help="Of requests that name none."
)
@click.option(
    "--cache", metavar="SIZE", default="64MB", show_default=True, help="Memory for answers; 0 keeps none."
)
@click.option(
    "--cache-ttl", metavar="TIME", default="1h", show_default=True, help="How long an answer is kept."
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="ONNX Runtime's; none of them spins.",
)
@click.option(
    "--sleep",
    metavar="auto|never|TIME",
    default="auto",
    show_default=True,
    help="End the worker when nobody asks: after TIME, or when standing by has cost what waking costs.",
)
@click.option("--zygote", is_flag=True, help="Asleep, keep the libraries in memory: wakes faster.")
@click.option(
    "--always-on",
    metavar="NAME",
    multiple=True,
    help="Never unload this model; the server does not sleep.",
)
@click.option(
    "--quality",
    type=float,
    help="Of a model folder's variants, the cheapest worth so much answers in usual hours.",
)
@click.option(
    "--floor", type=float, help="In tight hours the cheapest worth so much; without --quality, in all."
)
@click.option(
    "--dirty", type=float, metavar="G_PER_KWH", help="An hour is tight when the grid is dirtier than this."
)
@click.option(
    "--budget", metavar="ENERGY", default="", help="An hour is tight when more than its share a day is spent."
)
@click.option(
    "--canary", metavar="VARIANT=SHARE", default="", help="Try a variant on a share of the requests."
)
@click.option(
    "--zone", metavar="ZONE", default=None, help="Where the electricity comes from: DE, US-CA, auto."
)
@click.option(
    "--api-key",
    metavar="KEY",
    default="",
    envvar="JOULEWISE_API_KEY",
    help="Ask for this key (better: JOULEWISE_API_KEY). Needed where others can reach --host.",
)
@click.option(
    "--store",
    metavar="PLACE",
    help="The online store of the views that model folders name: a path or redis://host:port/0.",
)
@click.option("--otel", is_flag=True, help="Export metrics by OTLP, as the OTEL_* variables say.")
@click.option(
    "--kserve",
    metavar="IMAGE STORAGE",
    nargs=2,
    default=None,
    help="Print a KServe InferenceService for this image and this place of the folder, and end.",
)
@click.option("--life", is_flag=True, help="Show the model's life so far per million requests, and end.")
@json_option
def command(
    models: tuple[str, ...],
    name: str,
    host: str,
    port: int,
    latency_target: str,
    deadline: str,
    cache: str,
    cache_ttl: str,
    threads: int,
    sleep: str,
    zygote: bool,
    always_on: tuple[str, ...],
    quality: float | None,
    floor: float | None,
    dirty: float | None,
    budget: str,
    canary: str,
    zone: str | None,
    api_key: str,
    store: str | None,
    otel: bool,
    kserve: tuple[str, str] | None,
    life: bool,
    as_json: bool,
) -> None:
    """Serve MODEL... (.onnx files or model folders) over HTTP, until Ctrl-C or SIGTERM.

    Plain JSON at /predict and Open Inference Protocol v2. Every answer tells its joules, grams and what the cache did; /docs
    describes the model, /metrics is for Prometheus. When nobody asks, the server sleeps: a parent of 3 MB waits for the
    next connection. Each waking period is a recording.
    """
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        raise UsageError(
            f"serve needs {', '.join(missing)}, not installed here: pip install 'joulewise[serve]'"
        )
    from joulewise.serving.folder import read_folder
    from joulewise.serving.places import activated, check_host, listen

    check_host(host, api_key)
    folders = [read_folder(model) for model in models]
    if name and len(folders) > 1:
        raise UsageError("--name is for one model; several are called as their folders or files are")
    if name and not _NAME.fullmatch(name):
        raise UsageError(
            f"--name is {name!r}, but must be letters, digits, '.', '_' and '-' (it stands in a URL)"
        )
    folders = [replace(folder, name=name or url_name(folder.name)) for folder in folders]
    asked = Asked(
        folders=folders,
        latency_target_s=time_option("--latency-target", latency_target),
        deadline_s=time_option("--deadline", deadline),
        cache_bytes=size_option("--cache", cache),
        cache_ttl_s=time_option("--cache-ttl", cache_ttl),
        threads=threads,
        sleep_s=None if sleep in ("auto", "never") else time_option("--sleep", sleep),
        may_sleep=sleep != "never" and not always_on,
        always_on=always_on,
        quality=quality,
        floor=floor,
        dirty=dirty,
        budget_j=energy_option("--budget", budget) if budget else None,
        canary=share_option("--canary", canary) if canary else None,
        flags={"zone": zone},
        zone=zone,
        api_key=api_key,
        store=store,
        otel=otel,
        as_json=as_json,
    )
    wiring.place(chosen=wiring.settings(asked.flags))  # refuses a zone that is not known
    names = [folder.name for folder in folders]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice:
        raise UsageError(f"two models are called {twice}: give one of them another name")
    unknown = [one for one in always_on if one not in names]
    if unknown:
        raise UnknownName("model", unknown[0], names, "give it to serve, too")
    for folder in folders:
        for variant in folder.variants:
            if not variant.path.is_file():
                raise UsageError(f"cannot read the model {variant.path}: there is no such file")
    if kserve is not None:
        from joulewise.serving.kserve import manifest

        echo(json.dumps(manifest(folders[0], image=kserve[0], storage=kserve[1]), indent=2))
        return
    _look_for_views(folders, store)
    if life:
        for folder in folders:
            _show_life(folder, as_json=as_json)
        return
    listening = activated()
    if listening:  # by systemd, or by our own parent: this is the worker
        serve_period(asked, listening)
        return
    listening = [listen(host, port)]
    for one in listening:
        one.listen(512)
    shown = f"[{host}]" if ":" in host else host
    told = ", ".join(names)
    click.echo(f"joulewise: serving {told} on http://{shown}:{listening[0].getsockname()[1]}/docs", err=True)
    if not asked.may_sleep:
        serve_period(asked, listening)
    elif zygote:
        sys.exit(_zygote(asked, listening))
    else:
        _become_parent(listening)


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
    canary: tuple[str, float] | None
    flags: Mapping[str, Any]
    zone: str | None
    api_key: str
    store: str | None
    otel: bool
    as_json: bool


def _look_for_views(folders: Sequence[ModelFolder], store: str | None) -> None:
    """Raise UsageError for a view that the online store does not hold, before anybody listens."""
    for folder in folders:
        if folder.views:
            from joulewise.serving.features import named

            online = wiring.online_store(store)
            try:
                named(folder.views, online)
            finally:
                online.close()


@final
class Feeding:
    """Stands models behind the views that their folders name; each has a connection of its own to the online store."""

    def __init__(self, store: str | None) -> None:
        self._store = store
        self._feeds: list[tuple[Feed, OnlineStore]] = []  # not the models: they may be unloaded

    def __call__(self, folder: ModelFolder, model: Model) -> Model:
        """Return the model as it is served."""
        if not folder.views:
            return model
        from joulewise.serving.features import FedModel

        online = wiring.online_store(self._store, wait_s=_REDIS_WAIT_S)
        fed = FedModel(model, folder.views, online, folder.name)
        self._feeds.append((fed.feed, online))
        return fed

    def counters(self) -> dict[str, float]:
        """Return what was read since the server began; nothing where no model is fed."""
        total: dict[str, float] = {}
        for feed, _ in self._feeds:
            for name, value in feed.counters().items():
                total[name] = total.get(name, 0) + value
        return total

    def close(self) -> None:
        """Tell the stores what was read, and close them."""
        for feed, online in self._feeds:
            feed.close()
            online.close()


def _show_life(folder: ModelFolder, *, as_json: bool) -> None:
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


def _become_parent(listening: Sequence[socket.socket]) -> None:
    """Become the small process that waits; this command, given the sockets, is its worker."""
    from importlib.util import find_spec as found

    program = found("joulewise.serving.parent")
    assert program is not None  # noqa: S101 - it is a file of ours
    assert program.origin is not None  # noqa: S101
    for one in listening:
        one.set_inheritable(True)
    fds = ",".join(str(one.fileno()) for one in listening)
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execv(sys.executable, [sys.executable, "-I", "-S", program.origin, fds, *command])  # noqa: S606


def _zygote(asked: Asked, listening: Sequence[socket.socket]) -> int:
    """Wait with everything imported, and fork a worker when somebody asks."""
    import gc

    import onnxruntime  # noqa: F401 - what a worker would import

    from joulewise.serving import hosting, running  # noqa: F401
    from joulewise.serving.parent import Parent

    with suppress(ImportError):
        import uvloop  # noqa: F401

    def begin() -> int:
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
    rest = Rest(service, time.process_time(), asked.sleep_s, may_sleep=asked.may_sleep)
    try:
        why = serve(service, listening, recorder, rest)
    except BaseException as error:
        recorder.stop(EndState.FAILED, reason=f"{type(error).__name__}: {error}"[:500])
        raise
    finally:
        feeding.close()
        end_export()
    recording = recorder.stop(EndState.FINISHED, exit_code=0, reason=why)
    if recorder.fault:
        click.echo(f"joulewise: not everything was kept: {recorder.fault}", err=True)
    if why.startswith(ASLEEP):
        click.echo(f"joulewise: {why} ({service.counters.requests} answers); waiting for the next", err=True)
        return
    account = wiring.account(recording, asked.zone)
    if asked.as_json:
        from joulewise.cli.results import account_json

        echo(account_json(account))
    else:
        from joulewise.cli.card import render

        echo(render(account).rstrip("\n"))


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


def url_name(stem: str) -> str:
    """Return a file's name as it can stand in a URL."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100]
    return name or "model"


def time_option(option: str, text: str) -> float:
    """Return the seconds that an option gives; raises UsageError if they are none."""
    seconds = float(text[:-2]) / 1000 if re.fullmatch(r"\d+(\.\d+)?ms", text) else parse_duration(text)
    if not 0 < seconds < 1e9:
        raise UsageError(f"{option} is {text!r}, but must be longer than nothing, for instance 100ms")
    return seconds


def energy_option(option: str, text: str) -> float:
    """Return the joules that an option gives: `2MJ`, `100kJ`, `1kWh`."""
    number, unit = split_quantity(text)
    if unit not in _JOULES or not number * _JOULES[unit] > 0:
        raise UsageError(f"{option} is {text!r}, but must be an energy, for instance 100kJ or 1kWh")
    return number * _JOULES[unit]


def share_option(option: str, text: str) -> tuple[str, float]:
    """Return the name and the share that an option gives: `int8=0.05`, `int8=5%`."""
    variant, _, share = text.partition("=")
    told = re.fullmatch(r"(\d*\.?\d+)(%?)", share)
    value = float(told[1]) / (100 if told[2] else 1) if told else 0.0
    if not variant or not 0 < value < 1:
        raise UsageError(f"{option} is {text!r}, but must be a variant and a share, for instance int8=5%")
    return variant, value


def size_option(option: str, text: str) -> int:
    """Return the bytes that an option gives: `64MB`, `0`."""
    number, unit = split_quantity(text)
    if unit not in _BYTES or not 0 <= number * _BYTES[unit] < 1e15:
        raise UsageError(f"{option} is {text!r}, but must be a size, for instance 64MB, or 0")
    return int(number * _BYTES[unit])
