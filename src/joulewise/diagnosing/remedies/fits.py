"""Equal fits are computed twice and then handed out: the memory of `cache` for estimators (scikit-learn and its kin).

What is equal: the class, its parameters, and every byte of the arguments. The second fit is computed, too: only if it comes out
as the first did, without a draw of NumPy's or Python's random numbers, is the third one handed out, as a copy. Estimators that
go on from where they are (`warm_start`), and calls with callbacks, are left alone. What is kept is pickled, within a quarter
of the free memory, and lives as long as the process.
Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import hashlib
import pickle
import random
import sys
import time
from typing import Any

_METHODS = ("fit", "fit_transform")
_LEAST_S = 2e-3  # a fit that is as fast as telling its input apart is not worth it
_MEMORY = 0.25


class Fits:
    """The fits of this process by what they were given: `[state, result]` after the first, `None` where none is to be kept."""

    def __init__(self, hand: Any, name: str, free_bytes: float) -> None:
        self._hand, self._name = hand, name
        self._left = _MEMORY * free_bytes
        self._once: dict[bytes, Any] = {}
        self._sure: dict[bytes, tuple[bytes, bytes]] = {}

    def call(self, method: Any, name: str, estimator: Any, args: Any, kwargs: Any) -> Any:
        """Stand in for an outermost call of an estimator's method."""
        key = self._key(name, estimator, args, kwargs) if name in _METHODS else None
        if key is None or (key in self._once and self._once[key] is None):
            return method(estimator, *args, **kwargs)
        known = self._sure.get(key)
        if known is not None:
            state, result = known
            estimator.__dict__.update(pickle.loads(state))  # noqa: S301 - we have pickled it in this process
            return pickle.loads(result) if result else estimator  # noqa: S301
        drawn, began_s = _draws(), time.perf_counter()
        out = method(estimator, *args, **kwargs)
        took_s = time.perf_counter() - began_s
        kept = None if took_s < _LEAST_S or _draws() != drawn else _pickled(estimator, out)
        if kept is None or sum(map(len, kept)) > self._left:
            self._once[key] = None
        elif key not in self._once:
            self._once[key] = kept
            self._left -= sum(map(len, kept))
        elif self._once[key] == kept:
            self._sure[key] = kept
            self._hand.changed(
                self._name,
                f"{type(estimator).__name__}.{name} of equal input and settings came out the same twice: from then on it is handed out",
            )
        else:
            self._once[key] = None
            self._hand.left(self._name, f"{type(estimator).__name__}.{name} comes out different each time")
        return out

    def _key(self, name: str, estimator: Any, args: Any, kwargs: Any) -> bytes | None:
        """Return what tells a call from others; None for one that is to be left alone."""
        if not hasattr(estimator, "get_params") or any("callback" in k for k in kwargs):
            return None
        try:
            params = estimator.get_params(deep=False)
            if params.get("warm_start"):
                return None
            state = hashlib.blake2b(digest_size=16)
            state.update(f"{type(estimator).__module__}.{type(estimator).__qualname__}.{name}".encode())
            large: list[Any] = []
            state.update(pickle.dumps((params, args, kwargs), protocol=5, buffer_callback=large.append))
            for buffer in large:
                state.update(buffer.raw())
            return state.digest()
        except Exception:  # noqa: BLE001 - the program's own objects, which may not be told apart or pickled
            return None


def _pickled(estimator: Any, out: Any) -> tuple[bytes, bytes] | None:
    try:
        return pickle.dumps(vars(estimator), protocol=5), b"" if out is estimator else pickle.dumps(
            out, protocol=5
        )
    except Exception:  # noqa: BLE001 - an estimator that holds what cannot be pickled
        return None


def _draws() -> tuple[Any, ...]:
    """Return where the random numbers are that an estimator without a seed would draw."""
    numpy = sys.modules.get("numpy")
    drawn: tuple[Any, ...] = (hash(random.getstate()),)
    if numpy is not None:
        _, keys, *rest = numpy.random.get_state()
        drawn += (keys.tobytes(), *rest)
    return drawn
