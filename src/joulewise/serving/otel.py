"""The server's metrics for OpenTelemetry: the same as for Prometheus, observed when a reader asks.

`joulewise serve --otel` exports them by OTLP as the OTEL_* variables of the environment say; in your own program hand
`observe` a meter of yours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from joulewise.serving.app import Service
from joulewise.serving.metrics import shown
from joulewise.vocabulary.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation


def observe(service: Service, meter: Meter) -> None:
    """Let a meter observe each metric of a service as `joulewise.serve.NAME`."""
    from opentelemetry.metrics import Observation

    def callback(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def values(_options: CallbackOptions) -> Iterable[Observation]:
            for metric in shown(service):
                if metric.name == name:
                    for labels, value in metric.samples:
                        if value is not None:
                            yield Observation(value, dict(labels))

        return values

    for metric in shown(service):
        name, told = f"joulewise.serve.{metric.name.removesuffix('_total')}", metric.help
        make = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
        make(name, callbacks=[callback(metric.name)], description=told)


def export(service: Service) -> Callable[[], None]:
    """Export a service's metrics by OTLP over HTTP; returns what ends it. Raises UsageError if the extra is missing."""
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    except ImportError as error:
        raise UsageError(
            f"--otel needs {error.name}, not installed here: pip install 'joulewise[otel]'"
        ) from None
    provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
    observe(service, provider.get_meter("joulewise"))
    return provider.shutdown
