"""A counter of energy that somebody else may set back, and a power that must be integrated: joules since we looked.

Drivers and exporters count from zero again when they are loaded or started anew. What such a counter shows then
was used since, and is added; what was used between our last look and the restart is unknown, left out, and said.
A step that no device could have used in the time is no step: it is left out and said. A counter that goes back by
less than a joule only trembles (two sources behind one name, rounding): it is waited for.
"""

from __future__ import annotations

from typing import final

_TREMBLE_J = 1.0


@final
class GrowingCounter:
    """Adds up the steps of a counter. `unit_j` is the joules of one count.

    `limit_w` is more than the device can ever draw; `slack_s` is how much older than the clock a value may be.
    """

    def __init__(
        self, value: float, at_s: float, *, unit_j: float, limit_w: float, slack_s: float = 2.0
    ) -> None:
        self._last = value
        self._at_s = at_s
        self._used: float = 0
        self._unit_j = unit_j
        self._limit_w = limit_w
        self._slack_s = slack_s

    @property
    def used_j(self) -> float:
        """Joules since the counter was first seen."""
        return self._used * self._unit_j

    def add(self, value: float, at_s: float, *, restarted: bool = False) -> str:
        """Take in what the counter shows at `at_s` (monotonic seconds); return why a step was left out, or "".

        `restarted` says that the counter is known to have begun anew, even if it stands higher than before.
        """
        step = value - self._last
        limit_j = self._limit_w * (at_s - self._at_s + self._slack_s)
        if -_TREMBLE_J <= step * self._unit_j < 0 and not restarted:
            return ""
        why = ""
        if step < 0 or restarted:
            why = f"the counter restarted (from {self._last:.0f} to {value:.0f}); what was used before that is unknown"
            step = value
        if step * self._unit_j > limit_j:
            why = (
                f"the counter went from {self._last:.0f} to {value:.0f}, more than {self._limit_w:.0f} W can use in "
                f"{at_s - self._at_s:.1f} s; this step is left out"
            )
            step = 0
        self._used += step
        self._last = value
        self._at_s = at_s
        return why


@final
class IntegratedPower:
    """Integrates a power in watts over time. `window_s` is the time whose mean each value is (0: the moment).

    The value at the end of a step tells the mean of its last `window_s`; what is older is bridged by the trapezoid
    between the two values. With values read once per window nothing is estimated at all.
    """

    def __init__(self, power_w: float, at_s: float, *, window_s: float = 0.0) -> None:
        self._last_w = power_w
        self._at_s = at_s
        self._window_s = window_s
        self.used_j = 0.0

    def add(self, power_w: float, at_s: float) -> None:
        """Take in the power as it is told at `at_s` (monotonic seconds)."""
        step_s = at_s - self._at_s
        known_s = min(step_s, self._window_s)
        self.used_j += max(0.0, power_w * known_s + (self._last_w + power_w) / 2 * (step_s - known_s))
        self._last_w = power_w
        self._at_s = at_s
