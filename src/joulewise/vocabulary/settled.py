"""What a plan came to once its hours have passed: a Settled for each placement, a Report over several.

A saving may be negative and stays in the list: a day that went wrong is shown like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from joulewise.vocabulary.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settled:
    """What one placement came to. Grams by average intensity; the consequence is None where no marginal signal is.

    `promised_g` is the saving that the plan predicted, `saved_g` the one realised, `oracle_g` the one of a planner who
    knew. `saved_cost` is None where no actual price is known.
    """

    name: str
    start_utc: datetime
    promised_g: float
    now_g: float
    ran_g: float
    oracle_g: float
    consequence_g: float | None
    saved_cost: float | None
    energy_bought_j: float
    verdict: str

    @property
    def saved_g(self) -> float:
        """The allocated difference: grams of running now less grams of the run as it ran."""
        return self.now_g - self.ran_g

    @property
    def share_of_oracle(self) -> float | None:
        """The part of the possible saving that was had; None where nothing could be saved."""
        return self.saved_g / self.oracle_g if self.oracle_g > 1e-9 * max(1.0, self.now_g) else None

    @property
    def regret_g(self) -> float:
        """Grams that a planner who knew the actual hours would have saved beyond this plan."""
        left = self.oracle_g - self.saved_g
        return left if left > 1e-9 * max(1.0, self.now_g) else 0.0  # less is rounding


@dataclass(frozen=True, slots=True)
class Report:
    """Several settled placements together."""

    parts: tuple[Settled, ...]

    @property
    def promised_g(self) -> float:
        """The sum of what was predicted."""
        return sum(p.promised_g for p in self.parts)

    @property
    def saved_g(self) -> float:
        """The sum of what was saved, losses included."""
        return sum(p.saved_g for p in self.parts)

    @property
    def saved_share(self) -> float:
        """What was saved as a share of running everything now."""
        now = sum(p.now_g for p in self.parts)
        return self.saved_g / now if now > 0 else 0.0

    @property
    def share_of_oracle(self) -> float | None:
        """The part of the possible saving that was had; None where nothing could be saved."""
        oracle = sum(p.oracle_g for p in self.parts)
        return self.saved_g / oracle if oracle > 0 else None

    @property
    def regret_g(self) -> float:
        """The sum of what planners who knew the actual hours would have saved beyond."""
        return sum(p.regret_g for p in self.parts)

    @property
    def wrong(self) -> tuple[Settled, ...]:
        """The placements that were worse than running now, worst first."""
        return tuple(sorted((p for p in self.parts if p.saved_g < 0), key=lambda p: p.saved_g))


def settled_as_json(part: Settled) -> dict[str, Any]:
    """Return plain values for a file or a table; `settled_from_json` reads them back."""
    return {f.name: getattr(part, f.name) for f in fields(part)} | {"start_utc": part.start_utc.isoformat()}


def settled_from_json(told: Mapping[str, Any]) -> Settled:
    """Return the settled placement that `settled_as_json` described; raise UsageError for what is none."""
    try:
        return Settled(
            str(told["name"]),
            datetime.fromisoformat(told["start_utc"]),
            float(told["promised_g"]),
            float(told["now_g"]),
            float(told["ran_g"]),
            float(told["oracle_g"]),
            None if told["consequence_g"] is None else float(told["consequence_g"]),
            None if told["saved_cost"] is None else float(told["saved_cost"]),
            float(told["energy_bought_j"]),
            str(told["verdict"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this is no settled placement: {type(error).__name__} {error}") from error
