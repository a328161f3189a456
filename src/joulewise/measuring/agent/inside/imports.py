"""Wait for the program to import what we know, and time its imports. Nothing is imported that it does not import.

The finder stands first in `sys.meta_path`, asks the others, and puts its own step behind the loader's `exec_module`
for the outermost import and for the modules that are watched; then the loader is as it was.
"""

from __future__ import annotations

import sys
from _thread import get_ident

from . import layout as at
from .timeline import Timeline

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Finder:
    """The finder: `watched` tells what is to be done with a module when it has been executed; None: nothing."""

    def __init__(self, line: Timeline, watched: Callable[[str], Callable[[Any], None] | None]) -> None:
        self._line = line
        self._watched = watched

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec that the other finders give, with our step behind it; None where it is none of our business."""
        then = self._watched(name)
        outermost = self._line.kind == at.GAP and get_ident() == self._line.main
        if then is None and not outermost:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                self._behind(spec, then)
                return spec
        return None

    def _behind(self, spec: Any, then: Callable[[Any], None] | None) -> None:
        loader = spec.loader
        if loader is None or isinstance(loader, type) or not hasattr(loader, "exec_module"):
            return
        try:
            loader.exec_module = _executing(loader, loader.exec_module, self._line, then)
        except AttributeError:  # a loader of slots
            return


def _executing(loader: Any, original: Any, line: Timeline, then: Callable[[Any], None] | None) -> Any:
    def execute(module: Any) -> None:
        if loader.__dict__.get("exec_module") is execute:
            del loader.exec_module
        before = line.enter(at.IMPORT) if line.kind == at.GAP and get_ident() == line.main else None
        try:
            original(module)
        finally:
            if before is not None:
                line.leave(before)
        if then is not None:
            try:
                then(module)
            except Exception as error:  # noqa: BLE001 - an unknown version of a framework: it runs without our hooks
                line.facts.add("faults", f"{module.__name__}: {type(error).__name__}: {error}"[:300])

    # Python leaves the frames of its own import system out of a traceback; so ours must count as one of them.
    execute.__code__ = execute.__code__.replace(co_filename="<frozen importlib._bootstrap>")
    return execute
