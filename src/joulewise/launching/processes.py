"""Processes as the kernel shows them: start one, find a tree, signal it. Shared by the recorder's child and by jobs.

A *member* is a pair of process id and start (clock ticks since boot): ids are used again, the pair is not. The tree of
a process is itself, its descendants, and whoever carries its mark in the environment: a daemon that detached is found.

This module is loaded before a recorded program starts: it imports nothing that is slow.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from joulewise.vocabulary.errors import JoulewiseError

CANNOT_START, CANNOT_EXECUTE, NOT_FOUND = 125, 126, 127  # exit codes, as `env` and the shells give them
Member = tuple[int, int]


class CannotStart(JoulewiseError):  # noqa: N818 - it names the state
    """The program could not be started; `exit_code` is what a shell would give (126 or 127), or 125."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def posix_spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    mask: Iterable[int],
    *,
    output: int | None = None,
) -> int:
    """Start a program as a shell would (scripts without a #! line too) and return its process id. Raises OSError.

    With `output`, a file descriptor, it leads a process group of its own, reads nothing, writes there, and no signal is
    ignored.
    """
    defaults = [getattr(signal, n) for n in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, n)]
    apart: dict[str, Any] = {}
    if output is not None:
        defaults = [
            number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)
        ]
        files: list[Any] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        files += [(os.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)]
        apart = {"setpgroup": 0, "file_actions": files}
    try:
        return os.posix_spawnp(argv[0], list(argv), environment, setsigmask=mask, setsigdef=defaults, **apart)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        script = _found(argv[0])
        if _is_binary(script):
            raise
        again = ["sh", script, *argv[1:]]  # no #! line: a shell would run it itself
        return os.posix_spawn("/bin/sh", again, environment, setsigmask=mask, setsigdef=defaults, **apart)


def refusal(name: str, error: OSError | ValueError) -> CannotStart:
    """Return why `name` could not be started, in the shell's words and with its exit code."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT:
        why = "No such file or directory" if "/" in name or not name else "command not found"
        return CannotStart(f"{name}: {why}", NOT_FOUND)
    if number in (errno.EAGAIN, errno.ENOMEM, None):
        return CannotStart(f"cannot start {name}: {error}", CANNOT_START)
    if number == errno.EACCES and os.path.isdir(name):
        return CannotStart(f"{name}: Is a directory", CANNOT_EXECUTE)
    if number == errno.ENOEXEC:
        return CannotStart(f"{name}: cannot execute binary file: Exec format error", CANNOT_EXECUTE)
    return CannotStart(f"{name}: {os.strerror(number or 0)}", CANNOT_EXECUTE)


def living() -> dict[int, Member]:
    """Return parent and start of every process that is alive; zombies are not. Empty without /proc."""
    table: dict[int, Member] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return table
    for name in names:
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                words = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if words[0] not in (b"Z", b"X"):
            table[int(name)] = (int(words[1]), int(words[19]))
    return table


def members(root: int | None, mark: bytes, known: Iterable[Member] = ()) -> frozenset[Member]:
    """Return who lives of a tree: of `known`, the root, those whose environment holds the line `mark`, descendants.

    The process that asks is never a member.
    """
    table = living()
    kept = frozenset(known)
    found = {pid for pid, (_parent, started) in table.items() if (pid, started) in kept}
    if root is not None:
        found.add(root)
    if mark:
        found |= {pid for pid in table if pid not in found and _is_marked(pid, mark)}
    children: dict[int, list[int]] = {}
    for pid, (parent, _started) in table.items():
        children.setdefault(parent, []).append(pid)
    tree: set[int] = set()
    open_ends = list(found)
    while open_ends:
        pid = open_ends.pop()
        if pid not in tree:
            tree.add(pid)
            open_ends += children.get(pid, ())
    return frozenset((pid, table[pid][1]) for pid in tree if pid in table and pid != os.getpid())


def started(pid: int) -> int:
    """Return when a living process started, in clock ticks since boot; -1 if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return -1
    return -1 if words[0] in (b"Z", b"X") else int(words[19])


def group(pid: int) -> int:
    """Return the process group of a process; -1 if it is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def kill(pid: int, number: int) -> None:
    """Send a signal; nothing happens where the process is gone or somebody else's."""
    with suppress(OSError):
        os.kill(pid, number)


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:  # gone, or somebody else's
        return False


def _found(name: str) -> str:
    if "/" in name:
        return name if not name.startswith("-") else f"./{name}"
    for folder in os.get_exec_path():
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return name


def _is_binary(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"\0" in file.read(128).partition(b"\n")[0]
    except OSError:
        return False
