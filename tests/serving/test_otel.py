"""OpenTelemetry observes what Prometheus reads."""

from __future__ import annotations

import asyncio

import pytest

from joulewise.serving.app import Limits, of_model
from joulewise.serving.onnx_model import OnnxModel
from tests.serving import models
from tests.serving.asking import ask, x

metrics = pytest.importorskip("opentelemetry.sdk.metrics")

from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402

from joulewise.serving.otel import observe  # noqa: E402


def test_observe(tmp_path):
    """Each counter and gauge has its value at the moment the reader asks, with its labels."""
    service = of_model(OnnxModel(models.double(tmp_path)), Limits())
    reader = InMemoryMetricReader()
    provider = metrics.MeterProvider([reader])
    observe(service, provider.get_meter("test"))
    for _ in range(2):
        asyncio.run(ask(service, body=x((1, 2, 3))))

    told = {
        metric.name: {tuple(sorted(p.attributes.items())): p.value for p in metric.data.data_points}
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    }

    assert told["joulewise.serve.responses"] == {(("status", "200"),): 2}
    assert told["joulewise.serve.cache"][("model", "double"), ("result", "hit")] == 1
    assert told["joulewise.serve.rows"] == {(("model", "double"), ("variant", "double")): 1}
    provider.shutdown()
