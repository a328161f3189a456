"""When to sleep, and what to unload: pure functions of what waiting costs and what waking costs.

Standing by for t seconds costs idle_w x t; waking costs wake_j once. Whoever sleeps after wake_j / idle_w seconds of silence
never pays more than twice what a clairvoyant would (the ski-rental bound). With enough silences seen, the limit that
would have been the cheapest over them is taken instead, but never beyond that bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

_LEAST_SILENCES = 20
_LEAST_S = 5.0  # nobody wakes a server all day long: a shorter limit saves less than it costs in latency


@dataclass(frozen=True, slots=True)
class Standby:
    """What it costs to stand by, and to wake."""

    idle_w: float
    wake_j: float

    @property
    def break_even_s(self) -> float:
        """Return after how many seconds standing by has cost as much as waking: inf where standing by is free."""
        return self.wake_j / self.idle_w if self.idle_w > 0 else inf


def sleep_after_s(standby: Standby, silences_s: Sequence[float]) -> float:
    """Return after how many seconds of silence to sleep, given the silences between requests so far (seconds)."""
    bound_s = max(standby.break_even_s, _LEAST_S)
    if len(silences_s) < _LEAST_SILENCES or bound_s == inf:
        return bound_s
    tried = sorted({_LEAST_S, bound_s, *(s for s in silences_s if _LEAST_S < s < bound_s)})
    return min(tried, key=lambda limit_s: (cost_j(standby, silences_s, limit_s), limit_s))


def cost_j(standby: Standby, silences_s: Sequence[float], limit_s: float) -> float:
    """Return the joules of standing by and waking over these silences, if the server sleeps after `limit_s`."""
    return sum(
        standby.idle_w * min(silence_s, limit_s) + (standby.wake_j if silence_s > limit_s else 0.0)
        for silence_s in silences_s
    )
