"""Fixtures that every room's tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import hypothesis
import pytest

from tests.services import postgres_server, postgres_url, redis_server, redis_url  # noqa: F401 - fixtures

# how long an example takes is the machine's business, not the test's
hypothesis.settings.register_profile("joulewise", deadline=None)
hypothesis.settings.load_profile("joulewise")

# a shell that runs the tests in the background has them ignore Ctrl-C, and programs inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a joulewise home of its own, so that no test reads or writes the user's."""
    folder = tmp_path_factory.mktemp("joulewise-home")
    for name in (
        "JOULEWISE_LEDGER",
        "JOULEWISE_FEATURES",
        "JOULEWISE_ONLINE_STORE",
        "JOULEWISE_ZONE",
        "JOULEWISE_RECORDING",
        "JOULEWISE_INTERVAL",
        "JOULEWISE_ONLINE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JOULEWISE_HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    return folder
