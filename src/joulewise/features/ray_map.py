"""The leaf that knows Ray: run the parts of a view on a cluster, or on all processors here.

    with RayMap("auto") as run:                       # or "ray://head:10001", or "local": a Ray of our own, ended afterwards
        materialise(views, store, spread=Spread(32, run, counted=False))

Its nodes need joulewise[features] and the sources (a lake, a PostgreSQL; files only where every node sees them). At most as many
parts as there are processors are under way, so that no finished part waits in memory for its turn to be written. Joules of
other machines are not in this run's recording; their CPU seconds are in the store's account of it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, final

from joulewise.features.extras import need
from joulewise.features.parts import Part, Task
from joulewise.vocabulary.errors import FeatureError, UsageError

_LOOK_S = 5.0
_AWAY = (RuntimeError, ConnectionError, ValueError, TimeoutError)
_TRIES = 3  # on a busy machine Ray's own limit of 30 s for its start is often missed


@final
class RayMap:
    """Runs a function over tasks on Ray, in any order; use it in a `with` block."""

    def __init__(self, address: str = "local") -> None:
        need("ray", "ray")
        self._address = address
        self._ours = False

    def __enter__(self) -> RayMap:
        _look_for(self._address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        if self._ours:
            ray.shutdown()
            self._ours = False

    def _start(self) -> None:
        """Begin, or join what the address names; nothing is started before there is something to run."""
        import ray

        if ray.is_initialized():
            return
        options: dict[str, Any] = {
            "address": self._address,
            "log_to_driver": False,
            "configure_logging": False,
        }
        options |= {"include_dashboard": False} if self._address == "local" else {}
        for left in reversed(range(_TRIES if self._address == "local" else 1)):
            try:
                ray.init(**options)
                break
            except Exception as error:  # Ray raises Exception itself where its node does not start in time
                ray.shutdown()
                if type(error) is not Exception and not isinstance(error, _AWAY):
                    raise
                if not left:
                    raise _away(self._address, str(error) or type(error).__name__) from None
        self._ours = True

    def __call__(self, function: Callable[[Task], Part], tasks: Sequence[Task]) -> Iterator[Part]:
        """Yield the parts as they come. A part that a lost node had is run again by Ray; its UsageError is raised here."""
        import ray

        self._start()
        cluster: Any = ray
        remote: Any = ray.remote(max_retries=2)(function)
        left = list(reversed(tasks))
        most = max(1, int(cluster.cluster_resources().get("CPU", 1)))
        under_way: list[Any] = []
        try:
            while left or under_way:
                while left and len(under_way) < most:
                    under_way.append(remote.remote(left.pop()))
                (ready,), under_way = ray.wait(under_way, num_returns=1)
                yield _got(ray, ready)
        finally:
            for one in under_way:
                ray.cancel(one, force=True)


def _look_for(address: str) -> None:
    """Raise FeatureError if nobody listens at a host and port: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_LOOK_S).close()
    except OSError as error:
        raise _away(address, error.strerror or str(error)) from None


def _away(address: str, why: str) -> FeatureError:
    line = why.strip().splitlines()[0].rstrip(".")
    return FeatureError(
        f"Ray cannot be reached at {address!r}: {line}; name another with --ray, or leave it out"
    )


def _got(ray: Any, reference: Any) -> Part:
    try:
        found: Part = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UsageError):
            raise UsageError(str(error.cause)) from None
        raise FeatureError(f"a part failed on Ray: {type(error.cause).__name__}: {error.cause}") from None
    except ray.exceptions.RayError as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FeatureError(f"a part was lost on Ray: {line}") from None
    return found
