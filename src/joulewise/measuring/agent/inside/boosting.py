"""XGBoost and LightGBM: what each call of `train` made of its rounds, what its evaluations took, and the curves they gave.

Both libraries' scikit-learn interfaces train through it, too. Where sets are evaluated and nobody keeps the values, a dictionary
of ours (LightGBM: a callback that keeps them) is handed in; the rounds are the same.
"""

from __future__ import annotations

import functools
from typing import Any

from .callers import where
from .timeline import Timeline, clock, process_cpu

_MOST = 200  # trainings with evaluations
_POINTS = 400  # of a curve


class Boosting:
    """The trainings of one process."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._told = 0
        self._eval = [0.0, 0.0, 0.0]  # calls, wall and CPU seconds of evaluations, all so far
        self._deep = False

    def watched(self, name: str) -> Any:
        """Return what is to be done with a module, if it is one of theirs."""
        return {
            "xgboost.core": functools.partial(self._timed, names=("eval_set",)),
            "xgboost.training": self._xgboost,
            "lightgbm.basic": functools.partial(self._timed, names=("eval_train", "eval_valid")),
            "lightgbm.engine": self._lightgbm,
        }.get(name)

    def _timed(self, module: Any, names: tuple[str, ...]) -> None:
        for name in names:
            original = getattr(module.Booster, name)

            @functools.wraps(original)
            def call(*args: Any, _original: Any = original, **kwargs: Any) -> Any:
                began_s, began_cpu_s = clock(), process_cpu()
                try:
                    return _original(*args, **kwargs)
                finally:
                    self._eval[0] += 1
                    self._eval[1] += clock() - began_s
                    self._eval[2] += process_cpu() - began_cpu_s

            setattr(module.Booster, name, call)

    def _xgboost(self, module: Any) -> None:
        original = module.train

        @functools.wraps(original)
        def train(params: Any, dtrain: Any, *args: Any, **kwargs: Any) -> Any:
            sets = kwargs.get("evals") or ()
            if not sets or self._deep:
                return original(params, dtrain, *args, **kwargs)
            curves = kwargs.get("evals_result")
            if curves is None:
                curves = kwargs["evals_result"] = {}
            stops = bool(kwargs.get("early_stopping_rounds")) or _stops(kwargs.get("callbacks"))
            call = functools.partial(original, params, dtrain, *args, **kwargs)
            return self._train(call, curves, dtrain, [data for data, _ in sets], stops)

        module.train = train

    def _lightgbm(self, module: Any) -> None:
        original = module.train
        from lightgbm.callback import record_evaluation  # loaded before it

        @functools.wraps(original)
        def train(params: Any, train_set: Any, *args: Any, **kwargs: Any) -> Any:
            given = kwargs.get("valid_sets", args[1] if len(args) > 1 else None)
            if not given or self._deep:
                return original(params, train_set, *args, **kwargs)
            curves: dict[str, Any] = {}
            if len(args) < 7:  # callbacks are the seventh: nobody gives so many by their place
                kwargs["callbacks"] = [*(kwargs.get("callbacks") or ()), record_evaluation(curves)]
            stops = _stops(kwargs["callbacks"]) or any(
                "early_stop" in k or k == "n_iter_no_change" for k in params
            )
            call = functools.partial(original, params, train_set, *args, **kwargs)
            sets = list(given) if isinstance(given, (list, tuple)) else [given]
            return self._train(call, curves, train_set, sets, stops)

        module.train = train

    def _train(self, call: Any, curves: dict[str, Any], data: Any, sets: list[Any], stops: bool) -> Any:
        before = list(self._eval)
        began_s, began_cpu_s = clock(), process_cpu()
        self._deep = True
        try:
            return call()
        finally:
            self._deep = False
            took = (clock() - began_s, process_cpu() - began_cpu_s)
            try:
                self._tell(curves, data, sets, stops, took, [b - a for a, b in zip(before, self._eval)])  # noqa: B905 - Python 3.9
            except Exception as error:  # noqa: BLE001 - another version: the training has ended well
                self._line.facts.add("faults", f"boosting: {type(error).__name__}: {error}"[:300])

    def _tell(
        self,
        curves: dict[str, Any],
        data: Any,
        sets: list[Any],
        stops: bool,
        took: tuple[float, float],
        evaluated: list[float],
    ) -> None:
        if not curves or self._told >= _MOST:
            return
        held = {name: [float(v) for v in values] for name, values in curves[list(curves)[-1]].items()}
        rounds = max(map(len, held.values()), default=0)
        every = -(-rounds // _POINTS) or 1
        self._line.facts.put(
            f"boosting/{self._told}",
            {"library": type(data).__module__.partition(".")[0], "rounds": rounds, "rows": _rows(data), "stops": stops,
             "set_rows": [_rows(one) for one in sets], "trains": [one is data for one in sets], "wall_s": took[0], "cpu_s": took[1],
             "eval_wall_s": evaluated[1], "eval_cpu_s": evaluated[2], "every": every, "where": where(),
             "curves": {name: [float(f"{v:.7g}") for v in values[every - 1 :: every]] for name, values in held.items()}},
        )  # fmt: skip
        self._told += 1


def _stops(callbacks: Any) -> bool:
    return any("EarlyStopping" in type(one).__name__ for one in callbacks or ())


def _rows(data: Any) -> int:
    return int(data.num_row() if hasattr(data, "num_row") else data.num_data())
