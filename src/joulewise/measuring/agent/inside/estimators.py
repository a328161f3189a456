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
from .callers import under, where
from .prints import digest, fingerprint
from .tables import bytes_of, count, holds, objects, row_ns
from .timeline import Timeline, clock, process_cpu

_KINDS = {
    **dict.fromkeys(("fit", "fit_transform", "fit_predict", "partial_fit", "update"), at.OPTIMISER),
    **dict.fromkeys(("transform", "inverse_transform"), at.DATA),
    **dict.fromkeys(("predict", "predict_proba", "predict_log_proba", "decision_function", "score", "score_samples"), at.VALIDATION),
}  # fmt: skip
_MOST = 400
_FEW, _MANY = 3, 16  # rows: a call of so few is nearly all dispatch; of so many, mostly arithmetic
_SELDOM_S = 0.2  # between two calls: the later one is told at once
_LOOKED_AT = 64  # calls of few rows whose input is looked at
_DEAR_S = 2e-3  # a step inside of another estimator that took less is not worth its fingerprint


class Estimators:
    """What is remembered of the calls of this process: one entry per method, input and settings."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self.reset()

    def reset(self) -> None:
        """Forget, as a forked child must."""
        self._seen: dict[tuple[str, str, str, str], list[Any]] = {}
        self._rows: dict[tuple[str, str, bool], dict[str, Any]] = {}
        self._steps: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._answer: Any = None  # the last one of a call of few rows
        self._busy = self._inside = False

    def wrap(self, module: Any) -> None:
        """Wrap the methods of the classes that a module defines."""
        for cls in list(vars(module).values()):
            if isinstance(cls, type) and cls.__module__ == module.__name__:
                for name, kind in _KINDS.items():
                    method = cls.__dict__.get(name)
                    if isinstance(method, FunctionType):
                        if not getattr(method, "__isabstractmethod__", False):
                            setattr(cls, name, self._wrapped(method, name, kind))
                    elif isinstance(
                        getattr(method, "fn", None), FunctionType
                    ):  # scikit-learn's `available_if`
                        method.fn = self._wrapped(method.fn, name, kind)  # type: ignore[union-attr]

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
            if self._busy and name == "fit_transform":
                return self._step(method, estimator, args, kwargs)
            if self._busy or get_ident() != line.main:
                return method(estimator, *args, **kwargs)
            self._busy = True
            line.wake()
            before = line.enter(kind)
            began_s, gap = line.page[at.SINCE], (line.before_s, line.before_cpu_s)
            began_cpu_s = process_cpu()
            answer = None
            try:
                if line.instead is not None:
                    answer = line.instead(method, name, estimator, args, kwargs)
                else:
                    answer = method(estimator, *args, **kwargs)
                return answer
            finally:
                self._busy = False
                used_s = process_cpu() - began_cpu_s
                line.leave(before)
                if line.called is not None:
                    line.called()
                took = (line.page[at.SINCE] - began_s, used_s)
                if kind == at.OPTIMISER or not self._few(estimator, name, args, kwargs, answer, took, gap):
                    self._take(estimator, name, args, kwargs, took, gap, _score(name, answer))
                    if gap[0] > _SELDOM_S:  # a pool's worker may be ended behind its last call
                        line.tell(clock())

        return call

    def _step(self, method: FunctionType, estimator: Any, args: Any, kwargs: Any) -> Any:
        """Call a transformer's `fit_transform` inside of another estimator's call, and remember what it got and took."""
        if self._inside or get_ident() != self._line.main or hasattr(estimator, "steps"):
            return method(estimator, *args, **kwargs)
        self._inside = True
        began_s, began_cpu_s = clock(), process_cpu()
        try:
            answer = method(estimator, *args, **kwargs)
        finally:
            self._inside = False
        took_s, used_s = clock() - began_s, process_cpu() - began_cpu_s
        if used_s >= _DEAR_S:
            try:
                self._take_step(estimator, args, kwargs, answer, took_s, used_s)
            except Exception as error:  # noqa: BLE001 - a foreign estimator may do anything; its call has succeeded
                self._line.facts.add("faults", f"{type(estimator).__name__}: {type(error).__name__}")
        return answer

    def _take_step(
        self, estimator: Any, args: Any, kwargs: Any, answer: Any, took_s: float, used_s: float
    ) -> None:
        params = _settings(estimator, deep=True)
        given = args[0] if args else kwargs.get("X")
        named = type(estimator).__name__
        settings = digest(_plain(params).encode("utf-8", "replace"))
        key = (named, fingerprint((given, args[1] if len(args) > 1 else kwargs.get("y"))), settings)
        told = self._steps.get(key)
        if told is None:
            if len(self._steps) >= _MOST:
                return
            told = self._steps[key] = {
                "estimator": named, "fingerprint": key[1], "settings": settings, "rows": count(given), "calls": 0, "wall_s": 0.0,
                "cpu_s": 0.0, "in_bytes": bytes_of(given), "out_bytes": bytes_of(answer), "objects": objects(given) + objects(vars(estimator)), "number": len(self._steps),
                "random": "random_state" in params and not isinstance(params["random_state"], int),
            }  # fmt: skip
        told["calls"] += 1
        told["wall_s"] += took_s
        told["cpu_s"] += used_s
        self._line.facts.put(f"step/{told['number']}", told)

    def _few(
        self,
        estimator: Any,
        name: str,
        args: Any,
        kwargs: Any,
        answer: Any,
        took: tuple[float, float],
        gap: tuple[float, float],
    ) -> bool:
        """Add a call that asks for answers to the sum of those with as few rows, or as many; say whether that is enough."""
        given = args[0] if args else kwargs.get("X", kwargs.get("data"))
        try:
            rows = count(given)
        except Exception:  # noqa: BLE001 - a foreign table; `_take` says so
            return False
        few = rows <= _FEW
        if not few and rows < _MANY:
            return False
        key = (type(estimator).__name__, name, few)
        told = self._rows.get(key)
        if told is None:
            told = self._rows[key] = {
                "estimator": key[0], "method": name, "few": few, "calls": 0, "rows": 0, "wall_s": 0.0, "cpu_s": 0.0, "before_cpu_s": 0.0,
                "where": where(), "under": under(), "row_ns": row_ns(estimator), "fed": 0, "number": len(self._rows),
            }  # fmt: skip
        told["calls"] += 1
        told["rows"] += rows
        told["wall_s"] += took[0]
        told["cpu_s"] += took[1]
        told["before_cpu_s"] += gap[1]
        self._line.facts.put(f"rows/{told['number']}", told)
        if few and told["calls"] <= _LOOKED_AT:
            told["fed"] += holds(given, self._answer)
            if name != "transform":
                self._answer = answer
        return few and told["calls"] > _LOOKED_AT

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
            params = _settings(estimator, deep=_KINDS[name] == at.OPTIMISER)
            key = (
                type(estimator).__name__,
                name,
                fingerprint(given),
                digest(_plain(params).encode("utf-8", "replace")),
            )
            rows = count(given)
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
             "seeded": isinstance(params.get("random_state"), int), "parts": max((w for k, v in params.items() if k.rpartition("__")[2] == "n_estimators" and (w := _whole(v))), default=None),
             "splits": _whole(getattr(estimator, "n_splits_", None)), "score": entry[7]},
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


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _settings(estimator: Any, *, deep: bool) -> dict[str, Any]:
    """Return an estimator's settings; where others are among them, theirs as well, if `deep`."""
    if not hasattr(estimator, "get_params"):
        return {}
    params: dict[str, Any] = estimator.get_params(deep=False)
    if deep and any(_holds_estimators(v) for v in params.values()):
        params = estimator.get_params()
    return params


def _holds_estimators(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_estimators(one) for one in value)
    return hasattr(value, "get_params") and not isinstance(value, type)


def _plain(params: dict[str, Any]) -> str:
    """Return settings in one line; of estimators among them the names, for their own repr leaves out what is long."""
    return ", ".join(f"{k}={_named(v)!r}"[:2000] for k, v in sorted(params.items()))


def _named(value: Any) -> Any:
    if not _holds_estimators(value):
        return value
    return [_named(one) for one in value] if isinstance(value, (list, tuple)) else type(value).__name__


def _score(name: str, answer: Any) -> float | None:
    """Return what a `score` answered; None for any other method, and for no finite number."""
    return float(answer) if name == "score" and isinstance(answer, float) and answer - answer == 0 else None
