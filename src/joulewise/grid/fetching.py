"""Asking a service over the network, politely: kept answers first, limits respected, secrets never written down.

An answer is kept on disk for as long as the service's own step, so that nobody is asked more often than it has news.
After 429 the service is left alone for as long as it said (Retry-After; a minute where it did not say), across
processes. Time-outs and 5xx are tried three times with growing pauses. Everything else that goes wrong is a GridError
of one line that names the service and what to do, never a key: keys travel in `secret` arguments that neither the
cache, nor a message, nor a kept file ever sees.

Needs httpx (`pip install 'joulewise[online]'`); redirects are not followed, so that a key goes nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from joulewise.vocabulary.clock import Clock, SystemClock
from joulewise.vocabulary.errors import GridError

if TYPE_CHECKING:
    import ssl

    import httpx

TIMEOUT_S = 20.0
_TRIES = 3
_PAUSE_S = 1.0
_PATIENCE_S = 10.0  # a Retry-After up to here is waited for; a longer one is remembered
_UNTOLD_S = 60.0
_OLD_S = 2 * 86400.0
_LARGEST_BYTES = 32 << 20
_TOO_MANY, _SERVER = 429, 500


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a service. Only `secret_params` and `secret_headers` hold keys."""

    url: str
    params: Mapping[str, str] = field(default_factory=dict)
    secret_params: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_login: tuple[str, str] | None = field(default=None, repr=False)  # HTTP Basic

    @property
    def name(self) -> str:
        """The name of its kept answer: the same question by another key is the same question."""
        asked = json.dumps([self.url, sorted(self.params.items())])
        return hashlib.sha256(asked.encode()).hexdigest()[:32]


class Refused(GridError):  # noqa: N818 - it names the state
    """The service does not know the key (401); a source with a token may fetch a new one."""


@final
class Fetcher:
    """Asks services and keeps their answers in `folder` (None: nowhere)."""

    def __init__(
        self,
        folder: Path | None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._folder = folder
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._timeout_s = timeout_s

    def now_utc(self) -> datetime:
        """Return the time."""
        return self._clock.now_utc()

    def json(self, service: str, request: Request, fresh_s: float) -> Any:
        """Return the answer as JSON; kept answers younger than `fresh_s` seconds are taken (0: never kept)."""
        text = self.text(service, request, fresh_s)
        try:
            return json.loads(text)
        except ValueError as error:
            self._forget(request)
            raise GridError(
                f"{service} answered what is no JSON, or was cut off ({len(text)} characters)"
            ) from error

    def text(self, service: str, request: Request, fresh_s: float) -> str:
        """Return the answer as text; see `json`."""
        kept = self._kept(request, fresh_s)
        if kept is not None:
            return kept
        self._may_ask(service)
        text = self._ask(service, request)
        if fresh_s > 0:
            self._keep(request, text)
        return text

    def _ask(self, service: str, request: Request) -> str:
        try:
            import httpx
        except ImportError as error:
            raise GridError(f"asking {service} needs httpx: pip install 'joulewise[online]'") from error
        failed = ""
        with httpx.Client(verify=_certificates(), timeout=self._timeout_s, follow_redirects=False) as client:
            for attempt in range(_TRIES):
                if attempt:
                    self._sleep(_PAUSE_S * 2 ** (attempt - 1))
                try:
                    response = self._send(client, request)
                except httpx.TimeoutException:
                    failed = f"did not answer within {self._timeout_s:g} s"
                    continue
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    # its text may hold the whole address, key and all: the kind is enough
                    failed = f"cannot be reached or broke off its answer ({type(error).__name__})"
                    continue
                if response.status_code == _TOO_MANY:
                    wait_s = self._told_to_wait(response)
                    if wait_s <= _PATIENCE_S and attempt + 1 < _TRIES:
                        self._sleep(max(0.0, wait_s - _PAUSE_S))
                        failed = "allows no more requests"
                        continue
                    self._leave_alone(service, wait_s)
                    raise GridError(f"{service} allows no more requests for {wait_s:.0f} s (429)")
                if response.status_code >= _SERVER:
                    failed = f"is out of order ({response.status_code})"
                    continue
                return _body(service, response)
        raise GridError(f"{service} {failed}, asked {_TRIES} times")

    def _send(self, client: httpx.Client, request: Request) -> httpx.Response:
        return client.get(
            request.url,
            params={**request.params, **request.secret_params},
            headers={"Accept-Encoding": "gzip", **request.secret_headers},
            auth=request.secret_login,
        )

    def _told_to_wait(self, response: httpx.Response) -> float:
        """Return how long to wait by Retry-After, in seconds or as a date."""
        told = response.headers.get("Retry-After", "")
        try:
            return max(0.0, float(told))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(told) - self._clock.now_utc()).total_seconds())
        except (TypeError, ValueError):
            return _UNTOLD_S

    def _may_ask(self, service: str) -> None:
        until = self._limits().get(service, 0.0)
        left_s = until - self._clock.now_utc().timestamp()
        if left_s > 0:
            raise GridError(f"{service} asked not to be asked for another {left_s:.0f} s")

    def _leave_alone(self, service: str, wait_s: float) -> None:
        limits = {**self._limits(), service: self._clock.now_utc().timestamp() + wait_s}
        self._write("limits.json", json.dumps(limits))

    def _limits(self) -> dict[str, float]:
        try:
            told = json.loads(self._read("limits.json"))
        except ValueError:
            return {}
        return {k: float(v) for k, v in told.items()} if isinstance(told, dict) else {}

    def _kept(self, request: Request, fresh_s: float) -> str | None:
        stamp, _, text = self._read(f"{request.name}.txt").partition("\n")
        try:
            age_s = self._clock.now_utc().timestamp() - float(stamp)
        except ValueError:
            return None
        return text if 0 <= age_s < fresh_s else None

    def _keep(self, request: Request, text: str) -> None:
        self._clear()
        self._write(f"{request.name}.txt", f"{self._clock.now_utc().timestamp()}\n{text}")

    def _clear(self) -> None:
        """Delete answers that nobody will take any more: they were kept two days ago or earlier."""
        if self._folder is not None and self._folder.is_dir():
            for path in self._folder.glob("*.txt"):
                with suppress(OSError):
                    if path.stat().st_mtime < time.time() - _OLD_S:
                        path.unlink()

    def _forget(self, request: Request) -> None:
        if self._folder is not None:
            with suppress(OSError):
                os.remove(self._folder / f"{request.name}.txt")

    def _read(self, name: str) -> str:
        if self._folder is None:
            return ""
        try:
            return (self._folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def _write(self, name: str, text: str) -> None:
        """Write a file that only the user reads; where that fails, the answer is just not kept."""
        if self._folder is None:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = self._folder / f"{name}.{os.getpid()}.new"
            with os.fdopen(
                os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                file.write(text)
            os.replace(new, self._folder / name)


@cache
def _certificates() -> ssl.SSLContext:
    """Return the certificates to trust, read once: they cost more time than a question."""
    import httpx

    return httpx.create_ssl_context()


def _body(service: str, response: httpx.Response) -> str:
    code = response.status_code
    if code == 401:
        raise Refused(f"{service} does not know this key (401); check it, or leave it out to go without")
    if code == 403:
        raise GridError(f"{service} refuses this question (403): the key's plan does not cover it")
    if code == 404:
        raise GridError(f"{service} has nothing for this zone or time (404)")
    if not 200 <= code < 300:
        raise GridError(f"{service} answered {code}")
    if len(response.content) > _LARGEST_BYTES:
        raise GridError(f"{service} answered {len(response.content)} bytes: more than is read")
    return response.text
