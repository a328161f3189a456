"""From model folders to a service: which variants there are, how each is loaded, and which is loaded at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from joulewise.serving.app import Service
from joulewise.serving.endpoint import Endpoint, Hosted, Limits
from joulewise.serving.energy import Rate
from joulewise.serving.folder import ModelFolder, Variant
from joulewise.serving.onnx_model import OnnxModel


def host(
    folders: Sequence[ModelFolder],
    limits: Limits,
    rate: Callable[[], Rate | None] = lambda: None,
    api_key: str = "",
    *,
    threads: int = 1,
    always_on: Sequence[str] = (),
    told: Callable[[str], None] = lambda _note: None,
) -> Service:
    """Return the service of these models. The first, and those always on, are loaded at once; others when they are asked.

    `told` hears what loading has found out (no batching, no cache). Raises UsageError.
    """

    def load(variant: Variant) -> OnnxModel:
        model = OnnxModel(variant.path, variant.name, threads, variant.sha256)
        for note in model.notes:
            told(f"{variant.name}: {note}")
        return model

    executor = ThreadPoolExecutor(1, "joulewise-model")
    endpoints = [
        Endpoint(
            folder.name,
            [Hosted(variant) for variant in folder.variants],
            limits,
            load,
            cpu_s=time.thread_time if threads == 1 else time.process_time,
            executor=executor,
            always_on=folder.name in always_on,
        )
        for folder in folders
    ]
    for endpoint in endpoints:
        if endpoint is endpoints[0] or endpoint.always_on:
            endpoint.loaded(endpoint.hosted[endpoint.default])
    return Service(endpoints, limits, rate, api_key, executor)
