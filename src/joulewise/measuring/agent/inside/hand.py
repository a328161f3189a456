"""The hand that changes a program as it was asked: remedies of higher rooms, each a file named in the environment.

`JOULEWISE_WITH` has a line per remedy: its name, its value and its file, with tabs between; `wiring` knows the files by
their modules' names. A remedy is loaded by its place and needs the standard library only, so the program's own Python
need not have joulewise. Its function `attach(hand, value)` says what is to be done `when` the program imports something,
and tells what it has `changed` and what it has `left`, and why; both stand in the recording.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec, module_from_spec
from _frozen_importlib_external import spec_from_file_location

from .timeline import Timeline

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VARIABLE = "JOULEWISE_WITH"
_MOST_TOLD = 40


class Hand:
    """The remedies of this process. `trial` says that this is a trial in a scratch folder, not the user's own run."""

    def __init__(self, line: Timeline, asked: str) -> None:
        self.line = line
        self.trial = any(entry.startswith("trial\t") for entry in asked.split("\n"))
        self.pid = os.getpid()  # a forked child has another: what counts steps leaves it alone
        self.first: Callable[[Any, Any], None] | None = (
            None  # hears of a trial's batches before workers are started
        )
        self._watched: dict[str, list[Callable[[Any], None]]] = {}
        self._told: set[str] = set()
        for entry in asked.split("\n"):
            name, _, rest = entry.partition("\t")
            value, _, path = rest.partition("\t")
            if not path:
                continue
            try:
                _load(path).attach(self, value)
            except Exception as error:  # noqa: BLE001 - the program runs without that remedy, and hears nothing of it
                self.left(name, f"{type(error).__name__}: {error}")

    def when(self, module: str, then: Callable[[Any], None]) -> None:
        """Call `then` with a module when it has been executed; now, if it is there already."""
        known = sys.modules.get(module)
        if known is not None:
            then(known)
        else:
            self._watched.setdefault(module, []).append(then)

    def executed(self, name: str, module: Any) -> None:
        """Do what is to be done when a module has been executed; a remedy that fails leaves the program as it is."""
        for then in self._watched.pop(name, []):
            try:
                then(module)
            except Exception as error:  # noqa: BLE001 - an unknown version of a framework
                self.left(name, f"{type(error).__name__}: {error}")

    def watches(self, module: str) -> bool:
        """Whether anything is to be done with a module."""
        return module in self._watched

    def changed(self, remedy: str, text: str) -> None:
        """Say once what has been changed."""
        self._tell("changed", remedy, text)

    def left(self, remedy: str, text: str) -> None:
        """Say once what has not been changed although it was asked for, and why."""
        self._tell("left", remedy, text)

    def _tell(self, key: str, remedy: str, text: str) -> None:
        said = f"{remedy}: {text}"[:300]
        if said not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(said)
            self.line.facts.add(key, said)


def _load(path: str) -> Any:
    """Return the module of a file, in a package of our own so that it can import its neighbours."""
    folder, file = os.path.split(path)
    package = "_joulewise_remedies_" + "".join(c if c.isalnum() else "_" for c in folder)
    if package not in sys.modules:
        spec = ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [folder]
        sys.modules[package] = module_from_spec(spec)
    name = f"{package}.{file[:-3]}"
    known = sys.modules.get(name)
    if known is not None:
        return known
    found = spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ImportError(f"no remedy in {path}")
    module = sys.modules[name] = module_from_spec(found)
    found.loader.exec_module(module)
    return module
