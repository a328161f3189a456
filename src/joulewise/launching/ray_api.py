"""Ray's Jobs API over HTTP (documented as REST, version 4), by the standard library: a worker need not import Ray.

A dashboard that does not answer raises Unreachable; one that says no, Refused with the last line of what it said.
A token is taken from RAY_AUTH_TOKEN or ~/.ray/auth_token, as Ray's own client does.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, final
from urllib.parse import quote, urlsplit

from joulewise.launching.port import Refused, Unreachable

_PATIENCE_S = 30.0


@final
class RayApi:
    """The jobs of one cluster, by the URL of its dashboard (`http://head:8265`)."""

    def __init__(self, address: str) -> None:
        if urlsplit(address).scheme not in ("http", "https"):
            raise Refused(f"Ray's dashboard is told as http://HEAD:8265, not {address!r}")
        self._address = address.rstrip("/")

    def submit(self, told: Mapping[str, Any]) -> bool:
        """Submit a job under its `submission_id`; False if there is one of that id already."""
        try:
            self._ask("POST", "/api/jobs/", told)
        except Refused as error:
            if "already exists" in str(error):
                return False
            raise
        return True

    def job(self, name: str) -> dict[str, Any] | None:
        """Return what Ray says of a job, or None if it knows none of this id."""
        try:
            told: dict[str, Any] = self._ask("GET", f"/api/jobs/{quote(name)}")
            return told
        except LookupError:
            return None

    def log(self, name: str) -> str:
        """Return what a job wrote so far; nothing where it has not started."""
        try:
            return str(self._ask("GET", f"/api/jobs/{quote(name)}/logs")["logs"])
        except (LookupError, Refused):
            return ""

    def stop(self, name: str) -> None:
        """Ask for the end of a job: SIGTERM, and SIGKILL after the cluster's own grace (3 s by default)."""
        self._ask("POST", f"/api/jobs/{quote(name)}/stop")

    def nodes(self) -> list[dict[str, float]]:
        """Return the resources of each living node."""
        told = self._ask("GET", "/nodes?view=summary")["data"]["summary"]
        return [n["raylet"].get("resourcesTotal", {}) for n in told if n["raylet"].get("state") == "ALIVE"]

    def _ask(self, method: str, path: str, told: Mapping[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if token := _token():
            headers["Authorization"] = f"Bearer {token}"
        body = None if told is None else json.dumps(told).encode()
        request = urllib.request.Request(f"{self._address}{path}", body, headers, method=method)  # noqa: S310 - http(s) only, see above
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                said = _last_line(error.read().decode(errors="replace"))
            if error.code == 404:
                raise LookupError(said) from None
            if error.code in (401, 403):
                raise Refused(f"Ray at {self._address} wants a token (RAY_AUTH_TOKEN): {said}") from None
            if (
                error.code in (502, 503, 504) or "try again later" in said
            ):  # no agent yet: the cluster is starting
                raise Unreachable(f"Ray at {self._address} does not answer: {error.code} {said}") from None
            raise Refused(f"Ray: {said}") from None
        except (OSError, HTTPException, ValueError) as error:
            why = error.reason if isinstance(error, urllib.error.URLError) else error
            raise Unreachable(f"Ray at {self._address} does not answer: {why}") from None


def _token() -> str:
    if "RAY_AUTH_TOKEN" in os.environ:
        return os.environ["RAY_AUTH_TOKEN"].strip()
    try:
        place = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
        return Path(place).read_text(encoding="utf-8").strip()
    except (OSError, RuntimeError):
        return ""


def _last_line(text: str) -> str:
    """Return the line of a traceback that says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" .")]
    telling = [line for line in lines if "Error: " in line and "status code" not in line] or lines[-1:]
    return telling[-1][:300] if telling else "no reason given"
