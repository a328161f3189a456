"""What needs no framework: printing and logging, fsync, seeds, and which files are opened for reading.

Files are seen by an audit hook (PEP 578), the interpreter's own way to tell of `open`; nothing is replaced for it.
"""

from __future__ import annotations

import builtins
import os
import sys
from _thread import get_ident

from . import layout as at
from .prints import digest
from .stdlib import is_library
from .timeline import Timeline, clock

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MOST_FILES = 300
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/lib", "/lib")
_CODE = (".py", ".pyc", ".so", ".pyi", ".pth")


class Standard:
    """Hooks on the standard library. `printed` is called when the program prints, to look at its numbers."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._files: dict[str, list[Any]] = {}
        self._off = False
        self._seeds = True
        self.printed: Callable[[], None] | None = None

    def reset(self) -> None:
        """Forget, as a forked child must."""
        self._files = {}
        self._seeds = False  # a loader seeds its workers

    def attach(self) -> None:
        """Wrap `print` and `os.fsync`, and listen to `open`."""
        self._wrap(builtins, "print", at.LOGGING, self._look)
        self._wrap_fsync()
        sys.addaudithook(self._audit)

    def wrap_logging(self, logging: Any) -> None:
        """Time what a logger does with a record that it accepts."""
        self._wrap(logging.Logger, "handle", at.LOGGING, self._look)

    def wrap_seed(self, module: Any) -> None:
        """Note the seeds that are given to `random` or `numpy.random`."""
        original = module.seed
        name = "random" if module.__name__ == "random" else "numpy"

        def seed(*args: Any, **kwargs: Any) -> Any:
            if self._seeds and args and isinstance(args[0], (int, str)):
                self._line.facts.add("seeds", f"{name} {args[0]!r}"[:100])
            return original(*args, **kwargs)

        module.seed = _dressed(seed, original)

    def _wrap(self, owner: Any, name: str, kind: int, look: Callable[[], None] | None) -> None:
        original = getattr(owner, name)
        line = self._line

        def call(*args: Any, **kwargs: Any) -> Any:
            if line.kind == kind or line.skip == 1 or get_ident() != line.main:
                return original(*args, **kwargs)
            if look is not None:
                look()
            line.wake()
            before = line.enter(kind)
            try:
                return original(*args, **kwargs)
            finally:
                line.leave(before)

        setattr(owner, name, _dressed(call, original))

    def _wrap_fsync(self) -> None:
        """Count an fsync behind a checkpoint to it; any other (a database, a log) is the program's own business."""
        original = os.fsync
        line = self._line

        def fsync(fd: Any) -> None:
            if line.last != at.CHECKPOINT or line.kind != at.GAP or get_ident() != line.main:
                original(fd)
                return
            before = line.enter(at.CHECKPOINT)
            try:
                original(fd)
            finally:
                line.leave(before)

        os.fsync = _dressed(fsync, original)

    def _look(self) -> None:
        if self.printed is not None:
            self.printed()

    def _audit(self, event: str, args: Any) -> None:
        if event != "open" or self._off:
            return
        self._off = True
        try:
            self._opened(*args)
        except Exception:  # noqa: BLE001 - the interpreter would raise it in the program's own `open`
            self._files = {}
        finally:
            self._off = False

    def _opened(self, path: Any, _mode: Any, flags: Any) -> None:
        if isinstance(flags, int) and flags & 3 != os.O_RDONLY:
            return
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or path.endswith(_CODE):
            return
        entry = self._files.get(path)
        if entry is None:
            whole = os.path.abspath(path)
            if (
                is_library(whole)
                or whole.startswith((*_SYSTEM, self._line.folder_prefix))
                or len(self._files) >= _MOST_FILES
            ):
                return
            entry = self._files[path] = [whole, 0, 0, len(self._files)]
        entry[1] += 1
        try:
            status = os.stat(path)
        except OSError:
            return
        if status.st_mode & 0o170000 != 0o100000:
            return
        entry[2] = status.st_size
        facts = self._line.facts
        facts.put(f"file/{entry[3]}", entry[:3])
        if entry[1] == 1:
            facts.add(
                "data",
                digest(
                    f"{os.path.basename(path)} {status.st_size} {status.st_mtime_ns}".encode(
                        "utf-8", "replace"
                    )
                ),
            )
        now = clock()
        if now > facts.due_s and self._line.kind == at.GAP:
            facts.write(now)


def _dressed(call: Any, original: Any) -> Any:
    """Return our function under the name and with the text of theirs (functools is not loaded yet)."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        value = getattr(original, name, None)
        if isinstance(value, str):
            setattr(call, name, value)
    call.__wrapped__ = original
    return call


def say_code(line: Timeline) -> None:
    """Fingerprint the main script and the arguments."""
    words = list(getattr(sys, "orig_argv", ()))
    script = next((w for w in words[1:] if w.endswith(".py")), "")
    code = ""
    if "-c" in words[1:-1]:
        code = digest(words[words.index("-c") + 1].encode("utf-8", "replace"))
    elif script:
        try:
            with open(script, "rb") as file:
                code = digest(file.read())
        except OSError:
            code = ""
    after = words[words.index(script) + 1 :] if script else words[1:]
    line.facts.put("prints", {"code": code, "arguments": digest("\0".join(after).encode("utf-8", "replace"))})
