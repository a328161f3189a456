"""The service as an ASGI application, to be mounted in another's server (`uvicorn`, Starlette, Ray Serve).

`joulewise serve` itself does not go this way: `wire.py` costs a third of an ASGI server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, final

from joulewise.serving.app import Service
from joulewise.serving.exchange import Cost, Exchange, Reply, more_headers

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@final
class Asgi:
    """An ASGI application around a service."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises ValueError for anything but http and lifespan."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await self.service.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] != "http":
            raise ValueError(f"cannot speak {scope['type']}: only http is served")
        replied: asyncio.Future[tuple[Reply, Cost]] = asyncio.get_running_loop().create_future()
        exchange = Exchange(lambda _exchange, reply, cost: replied.set_result((reply, cost)))
        exchange.method, exchange.path = scope["method"], scope["path"]
        exchange.headers = {name.lower(): value for name, value in scope["headers"]}
        self.service.opened()
        try:
            self.service.head(exchange)
            if not exchange.done:
                await self._read(exchange, receive)
            reply, cost = await replied
        finally:
            self.service.gone(exchange)
        pairs = [
            (b"content-type", reply.kind),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-joules", cost.joules),
            (b"x-joules-basis", cost.basis),
            (b"x-gco2e", cost.grams),
            (b"x-cost", cost.money),
            (b"x-cache", reply.cache),
            (b"x-variant", reply.variant),
            *more_headers(reply),
        ]
        if reply.status in (408, 413):  # what is left of the body is not read
            pairs.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": pairs})
        await send({"type": "http.response.body", "body": reply.body})

    async def _read(self, exchange: Exchange, receive: Receive) -> None:
        parts, service = [], self.service
        try:
            async with asyncio.timeout(service.limits.body_s):
                while not exchange.done:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        service.refuse(exchange, 400, "the body was cut short")
                        return
                    parts.append(message.get("body", b""))
                    service.took(exchange, len(parts[-1]))
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            service.refuse(exchange, 408, f"the body did not arrive within {service.limits.body_s:.3g} s")
        if not exchange.done:
            exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
            service.whole(exchange)
