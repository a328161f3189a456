"""Energy from what others already measure: a DCGM exporter, Kepler, or a Prometheus server that has scraped them.

Only a URL that the user set is ever asked. A path that ends in /metrics is an exporter's text; anything else is a
Prometheus server, asked by /api/v1/query. One thread asks for all devices of a URL; `read()` takes the last answer
and never waits. An answer older than three intervals (5 s at least) is stale: unknown then, and nothing is lost,
because the next good one goes on from where the counter stands.

What the metrics are:
  dcgm    DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION  millijoules since the driver was loaded, one series per board (`UUID`);
          under MIG one per instance, each the whole board's: taken once. Without it DCGM_FI_DEV_POWER_USAGE, watts,
          integrated. DCGM itself looks every 30 s by default, so a short run is known poorly: use NVML where you can
  kepler  kepler_node_cpu_joules_total by `zone` (0.10 and later), before that kepler_node_package_joules_total and
          its sisters by `mode` (idle and dynamic add up). package and dram count, core and uncore are inside the
          package, psys and platform are the node. Before 0.10 a virtual machine got a regression, not a meter
Any other query is taken as joules of something that is not known: shown as the node unless told otherwise.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from math import isfinite
from typing import Any, final
from urllib.parse import SplitResult, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from joulewise.measuring.meters.counter import GrowingCounter, IntegratedPower
from joulewise.measuring.meters.host import host_key
from joulewise.measuring.meters.polling import Poller
from joulewise.measuring.meters.port import Found
from joulewise.vocabulary.errors import MeterError
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device, Missing, Reading

INTERVAL_S = 1.0
TIMEOUT_S = 1.0

_MOST_BYTES = 16_000_000
_STALE_INTERVALS = 3
_LEAST_STALE_S = 5.0
_SLACK_S = 60.0  # the exporter, and the server behind it, may be that much behind the clock
_IMPOSSIBLE_W = 50_000.0  # one node with eight GPUs draws 10 kW
_BLANK = 2.0**47  # from here on DCGM's numbers mean "no value"

_DCGM_ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
_DCGM_POWER = "DCGM_FI_DEV_POWER_USAGE"
_KEPLER_ENERGY = "kepler_node_cpu_joules_total"
_KEPLER_OLD = {
    "kepler_node_package_joules_total": "package",
    "kepler_node_dram_joules_total": "dram",
    "kepler_node_gpu_joules_total": "gpu",
    "kepler_node_platform_joules_total": "platform",
}
_HOST_LABELS = (
    "Hostname",
    "node_name",
    "nodename",
    "node",
    "instance",
    "exported_instance",
    "kubernetes_node",
)

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SELECTOR = re.compile(rf"^({_NAME})(?:\{{(.*)\}})?$", re.DOTALL)
_LINE = re.compile(rf"^({_NAME})(?:\{{(.*)\}})?\s+(\S+)(?:\s+-?[0-9]+)?\s*$")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:\\.|[^"\\])*)"')
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of a scrape: its metric's name, labels and value."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """What one device's samples add up to: a counter (`unit_j` joules a count) or, without `unit_j`, watts."""

    device: Device
    value: float
    unit_j: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer comes from: how it is called, and what names the silicon there (host key, or the URL)."""

    name: str
    silicon: str


@dataclass(frozen=True, slots=True)
class _Total:
    joules: float
    raw: float
    why: str


def parse_exposition(text: str, names: Iterable[str]) -> list[Sample]:
    """Return the samples of the metrics `names` in an exporter's text; raises MeterError if it was cut off."""
    if not text.endswith("\n"):
        raise MeterError("the answer was cut off (its last line does not end)")
    wanted = tuple(names)
    samples = []
    for line in text.splitlines():
        if not line.startswith(wanted):
            continue
        match = _LINE.match(line)
        if match and match[1] in wanted:
            value = _number(match[3])
            if value is not None:
                samples.append(Sample(match[1], _labels(match[2] or ""), value))
    return samples


def parse_answer(text: str) -> list[Sample]:
    """Return the samples of a Prometheus server's answer; raises MeterError where it is none."""
    try:
        answer = json.loads(text)
        if answer["status"] != "success":
            raise MeterError(
                f"Prometheus says: {' '.join(str(answer.get('error', answer['status'])).split())}"
            )
        data = answer["data"]
        rows = [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else data["result"]
        samples = [(row["metric"], _number(row["value"][1])) for row in rows]
    except (ValueError, KeyError, TypeError, IndexError) as fault:
        raise MeterError("the answer is not a Prometheus server's (is the URL right?)") from fault
    return [
        Sample(metric.get("__name__", ""), {k: v for k, v in metric.items() if k != "__name__"}, value)
        for metric, value in samples
        if value is not None
    ]


def dcgm(samples: Iterable[Sample], place: Place) -> dict[str, Series]:
    """Return one series per GPU board: its energy counter where there is one, else its power."""
    counters: dict[str, Series] = {}
    powers: dict[str, Series] = {}
    for sample in samples:
        uuid = sample.labels.get("UUID") or sample.labels.get("uuid")
        if not uuid or sample.value >= _BLANK:
            continue
        counts = sample.name == _DCGM_ENERGY
        series = Series(
            _board(uuid, sample.labels, place, counts=counts), sample.value, 1e-3 if counts else None
        )
        found = counters if counts else powers
        if uuid not in found or found[uuid].value < series.value:
            found[uuid] = series
    return powers | counters


def kepler(samples: Iterable[Sample], place: Place) -> dict[str, Series]:
    """Return one series per processor package, memory, GPU and platform that Kepler counts."""
    parts: dict[str, list[tuple[Sample, str]]] = {}
    zones = [(sample, *_zone(sample)) for sample in samples]
    now = any(sample.name == _KEPLER_ENERGY for sample, _, _ in zones)
    for sample, noun, which in zones:
        old = sample.name != _KEPLER_ENERGY
        if noun and not (now and old and noun in ("package", "dram")):
            parts.setdefault(f"{noun}-{which}", []).append((sample, noun))
    series = {}
    for key, group in parts.items():
        sample, noun = group[0]
        roads = {s.labels.get("path", "") for s, _ in group}
        road = min(roads, key=lambda path: ("mmio" in path, path))  # one package by two roads: the first
        value = sum(s.value for s, _ in group if s.labels.get("path", "") == road)
        series[key] = Series(_part(key, noun, sample, place), value, 1.0)
    return series


def joules(component: Component) -> Callable[[Iterable[Sample], Place], dict[str, Series]]:
    """Return what turns the samples of a user's own query into series: joules of `component`."""

    def series(samples: Iterable[Sample], place: Place) -> dict[str, Series]:
        found = {}
        for sample in samples:
            key = (
                ",".join([sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))]).strip(",")
                or "query"
            )
            node = component is Component.NODE
            device = Device(
                f"prometheus:{key}", component, "prometheus", Basis.MEASURED, Boundary.NODE if node else Boundary.DEVICE,
                0.10, 0.10, f"{place.name} {sample.name}".strip(), f"{place.name}:{key}",
                note="not known what it covers: shown, never added" if node else "",
            )  # fmt: skip
            found[key] = Series(device, sample.value, 1.0)
        return found

    return series


PRESETS: Mapping[str, tuple[tuple[str, ...], Callable[[Iterable[Sample], Place], dict[str, Series]]]] = {
    "dcgm": ((_DCGM_ENERGY, _DCGM_POWER), dcgm),
    "kepler": ((_KEPLER_ENERGY, *_KEPLER_OLD), kepler),
}


@final
class PrometheusMeter:
    """One device of an exporter or a Prometheus server; `source` is shared by all devices of one URL."""

    def __init__(self, device: Device, key: str, source: Source) -> None:
        self.device = device
        self._key = key
        self._source = source
        self._closed = False
        source.users += 1

    def read(self) -> Reading:
        """Return joules since opening as of the last answer; None and why where that is stale. Never waits."""
        total, why = self._source.total(self._key)
        if self._closed:
            total, why = None, f"the meter of {self.device.id} was closed"
        if total is None:
            return Reading(self.device.id, None, self.device.basis, why=why)
        return Reading(self.device.id, total.joules, self.device.basis, total.raw, total.why or why)

    def refresh(self) -> None:
        """Ask the source now and wait for its answer (for callers without a thread)."""
        self._source.poller.poll()

    def close(self) -> None:
        """Ask no more; the last meter of a source ends its thread."""
        if not self._closed:
            self._closed = True
            self._source.users -= 1
            if not self._source.users:
                self._source.poller.close()


@final
class Source:
    """One URL, asked in a thread, and the running totals of its devices."""

    def __init__(
        self,
        endpoint: Endpoint,
        series: Callable[[list[Sample]], dict[str, Series]],
        interval_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.users = 0
        self.poller: Poller[dict[str, _Total]] = Poller(self._ask, interval_s, monotonic)
        self.devices: dict[str, Device] = {}
        self._endpoint = endpoint
        self._series = series
        self._monotonic = monotonic
        self._stale_s = max(_LEAST_STALE_S, _STALE_INTERVALS * interval_s)
        self._counters: dict[str, GrowingCounter] = {}
        self._powers: dict[str, IntegratedPower] = {}

    def total(self, key: str) -> tuple[_Total | None, str]:
        """Return a device's joules so far (None: unknown now) and what is wrong with them."""
        answer = self.poller.answer
        total = answer.value.get(key) if answer.value else None
        age_s = self.poller.age_s()
        if age_s > self._stale_s:
            return (
                None,
                f"{self._endpoint.name} last answered {age_s:.0f} s ago{': ' if answer.fault else ''}{answer.fault}",
            )
        if total is None:
            return None, f"{self._endpoint.name} no longer tells this device"
        return total, f"{answer.fault}; the value is {age_s:.1f} s old" if answer.fault else ""

    def _ask(self) -> dict[str, _Total]:
        found = self._series(self._endpoint.samples())
        now_s = self._monotonic()
        totals = {}
        for key, series in found.items():
            self.devices.setdefault(key, series.device)
            why = ""
            if series.unit_j is not None:
                counter = self._counters.get(key)
                if counter is None:
                    counter = self._counters[key] = GrowingCounter(
                        series.value, now_s, unit_j=series.unit_j, limit_w=_IMPOSSIBLE_W, slack_s=_SLACK_S
                    )
                else:
                    why = counter.add(series.value, now_s)
                used_j = counter.used_j
            elif key in self._counters:
                continue  # its counter is missing in this answer: wait for it rather than mix the two
            else:
                power = self._powers.get(key)
                if power is None:
                    power = self._powers[key] = IntegratedPower(series.value, now_s)
                else:
                    power.add(series.value, now_s)
                used_j = power.used_j
            totals[key] = _Total(used_j, series.value, why)
        return totals


@final
class Endpoint:
    """An exporter's /metrics or a Prometheus server, asked by HTTP. `url` may carry a user and a password.

    No redirect is followed (nobody asked for the other host), and no proxy is used for this machine itself.
    """

    def __init__(
        self, url: str, names: tuple[str, ...], expression: str, timeout_s: float = TIMEOUT_S
    ) -> None:
        parts = urlsplit(url)
        self.exporter = parts.path.rstrip("/").endswith("/metrics")
        self.host = parts.hostname or ""
        self.name = urlunsplit((parts.scheme, _without_user(parts), parts.path, "", ""))
        self._names = names
        self._timeout_s = timeout_s
        self._request = Request(_address(parts, "" if self.exporter else expression), headers=_headers(parts))  # noqa: S310 - find_prometheus refuses other schemes
        self._opener = OpenerDirector()
        for handler in (ProxyHandler({} if self.local else None), HTTPHandler(), HTTPSHandler()):
            self._opener.add_handler(handler)

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return self.host in ("localhost", "127.0.0.1", "::1", os.uname().nodename)

    def samples(self) -> list[Sample]:
        """Return what it says now; raises MeterError where it does not answer, or answers something else."""
        text = self._text()
        try:
            return parse_exposition(text, self._names) if self.exporter else parse_answer(text)
        except MeterError as fault:
            raise MeterError(f"{self.name}: {fault}") from fault

    def _text(self) -> str:
        try:
            response: HTTPResponse = self._opener.open(self._request, timeout=self._timeout_s)
            with response:
                body = response.read(_MOST_BYTES + 1)
                left = response.length
        except (OSError, HTTPException) as fault:
            reason = getattr(fault, "reason", None) or str(fault) or type(fault).__name__
            raise MeterError(f"{self.name} does not answer: {reason}") from fault
        text: str = body.decode("utf-8", "replace")
        if response.status != 200 and not (text.startswith("{") and not self.exporter):
            raise MeterError(f"{self.name} answers {response.status} {response.reason}")
        if len(body) > _MOST_BYTES:
            raise MeterError(f"{self.name} answers more than {_MOST_BYTES} bytes; name a smaller page")
        if left:
            raise MeterError(f"{self.name}: the answer was cut off")
        return text


def find_prometheus(
    url: str,
    query: str = "dcgm",
    *,
    component: Component = Component.NODE,
    interval_s: float = INTERVAL_S,
    timeout_s: float = TIMEOUT_S,
    host: str | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    threaded: bool = True,
) -> Found:
    """Return one meter per device that `url` tells; waits at most `timeout_s` for its first answer.

    `query` is a preset (dcgm, kepler), or an expression in joules of `component`. Of a server's series with a
    preset only those of `host` (default: this machine) are taken. Without `threaded`, `PrometheusMeter.refresh` asks.
    """
    try:
        endpoint, take = _plan(url, query or "dcgm", component, timeout_s, host or os.uname().nodename)
    except MeterError as fault:
        return Found(
            missing=(
                Missing("prometheus", str(fault), "set prometheus and prometheus_query: joulewise config"),
            )
        )
    source = Source(endpoint, take, interval_s, monotonic)
    answer = source.poller.start(timeout_s) if threaded else source.poller.poll()
    if answer.fault or not answer.value:
        source.poller.close()
        why = answer.fault or f"{endpoint.name} tells nothing for {query!r} of {host or os.uname().nodename}"
        return Found(missing=(Missing("prometheus", why, f"see what it says: curl {endpoint.name}"),))
    return Found(tuple(PrometheusMeter(source.devices[key], key, source) for key in sorted(answer.value)))


def _plan(
    url: str, query: str, component: Component, timeout_s: float, host: str
) -> tuple[Endpoint, Callable[[list[Sample]], dict[str, Series]]]:
    """Return whom to ask, and what makes series of the answer."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        right = False
    if not right:
        raise MeterError(
            f"the Prometheus URL is {url!r}, but must look like http://host:9400/metrics or http://host:9090"
        )
    if query in PRESETS:
        names, series = PRESETS[query]
        endpoint = Endpoint(url, names, f'{{__name__=~"{"|".join(names)}"}}', timeout_s)
        place = Place(endpoint.name, host_key() if endpoint.local or not endpoint.exporter else endpoint.name)
        if endpoint.exporter:
            return endpoint, lambda samples: series(samples, place)
        return endpoint, lambda samples: series([s for s in samples if _of_host(s.labels, host)], place)
    selector = _SELECTOR.match(query)
    endpoint = Endpoint(url, (selector[1],) if selector else (), query, timeout_s)
    place = Place(endpoint.name, endpoint.name)
    own = joules(component)
    if not endpoint.exporter:
        return endpoint, lambda samples: own(samples, place)
    if selector is None:
        raise MeterError(
            f"{query!r} is PromQL; an exporter only knows names of metrics, ask a Prometheus server"
        )
    wanted = _labels(selector[2] or "").items()
    return endpoint, lambda samples: own([s for s in samples if wanted <= s.labels.items()], place)


def _board(uuid: str, labels: Mapping[str, str], place: Place, *, counts: bool) -> Device:
    notes = [] if counts else ["no energy counter: power, integrated between scrapes"]
    if labels.get("GPU_I_ID"):
        notes.append("MIG: the whole board's energy, all instances and their users included")
    error = 0.05 if counts else 0.30
    name = labels.get("modelName", "GPU")
    return Device(
        f"prometheus:{uuid}", Component.GPU, "prometheus", Basis.MEASURED, Boundary.DEVICE, error, error,
        f"{place.name} (DCGM), {name}", uuid, note="; ".join(notes), model={"name": name},
    )  # fmt: skip


def _zone(sample: Sample) -> tuple[str, str]:
    """Return what a Kepler sample covers and its number; ("", "") for what lies inside something else."""
    labels = sample.labels
    if sample.name in _KEPLER_OLD:
        noun = _KEPLER_OLD[sample.name]
        return noun, labels.get("gpu_id" if noun == "gpu" else "package", "0") or "0"
    noun = labels.get("zone", "package").lower()
    noun, _, named = noun.partition("-")
    if noun not in ("package", "dram", "psys"):
        return "", ""
    path = re.search(r"intel-rapl(?:-mmio)?:([0-9]+)", labels.get("path", ""))
    return noun, named or (path[1] if path else "all")  # no number: Kepler added the sockets up


def _part(key: str, noun: str, sample: Sample, place: Place) -> Device:
    told = sample.labels.get("source", "")
    modelled = any(word in told.lower() for word in ("model", "regress", "estimat"))
    component, boundary, error = {
        "package": (Component.CPU, Boundary.DEVICE, 0.05),
        "dram": (Component.MEMORY, Boundary.DEVICE, 0.10),
        "gpu": (Component.GPU, Boundary.DEVICE, 0.05),
    }.get(noun, (Component.NODE, Boundary.NODE, 0.10))
    basis = Basis.MODELLED if modelled else Basis.MEASURED
    error = 0.5 if modelled else error
    return Device(
        f"prometheus:{key}", component, "prometheus", basis, boundary, error, error,
        f"{place.name} (Kepler{', ' + told if told else ''})", f"{place.silicon}:{key}",
        note="Kepler's own regression, not a meter" if modelled else "",
    )  # fmt: skip


def _of_host(labels: Mapping[str, str], host: str) -> bool:
    """Return whether one of the labels that name a host names this one (with or without domain and port)."""
    short = host.partition(".")[0]
    return any(labels.get(label, "").partition(":")[0].partition(".")[0] == short for label in _HOST_LABELS)


def _labels(text: str) -> dict[str, str]:
    return {name: _ESCAPE.sub(_unescape, value) for name, value in _LABEL.findall(text)}


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def _address(parts: SplitResult, expression: str) -> str:
    bare = parts._replace(netloc=_without_user(parts), fragment="")
    if not expression:
        return urlunsplit(bare)
    path = parts.path.rstrip("/")
    if not path.endswith("/api/v1/query"):
        path += "/api/v1/query"
    return urlunsplit(bare._replace(path=path, query=urlencode({"query": expression})))


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"User-Agent": "joulewise", "Accept": "text/plain;version=0.0.4, application/json"}
    if parts.username is not None:
        from base64 import b64encode

        name = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(name.encode()).decode()}"
    return headers


def _without_user(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
