"""Compressing: the user's model and rows in, a recording of what it took, and a model folder out."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, final

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.recording import EndState
from joulewise.wiring.chosen import settings
from joulewise.wiring.grid import place
from joulewise.wiring.ledger import account
from joulewise.wiring.meters import survey
from joulewise.wiring.recording import recorder

if TYPE_CHECKING:
    from joulewise.catalogue.place import Place
    from joulewise.compressing.compress import Compressed
    from joulewise.compressing.data import Data
    from joulewise.measuring.meters.port import Meter
    from joulewise.measuring.recorder import Recorder
    from joulewise.vocabulary.recording import Recording

_NEEDED = ("onnx", "onnxruntime", "numpy")
_RATE_WAIT_S = 3.0


def compress(
    model: Any,
    data: Any,
    *,
    metric: str | Callable[..., Any] = "accuracy",
    max_drop: str | float = "0.5%",
    out: str | Path = "",
    name: str = "",
    batch_sizes: Sequence[int] = (1, 32),
    variants: Sequence[str] = (),
    candidates: Mapping[str, Any] | None = None,
    tuning_j: float | None = None,
    training_j: float | None = None,
    target: str = "y",
    lower_is_better: bool = False,
    device: str = "cpu",
    threads: int = 1,
    weights: str | Path | None = None,
    zone: str | None = None,
) -> Compressed:
    """Return which variants of a model passed both gates; they, their measures and a card are in the folder `out`.

    `model` is an .onnx file, an ONNX model, a scikit-learn estimator or a PyTorch module (`weights`: a .safetensors file);
    `data` the rows that judge: an .npz file, a mapping of arrays by the inputs' names and `target`, or a pair (x, y).
    `metric` is a name (accuracy, f1, r2, rmse, mae, recall@10), FILE.py:FUNCTION, or a function of outputs and targets;
    `max_drop` what it may lose: "0.5%" (points, or a share of an error), or a number. `candidates` are models of the
    same inputs and outputs that you have made, pruned or distilled, by name, and `tuning_j` the joules which that took. The
    whole is recorded; its joules are the folder's `compressing_j`. Needs the extra `compress`. Raises UsageError.
    """
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        raise UsageError(
            f"compress needs {', '.join(missing)}, not installed here: pip install 'joulewise[compress]'"
        )
    from joulewise.compressing import compress as room
    from joulewise.compressing import metrics, sources
    from joulewise.compressing.variants import VARIANTS
    from joulewise.serving.compressed import check_free, folder_of
    from joulewise.serving.folder import Life

    title = name or _title(model)
    place_out = Path(out) if out else Path(f"{title}-compressed")
    check_free(place_out)
    judge = (
        metrics.metric(metric, lower_is_better=lower_is_better)
        if isinstance(metric, str)
        else metrics.of_function(metric, lower_is_better=lower_is_better)
    )
    drop = (
        room.parse_drop(max_drop) if isinstance(max_drop, str) else room.Drop(float(max_drop), percent=False)
    )
    if not batch_sizes or any(size < 1 for size in batch_sizes):
        raise UsageError(f"batch sizes are {list(batch_sizes)}, but must be numbers from 1")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with _metered(f"compress-{title}", zone, device) as gauge:
            base = folder / f"{room.BASE}.onnx"
            example = _example(model, data)
            sources.to_onnx(model, base, example, None if weights is None else Path(weights))
            rows = _rows(data, room.inputs(base), target)
            extra = {}
            for one, candidate in (candidates or {}).items():
                extra[_candidate(one)] = path = folder / f"{one}.onnx"
                sources.to_onnx(candidate, path, example)
            ask = room.Ask(
                judge, drop, tuple(batch_sizes), tuple(variants) or VARIANTS, device, threads, extra
            )
            told = room.compress(base, rows, ask, folder, title, gauge)
        total_j = account(gauge.recording, zone).footprint.total_j
        told = room.paid(told, None if total_j is None else total_j.value, tuning_j if candidates else 0.0)
        folder_of(told, place_out, Life(training_j=training_j))
    return told


def _title(model: Any) -> str:
    name = Path(model).stem if isinstance(model, str | Path) else type(model).__name__.lower()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100] or "model"


def _candidate(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or name == "fp32":
        raise UsageError(
            f"a candidate is called {name!r}, but must be called by letters, digits, '.', '_', '-', and not fp32"
        )
    return name


def _example(model: Any, data: Any) -> Mapping[str, Any] | None:
    """Return rows by input's name, for a model that must be traced or converted."""
    import numpy as np

    from joulewise.compressing import sources

    if isinstance(model, str | Path) or isinstance(data, str | Path):
        return None
    names = sources.names(model)
    held = data if isinstance(data, Mapping) else {names[0]: data[0]}
    rows = {name: np.asarray(held[name]) for name in names if name in held}
    single = {
        name: values.astype(np.float32) if values.dtype == np.float64 else values
        for name, values in rows.items()
    }
    return single or None


def _rows(data: Any, inputs: Mapping[str, Any], target: str) -> Data:
    import numpy as np

    from joulewise.compressing.data import of_arrays, read

    if isinstance(data, str | Path):
        return read(Path(data), inputs, target)
    if isinstance(data, Mapping):
        return of_arrays({name: np.asarray(values) for name, values in data.items()}, inputs, target)
    if not (isinstance(data, tuple) and len(data) == 2 and len(inputs) == 1):
        raise UsageError(
            f"data must be an .npz file, a pair (x, y), or arrays by name: {', '.join((*inputs, target))}"
        )
    named = {next(iter(inputs)): np.asarray(data[0])} | (
        {} if data[1] is None else {target: np.asarray(data[1])}
    )
    return of_arrays(named, inputs, target)


@contextmanager
def _metered(title: str, zone: str | None, device: str) -> Iterator[_Metered]:
    """Record this process while it compresses, and tell what that takes."""
    own = recorder(os.getpid(), title, sys.orig_argv, role="track", flags={"zone": zone})
    gauge = _Metered(own, place(zone=zone), _counters(device))
    own.start()
    try:
        yield gauge
    except BaseException as raised:
        own.stop(EndState.FAILED, reason=f"{type(raised).__name__}: {raised}"[:500])
        raise
    finally:
        gauge.close()
    own.stop(EndState.FINISHED, exit_code=0)


def _counters(device: str) -> list[Meter]:
    """Return energy counters of what computes: the processor and memory, and the GPUs where the model is for one."""
    from joulewise.vocabulary.figures import Basis
    from joulewise.vocabulary.recording import Component

    wanted = {Component.CPU, Component.MEMORY} | ({Component.GPU} if device != "cpu" else set())
    kept: list[Meter] = []
    for _family, found in survey(settings(), os.getpid()):
        for meter in found.meters:
            told = meter.device
            if told.counted and told.basis is Basis.MEASURED and told.component in wanted:
                kept.append(meter)
            else:
                meter.close()
    return kept


@final
class _Metered:
    """What this process spends, by its recording and by energy counters."""

    def __init__(self, own: Recorder, where: Place, meters: Sequence[Meter]) -> None:
        self._own = own
        self._place = where
        self._meters = meters

    @property
    def recording(self) -> Recording:
        """The recording so far."""
        return self._own.recording()

    def close(self) -> None:
        """Close the counters."""
        for meter in self._meters:
            meter.close()

    def cpu_s(self) -> float:
        """Return the CPU seconds of this process so far."""
        return time.process_time()

    def wall_s(self) -> float:
        """Return the seconds of the monotonic clock."""
        return time.perf_counter()

    def counted_j(self) -> float | None:
        """Return what the counters have counted so far, None if there is none or one cannot be read."""
        told = [meter.read().energy_j for meter in self._meters]
        return None if not told or None in told else sum(one for one in told if one is not None)

    def j_per_cpu_s(self) -> float | None:
        """Return the joules at the wall of a CPU-second; waits for the recording's second tick."""
        from joulewise.measuring.watching import spent
        from joulewise.serving.energy import rate

        end_s = time.monotonic() + _RATE_WAIT_S
        while True:
            latest = self._own.latest
            found = latest and rate(spent(latest, self._place, latest.t_s), latest.work_cpu_s)
            if found or time.monotonic() > end_s:
                return found.joules if found else None
            time.sleep(0.02)
