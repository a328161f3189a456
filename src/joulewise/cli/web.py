"""`joulewise web`: the dashboard."""

from __future__ import annotations

import secrets
from importlib.util import find_spec

import click

from joulewise.vocabulary.errors import UsageError

_NEEDED = ("starlette", "uvicorn")


@click.command("web")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; elsewhere than on loopback a token is asked for.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8484, show_default=True, help="0 takes a free one."
)
@click.option(
    "--token", metavar="TEXT", envvar="JOULEWISE_WEB_TOKEN", default="", help="What visitors must bring."
)
@click.option(
    "--tokens", is_flag=True, help="Ask for a token of `joulewise token add`, and show what that one may see."
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="A name by which the page may be asked for. May be given several times.",
)
def command(host: str, port: int, token: str, tokens: bool, names: tuple[str, ...]) -> None:
    """Show the ledger in a browser: runs, experiments, savings, the grid. It reads and never writes."""
    if tokens and token:
        raise UsageError(
            "--tokens asks for the ledger's tokens, --token for one that all share; give one of them"
        )
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        raise UsageError(f"web needs {', '.join(missing)}, not installed here: pip install 'joulewise[web]'")
    from joulewise.web.running import LOOPBACK, serve

    if host not in LOOPBACK and not token and not tokens:
        token = secrets.token_urlsafe(24)
        click.echo("joulewise: others can reach this address, so it asks for a token", err=True)
    serve(host, port, token, names, tokens=tokens)
