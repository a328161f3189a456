"""The same model folder as a Ray Serve application: our batching and ledger in each replica, our forecast as the autoscaling policy.

    from joulewise.serving.ray_serve import application
    serve.run(application(["fashion"]))

Ray's proxy stands in the request's path and costs many times what our own wire does (see the manual): this is for people
who have outgrown one machine and run Ray already.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, final

from joulewise.serving.app import Service
from joulewise.serving.asgi import Asgi
from joulewise.serving.endpoint import Limits
from joulewise.serving.energy import Rate
from joulewise.serving.folder import read_folder
from joulewise.serving.hosting import host
from joulewise.serving.scaling import Replica as Capacity
from joulewise.serving.scaling import Scaling, per_s, scale, watched

if TYPE_CHECKING:
    from ray.serve import Application

_IN_FLIGHT = 512  # requests in a replica: our own admission refuses what cannot be answered in time

Begin = Callable[[str], tuple[Callable[[], Rate | None], Callable[[Service], None]]]


def unrecorded(_name: str) -> tuple[Callable[[], Rate | None], Callable[[Service], None]]:
    """Record nothing: joules are unknown."""
    return lambda: None, lambda _service: None


def application(
    models: Sequence[str],
    *,
    limits: Limits | None = None,
    scaling: Scaling | None = None,
    wake_s: float = 10.0,
    cpus: float = 1.0,
    begin: Begin = unrecorded,
) -> Application:
    """Return the Ray Serve application of these model folders (paths that every node can read).

    `begin` is called in each replica with the model's name and returns the rate of its recording, and what is told of the
    service once it is up; `joulewise.wiring.serving_period` is the one that keeps a recording.
    """
    from ray import serve
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

    bounds, promised = scaling or Scaling(least=1, most=4), limits or Limits()

    class Replica:
        """One replica: the service, as an ASGI application that Ray's proxy asks."""

        def __init__(self) -> None:
            folders = [read_folder(model) for model in models]
            rate, up = begin(folders[0].name)
            self._service = host(folders, promised, rate)
            up(self._service)

        def __serve_build_asgi_app__(self) -> Asgi:
            return Asgi(self._service)

        async def record_autoscaling_stats(self) -> dict[str, float]:
            """Tell the policy how many requests came so far, and how many a second this replica can answer."""
            return {"requests": float(self._service.tally.requests), "per_s": per_s(self._service)}

    policy = AutoscalingPolicy(  # type: ignore[no-untyped-call]
        policy_function="joulewise.serving.ray_serve:Forecast",
        policy_kwargs={"wake_s": wake_s, **asdict(bounds)},
    )
    deployment = serve.deployment(
        name=f"joulewise-{os.path.basename(os.path.normpath(models[0]))}".removesuffix(".onnx"),
        max_ongoing_requests=_IN_FLIGHT,
        ray_actor_options={"num_cpus": cpus},
        autoscaling_config=AutoscalingConfig(
            min_replicas=bounds.least,
            max_replicas=bounds.most,
            metrics_interval_s=1.0,
            look_back_period_s=3.0,
            upscale_delay_s=0.0,
            downscale_delay_s=0.0,
            policy=policy,
        ),
    )(serve.ingress()(Replica))
    bound: Application = deployment.bind()
    return bound


@final
class Forecast:
    """Ray Serve's autoscaling policy by `scaling.py`: called with Ray's context every fraction of a second."""

    def __init__(self, wake_s: float = 10.0, **bounds: Any) -> None:
        self._wake_s = wake_s
        self._scaling = Scaling(**bounds)

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Return how many replicas, and the state until the next call."""
        now_s = time.time() if context.current_time is None else float(context.current_time)
        raw = context.raw_metrics or {}
        state, traffic = watched(
            context.policy_state or {},
            now_s,
            {str(name): _last(series) for name, series in raw.get("requests", {}).items() if series},
            float(context.total_queued_requests or 0.0),
        )
        answers = max((_last(series) for series in raw.get("per_s", {}).values() if series), default=0.0)
        state["per_s"] = answers or state.get("per_s", 0.0)
        if not state["per_s"]:
            wanted = (
                max(1, context.target_num_replicas)
                if traffic.backlog or any(traffic.seconds)
                else context.target_num_replicas
            )
            return max(self._scaling.least, wanted), state
        kept = [[at, need] for at, need in state.get("needs", []) if now_s - at <= self._scaling.hold_s]
        told = scale(
            traffic, Capacity(state["per_s"], self._wake_s), self._scaling, [need for _at, need in kept]
        )
        state["needs"] = [*kept, [now_s, told.needed]][-200:]
        return told.replicas, state


def _last(series: Sequence[Any]) -> float:
    point = series[-1]
    return float(getattr(point, "value", point))
