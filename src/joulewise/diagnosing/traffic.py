"""How many requests a foreign server answered, by its own words: its metrics page or its access log, as a file.

    metrics     Prometheus' text format: the counters of Triton, vLLM, TGI, TorchServe, Ray Serve and of the usual exporters of
                HTTP servers (FastAPI's instrumentators, nginx). They count since the server's start.
    access log  one line a request with its method and status, as uvicorn, gunicorn, nginx and Apache write it.

`requests_in(text)` is pure. A health check is no request.
"""

from __future__ import annotations

import re

from joulewise.vocabulary.errors import UsageError

_COUNTERS = (
    "nv_inference_request_success",  # Triton
    "vllm:request_success_total",
    "tgi_request_success",
    "ts_inference_requests_total",  # TorchServe
    "ray_serve_num_http_requests",
    "ray_serve_num_http_requests_total",
    "http_requests_total",
    "http_request_duration_seconds_count",
    "http_server_requests_total",
    "nginx_http_requests_total",
)
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})?\s+([0-9.eE+]+)(?:\s+\d+)?$")
_LINE = re.compile(r'"(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (\S+)[^"]*"\s+(\d{3})')
_NOT_WORK = re.compile(r"^/(?:health|healthz|ready|readyz|live|livez|metrics|ping|v2/health)\b")


def requests_in(text: str) -> int:
    """Return the requests that a metrics page or an access log tells of. Raises UsageError if it is neither."""
    counted = _counted(text)
    if counted is not None:
        return counted
    lines = [m for line in text.splitlines() if (m := _LINE.search(line))]
    if not lines:
        raise UsageError(
            "neither a metrics page with a counter of requests that we know nor an access log: no line tells of a request"
        )
    return sum(1 for m in lines if not _NOT_WORK.match(m[1]))


def _counted(text: str) -> int | None:
    totals: dict[str, float] = {}
    for line in text.splitlines():
        m = _SAMPLE.match(line.strip())
        if m and m[1] in _COUNTERS and not _about_health(m[2] or ""):
            totals[m[1]] = totals.get(m[1], 0.0) + float(m[3])
    for name in _COUNTERS:  # the server's own counter before that of its HTTP layer
        if name in totals:
            return int(totals[name])
    return None


def _about_health(labels: str) -> bool:
    found = re.search(r'(?:path|handler|route|endpoint)="([^"]*)"', labels)
    return bool(found and _NOT_WORK.match(found[1]))
