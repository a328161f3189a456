"""A home of its own for each test, and recordings made by the real verb."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Joulewise = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Path:
    """Return a place for recordings, ledger and settings that no other test sees."""
    for name in [n for n in os.environ if n.startswith("JOULEWISE_")]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("JOULEWISE_HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def joulewise(home) -> Joulewise:
    """Run the command line as a user does, in a process of its own."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [sys.executable, "-m", "joulewise", *arguments],
            capture_output=True,
            text=True,
            cwd=home,
            **{"timeout": 60, **options},
        )

    return run


@pytest.fixture
def recorded(joulewise) -> Callable[..., None]:
    """Record a short program under a name."""

    def record(name: str, code: str = "sum(range(20_000_000))", *options: str) -> None:
        done = joulewise("run", "--quiet", "--name", name, *options, "--", sys.executable, "-c", code)
        assert done.returncode == 0, done.stderr

    return record
