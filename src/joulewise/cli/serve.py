"""`joulewise serve MODEL`: answer requests with little standing by, and record the serving period."""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec

import click

from joulewise import wiring
from joulewise.cli.output import echo, json_option, plain
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import parse_duration, split_quantity
from joulewise.vocabulary.recording import EndState

_NEEDED = ("onnxruntime", "numpy", "uvicorn", "httptools", "orjson")
_REDIS_WAIT_S = 0.25  # a request waits for its features at most this long
_BYTES = {"": 1.0, "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@click.command("serve")
@click.argument("model", metavar="MODEL")
@click.option("--name", metavar="NAME", default="", help="Name of the model; without it, the file's.")
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
    help="The online store of a model folder's views: a path or redis://host:port/0.",
)
@json_option
def command(
    model: str,
    name: str,
    host: str,
    port: int,
    latency_target: str,
    deadline: str,
    cache: str,
    cache_ttl: str,
    threads: int,
    zone: str | None,
    api_key: str,
    store: str | None,
    as_json: bool,
) -> None:
    """Serve MODEL, a folder or an .onnx file, over HTTP: plain JSON at /predict and Open Inference Protocol v2, until Ctrl-C or SIGTERM.

    Every answer tells its joules, grams and what the cache did; /docs describes the model, /metrics is for Prometheus.
    The serving period is a recording: its card is printed at the end.
    """
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        raise UsageError(
            f"serve needs {', '.join(missing)}, not installed here: pip install 'joulewise[serve]'"
        )
    if name and not _NAME.fullmatch(name):
        raise UsageError(
            f"--name is {name!r}, but must be letters, digits, '.', '_' and '-' (it stands in a URL)"
        )
    from joulewise.serving.app import Limits, Service
    from joulewise.serving.features import FedModel
    from joulewise.serving.folder import read_folder
    from joulewise.serving.onnx_model import OnnxModel
    from joulewise.serving.running import RateOf, check_host, listen, serve

    check_host(host, api_key)
    limits = Limits(
        latency_target_s=time_option("--latency-target", latency_target),
        deadline_s=time_option("--deadline", deadline),
        cache_bytes=size_option("--cache", cache),
        cache_ttl_s=time_option("--cache-ttl", cache_ttl),
    )
    flags = {"zone": zone}
    place = wiring.place(chosen=wiring.settings(flags))  # refuses a zone that is not known
    folder = read_folder(model)
    loaded = OnnxModel(folder.variants[0].checked(), name or url_name(folder.name), threads)
    online = wiring.online_store(store, wait_s=_REDIS_WAIT_S) if folder.views else None
    fed = FedModel(loaded, folder.views, online) if online else None
    listening = listen(host, port)
    recorder = wiring.recorder(
        os.getpid(),
        f"serve-{loaded.name}",
        sys.orig_argv,
        role="serve",
        params={"model": loaded.name, "version": loaded.version, "threads": threads},
        flags=flags,
    )
    recorder.start()
    for note in loaded.notes:
        recorder.note("serve", note)
        click.echo(f"joulewise: {plain(note)}", err=True)
    import time

    service = Service(
        fed or loaded,
        limits,
        RateOf(recorder, place),
        api_key,
        time.thread_time if threads == 1 else time.process_time,
        fed.counters if fed else dict,
    )
    shown = f"[{host}]" if ":" in host else host
    click.echo(
        f"joulewise: serving {loaded.name} on http://{shown}:{listening.getsockname()[1]}/docs", err=True
    )
    try:
        serve(service, listening, recorder)
    except BaseException as error:
        recorder.stop(EndState.FAILED, reason=f"{type(error).__name__}: {error}"[:500])
        raise
    finally:
        if fed and online:
            fed.close()
            online.close()
    recording = recorder.stop(EndState.FINISHED, exit_code=0, reason="asked to end")
    if recorder.fault:
        click.echo(f"joulewise: not everything was kept: {recorder.fault}", err=True)
    account = wiring.account(recording, zone)
    if as_json:
        from joulewise.cli.results import account_json

        echo(account_json(account))
    else:
        from joulewise.cli.card import render

        echo(render(account).rstrip("\n"))


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


def size_option(option: str, text: str) -> int:
    """Return the bytes that an option gives: `64MB`, `0`."""
    number, unit = split_quantity(text)
    if unit not in _BYTES or not 0 <= number * _BYTES[unit] < 1e15:
        raise UsageError(f"{option} is {text!r}, but must be a size, for instance 64MB, or 0")
    return int(number * _BYTES[unit])
