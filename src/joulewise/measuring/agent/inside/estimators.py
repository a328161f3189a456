"""scikit-learn, XGBoost, LightGBM and whoever follows their interface: `fit`, `transform`, `predict`, `score`.

The methods stand in each class, so they are wrapped where a module of these libraries defines them; the outermost
call counts, what it calls inside is its own. Also `joblib.Parallel`: how many jobs it is asked for.
"""

from __future__ import annotations

import functools
from _thread import get_ident
from types import FunctionType
from typing import Any

from . import layout as at
from .prints import digest, fingerprint
from .timeline import Timeline, process_cpu

_KINDS = {
    **dict.fromkeys(("fit", "fit_transform", "fit_predict", "partial_fit", "update"), at.OPTIMISER),
    **dict.fromkeys(("transform", "inverse_transform"), at.DATA),
    **dict.fromkeys(("predict", "predict_proba", "predict_log_proba", "decision_function", "score", "score_samples"), at.VALIDATION),
}  # fmt: skip
_MOST = 400


class Estimators:
    """What is remembered of the calls of this process: one entry per method, input and settings."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._seen: dict[tuple[str, str, str, str], list[Any]] = {}
        self._busy = False

    def reset(self) -> None:
        """Forget, as a forked child must."""
        self._seen = {}
        self._busy = False

    def wrap(self, module: Any) -> None:
        """Wrap the methods of the classes that a module defines."""
        for cls in list(vars(module).values()):
            if isinstance(cls, type) and cls.__module__ == module.__name__:
                for name, kind in _KINDS.items():
                    method = cls.__dict__.get(name)
                    if isinstance(method, FunctionType) and not getattr(
                        method, "__isabstractmethod__", False
                    ):
                        setattr(cls, name, self._wrapped(method, name, kind))

    def wrap_parallel(self, joblib: Any) -> None:
        """Note how many jobs are asked for."""
        original = joblib.Parallel.__init__

        @functools.wraps(original)
        def __init__(parallel: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(parallel, *args, **kwargs)
            jobs = getattr(parallel, "n_jobs", None)
            if isinstance(jobs, int):
                self._line.facts.add("jobs", jobs)

        joblib.Parallel.__init__ = __init__

    def _wrapped(self, method: FunctionType, name: str, kind: int) -> Any:
        line = self._line

        @functools.wraps(method)
        def call(estimator: Any, *args: Any, **kwargs: Any) -> Any:
            if self._busy or get_ident() != line.main:
                return method(estimator, *args, **kwargs)
            self._busy = True
            line.wake()
            before = line.enter(kind)
            began_s, gap = line.page[at.SINCE], (line.before_s, line.before_cpu_s)
            began_cpu_s = process_cpu()
            out = None
            try:
                if line.instead is not None:
                    out = line.instead(method, name, estimator, args, kwargs)
                else:
                    out = method(estimator, *args, **kwargs)
                return out
            finally:
                self._busy = False
                used_s = process_cpu() - began_cpu_s
                line.leave(before)
                if line.called is not None:
                    line.called()
                score = float(out) if name == "score" and isinstance(out, float) and out == out else None  # noqa: PLR0124 - NaN is not itself
                self._take(estimator, name, args, kwargs, (line.page[at.SINCE] - began_s, used_s), gap, score)

        return call

    def _take(
        self,
        estimator: Any,
        name: str,
        args: Any,
        kwargs: Any,
        took: tuple[float, float],
        gap: tuple[float, float],
        score: float | None,
    ) -> None:
        try:
            given = args[0] if args else kwargs.get("X", kwargs.get("data"))
            params = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
            key = (
                type(estimator).__name__,
                name,
                fingerprint(given),
                digest(_plain(params).encode("utf-8", "replace")),
            )
            shape = getattr(given, "shape", None)
            rows = int(shape[0]) if shape else len(given) if hasattr(given, "__len__") else 0
            iterations = getattr(estimator, "n_iter_", None)
            tried = getattr(estimator, "cv_results_", None)  # a search over settings
            candidates = len(tried["params"]) if isinstance(tried, dict) and "params" in tried else None
            if _stops_early(name, params, rows):
                self._line.facts.put("early_stop", type(estimator).__name__)
        except Exception as error:  # noqa: BLE001 - a foreign estimator may do anything; its call has succeeded
            self._line.facts.add("faults", f"{type(estimator).__name__}.{name}: {type(error).__name__}")
            return
        entry = self._seen.get(key)
        if entry is None:
            if len(self._seen) >= _MOST:
                return
            entry = self._seen[key] = [len(self._seen), 0, 0.0, 0.0, 0.0, 0.0, gap[0], score]
        entry[1] += 1
        if score is not None:
            entry[7] = score if entry[7] is None else max(score, entry[7])
        for at_number, value in zip((2, 3, 4, 5), (*took, *gap)):  # noqa: B905 - Python 3.9
            entry[at_number] += value
        if iterations is not None and hasattr(iterations, "__len__"):
            iterations = max(iterations, default=None)
        self._line.facts.put(
            f"preparation/{entry[0]}",
            {"estimator": key[0], "method": name, "fingerprint": key[2], "settings": key[3], "rows": rows, "calls": entry[1],
             "wall_s": entry[2], "cpu_s": entry[3], "before_s": entry[4], "before_cpu_s": entry[5],
             "first_before_s": entry[6], "iterations": int(iterations) if iterations is not None else None, "candidates": candidates,
             "seeded": isinstance(params.get("random_state"), int), "score": entry[7]},
        )  # fmt: skip


def _stops_early(method: str, params: dict[str, Any], rows: int) -> bool:
    """Whether a fit stops when its held-out score does not improve; scikit-learn's `auto` does beyond 10,000 rows."""
    if method != "fit":
        return False
    told = params.get("early_stopping")
    return (
        told is True
        or (told == "auto" and rows > 10_000)
        or (told is None and bool(params.get("n_iter_no_change")))
    )


def _plain(params: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v!r}"[:200] for k, v in sorted(params.items()))
