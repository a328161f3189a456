"""From what the user has to one ONNX file: an ONNX model, a scikit-learn estimator or pipeline, a PyTorch module.

A PyTorch module is given as the object that it is, its weights from a .safetensors file if one is named. Files that would have to
be unpickled (.pt, .pkl, .joblib) are refused: reading one runs whatever its author put in.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joulewise.compressing.data import Array
from joulewise.vocabulary.errors import UsageError

_PICKLED = {".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin", ".ckpt", ".h5", ".keras", ".npy"}
_MOST_BYTES = 2_000_000_000  # what one ONNX file can hold


def to_onnx(
    model: Any, path: Path, example: Mapping[str, Array] | None = None, weights: Path | None = None
) -> None:
    """Write a model as one ONNX file; `example` holds rows by the inputs' names. Raises UsageError."""
    if isinstance(model, str | Path):
        _copied(Path(model), path)
    elif hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        _written(model, path, "the model")
    elif _is_a(model, "torch.nn.modules.module"):
        _of_torch(model, path, example, weights)
    elif _is_a(model, "sklearn.base"):
        _of_sklearn(model, path, example)
    else:
        raise UsageError(
            f"cannot compress a {type(model).__module__}.{type(model).__name__}: give an .onnx file, an ONNX model, a "
            "scikit-learn estimator or a PyTorch module"
        )


def names(model: Any) -> Sequence[str]:
    """Return what the inputs of a model that is not ONNX yet will be called: its forward's parameters, or `x`."""
    if _is_a(model, "torch.nn.modules.module"):
        import inspect

        return list(inspect.signature(model.forward).parameters)
    return ["x"]


def _is_a(model: Any, module: str) -> bool:
    return any(kind.__module__ == module for kind in type(model).__mro__)


def _copied(source: Path, path: Path) -> None:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs are published with it

    if source.suffix == ".safetensors":
        raise UsageError(
            f"{source} holds weights without a network: from Python, joulewise.compress(MODULE, DATA, weights={str(source)!r})"
        )
    if source.suffix != ".onnx":
        why = "nothing is unpickled" if source.suffix in _PICKLED else "other files are not read"
        raise UsageError(f"{source} is not an .onnx file: compress takes ONNX models, {why}")
    try:
        _written(onnx.load(str(source)), path, str(source))
    except OSError as error:
        raise UsageError(f"cannot read the model {source}: {error.strerror or error}") from None
    except DecodeError:
        raise UsageError(f"cannot read the model {source}: it is not ONNX") from None


def _written(model: Any, path: Path, name: str) -> None:
    import onnx

    size = model.ByteSize()
    if size > _MOST_BYTES:
        raise UsageError(
            f"{name} has {size / 1e9:.1f} GB, but a model folder holds one file of at most 2 GB for each variant"
        )
    if not model.graph.node:
        raise UsageError(f"cannot read the model {name}: it is not ONNX, or computes nothing")
    onnx.save(model, str(path))


def _of_sklearn(model: Any, path: Path, example: Mapping[str, Array] | None) -> None:
    try:
        from skl2onnx import to_onnx as converted
        from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    except ImportError as error:
        raise UsageError(
            f"a scikit-learn model needs {error.name}, not installed here: pip install 'joulewise[compress-sklearn]'"
        ) from None
    import numpy as np

    if example is None:
        raise UsageError("a scikit-learn model needs rows to see what it takes: data")
    classes = getattr(model, "classes_", None)
    if classes is not None and np.asarray(classes).dtype.kind not in "iub":
        raise UsageError(
            "the estimator's classes are text, but answers are numbers: fit it on encoded labels"
        )
    rows = np.asarray(next(iter(example.values()))[:1], dtype=np.float32)
    try:
        told = converted(
            model, rows, options={"zipmap": False} if classes is not None else None, initial_types=None
        )
    except (
        MissingConverter,
        MissingShapeCalculator,
        NotImplementedError,
        RuntimeError,
        ValueError,
        TypeError,
    ) as error:
        raise UsageError(
            f"skl2onnx cannot convert {type(model).__name__}: {' '.join(str(error).split())[:300]}"
        ) from None
    _renamed(told, next(iter(example)))
    _written(told, path, type(model).__name__)


def _renamed(model: Any, name: str) -> None:
    """Call the (one) input of a model `name`."""
    old = model.graph.input[0].name
    model.graph.input[0].name = name
    for node in model.graph.node:
        for place, given in enumerate(node.input):
            if given == old:
                node.input[place] = name


def _of_torch(model: Any, path: Path, example: Mapping[str, Array] | None, weights: Path | None) -> None:
    import torch

    if example is None:
        raise UsageError("a PyTorch module needs rows to be traced with: data")
    if weights is not None:
        load_weights(model, weights)
    was_training = model.training
    model.eval()
    rows = [torch.from_numpy(values[:2].copy()) for values in example.values()]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations are not the user's to mend
            answers = model(*rows)
            outputs = (
                ["y"] if isinstance(answers, torch.Tensor) else [f"y{place}" for place in range(len(answers))]
            )
            torch.onnx.export(
                model,
                tuple(rows),
                str(path),
                input_names=list(example),
                output_names=outputs,
                dynamic_axes={name: {0: "rows"} for name in (*example, *outputs)},
                opset_version=17,
                dynamo=False,
            )
    except (RuntimeError, TypeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        raise UsageError(
            f"torch.onnx cannot export {type(model).__name__}: {' '.join(str(error).split())[:300]}"
        ) from None
    finally:
        model.train(was_training)


def load_weights(model: Any, path: Path) -> None:
    """Load a .safetensors file into a PyTorch module, whole and exactly. Raises UsageError."""
    if path.suffix != ".safetensors":
        raise UsageError(
            f"{path} does not end in .safetensors: weights are loaded from that form only, nothing is unpickled"
        )
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UsageError(f"weights need {error.name}, not installed here: pip install safetensors") from None
    try:
        model.load_state_dict(load_file(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (SafetensorError, RuntimeError) as error:
        raise UsageError(f"{path} does not fit the module: {' '.join(str(error).split())[:300]}") from None
