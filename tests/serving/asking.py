"""Ask a service as an ASGI server would, without a network."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

from joulewise.serving.asgi import Asgi
from joulewise.serving.places import listen
from joulewise.serving.wire import Front


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


@contextmanager
def on_the_wire(service):
    """Serve in a thread; yields the address."""
    started = threading.Event()
    ended: list[Callable[[], object]] = []

    async def scene():
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        front = Front(service)
        server = await loop.create_server(front, sock=listening)
        ended.append(lambda: loop.call_soon_threadsafe(done.set))
        started.set()
        await done.wait()
        server.close()
        for connection in list(front.connections):
            connection._transport.abort()
        await service.close()

    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(scene()))
        thread.start()
        started.wait(10)
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended[0]()
            thread.join(10)


async def ask(
    service, path="/predict", body=b"", headers=(), method="POST", parts=None, hang=False, kind="http"
):
    """Return the answer to one request; `parts` sends the body in pieces, `hang` never sends the rest."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    pieces = list(parts) if parts is not None else [body]
    messages = [
        {"type": "http.request", "body": piece, "more_body": hang or k < len(pieces) - 1}
        for k, piece in enumerate(pieces)
    ]
    sent = []

    async def receive():
        if messages:
            return messages.pop(0)
        if hang:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    named = [(k.encode(), v.encode()) for k, v in dict(headers).items()]
    await Asgi(service)({"type": kind, "path": path, "method": method, "headers": named}, receive, send)
    told = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return Answer(sent[0]["status"], told, b"".join(m.get("body", b"") for m in sent[1:]))


def x(*rows):
    """Return the plain request for these rows of x."""
    return {"inputs": {"x": [list(row) for row in rows]}}
