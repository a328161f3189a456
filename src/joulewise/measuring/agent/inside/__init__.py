"""What runs inside the program. Standard library only, from Python 3.9 on; see the room's docstring.

Loaded under the private name `_joulewise_agent`, so everything here imports by relative names.
"""

from __future__ import annotations

import os
import sys

from .imports import Finder
from .polls import Polls
from .printed import Printed
from .services import Services
from .standard import Standard, say_code
from .timeline import Timeline

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DRIVERS = ("sqlite3", "duckdb", "psycopg")
FAMILIES = ("sklearn", "xgboost", "lightgbm")
FRAMEWORKS = ("lightning", "pytorch_lightning", "transformers", "safetensors", "keras", "xgboost", "lightgbm")
_VERSIONS = (
    "torch", "sklearn", "numpy", "xgboost", "lightgbm", "tensorflow", "keras", "jax", "lightning", "pytorch_lightning",
    "transformers", "pandas",
)  # fmt: skip


class Agent:
    """The hooks of one process, put together."""

    def __init__(self, folder: str) -> None:
        self.line = Timeline(folder)
        self.standard = Standard(self.line)
        self.services = Services(self.line)
        self.polls = Polls(self.line)
        self._estimators: Any = None
        self._statements: Any = None
        self._boosting: Any = None
        self._frameworks: Any = None
        self.torch: Any = None
        self._torch_tried = False
        self._hand: Any = None

    def attach(self) -> None:
        """Put the hooks in place."""
        self.standard.printed = Printed(self.line).look  # until there is a framework
        self.standard.attach()
        say_code(self.line)
        if os.environ.get("JOULEWISE_WITH"):
            from .hand import VARIABLE, Hand

            self._hand = Hand(self.line, os.environ[VARIABLE])
        sys.meta_path.insert(0, Finder(self.line, self._then))
        self.polls.wrap_known(sys.modules)
        for name in ("logging", "random", "sqlite3"):  # a .pth file may have imported them
            if name in sys.modules:
                self._known(sys.modules[name])
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)
        import atexit

        atexit.register(self.line.end)

    def _then(self, name: str) -> Callable[[Any], None] | None:
        ours = self._ours(name)
        if self._hand is None or not self._hand.watches(name):
            return ours

        def both(module: Any) -> None:
            self._hand.executed(name, module)  # remedies first: our clocks stand outside
            if ours is not None:
                ours(module)

        return both

    def _ours(self, name: str) -> Callable[[Any], None] | None:
        family = name.partition(".")[0]
        if family in FRAMEWORKS:
            framework = self._framework(name)
            if framework is not None:
                return framework
        if family in FAMILIES and name != family:
            return self._boosted(name, self._estimators_of().wrap)
        if name == "optuna.study._optimize":
            from .studies import Studies

            return Studies(self.line).wrap
        if name in DRIVERS:
            ask: Callable[[Any], None] = self._statements_of().wrap
            return ask
        if name in _VERSIONS or name in ("logging", "random", "numpy.random", "joblib"):
            return self._known
        return self.services.watched(name) or self.polls.watched(name)

    def _framework(self, name: str) -> Callable[[Any], None] | None:
        """Return what is to be done with a framework's module; what does it is loaded when somebody imports one."""
        if self._frameworks is None:
            from .frameworks import Frameworks

            self._frameworks = Frameworks(self.line, lambda: self.torch)
        then: Callable[[Any], None] | None = self._frameworks.watched.get(name)
        if then is None or name.partition(".")[0] not in FAMILIES:
            return then
        estimators = self._estimators_of()

        def both(module: Any) -> None:
            then(module)
            estimators.wrap(module)

        return both

    def _boosted(self, name: str, then: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return what is to be done with a module of an estimators' library; of a booster's, its trainings as well."""
        if name.partition(".")[0] == "sklearn":
            return then
        if self._boosting is None:
            from .boosting import Boosting

            self._boosting = Boosting(self.line)
        trains = self._boosting.watched(name)
        if trains is None:
            return then

        def both(module: Any) -> None:
            then(module)
            trains(module)

        return both

    def _estimators_of(self) -> Any:
        """Return the hooks on estimators, loaded when somebody imports such a library."""
        if self._estimators is None:
            from .estimators import Estimators

            self._estimators = Estimators(self.line)
        return self._estimators

    def _statements_of(self) -> Any:
        """Return the hooks on databases, loaded when somebody imports a driver."""
        if self._statements is None:
            from .statements import Statements

            self._statements = Statements(self.line)
        return self._statements

    def _known(self, module: Any) -> None:
        name = module.__name__
        if name in _VERSIONS:
            self.line.facts.put(f"framework/{name}", str(getattr(module, "__version__", "")))
        if name == "torch" and not self._torch_tried:
            self._torch_tried = True
            from .torch_hooks import attach

            self.torch = attach(self.line, module)
            self.standard.printed = self.torch.look_around
        elif name in DRIVERS:
            self._statements_of().wrap(module)
        elif name == "logging":
            self.standard.wrap_logging(module)
        elif name in ("random", "numpy.random"):
            self.standard.wrap_seed(module)
        elif name == "joblib":
            self._estimators_of().wrap_parallel(module)

    def _forked(self) -> None:
        try:
            self.line.begin("fork")
        except Exception:  # noqa: BLE001 - no place for a page: this child is not seen
            self.line.kind = 0
        self.standard.reset()
        self.polls.reset()
        if self._statements is not None:
            self._statements.reset()
        if self._estimators is not None:
            self._estimators.reset()
        if self.torch is not None:
            self.torch.reset()
            self.torch.is_worker = True
            if self.torch.fetching is not None:
                self.torch.fetching.everywhere()


def start(folder: str) -> None:
    """Begin in this process. Raises OSError if the recording's folder cannot be written."""
    Agent(folder).attach()
