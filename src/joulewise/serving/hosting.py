"""From model folders to a service: which variants there are, how each is loaded, and which is loaded at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from joulewise.serving.app import Service
from joulewise.serving.choosing import Policy
from joulewise.serving.endpoint import Endpoint, Hosted, Limits
from joulewise.serving.energy import Rate
from joulewise.serving.folder import ModelFolder, Variant
from joulewise.serving.onnx_model import Model, OnnxModel
from joulewise.serving.variants import Variants, options, turned
from joulewise.vocabulary.errors import UsageError


def host(
    folders: Sequence[ModelFolder],
    limits: Limits,
    rate: Callable[[], Rate | None] = lambda: None,
    api_key: str = "",
    *,
    threads: int = 1,
    always_on: Sequence[str] = (),
    policy: Policy | None = None,
    canary: tuple[str, float] | None = None,
    g_per_kwh: Callable[[], float | None] = lambda: None,
    told: Callable[[str], None] = lambda _note: None,
    feed: Callable[[ModelFolder, Model], Model] = lambda _folder, model: model,
) -> Service:
    """Return the service of these models. The first, and those always on, are loaded at once; others when they are asked.

    `told` hears what loading has found out (no batching, no cache); `feed` stands a model behind the views that its folder
    names. Raises UsageError.
    """

    def load(folder: ModelFolder, variant: Variant) -> Model:
        model = OnnxModel(
            variant.path, variant.name, threads, variant.sha256, variant.device, variant.precision
        )
        for note in model.notes:
            told(f"{variant.name}: {note}")
        return feed(folder, model)

    executor = ThreadPoolExecutor(1, "joulewise-model")
    endpoints = [
        Endpoint(
            folder.name,
            [Hosted(variant) for variant in folder.variants],
            limits,
            partial(load, folder),
            cpu_s=time.thread_time if threads == 1 else time.process_time,
            executor=executor,
            always_on=folder.name in always_on,
        )
        for folder in folders
    ]
    service = Service(endpoints, limits, rate, api_key, executor)
    for folder, endpoint in zip(folders, endpoints, strict=True):
        endpoint.variants = Variants(
            endpoint,
            options(folder),
            turned(folder, policy or Policy(latency_target_s=limits.latency_target_s)),
            told=told,
            g_per_kwh=g_per_kwh,
            spent_j=lambda: service.counters.joules,
        )
        if endpoint is endpoints[0] or endpoint.always_on:
            endpoint.loaded(endpoint.hosted[endpoint.default])
    if canary is not None:
        if len(folders[0].variants) == 1:
            raise UsageError(f"--canary {canary[0]}: {folders[0].name} has one variant only")
        assert endpoints[0].variants is not None  # noqa: S101 - each has been given one
        endpoints[0].variants.begin(*canary)
    return service
