"""A double of what Prometheus scrapes: a DCGM or Kepler exporter, and a Prometheus server, on loopback.

    with Exporter() as exporter:
        exporter.set("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 1_000_000, UUID="GPU-1")
        find_prometheus(exporter.metrics_url)   # as an exporter
        find_prometheus(exporter.server_url)    # as a Prometheus server that has scraped it

`fault` makes it fail: "500", "silent" (no answer before `release`), "cut" (a body shorter than announced), "torn"
(a body without its end, nothing announced), "html" (a page of something else), "redirect".
"""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import final
from urllib.parse import parse_qs, urlsplit

from joulewise.testing.loopback import Loopback

_MATCHER = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|=)\s*"([^"]*)"')
_FAULTS = ("", "500", "silent", "cut", "torn", "html", "redirect")


@final
class Exporter(Loopback):
    """An HTTP server on a free port of loopback. `requests` lists the paths asked for, `headers` the last headers."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.requests: list[str] = []
        self.headers: dict[str, str] = {}
        self._fault = ""
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    @property
    def metrics_url(self) -> str:
        """Its address as an exporter."""
        return f"http://127.0.0.1:{self.port}/metrics"

    @property
    def server_url(self) -> str:
        """Its address as a Prometheus server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def fault(self) -> str:
        """How it fails; "" for not at all."""
        return self._fault

    @fault.setter
    def fault(self, fault: str) -> None:
        if fault not in _FAULTS:
            raise ValueError(f"fault is {fault!r}, but must be one of {', '.join(repr(f) for f in _FAULTS)}")
        self._fault = fault

    def set(self, name: str, value: float, **labels: str) -> None:
        """Let a series show `value`."""
        self._series[name, tuple(sorted(labels.items()))] = value

    def drop(self, name: str, **labels: str) -> None:
        """Tell a series no more."""
        del self._series[name, tuple(sorted(labels.items()))]

    def text(self) -> str:
        """Return all series in the text format that exporters speak."""
        lines: list[str] = []
        seen = set()
        for (name, labels), value in self._series.items():
            if name not in seen:
                seen.add(name)
                lines += [f"# HELP {name} Of the double.", f"# TYPE {name} untyped"]
            told = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
            lines.append(f"{name}{{{told}}} {value!r}" if told else f"{name} {value!r}")
        return "\n".join(lines) + "\n"

    def answer(self, query: str) -> tuple[int, str]:
        """Return status and body of /api/v1/query for a selector (`name{label="x",other=~"a|b"}`)."""
        name, _, inside = query.partition("{")
        if not re.fullmatch(r"[a-zA-Z0-9_:]*", name) or (inside and not inside.endswith("}")):
            error = {
                "status": "error",
                "errorType": "bad_data",
                "error": f"the double only knows selectors, not {query}",
            }
            return 400, json.dumps(error)
        matchers = _MATCHER.findall(inside)
        if name:
            matchers.append(("__name__", "=", name))
        result = [
            {"metric": {"__name__": metric, **dict(labels)}, "value": [1e9, f"{value!r}"]}
            for (metric, labels), value in self._series.items()
            if all(_fits({"__name__": metric, **dict(labels)}.get(k, ""), how, v) for k, how, v in matchers)
        ]
        return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


@final
class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        exporter: Exporter = self.server.double  # type: ignore[attr-defined]
        exporter.requests.append(self.path)
        exporter.headers = dict(self.headers)
        parts = urlsplit(self.path)
        if exporter.fault == "silent":
            exporter.released.wait()
            return
        if exporter.fault == "500":
            self._send(500, "it broke\n")
        elif exporter.fault == "redirect":
            self._send(302, "", location="http://127.0.0.1:1/elsewhere")
        elif exporter.fault == "html":
            self._send(200, "<html>welcome</html>\n")
        elif parts.path.endswith("/api/v1/query"):
            self._send(*exporter.answer(parse_qs(parts.query).get("query", [""])[0]))
        elif parts.path == "/metrics":
            self._send(200, exporter.text())
        else:
            self._send(404, "404 page not found\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by the standard library
        """Say nothing on the terminal of a test."""

    def _send(self, status: int, text: str, *, location: str = "") -> None:
        body = text.encode()
        fault = self.server.double.fault  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header(
            "Content-Type", "application/json" if text.startswith("{") else "text/plain; version=0.0.4"
        )
        if location:
            self.send_header("Location", location)
        if fault != "torn":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) * 2 // 3] if fault in ("cut", "torn") else body)


def _fits(value: str, how: str, wanted: str) -> bool:
    return value == wanted if how == "=" else re.fullmatch(wanted, value) is not None


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
