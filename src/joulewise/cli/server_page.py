"""What a server says of its own traffic: a file, its metrics page by URL, or that of the ports on which a recorded run listens.

    FILE       an access log, or a metrics page that somebody saved
    http://…   fetched now, once; without a path its `/metrics`
    auto       the run is being recorded and listens: `/metrics` on each of its TCP ports, until one tells requests

Only what is named is asked: a URL, or loopback for `auto`. No proxy, no redirect, five seconds, four megabytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request

from joulewise import wiring
from joulewise.diagnosing.traffic import requests_in
from joulewise.ledger.files import process_start, read_head, run_folder
from joulewise.measuring.process_tree import ProcessTree
from joulewise.vocabulary.errors import RecordingError, UsageError
from joulewise.vocabulary.recording import EndState, Recording

_WITHIN_S = 5.0
_MOST_BYTES = 4_000_000
_LISTENS = "0A"  # TCP_LISTEN in /proc/net/tcp
_MOST_PORTS = 20


def requests_told(told: str, pids: Iterable[int], run_id: str) -> int:
    """Return the requests that a server answered: `told` is what the user gave. Raises UsageError where none are told.

    `pids` are the run's living processes (for `auto`); empty where it has ended.
    """
    if told == "auto":
        return _listening(list(pids), run_id)
    if told.startswith(("http://", "https://")):
        return requests_in(page(told))
    try:
        return requests_in(Path(told).read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise UsageError(f"cannot read {told}: {error.strerror}") from None


def living(recording: Recording) -> frozenset[int]:
    """Return the processes of a run that still lasts on this host; empty where it has ended, or runs elsewhere."""
    if recording.end.state is not EndState.RUNNING:
        return frozenset()
    try:
        head = read_head(run_folder(Path(wiring.settings().runs), recording.run_id))
    except RecordingError:
        return frozenset()
    root = head.get("root_pid")
    if (
        not isinstance(root, int)
        or head.get("host") != os.uname().nodename
        or process_start(root) != head.get("root_start")
    ):
        return frozenset()
    return ProcessTree(root, from_start=False).pids


def page(url: str) -> str:
    """Return the text at a URL, at `/metrics` where it has no path. Raises UsageError with one line."""
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.username or parts.port == 0:
            raise ValueError
        whole = urlunsplit(parts._replace(path=parts.path.rstrip("/") or "/metrics", fragment=""))
        request = Request(whole, headers={"Accept": "text/plain"})  # noqa: S310 - http and https only, see above
        opener = OpenerDirector()
        for handler in (HTTPHandler(), HTTPSHandler()):
            opener.add_handler(handler)
        with opener.open(request, timeout=_WITHIN_S) as answer:
            if answer.status != 200:
                raise UsageError(
                    f"{whole} answers {answer.status} {answer.reason}; name its metrics page, or a file"
                )
            text: str = answer.read(_MOST_BYTES).decode("utf-8", "replace")
            return text
    except HTTPError as error:
        raise UsageError(
            f"{url} answers {error.code} {error.reason}; name its metrics page, or a file"
        ) from None
    except ValueError:
        raise UsageError(
            f"{url!r} is no URL of a server; write for instance --requests http://127.0.0.1:8000/metrics"
        ) from None
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or error
        raise UsageError(f"cannot ask {url}: {why}") from None


def _listening(pids: list[int], run_id: str) -> int:
    if not pids:
        raise UsageError(
            f"{run_id} has ended, so its ports tell nothing; give its access log or a saved metrics page"
        )
    ports = listening_ports(pids)
    why = "it listens on no TCP port"
    for port in ports[:_MOST_PORTS]:
        try:
            return requests_in(page(f"http://127.0.0.1:{port}/metrics"))
        except UsageError as error:
            why = str(error)
    raise UsageError(
        f"{run_id} tells no requests: {why}; give its access log, or the URL of its metrics page"
    )


def listening_ports(pids: Iterable[int], proc: str = "/proc") -> list[int]:
    """Return the TCP ports on which these processes listen, the lowest first."""
    found = set()
    for pid in pids:
        own = _sockets(f"{proc}/{pid}/fd")
        for name in ("tcp", "tcp6"):
            try:
                lines = Path(f"{proc}/{pid}/net/{name}").read_text(encoding="ascii").splitlines()[1:]
            except OSError:
                continue
            rows = [line.split() for line in lines]
            found |= {
                int(r[1].rpartition(":")[2], 16)
                for r in rows
                if len(r) > 9 and r[3] == _LISTENS and r[9] in own
            }
    return sorted(found)


def _sockets(folder: str) -> set[str]:
    """Return the inode numbers of a process's sockets."""
    found = set()
    try:
        for name in os.listdir(folder):
            try:
                target = os.readlink(f"{folder}/{name}")
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        pass
    return found
