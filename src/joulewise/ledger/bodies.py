"""Bodies: the files of recordings, kept in a ledger that hosts share, so that every machine can read every recording.

A file only grows, so what the ledger holds of it is its beginning: `size_bytes` of it, in parts that are compressed one by
one. A part is taken only where the ledger holds exactly what comes before it, in one transaction with the new size: two
senders of one file, a sender that is killed, and one that never heard the answer all leave every byte there once. Which file
it is tells the digest of its first line, the header, not the name of a host or a path: what one node wrote on a shared disk,
any other may send.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from joulewise.ledger.files import decode, encode, parse_recording
from joulewise.ledger.reducing import KEY, is_reduced
from joulewise.ledger.store import Store, insert
from joulewise.vocabulary.errors import RecordingError
from joulewise.vocabulary.recording import Recording

_REDUCED = "/reduced"
PART_BYTES = 1 << 20  # of a file, before compression
_BODY = ("run_id", "file", "mark", "size_bytes", "kept_bytes", "parts", "changed_utc")
_PART = ("run_id", "file", "start", "content")
_GROW = (
    "UPDATE bodies SET size_bytes = :stop, kept_bytes = kept_bytes + :kept, parts = parts + 1, changed_utc = :now "
    "WHERE run_id = :run_id AND file = :file AND mark = :mark AND size_bytes = :start"
)
_SEAL = (
    "UPDATE bodies SET kept_bytes = :kept, parts = :parts, changed_utc = :now "
    "WHERE run_id = :run_id AND file = :file AND mark = :mark AND size_bytes = :size AND parts > :parts"
)
_REPLACE = (
    "UPDATE bodies SET mark = :mark, size_bytes = :size, kept_bytes = :kept, parts = :parts, changed_utc = :now "
    "WHERE run_id = :run_id AND file = :file AND mark = :before"
)


@dataclass(frozen=True, slots=True)
class Body:
    """What the ledger holds of one file of a recording: which one, how much of it, in how many parts."""

    mark: str
    size_bytes: int
    kept_bytes: int
    parts: int


def mark_of(first_line: bytes) -> str:
    """Return what tells one file from another: a digest of its header; of a reduced one that of before, and `/reduced`."""
    head = decode(first_line)
    if head is None or not is_reduced(head):
        return hashlib.sha256(first_line).hexdigest()[:32]
    return f"{mark_of(encode({k: v for k, v in head.items() if k != KEY}))}{_REDUCED}"


def same_file(one: str, other: str) -> bool:
    """Whether two marks are of one file, reduced or not."""
    return one.removesuffix(_REDUCED) == other.removesuffix(_REDUCED)


def held(store: Store, run_id: str) -> dict[str, Body]:
    """Return what the ledger holds of a recording, by the names of its files."""
    rows = store.query("SELECT * FROM bodies WHERE run_id = :run_id", {"run_id": run_id})
    return {r["file"]: Body(r["mark"], r["size_bytes"], r["kept_bytes"], r["parts"]) for r in rows}


def append(store: Store, run_id: str, file: str, mark: str, start: int, data: bytes) -> bool:
    """Take `data`, which begins at `start` of a file; False where the ledger does not hold exactly what comes before."""
    content = zlib.compress(data)
    row = {
        "run_id": run_id, "file": file, "mark": mark, "start": start, "stop": start + len(data), "kept": len(content),
        "now": _now(),
    }  # fmt: skip
    with store.transaction():
        if start == 0:
            fresh = {**row, "size_bytes": len(data), "kept_bytes": len(content), "parts": 1, "changed_utc": row["now"]}  # fmt: skip
            taken = store.execute(f"{insert('bodies', _BODY)} ON CONFLICT DO NOTHING", _only(fresh, _BODY))
        else:
            taken = store.execute(_GROW, row)
        if taken:
            store.execute(insert("body_parts", _PART), _only({**row, "content": content}, _PART))
    return bool(taken)


def seal(store: Store, run_id: str, file: str, mark: str, content: bytes) -> bool:
    """Keep a file that has ended in as few parts as it needs: large ones compress better. False if nothing was to be done."""
    parts = _parts(run_id, file, content)
    row = {
        "run_id": run_id,
        "file": file,
        "mark": mark,
        "size": len(content),
        "now": _now(),
        **_measure(parts),
    }
    with store.transaction():
        if not store.execute(_SEAL, row):
            return False
        _rewrite(store, run_id, file, parts)
    return True


def replace(store: Store, run_id: str, file: str, before: str, content: bytes) -> bool:
    """Put another content in the place of a file that was marked `before`; False where another was faster."""
    parts = _parts(run_id, file, content)
    mark = mark_of(content[: content.find(b"\n") + 1])
    row = {
        "run_id": run_id,
        "file": file,
        "mark": mark,
        "before": before,
        "size": len(content),
        "now": _now(),
    }
    with store.transaction():
        if not store.execute(_REPLACE, {**row, **_measure(parts)}):
            return False
        _rewrite(store, run_id, file, parts)
    return True


def forget(store: Store, run_id: str) -> None:
    """Delete the body of a recording from the ledger."""
    with store.transaction():
        for table in ("body_parts", "bodies"):
            store.execute(f"DELETE FROM {table} WHERE run_id = :run_id", {"run_id": run_id})  # noqa: S608 - names of ours


def contents(store: Store, run_id: str) -> dict[str, bytes]:
    """Return the files of a recording as the ledger holds them, by name; empty where it holds none."""
    rows = store.query(
        "SELECT file, content FROM body_parts WHERE run_id = :run_id ORDER BY file, start", {"run_id": run_id}
    )
    files: dict[str, list[bytes]] = {}
    for row in rows:
        files.setdefault(row["file"], []).append(zlib.decompress(row["content"]))
    return {file: b"".join(parts) for file, parts in files.items()}


def read_body(store: Store, run_id: str) -> Recording:
    """Return a recording from the ledger; one that goes on, up to what was sent. RecordingError where it holds none."""
    files = contents(store, run_id)
    if not files:
        raise RecordingError(
            f"{run_id} is in the ledger, but its recording is on another machine and was not pushed; "
            "run 'joulewise push' there"
        )
    return parse_recording({file: io.BytesIO(content) for file, content in files.items()}, run_id)


def _parts(run_id: str, file: str, content: bytes) -> list[dict[str, object]]:
    return [
        {"run_id": run_id, "file": file, "start": at, "content": zlib.compress(content[at : at + PART_BYTES])}
        for at in range(0, max(1, len(content)), PART_BYTES)
    ]


def _measure(parts: list[dict[str, object]]) -> dict[str, int]:
    return {"parts": len(parts), "kept": sum(len(p["content"]) for p in parts)}  # type: ignore[arg-type,misc]  # bytes


def _rewrite(store: Store, run_id: str, file: str, parts: list[dict[str, object]]) -> None:
    store.execute(
        "DELETE FROM body_parts WHERE run_id = :run_id AND file = :file", {"run_id": run_id, "file": file}
    )
    store.execute(insert("body_parts", _PART), *parts)


def _only(row: Mapping[str, object], columns: tuple[str, ...]) -> dict[str, object]:
    return {column: row[column] for column in columns}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
