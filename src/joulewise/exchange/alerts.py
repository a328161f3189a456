"""Alerts: a budget, an idle device, a saving that did not come, told to a webhook; the work never waits for it.

Whoever notices something writes a file into the spool (`waiting`), which costs a fraction of a millisecond, and starts a
process of its own that delivers what waits and lives for half a minute at most. Where the receiver is away, hangs or says no,
the file stays and goes with the next alert, the next run's end, or `joulewise alerts send`. A file leaves the spool when the
receiver has said 2xx; one that waited for a week is dropped. So an alert arrives at least once: its `id` tells a second time.

    POST URL
    Content-Type: application/json
    X-Joulewise-Event: budget
    X-Joulewise-Timestamp: 1766000000
    X-Joulewise-Signature: sha256=HMAC-SHA256(key, timestamp + "." + body)     where a key is set

    {"schema_version": 1, "id": "...", "event": "budget", "at_utc": "...", "host": "n1", "text": "...",
     "run_id": "...", "name": "digits", "facts": {...}}

`text` is one sentence, as Slack's and Mattermost's incoming webhooks show it.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from joulewise.settings import Settings
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.text import plain

WITHIN_S = 30.0  # a sender of its own lives no longer
_ANSWER_S = 10.0
_KEPT_S = 7 * 86_400.0
_MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Alert:
    """Something worth telling: which event, one sentence, the run that it is about, and figures."""

    event: str
    text: str
    run_id: str = ""
    name: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of the alerts that waited: how many were taken, how many still wait and why, how many were too old."""

    taken: int
    waiting: int
    dropped: int
    why: str = ""


def put(folder: Path, alert: Alert) -> Path:
    """Write an alert into the spool, whole or not at all, and return its file. Raises OSError where it cannot."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    moment = datetime.now(UTC)
    mark = f"{moment:%Y%m%dT%H%M%S.%f}-{os.urandom(4).hex()}"
    body = {
        "schema_version": 1,
        "id": mark,
        **asdict(alert),
        "text": plain(alert.text, 500),
        "at_utc": moment.isoformat(timespec="seconds"),
        "host": os.uname().nodename,
    }
    fresh = folder / f".{mark}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(body, file, default=str)
    fresh.rename(folder / f"{mark}.json")
    return folder / f"{mark}.json"


def waiting(folder: Path) -> list[Path]:
    """Return the alerts that wait, the oldest first."""
    try:
        return sorted(p for p in folder.iterdir() if p.suffix == ".json" and not p.name.startswith("."))
    except OSError:
        return []


def deliver(folder: Path, url: str, key: str = "", *, within_s: float = WITHIN_S) -> Delivered:
    """Send what waits, the oldest first, until one is not taken or time is up; only one process at a time does."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"alerts is {url!r}, but must be an address: https://hooks.example/...")
    until_s = time.monotonic() + within_s
    taken = dropped = 0
    why = ""
    with _alone(folder) as first:
        if not first:
            return Delivered(0, len(waiting(folder)), 0, "another process sends them")
        found = waiting(folder)
        for number, file in enumerate(found):
            if number < len(found) - _MOST_WAITING or time.time() - file.stat().st_mtime > _KEPT_S:
                file.unlink()
                dropped += 1
                continue
            left_s = until_s - time.monotonic()
            why = _send(url, key, file.read_bytes(), min(_ANSWER_S, left_s)) if left_s > 0 else "time was up"
            if why:
                break
            file.unlink()
            taken += 1
    return Delivered(taken, len(waiting(folder)), dropped, why)


def notify(chosen: Settings, alert: Alert) -> str:
    """Put an alert into the spool and start what delivers it, where the settings ask for it; returns what went wrong, or ""."""
    if not chosen.tells(alert.event):
        return ""
    try:
        put(spool(chosen), alert)
        start_sender(chosen)
    except OSError as error:
        return f"an alert could not be kept: {error.strerror}"
    return ""


def spool(chosen: Settings) -> Path:
    """Return where alerts wait: beside the recordings."""
    if not chosen.runs:
        raise UsageError("there is no place for alerts: no home folder is known; set JOULEWISE_HOME")
    return Path(chosen.runs).parent / "alerts"


def start_sender(chosen: Settings) -> None:
    """Start a process of its own that delivers what waits; nobody waits for it."""
    from joulewise.measuring.agent import ejected

    environment = {**ejected(os.environ), "JOULEWISE_RUNS": chosen.runs, "JOULEWISE_ALERTS": chosen.alerts}
    environment.pop("JOULEWISE_RECORDING", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "joulewise", "alerts", "send", "--quiet", "--within", f"{WITHIN_S:g}s"],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    process.returncode = 0  # it ends by itself, and nobody here asks how


def signature(key: str, timestamp: str, body: bytes) -> str:
    """Return what the header X-Joulewise-Signature holds: HMAC-SHA256 (RFC 2104) of the time, a dot and the body."""
    return "sha256=" + hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_options: Any) -> None:
        """Follow nobody elsewhere: the address that was set is the one that is told."""


def _send(url: str, key: str, body: bytes, within_s: float) -> str:
    """Return why a receiver did not take an alert, "" if it did."""
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "joulewise",
        "X-Joulewise-Event": str(json.loads(body)["event"]),
        "X-Joulewise-Timestamp": timestamp,
    }
    if key:
        headers["X-Joulewise-Signature"] = signature(key, timestamp, body)
    try:
        with build_opener(_Stay).open(Request(url, body, headers), timeout=max(0.1, within_s)):  # noqa: S310 - deliver refuses other schemes
            return ""
    except HTTPError as refused:
        with refused:
            return f"the receiver said {refused.code}"
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"the receiver cannot be reached: {plain(reason, 200)}"


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
