"""A model folder as a KServe InferenceService: our server as a custom predictor that speaks v2. Pure; nothing is applied.

KServe fetches the folder from `storage` to /mnt/models and runs the image, which has joulewise[serve] in it. It sleeps by
replicas (`least` 0 needs Knative or KEDA), so the worker itself does not. The key that other pods need comes from the
secret NAME-key. The manifest is JSON, which `kubectl apply -f -` takes as it takes YAML.
"""

from __future__ import annotations

import re
from typing import Any

from joulewise.serving.folder import ModelFolder
from joulewise.vocabulary.errors import UsageError

_PORT = 8080
_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def manifest(
    folder: ModelFolder,
    *,
    image: str,
    storage: str,
    least: int = 0,
    most: int = 4,
    in_flight: int = 8,
    arguments: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the InferenceService of a model. Raises UsageError.

    `in_flight` is how many requests a replica should have inside before there is another; `arguments` go to `joulewise serve`.
    """
    name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")
    if not _LABEL.fullmatch(name):
        raise UsageError(f"{folder.name!r} cannot be the name of a Kubernetes object: begin it with a letter")
    if not 0 <= least <= most or most < 1:
        raise UsageError(
            f"replicas go from {least} to {most}, but must be at least 0, and at least 1 at most"
        )
    if not image or "://" not in storage:
        raise UsageError("give an image, and where the folder is: pvc://CLAIM/PATH, s3://BUCKET/PATH, ...")
    command = ["joulewise", "serve", "/mnt/models", "--name", folder.name, "--host", "0.0.0.0", "--port", str(_PORT), "--sleep", "never", *arguments]  # fmt: skip  # noqa: S104
    probe = {"httpGet": {"path": "/v2/health/ready", "port": _PORT}, "periodSeconds": 2}
    key = {"secretKeyRef": {"name": f"{name}-key", "key": "key"}}
    container = {
        "name": "kserve-container",
        "image": image,
        "command": command,
        "env": [{"name": "STORAGE_URI", "value": storage}, {"name": "JOULEWISE_API_KEY", "valueFrom": key}],
        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
        "readinessProbe": probe,
        "livenessProbe": {"httpGet": {"path": "/v2/health/live", "port": _PORT}, "periodSeconds": 10},
        "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}},
    }
    predictor = {
        "minReplicas": least,
        "maxReplicas": most,
        "scaleMetric": "concurrency",
        "scaleTarget": in_flight,
        "containers": [container],
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", "prometheus.io/port": str(_PORT)}},
        "spec": {"predictor": predictor},
    }  # fmt: skip
