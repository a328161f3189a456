"""The leaf that knows ONNX Runtime's sessions: the one that measures a model here is the one that serves it later.

ONNX Runtime's threads spin for milliseconds after each call by default, which we measured at 10 to 13 times the CPU
time of a small model; here they never do, and there is one unless more are asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from joulewise.vocabulary.errors import UsageError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider",
             "rocm": "ROCMExecutionProvider", "coreml": "CoreMLExecutionProvider", "openvino": "OpenVINOExecutionProvider"}  # fmt: skip


# on ARM's processors with bfloat16: products of fp32 matrices are rounded to it and added up in fp32 (elsewhere it does nothing)
FAST_MATH = "mlas.enable_gemm_fastmath_arm64_bfloat16"


def session(path: Path, threads: int = 1, device: str = "cpu", precision: str = "") -> Any:
    """Return an `onnxruntime.InferenceSession` of a file, set for energy. Raises UsageError."""
    import onnxruntime

    provider = PROVIDERS.get(device)
    there = onnxruntime.get_available_providers()
    if provider is None or provider not in there:
        raise UsageError(f"{path} is for {device}, but ONNX Runtime here has {', '.join(there)}")
    try:
        chosen = options(threads)
        if precision == "bf16" and device == "cpu":
            chosen.add_session_config_entry(FAST_MATH, "1")
        return onnxruntime.InferenceSession(str(path), chosen, providers=[provider])
    except runtime_errors() as error:
        raise UsageError(f"cannot load {path}: {' '.join(str(error).split())[:300]}") from None


def options(threads: int = 1) -> Any:
    """Return the session options that save: no spinning, one thread unless more are asked for."""
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 4  # what fails is raised; the log would only repeat it
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return chosen


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises for a model or an input that it cannot take."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "ModelLoaded", "NoModel", "NoSuchFile",
        "NotImplemented", "RuntimeException", "EPFail", "EngineError",
    )  # fmt: skip
    return tuple(getattr(state, name) for name in names if hasattr(state, name))
