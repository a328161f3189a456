"""Fixtures of the features' tests: files of events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[[str, str], str]:
    """Return a function that writes the rows of a SELECT to a Parquet file and gives its path."""

    def write(name: str, select: str) -> str:
        duckdb = pytest.importorskip("duckdb")
        path = tmp_path / f"{name}.parquet"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
        return str(path)

    return write
