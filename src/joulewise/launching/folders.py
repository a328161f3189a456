"""A folder for each job: what an engine and whoever runs the program tell each other, whole or not at all.

Files are written beside their place and moved there, so that nobody reads half of one; a lock is a file that one holder
at a time has under flock(2). Folders are the user's alone (0700).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

MOST_BYTES = 1 << 20  # that one reading of a log returns


def folder_name(key: str) -> str:
    """Return a name for the key's folder: letters, digits and `._-` only, and another one for every other key."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", key)[:120]
    same = plain == key and not key.startswith(".")
    return plain if same else f"k{plain}-{zlib.crc32(key.encode(errors='surrogateescape')):08x}{len(key):x}"


def read_json(folder: str, name: str) -> dict[str, Any] | None:
    """Return what a file of the job's folder holds, or None if it is not there yet."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            told: dict[str, Any] = json.load(file)
            return told
    except FileNotFoundError:
        return None


def write_json(folder: str, name: str, told: Mapping[str, Any]) -> None:
    """Write a file of the job's folder, whole or not at all, and see it onto the disk."""
    write_text(folder, name, json.dumps(told))


def write_text(folder: str, name: str, text: str) -> None:
    """Write a file of the job's folder, whole or not at all, and see it onto the disk."""
    temporary = os.path.join(folder, f".{name}-{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, os.path.join(folder, name))


def read_from(path: str, offset: int) -> bytes:
    """Return at most a mebibyte of a log from byte `offset` on; nothing where the file is not there yet."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        file.seek(offset)
        return file.read(MOST_BYTES)
    return b""


@contextmanager
def locked(folder: str, name: str) -> Iterator[int]:
    """Wait for a lock of the job's folder and hold it; yields its descriptor (a child that inherits it holds it, too)."""
    descriptor = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
