"""What a request cost: its CPU time, times the joules (grams, money) that a CPU-second of this server costs.

    CPU of a request  = CPU of its batch x its rows / rows of the batch + mean CPU per request outside the model
    joules at the wall = CPU of the request x joules of the recording so far / its CPU-seconds

The recording (measuring/) knows how its joules are known; a request's joules are computed from a share of time, so
their basis is never better than modelled. CPU time used while no request was inside is standing by, and in no
request's figure. Joules that go with time and not with work (memory) are spread over the CPU-seconds like all others,
so that the sum is right; with little traffic a request therefore carries more of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from joulewise.vocabulary.budget import Spent
from joulewise.vocabulary.figures import Basis

_LEAST_CPU_S = 0.02  # below this a rate is noise
_FAST_S, _SLOW_S = 1.0, 60.0
_SHARE = 0.01  # of the requests' CPU time: what the recorder may take


@dataclass(frozen=True, slots=True)
class Rate:
    """What a CPU-second of this server costs at the wall. None is unknown."""

    joules: float
    grams: float | None
    basis: Basis
    money: float | None = None
    currency: str = ""


def rate(spent: Spent, work_cpu_s: float | None, currency: str = "") -> Rate | None:
    """Return the rate that a recording shows so far, money in `currency`; None while too little has happened to tell."""
    if work_cpu_s is None or work_cpu_s < _LEAST_CPU_S or spent.energy_j is None or spent.energy_j.value <= 0:
        return None
    grams = None if spent.carbon_g is None else spent.carbon_g.value / work_cpu_s
    money = None if spent.cost is None else spent.cost.value / work_cpu_s
    basis = max(Basis.MODELLED, spent.energy_j.basis)
    return Rate(spent.energy_j.value / work_cpu_s, grams, basis, money, currency)


def pace(interval_s: float, requests_cpu_s: float, over_s: float, tick_cpu_s: float) -> float:
    """Return the recorder's next interval: the shortest at which its ticks take 1 % of the CPU time that requests take.

    `requests_cpu_s` is what they took over the last `over_s` seconds, `tick_cpu_s` what a tick takes. The interval at most
    doubles each time, up to a minute; it is never below a second.
    """
    share = requests_cpu_s / over_s
    wanted_s = tick_cpu_s / (share * _SHARE) if share > 0 else _SLOW_S
    return min(max(wanted_s, _FAST_S), max(interval_s * 2, _FAST_S), _SLOW_S)


@final
class Tally:
    """Splits this process's CPU time into requests (the model's part and the rest) and standing by."""

    def __init__(self, cpu_s: Callable[[], float] = time.process_time) -> None:
        self._cpu_s = cpu_s
        self._mark_s = cpu_s()
        self._inside = 0
        self._busy_s = 0.0
        self.standing_by_s = 0.0
        self.model_s = 0.0
        self.overhead_s = 0.0  # of a request, the mean, outside the model: reading, parsing, writing
        self.requests = 0

    def enter(self) -> None:
        """Count a request that comes in; if it is the only one, standing by ends here."""
        if self._inside == 0:
            now_s = self._cpu_s()
            self.standing_by_s += now_s - self._mark_s
            self._mark_s = now_s
        self._inside += 1
        self.requests += 1

    def leave(self) -> None:
        """Let a request out; if it was the last one, standing by begins here."""
        self._inside -= 1
        if self._inside == 0:
            self._fold()

    def batch(self, cpu_s: float) -> None:
        """Count the CPU seconds of a batch as the model's."""
        self.model_s += cpu_s
        if self._inside:
            self._fold()

    def _fold(self) -> None:
        now_s = self._cpu_s()
        self._busy_s += now_s - self._mark_s
        self._mark_s = now_s
        self.overhead_s = max(0.0, self._busy_s - self.model_s) / self.requests

    @property
    def inside(self) -> int:
        """How many requests are inside."""
        return self._inside

    @property
    def busy_s(self) -> float:
        """CPU seconds while at least one request was inside."""
        return self._busy_s + (self._cpu_s() - self._mark_s if self._inside else 0.0)
