"""Send a form to a service over HTTP: only when asked to, within a time, and with one clear line where it is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.text import plain

_WITHIN_S = 60.0  # a tracking server that just started takes its time


def request(method: str, url: str, **options: Any) -> Any:
    """Return the JSON that a service answers (None for nothing); raises UsageError for an address or an answer that is none."""
    try:
        import httpx
    except ImportError:
        raise UsageError("sending needs httpx, not installed here: pip install 'joulewise[online]'") from None
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is no address; give for instance http://localhost:4318")
    try:
        answer = httpx.request(method, url, timeout=_WITHIN_S, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(f"{url} cannot be reached: {type(error).__name__} {plain(error, 200)}") from None
    if answer.status_code >= 400:
        raise UsageError(f"{url} refused it: {answer.status_code} {plain(answer.text, 200)}")
    try:
        return answer.json() if answer.content else None
    except ValueError:
        return None
