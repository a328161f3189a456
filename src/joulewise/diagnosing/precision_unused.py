"""Precision unused: the arithmetic is done in more digits than training needs.

On a CPU: a network trained in float64. Vector units hold half as many float64 as float32 numbers and memory delivers half
as many, so its arithmetic takes twice as long; saved is half of what the steps take, but for what a call costs before it
computes (overhead.py). Lower precision than float32 pays on few CPUs, and only a trial tells.

On an NVIDIA GPU: float32 without autocast. 16-bit numbers halve the bytes, and the tensor cores do the rest; the gain of the
device-bound part is taken as 2 (1.3 to 3). Claimed only of time in which the device was busy by SM activity or power.

Second-order optimisers (LBFGS) are left alone: they are used where the digits count.
"""

from __future__ import annotations

import shlex

from joulewise.diagnosing.case import Case, Estimate, about, is_remedied, loop
from joulewise.diagnosing.devices import gpus
from joulewise.diagnosing.overhead import CALL_S
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_ARITHMETIC = (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER, Phase.VALIDATION)
_CALLS = 5  # a step costs this many calls of the framework before it computes: forward, loss, backward (2), optimiser
_GAIN = (1.3, 2.0, 3.0)  # of 16 bits over float32 on tensor cores
_LEAST_BUSY = 0.5


def estimate(case: Case) -> list[Estimate]:
    """Return what fewer digits would have saved, for each process that trains in more than it needs."""
    return [found for view in case.trainers if (found := _on_cpu(view) or _on_gpu(case, view))]


def _on_cpu(view: ProcessView) -> Estimate | None:
    if view.precision != "float64" or view.device not in ("", "cpu") or _second_order(view):
        return None
    cpu_s, wall_s = (
        0.5 * max(0.0, taken - _CALLS * CALL_S * view.steps)
        for taken in (
            sum(view.phase(p).cpu_s for p in _ARITHMETIC),
            sum(view.phase(p).wall_s for p in _ARITHMETIC),
        )
    )
    return Estimate(
        Cause.PRECISION_UNUSED,
        about(cpu_s, 0.6 * cpu_s, 1.15 * cpu_s),
        about(wall_s, 0.6 * wall_s, 1.15 * wall_s),
        f"{view.model} is trained in float64: {view.steps} steps took {2 * cpu_s:.1f} CPU-seconds of arithmetic, which takes half "
        "as long in float32",
        Remedy(RemedyKind.DIFF, "train in float32: no .double(), no set_default_dtype(torch.float64)"),
        "rounding at 1e-7 instead of 1e-16, far below the noise of a mini-batch; sums over many small numbers may need care",
        view.process,
        f"{view.process}:steps",
    )


def _on_gpu(case: Case, view: ProcessView) -> Estimate | None:
    if view.precision != "float32" or not view.device.startswith("cuda") or _second_order(view):
        return None
    if is_remedied(view, "precision"):
        return None
    from_s, to_s = loop(view)
    used = [use for use in gpus(case, from_s, to_s) if use.busy is not None and use.held_bytes > 0]
    busy = [use.busy.value for use in used if use.busy is not None]
    if not busy or min(busy) < _LEAST_BUSY:
        return None
    bound_s = min(busy) * (to_s - from_s)
    low_s, value_s, high_s = (bound_s * (1 - 1 / gain) for gain in _GAIN)
    return Estimate(
        Cause.PRECISION_UNUSED,
        about(0.0, 0.0, value_s),
        about(value_s, low_s, high_s),
        f"{view.model} is trained in float32 without autocast; by its {used[0].known_by} the GPU computed {bound_s:.0f} s of "
        f"{to_s - from_s:.0f} s, which 16-bit arithmetic shortens",
        Remedy(
            RemedyKind.COMMAND,
            f"joulewise run --with precision=bf16 -- {shlex.join(case.recording.command)}",
        ),
        "bfloat16 keeps float32's range; compare the held-out metric of a short run first",
        view.process,
        f"{view.process}:steps",
    )


def _second_order(view: ProcessView) -> bool:
    return any(optimiser.name in ("LBFGS", "SparseLBFGS") for optimiser in view.optimisers)
