"""A GPU's power limit for a while: what each costs a step, measured, and the old one back whatever happens.

    profile = profiled(lambda: float(trainer.step(x, y)), seconds=3)
    watts, why = choose_limit(profile, slower=0.1)      # recurring.py
    with limited(watts):
        ...

The driver lets administrators set a limit, between two that the board names; whoever may not gets one line, and nothing is
changed. A step must have ended when it returns: `float(loss)` waits for the device, the loss alone does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from joulewise.vocabulary.errors import UsageError

_AT_ONCE = 5  # limits, evenly from the board's least to its most, where none are named
_SETTLE_S = 0.5  # the board's control takes some tenths of a second to follow


@contextmanager
def _board(index: int, nvml: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the library and the board's handle; an error of the library becomes one line."""
    if nvml is None:
        try:
            import pynvml
        except ModuleNotFoundError:
            raise UsageError("power limits need the package nvidia-ml-py; pip install nvidia-ml-py") from None
        nvml = pynvml
    try:
        nvml.nvmlInit()
        try:
            yield nvml, nvml.nvmlDeviceGetHandleByIndex(index)
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        raise UsageError(
            f"the power limit of GPU {index} cannot be had: {error}; nothing was changed"
        ) from None


@contextmanager
def _restored(nvml: Any, board: Any, index: int) -> Iterator[Callable[[float], None]]:
    """Yield what sets the board's limit to so many watts; the limit before comes back if it was ever changed."""
    least, most = (mw / 1000 for mw in nvml.nvmlDeviceGetPowerManagementLimitConstraints(board))
    before_mw = nvml.nvmlDeviceGetPowerManagementLimit(board)
    changed = False

    def change(watts: float) -> None:
        nonlocal changed
        if not least <= watts <= most:
            raise UsageError(
                f"a limit of {watts:g} W is given, but GPU {index} takes {least:g} to {most:g} W"
            )
        try:
            nvml.nvmlDeviceSetPowerManagementLimit(board, round(1000 * watts))
        except nvml.NVMLError as error:
            raise UsageError(
                f"the limit of GPU {index} cannot be set to {watts:g} W ({error}): an administrator can, "
                f"sudo nvidia-smi --id={index} --power-limit={watts:g}"
            ) from None
        changed = True

    try:
        yield change
    finally:
        if changed:
            nvml.nvmlDeviceSetPowerManagementLimit(board, before_mw)


@contextmanager
def limited(watts: float, *, device: int = 0, nvml: Any = None) -> Iterator[None]:
    """Keep a GPU to so many watts within this context; the limit before comes back at its end.

    Raises UsageError where the limit cannot be set. `nvml` is the module of nvidia-ml-py, or a double.
    """
    with _board(device, nvml) as (library, board), _restored(library, board, device) as change:
        change(watts)
        yield


def profiled(
    step: Callable[[], object],
    *,
    limits: Sequence[float] | None = None,
    seconds: float = 3.0,
    device: int = 0,
    nvml: Any = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[float, tuple[float, float]]:
    """Return for each limit (watts) the seconds a step takes and the board's mean watts: what `choose_limit` wants.

    Steps are taken for real, for `seconds` at each limit (half a second more for the board to settle), from the highest
    limit down. Joules are the board's own counter's (Volta and later).
    """
    if not seconds > 0:
        raise UsageError(f"seconds is {seconds:g}, but must be above 0: how long to measure at each limit")
    found = {}
    with _board(device, nvml) as (library, board), _restored(library, board, device) as change:
        least, most = (mw / 1000 for mw in library.nvmlDeviceGetPowerManagementLimitConstraints(board))
        asked = limits or [most - n * (most - least) / (_AT_ONCE - 1) for n in range(_AT_ONCE)]
        for watts in sorted(asked, reverse=True):
            change(watts)
            until = clock() + _SETTLE_S
            while clock() < until:
                step()
            began, begun_mj, steps = clock(), library.nvmlDeviceGetTotalEnergyConsumption(board), 0
            while clock() < began + seconds:
                step()
                steps += 1
            took = clock() - began
            joules = (library.nvmlDeviceGetTotalEnergyConsumption(board) - begun_mj) / 1000
            found[watts] = (took / steps, joules / took)
    return found
