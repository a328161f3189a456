"""The dashboard's server: a socket, uvicorn, and a line that says where it is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

import click
import uvicorn

from joulewise.vocabulary.errors import UsageError
from joulewise.web.site import LOOPBACK, site
from joulewise.web.templating import prepare

__all__ = ["LOOPBACK", "serve"]


def serve(host: str, port: int, token: str, names: Sequence[str], *, tokens: bool = False) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM; raises UsageError where the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # before the address is said: who asks at once waits, and is not refused
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port (0 takes a free one)"
        ) from None
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    click.echo(
        f"joulewise: the dashboard is at {address}{f'?token={token}' if token else ''} (Ctrl-C ends it)",
        err=True,
    )
    allowed = ("*",) if host not in LOOPBACK and not names else (*LOOPBACK, host, *names)
    config = uvicorn.Config(
        site(token=token, tokens=tokens, hosts=allowed),
        log_level="error",
        access_log=False,
        lifespan="off",
        server_header=False,
    )
    threading.Thread(target=prepare, daemon=True).start()  # beside the start, before anybody has asked
    with listening:
        uvicorn.Server(config).run(sockets=[listening])
