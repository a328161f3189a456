"""Fingerprints of data and of code: the same inputs and the same recipe are the same thing, anything else is another.

What is told apart: values (arrays by their bytes, files by path, size and times of change, objects by their
attributes), and code (byte code and constants, default arguments, closures, the globals that it names, and what those
name in turn). Libraries count by their version. Where a thing hides what it is (an open file, a socket), the
fingerprint is refused in one line, because a wrong "unchanged" would be a wrong model.

Not seen: what a recipe reads at run time under a name it makes up, and state inside C libraries. `cached` therefore
recomputes a sample of what it finds.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import logging
import os
import re
import struct
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, final

from joulewise.vocabulary.errors import UsageError

_LIBRARIES = tuple(
    os.path.join(os.path.realpath(p), "")
    for p in {sysconfig.get_path(n) for n in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_LONGEST_PATH = 4096


def fingerprint(value: Any, what: str = "value") -> str:
    """Return 32 hex digits that change when `value` does; raises UsageError naming the part that cannot be told."""
    walk = _Walk()
    walk.take(value, what)
    return walk.digest()


def code_fingerprint(recipe: Any, what: str = "recipe") -> str:
    """Return 32 hex digits that change when the code of `recipe`, or anything that it names, does."""
    walk = _Walk()
    walk.add("python", *map(str, sys.version_info[:2]))
    walk.take(recipe, what)
    return walk.digest()


@final
class _Walk:
    """One walk through a value: every part is told with its kind and length, and once only."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # keeps temporary objects alive: their ids must stay theirs

    def digest(self) -> str:
        return self._hash.hexdigest()

    def add(self, kind: str, *parts: str | bytes) -> None:
        for part in (kind, *parts):
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            self._hash.update(struct.pack("<Q", len(data)))
            self._hash.update(data)

    def take(self, value: Any, path: str) -> None:
        if value is None or isinstance(value, bool | int | complex) or value is Ellipsis:
            self.add(type(value).__name__, repr(value))
        elif isinstance(value, float):
            self.add("float", struct.pack("<d", value))
        elif isinstance(value, str | PurePath):
            self._take_text(value)
        elif isinstance(value, bytes | bytearray | memoryview):
            self.add("bytes", bytes(value))
        else:
            if id(value) in self._seen:
                self.add("seen", str(self._seen[id(value)]))
                return
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
            self._take_compound(value, path)

    def _take_text(self, value: str | PurePath) -> None:
        text = str(value)
        self.add("text", text)
        named = isinstance(value, PurePath) or os.sep in text or "." in text
        if (
            named and text.strip("/.~") and len(text) < _LONGEST_PATH
        ):  # "/" in code is a separator, not the disk
            for line in _files(text):
                self.add("file", *line)

    def _take_compound(self, value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            self.add("mapping", type(value).__name__, str(len(value)))
            for key, item in value.items():
                self.take(key, path)
                self.take(item, f"{path}[{key!r}]")
        elif isinstance(value, list | tuple):
            self.add(type(value).__name__, str(len(value)))
            for number, item in enumerate(value):
                self.take(item, f"{path}[{number}]")
        elif isinstance(value, set | frozenset):
            self.add("set", *sorted(fingerprint(item, path) for item in value))
        elif isinstance(value, range | slice | Enum):
            self.add(type(value).__name__, repr(value))
        elif isinstance(value, re.Pattern):
            self.add("pattern", str(value.flags))
            self.take(value.pattern, path)
        elif isinstance(value, logging.Logger):  # says what happens, and changes nothing
            self.add("logger", value.name)
        elif isinstance(value, FunctionType):
            self._take_function(value, path)
        elif isinstance(value, MethodType):
            self.add("method")
            self.take(value.__func__, path)
            self.take(value.__self__, f"{path}.__self__")
        elif isinstance(value, functools.partial):
            self.add("partial")
            self.take((value.func, value.args, value.keywords), path)
        elif isinstance(value, ModuleType):
            self.add("module", value.__name__, _version(value.__name__))
        elif isinstance(value, CodeType):
            self._take_code(value, path)
        elif isinstance(value, type):
            self._take_class(value, path)
        elif isinstance(value, BuiltinFunctionType) or type(value).__name__ in (
            "ufunc", "method_descriptor", "wrapper_descriptor", "builtin_function_or_method", "_ArrayFunctionDispatcher",
        ):  # fmt: skip
            self.add("builtin", _qualified(value), _version(getattr(value, "__module__", None) or ""))
        elif not self._take_array(value):
            self._take_object(value, path)

    def _take_array(self, value: Any) -> bool:
        """Take arrays and tensors by their bytes."""
        if type(value).__module__.partition(".")[0] == "torch":
            if not (hasattr(value, "detach") and hasattr(value, "numel")):
                return False
            import torch

            flat = value.detach().cpu().contiguous().reshape(-1)
            self.add("tensor", str(value.dtype), str(tuple(value.shape)))
            if flat.numel():
                self._hash.update(flat.view(torch.uint8).numpy())
            return True
        if not (hasattr(value, "__array_interface__") and hasattr(value, "dtype")):
            return False
        if value.dtype.hasobject:
            self.add("objects", str(value.shape))
            self.take(value.tolist(), "array")
            return True
        import numpy as np

        self.add("array", str(value.dtype.descr), str(value.shape))
        whole = np.ascontiguousarray(value).reshape(-1)
        if whole.size:
            self._hash.update(whole.view(np.uint8).data)
        return True

    def _take_function(self, function: FunctionType, path: str) -> None:
        self.add("function")
        if _is_library(getattr(sys.modules.get(function.__module__ or ""), "__file__", None)):
            self.add("library", _qualified(function), _version(function.__module__))
            self._take_bound(function, path)
            return
        self._take_code(function.__code__, path)
        self._take_bound(function, path)
        for name in sorted(_names(function.__code__)):
            if name in function.__globals__:
                self.add("global", name)
                self.take(function.__globals__[name], f"{path} (its global {name})")

    def _take_bound(self, function: FunctionType, path: str) -> None:
        self.take(function.__defaults__, path)
        self.take(function.__kwdefaults__, path)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                contents = cell.cell_contents
            except ValueError:  # not yet filled
                continue
            self.take(contents, f"{path} (its variable {name})")

    def _take_code(self, code: CodeType, path: str) -> None:
        self.add("code", code.co_code, *code.co_names, str(code.co_argcount), str(code.co_flags))
        for constant in code.co_consts:
            self.take(constant, path)

    def _take_class(self, kind: type, path: str) -> None:
        module = kind.__module__
        self.add("class", module, kind.__qualname__)
        if _is_library(getattr(sys.modules.get(module), "__file__", None)) or module == "builtins":
            self.add("library", _version(module))
            return
        for base in kind.__mro__[1:]:
            self.take(base, path)
        for name, member in sorted(vars(kind).items()):
            inner = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            if isinstance(inner, FunctionType):
                self.add("member", name)
                self.take(inner, f"{path}.{name}")
            elif not name.startswith("__") and isinstance(
                inner, str | int | float | tuple | list | dict | bytes
            ):
                self.add("attribute", name)
                self.take(inner, f"{path}.{name}")

    def _take_object(self, value: Any, path: str) -> None:
        kind = type(value)
        self.add("object")
        self.take(kind, path)
        state = _state(value)
        if state is None:
            raise UsageError(
                f"cannot tell whether {path} has changed: {kind.__module__}.{kind.__qualname__} does not show what it "
                "holds; give fingerprint='...', a text that you change when it changes"
            )
        for name, item in state.items():
            self.add("attribute", str(name))
            self.take(item, f"{path}.{name}")


def _state(value: Any) -> dict[str, Any] | None:
    """Return what an object holds: its attributes, slots, or its pickled self where it has neither; None if unknown."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and not name.startswith("__"):
                found[name] = getattr(value, name)
    if found or (
        type(value).__flags__ & (1 << 9) and hasattr(value, "__dict__")
    ):  # a class written in Python
        return found
    try:
        reduced = value.__reduce_ex__(4)
    except TypeError:  # an open file, a lock, a socket
        return None
    return {"reduced": reduced if isinstance(reduced, str) else list(reduced[:3])}


def _files(text: str) -> Iterator[tuple[str, ...]]:
    """Yield a line for the file or folder called `text`, and for every file below it; nothing if there is none."""
    try:
        status = os.stat(text)
    except (OSError, ValueError):
        return
    if not os.path.isdir(text):
        yield str(status.st_size), str(status.st_mtime_ns), str(status.st_ctime_ns)
        return
    for folder, folders, names in os.walk(text):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except OSError:  # a dangling link, or gone since
                continue
            yield (
                os.path.relpath(path, text),
                str(status.st_size),
                str(status.st_mtime_ns),
                str(status.st_ctime_ns),
            )


def _names(code: CodeType) -> set[str]:
    """Return the globals that code reads; names of attributes are none of them."""
    found = {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return found.union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))


def _is_library(file: str | None) -> bool:
    if file is None:
        return False
    real = os.path.realpath(file)
    return real.startswith(_LIBRARIES) or "site-packages" in real or "dist-packages" in real


def _version(module: str) -> str:
    root = module.partition(".")[0]
    found = getattr(sys.modules.get(root), "__version__", None)
    return (
        str(found) if found is not None else ("" if root in sys.stdlib_module_names else _own_times(module))
    )


def _own_times(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file:
        return ""
    try:
        status = os.stat(file)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _qualified(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', value))}"
