"""Without the extra `search` nothing here can be imported: the tests are left out, and the header says so."""

from __future__ import annotations

from importlib.util import find_spec

_LACKING = [name for name in ("numpy", "threadpoolctl") if find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if _LACKING else []


def pytest_report_header() -> str:
    """Say what is left out and why."""
    return f"searching: left out, {' and '.join(_LACKING)} not installed (extra `search`)" if _LACKING else ""
