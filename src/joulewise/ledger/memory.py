"""The ledger's twin in memory: for tests, and for work that must leave nothing behind."""

from __future__ import annotations

from joulewise.ledger.store import SqliteStore, memory_connection


def open_memory() -> SqliteStore:
    """Return a fresh ledger that lives as long as it is open."""
    return SqliteStore(memory_connection(), "memory")
