"""Requests that a server in this process answers: counted where the server makes one, whatever it then logs.

uvicorn (FastAPI, Starlette, vLLM), http.server (Flask's own, too), gunicorn, aiohttp, tornado.
"""

from __future__ import annotations

from . import layout as at
from .timeline import Timeline, clock

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MADE = {  # module: what is called once a request
    "uvicorn.protocols.http.h11_impl": ("RequestResponseCycle", "__init__"),
    "uvicorn.protocols.http.httptools_impl": ("RequestResponseCycle", "__init__"),
    "aiohttp.web_request": ("BaseRequest", "__init__"),
    "tornado.httputil": ("HTTPServerRequest", "__init__"),
    "http.server": ("BaseHTTPRequestHandler", "parse_request"),
    "gunicorn.http.wsgi": ("Response", "__init__"),
}


class Services:
    """The counting of one process."""

    def __init__(self, line: Timeline) -> None:
        self._line = line

    def watched(self, name: str) -> Callable[[Any], None] | None:
        """Return what is to be done with a module, if it is a server's."""
        return self._wrap if name in _MADE else None

    def _wrap(self, module: Any) -> None:
        owner, name = _MADE[module.__name__]
        cls = getattr(module, owner)
        original = getattr(cls, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if result is None or result:  # a request that could not be read is none
                self._count()
            return result

        call.__name__, call.__doc__, call.__wrapped__ = name, original.__doc__, original  # type: ignore[attr-defined]
        setattr(cls, name, call)

    def _count(self) -> None:
        line = self._line
        line.page[at.REQUESTS] += 1
        now = clock()
        if now > line.facts.due_s:
            line.tell(now)
