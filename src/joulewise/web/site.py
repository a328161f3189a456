"""The dashboard: pages about the ledger, rendered here, that ask for nothing but themselves.

It reads and never writes. It listens on loopback unless told otherwise, and then it asks for a token: once in the
address (`?token=`), from then on in a cookie, or as a bearer token. A request that names another host than those it was
told is refused, so that no page elsewhere can read the ledger through a visitor's browser.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from joulewise.exchange import prometheus
from joulewise.vocabulary.errors import UsageError
from joulewise.web import (
    compare_page,
    experiment_page,
    grid_page,
    models_page,
    queue_page,
    run_page,
    runs_page,
    savings_page,
    totals_page,
    where_page,
)
from joulewise.web.shelf import Query, Shelf
from joulewise.web.templating import environment
from joulewise.web.tokens import Shelves, Tokens

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_COOKIE = "joulewise_token"
_STATIC = {
    "site.css": "text/css",
    "report.css": "text/css",
    "site.js": "text/javascript",
    "report.js": "text/javascript",
}
_HEADERS = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
            b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
Page = Callable[[Request, Shelf], str]


def site(*, token: str = "", tokens: bool = False, hosts: Sequence[str] = LOOPBACK) -> Starlette:
    """Return the dashboard as an ASGI application; `token` "" lets everybody in who can reach it.

    With `tokens` it asks for one that the ledger knows, and shows what that one shows. `hosts` are the names by which it may be asked; "*" allows any.
    """
    shelves = Shelves()
    routes = [Route(path, _endpoint(page, shelves), name=page.__name__) for path, page in _PAGES.items()]
    routes += [
        Route(
            "/metrics",
            lambda _request: Response(
                prometheus.write(*shelves.current().current()), media_type=prometheus.CONTENT_TYPE
            ),
        ),
        Route("/static/{name}", _static),
        Route("/healthz", lambda _request: PlainTextResponse("ok")),
    ]
    middleware = [
        Middleware(_Headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
    ]
    if tokens:
        middleware.append(Middleware(Tokens))
    elif token:
        middleware.append(Middleware(_Token, token=token))
    return Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HTTPException: _refused, UsageError: _refused},
    )


def _runs(request: Request, shelf: Shelf) -> str:
    query = _query(request)
    rows, count = shelf.runs(query)
    return runs_page.render(rows, count, query)


def _run(request: Request, shelf: Shelf) -> str:
    account = shelf.account(request.path_params["run"])
    return run_page.render(account, shelf.findings(account))


def _compare(request: Request, shelf: Shelf) -> str:
    runs = request.query_params.getlist("run")[: compare_page.MOST]
    return compare_page.render([shelf.account(run) for run in runs])


def _experiments(_request: Request, shelf: Shelf) -> str:
    return experiment_page.render_list(shelf.experiments())


def _experiment(request: Request, shelf: Shelf) -> str:
    name = request.query_params.get("name", "")
    return experiment_page.render(name, *shelf.experiment(name))


def _savings(_request: Request, shelf: Shelf) -> str:
    return savings_page.render(*shelf.settled())


def _queue(_request: Request, shelf: Shelf) -> str:
    return queue_page.render(shelf.queue())


def _job(request: Request, shelf: Shelf) -> str:
    return queue_page.render_job(*shelf.job(request.path_params["job"]))


def _totals(request: Request, shelf: Shelf) -> str:
    field = request.query_params
    asked = totals_page.Asked(
        field.get("month") or f"{datetime.now(UTC):%Y-%m}",
        field.get("by") or "project",
        field.get("project", "")[:200],
        field.get("person", "")[:200],
    )
    return totals_page.render(asked, shelf.totals(asked))


def _where(request: Request, shelf: Shelf) -> str:
    project = request.query_params.get("project", "")[:200]
    asked = totals_page.Asked(
        request.query_params.get("month") or f"{datetime.now(UTC):%Y-%m}", project=project
    )
    return where_page.render(project, asked.month, *shelf.where_it_went(asked))


def _models(_request: Request, shelf: Shelf) -> str:
    return models_page.render(shelf.served())


def _grid(request: Request, _shelf: Shelf) -> str:
    return grid_page.render(request.query_params.get("zone", ""))


_PAGES: dict[str, Page] = {
    "/": _runs,
    "/runs/{run}": _run,
    "/compare": _compare,
    "/experiments": _experiments,
    "/experiment": _experiment,
    "/savings": _savings,
    "/queue": _queue,
    "/queue/{job}": _job,
    "/grid": _grid,
    "/totals": _totals,
    "/where": _where,
    "/models": _models,
}


def _endpoint(page: Page, shelves: Shelves) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        return HTMLResponse(page(request, shelves.current()), headers={"cache-control": "no-store"})

    return endpoint


def _query(request: Request) -> Query:
    asked = request.query_params
    page = asked.get("page", "1")
    if not page.isdecimal():
        raise UsageError(f"page is {page!r}, but must be a whole number")
    return Query(
        text=asked.get("q", "")[:200],
        state=asked.get("state", ""),
        since=asked.get("since", ""),
        order=asked.get("order", "newest"),
        page=int(page[:8]),
    )


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise HTTPException(404)
    text = files("joulewise.web").joinpath("templates", name).read_text(encoding="utf-8")
    return Response(text, media_type=_STATIC[name], headers={"cache-control": "max-age=3600"})


async def _refused(request: Request, error: Exception) -> Response:
    """Answer what cannot be shown with a page of one sentence."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    text = (error.detail if isinstance(error, HTTPException) else str(error)) or HTTPStatus(status).phrase
    page = environment().get_template("refused.html").render(text=text, path=request.url.path, nav="")
    return HTMLResponse(page, status, headers={"cache-control": "no-store"})


class _Headers:
    """Puts the headers that make a page safe on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]  # type: ignore[misc]  # a list of pairs
            await send(message)

        await self._app(scope, receive, headed if scope["type"] == "http" else send)  # type: ignore[arg-type]  # a message is a mapping


class _Token:
    """Lets nobody in without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        asked = request.query_params.get("token", "")
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        respond: ASGIApp
        if asked and self._is_it(asked):
            clean = request.url.remove_query_params("token")
            respond = RedirectResponse(clean.path + (f"?{clean.query}" if clean.query else ""), 303)
            respond.set_cookie(
                _COOKIE, asked, httponly=True, samesite="strict", secure=request.url.scheme == "https"
            )
        elif self._is_it(request.cookies.get(_COOKIE, "")) or self._is_it(bearer):
            respond = self._app
        else:
            respond = PlainTextResponse(
                "this ledger asks for its token: add ?token=... to the address\n", 401
            )
        await respond(scope, receive, send)

    def _is_it(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)
