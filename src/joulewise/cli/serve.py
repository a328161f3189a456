"""`joulewise serve MODEL...`: answer requests with little standing by, and record the serving period."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from importlib.util import find_spec

import click

from joulewise import wiring
from joulewise.cli.output import echo, json_option
from joulewise.cli.serve_feeding import look_for_views
from joulewise.cli.serve_period import Asked, become_parent, serve_period, show_life
from joulewise.cli.serve_period import zygote as zygote_period
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.quantities import parse_duration, split_quantity

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
@click.option(
    "--replicas",
    metavar="N[..M]",
    default="1",
    show_default=True,
    help="Workers on this machine; between two bounds they follow the traffic and its forecast.",
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
    replicas: str,
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

    Plain JSON at /predict and Open Inference Protocol v2. Every answer tells its joules, grams, money and what the cache did; /docs
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
        replicas=replicas_option("--replicas", replicas),
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
    look_for_views(folders, store)
    if life:
        for folder in folders:
            show_life(folder, as_json=as_json)
        return
    listening, by_parent = activated()
    if by_parent:  # this is the worker
        serve_period(asked, listening)
        return
    by_systemd = bool(listening)
    if not by_systemd:
        listening = [listen(host, port)]
        listening[0].listen(512)
    if zygote and sys.platform == "linux":  # elsewhere a fork of loaded libraries is not safe
        sys.exit(zygote_period(asked, listening))
    become_parent(listening, once=by_systemd)


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


def replicas_option(option: str, text: str) -> tuple[int, int]:
    """Return the bounds that an option gives: `2`, `1..4`."""
    told = re.fullmatch(r"(\d{1,2})(?:\.\.(\d{1,2}))?", text)
    least, most = (int(told[1]), int(told[2] or told[1])) if told else (0, 0)
    if not 1 <= least <= most <= 64:
        raise UsageError(f"{option} is {text!r}, but must be a number from 1 to 64, or two: 1..4")
    return least, most


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
