"""Tokens at the dashboard's door: each visitor sees the part of the ledger that the token shows, and nothing else.

A token comes as `Authorization: Bearer`, or once through the form and from then on in a cookie that no script can read.
While a request is answered, `wiring.store()` opens the ledger narrowed to that token, and every token has a shelf of its
own, so that nothing that was kept for one is shown to another.
"""

from __future__ import annotations

import threading
import time
from typing import final
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from joulewise import wiring
from joulewise.ledger.tokens import Token, find_token
from joulewise.web.shelf import Shelf
from joulewise.web.templating import environment

_COOKIE = "joulewise_token"
_KNOWN_S = 2.0  # a token that was taken back opens the door for this long
_OPEN = ("/static/", "/healthz")
_MOST_BYTES = 4096


@final
class Shelves:
    """A shelf for each token that reads, and one for a dashboard without tokens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shelves: dict[Token | None, Shelf] = {}

    def current(self) -> Shelf:
        """Return the shelf of whoever asks now."""
        with self._lock:
            return self._shelves.setdefault(wiring.reader.get(), Shelf())


@final
class Tokens:
    """Lets in whoever brings a token that the ledger knows; the others get 401 and, in a browser, a form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._known: dict[str, tuple[float, Token | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application would, for who brings a token; log in; or refuse."""
        if scope["type"] != "http" or scope["path"].startswith(_OPEN):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if request.method == "POST" and request.url.path == "/login":
            await (await self._log_in(request))(scope, receive, send)
            return
        bearer = request.headers.get("authorization", "")
        text = bearer.removeprefix("Bearer ") if bearer else request.cookies.get(_COOKIE, "")
        token = await self._find(text)
        if token is None:
            await _refused(request, wrong=bool(text))(scope, receive, send)
            return
        before = wiring.reader.set(token)
        try:
            await self._app(scope, receive, send)
        finally:
            wiring.reader.reset(before)

    async def _find(self, text: str) -> Token | None:
        if not text:
            return None
        now_s = time.monotonic()
        until_s, token = self._known.get(text, (0.0, None))
        if now_s >= until_s:
            token = await run_in_threadpool(_look_up, text)
            self._known = {key: kept for key, kept in self._known.items() if kept[0] > now_s}
            if token is not None:  # wrong ones are not kept: anybody can send many
                self._known[text] = (now_s + _KNOWN_S, token)
        return token

    async def _log_in(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BYTES:
                return PlainTextResponse("that is no token\n", 413)
        text = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if await self._find(text) is None:
            return _refused(request, wrong=True)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            _COOKIE, text, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return answer


def _look_up(text: str) -> Token | None:
    ledger = wiring.store()
    try:
        return find_token(ledger, text)
    finally:
        ledger.close()


def _refused(request: Request, *, wrong: bool) -> Response:
    headers = {"www-authenticate": 'Bearer realm="joulewise"', "cache-control": "no-store"}
    if "text/html" not in request.headers.get("accept", ""):
        words = "this token opens nothing here" if wrong else "this ledger asks for a token"
        return PlainTextResponse(f"{words}: Authorization: Bearer TOKEN\n", 401, headers)
    page = environment().get_template("login.html").render(wrong=wrong, path=request.url.path, nav="")
    return HTMLResponse(page, 401, headers)
