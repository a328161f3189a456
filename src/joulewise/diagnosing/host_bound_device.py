"""A GPU that waits for its host: kernels are sent one by one from Python slower than the device works them off.

Counterfactual: the same kernels back to back (a captured graph, a compiled step, a larger batch). Saved is the loop's wall
time in which the device was not busy, but for what the loop waited for its loader (that is the loader's) or for anything
else. Busy comes from SM activity or power, never from NVML's utilisation (see devices.py). The sign that the host is what is
waited for: the main thread computes all the time. The host's own work per step is what is saved with it.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, about, loop
from joulewise.diagnosing.devices import gpus
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_MOST_BUSY = 0.6
_LEAST_LOOP_S = 20.0  # ticks are a second: of less, nothing is known of a device
_HOST = 0.7  # of the loop in which the main thread computes, at least
_LEFT = 0.15  # of the time that is not busy and stays so: synchronising, the first capture


def estimate(case: Case) -> list[Estimate]:
    """Return what keeping the device fed would have saved, for each process that trains on one alone."""
    return [found for view in case.trainers if view.world == 1 and (found := _of(case, view))]


def _of(case: Case, view: ProcessView) -> Estimate | None:
    if not view.device.startswith("cuda"):
        return None
    from_s, to_s = loop(view)
    loop_s = to_s - from_s
    used = [use for use in gpus(case, from_s, to_s) if use.busy is not None and use.held_bytes > 0]
    if len(used) != 1 or loop_s < _LEAST_LOOP_S:
        return None
    (device,) = used
    busy = device.busy
    steps = [view.phase(p) for p in (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER)]
    host_s = sum(p.wall_s for p in steps)
    if busy is None or busy.value > _MOST_BUSY or sum(p.cpu_s for p in steps) < _HOST * host_s:
        return None
    waited_s = view.phase(Phase.DATA).wall_s + view.phase(Phase.WAITING).wall_s
    saved = [max(0.0, min(host_s, (1 - b) * loop_s - waited_s)) for b in (busy.high, busy.value, busy.low)]
    low_s, value_s, high_s = ((1 - _LEFT) * s for s in saved)
    said = (
        "" if device.utilisation is None else f" (NVML's utilisation said {100 * device.utilisation:.0f} %)"
    )
    return Estimate(
        Cause.HOST_BOUND_DEVICE,
        about(value_s, low_s, high_s),
        about(value_s, low_s, high_s),
        f"the GPU was busy {100 * busy.value:.0f} % of the {loop_s:.0f} s of training by its {device.known_by}{said}: "
        f"{device.mean_w:.0f} W where it stands by at {device.standing_w:.0f} W; {1e6 * host_s / view.steps:.0f} µs of Python a step",
        Remedy(
            RemedyKind.DIFF,
            "send steps as one: torch.compile(model, mode='reduce-overhead') (CUDA graphs), foreach or fused optimisers, or a "
            "larger batch",
        ),
        "none with graphs beyond the order of sums; a larger batch needs its learning rate set anew",
        view.process,
        f"{view.process}:steps",
    )
