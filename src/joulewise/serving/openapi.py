"""The OpenAPI 3.1 description of a served model, and a page that shows it without a script or the network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from joulewise.serving.onnx_model import Model
from joulewise.serving.tensors import Spec, bounds

HEADERS = {
    "x-joules": "Joules at the wall that this answer took; `unknown` until the recording can tell",
    "x-joules-basis": "How they are known: modelled or assumed",
    "x-gco2e": "Grams of CO2e from that electricity",
    "x-cost": "What that electricity costs, with its currency; `unknown` where no tariff is set",
    "x-cache": "hit, shared (computed once for equal requests), miss, or off",
    "x-variant": "The model and the version that answered",
}
_ERRORS = {
    "400": "The request is wrong; `error` says how",
    "401": "The API key is missing or wrong",
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "422": "The model cannot take this input",
    "429": "Too much is waiting; try again after `Retry-After` seconds",
    "500": "The server failed: a fault of joulewise",
    "503": "The features cannot be read now",
    "504": "The deadline passed before the answer",
}


def description(model: Model, key_needed: bool, name: str, first: bool = True) -> dict[str, Any]:
    """Return the OpenAPI description of the model's endpoints; the first model of a server answers at /predict too."""
    plain = _object({"inputs": _object({spec.name: _nested(spec) for spec in model.inputs})})
    answer = _object({"outputs": _object({spec.name: _nested(spec, null=True) for spec in model.outputs})})
    paths: dict[str, Any] = {
        "/predict" if first else f"/models/{name}/predict": {
            "post": _post("Answer, in plain JSON", plain, answer)
        },
        f"/v2/models/{name}/infer": {
            "post": _post("Answer, in Open Inference Protocol v2", _v2_in(model.inputs), _V2_OUT)
        },
    }
    for path, summary in {
        "/v2": "The server's metadata",
        "/v2/health/live": "Whether the process is alive",
        "/v2/health/ready": "Whether requests are taken",
        f"/v2/models/{name}": "The model's metadata",
        f"/v2/models/{name}/ready": "Whether the model answers",
    }.items():
        paths[path] = {"get": _get(summary, "application/json")}
    paths["/metrics"] = {"get": _get("Counters for Prometheus", "text/plain")}
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": name, "version": model.version, "description": "Served by joulewise"},
        "paths": paths,
    }
    if key_needed:
        described["components"] = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
        described["security"] = [{"key": []}]
    return described


def page(described: dict[str, Any]) -> str:
    """Return the description as one HTML page."""
    rows = "".join(
        f"<tr><td><code>{escape(method.upper())} {escape(path)}</code><td>{escape(what['summary'])}"
        for path, methods in described["paths"].items()
        for method, what in methods.items()
    )
    heads = "".join(f"<tr><td><code>{escape(k)}</code><td>{escape(v)}" for k, v in HEADERS.items())
    errors = "".join(f"<tr><td><code>{escape(k)}</code><td>{escape(v)}" for k, v in _ERRORS.items())
    post = next(path["post"] for way, path in described["paths"].items() if way.endswith("/predict"))
    asked = post["requestBody"]["content"]["application/json"]["schema"]
    takes = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(schema['description'])}"
        for name, schema in asked["properties"]["inputs"]["properties"].items()
    )
    title = escape(described["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<h1>{title}</h1><p>Version {escape(described['info']['version'])}. "
        '<a href="/openapi.json">openapi.json</a>'
        f"<h2>Endpoints</h2><table>{rows}</table><h2>Inputs of /predict</h2><table>{takes}</table>"
        f"<h2>Headers of every answer</h2><table>{heads}</table><h2>Errors</h2><table>{errors}</table></html>"
    )


def _nested(spec: Spec, *, null: bool = False) -> dict[str, Any]:
    kind = {"BOOL": "boolean", "BYTES": "string"}.get(spec.datatype)
    kind = kind or ("number" if spec.datatype.startswith("FP") else "integer")
    schema: dict[str, Any] = {"type": [kind, "null"] if null else kind}
    if kind in ("integer", "number") and not null:
        schema |= bounds(spec)
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema, "minItems": 1 if size is None else size}
        if size is not None:
            schema["maxItems"] = size
    shape = ", ".join("any" if size is None else str(size) for size in spec.shape)
    return {**schema, "description": f"{spec.datatype} [{shape}]"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _v2_in(specs: Sequence[Spec]) -> dict[str, Any]:
    """Return the schema of a v2 request in JSON. That a shape and the number of data agree no schema can say."""
    inputs = {
        "type": "array",
        "items": {"anyOf": [_v2_tensor(spec) for spec in specs]},
        "minItems": len(specs),
        "maxItems": len(specs),
    }
    return {
        "type": "object",
        "properties": {"id": {"type": "string"}, "inputs": inputs},
        "required": ["inputs"],
    }


def _v2_tensor(spec: Spec) -> dict[str, Any]:
    sizes = [
        {"type": "integer", "minimum": 1, "maximum": 2**31 - 1} if size is None else {"const": size}
        for size in spec.shape
    ]
    return {
        "type": "object",
        "properties": {
            "name": {"const": spec.name},
            "shape": {
                "type": "array",
                "prefixItems": sizes,
                "items": False,
                "minItems": len(sizes),
                "maxItems": len(sizes),
            },
            "datatype": {"const": spec.datatype},
            "data": {"type": "array"},
        },
        "required": ["name", "shape", "datatype", "data"],
    }


_V2_OUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["model_name", "outputs"],
}
_ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}


def _headers() -> dict[str, Any]:
    return {name: {"description": what, "schema": {"type": "string"}} for name, what in HEADERS.items()}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _post(summary: str, asked: dict[str, Any], answered: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": "The answer", "headers": _headers(), "content": _json(answered)}
    }
    for status, what in _ERRORS.items():
        responses[status] = {"description": what, "headers": _headers(), "content": _json(_ERROR)}
    deadline = {
        "name": "x-deadline-ms",
        "in": "header",
        "schema": {"type": "integer", "minimum": 1, "maximum": 600_000},
    }
    return {
        "summary": summary,
        "parameters": [deadline],
        "requestBody": {"required": True, "content": _json(asked)},
        "responses": responses,
    }


def _get(summary: str, kind: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {"200": {"description": "It is so", "headers": _headers(), "content": {kind: {}}}},
    }
