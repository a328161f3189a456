"""The limits that `joulewise run` holds: a budget, where its grams and money come from, and a pot shared with others.

Read before the program starts: a budget that cannot be understood or held must not start it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from joulewise import wiring
from joulewise.cli.run_options import RunOptions
from joulewise.vocabulary.budget import Budget, Spent
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure, exact

if TYPE_CHECKING:
    from joulewise.catalogue.place import Place
    from joulewise.ledger.pots import Pot, Total

HIGH_PRICE_PER_KWH: Mapping[str, float] = {"EUR": 1.0, "USD": 1.0, "GBP": 1.0, "CHF": 1.0}
"""What `--assume-high` takes for a kilowatt-hour where no tariff is set: about twice the dearest households pay."""

_SPEND_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use, where it runs, the pot that it shares, and what was assumed, in words."""

    budget: Budget
    place: Place
    pot: SharedBudget | None = None
    assumed: str = ""


@final
class SharedBudget:
    """A pot seen from one run: tells what this run has spent, once a second, and answers what all have."""

    def __init__(self, pot: Pot) -> None:
        self._pot = pot
        self._run_id = ""
        self._others: Total | None = None
        self._own = Spent(0.0)
        self._told_s = float("-inf")

    def begin(self, run_id: str) -> None:
        """Take part as this run."""
        self._run_id = run_id

    def share(self, own: Spent, *, ended: bool = False) -> Spent:
        """Return what all have spent, with `own` as what this run has. The pot is asked once a second."""
        from joulewise.ledger.pots import Spending

        now_s = time.monotonic()
        if ended or self._others is None or now_s - self._told_s >= _SPEND_EVERY_S:
            mine = Spending(
                _value(own.energy_j), _value(own.carbon_g), _value(own.cost), own.time_s, own.trials
            )
            self._pot.spend(self._run_id, mine, ended=ended)
            self._others, self._own, self._told_s = self._pot.spent(), own, now_s
        all_of_them = self._others.spent
        return Spent(
            time_s=(all_of_them.time_s or 0.0) + own.time_s - self._own.time_s,
            energy_j=_with(all_of_them.energy_j, own.energy_j, self._own.energy_j),
            carbon_g=_with(all_of_them.carbon_g, own.carbon_g, self._own.carbon_g),
            cost=_with(all_of_them.cost, own.cost, self._own.cost),
            trials=(all_of_them.trials or 0) + own.trials - self._own.trials,
            improvement=own.improvement,
        )


def limits_of(options: RunOptions) -> Limits | None:
    """Return the limits that the options name, None if they name none; raises UsageError for what cannot be held."""
    chosen = wiring.settings({"zone": options.zone or None, "interval_s": options.interval})
    if not (options.budget or options.pot):
        if options.zone != "auto":
            wiring.place(chosen=chosen)  # refuses a zone that is not known
        return None
    pot = _pot(options)
    if options.budget:
        budget = Budget.parse(options.budget, chosen.currency)
        if pot is not None:
            pot.join(_as_mapping(budget))
    else:
        budget = Budget(**{**_known(pot.limits() if pot else {}), "currency": chosen.currency})
    zone_known = chosen.zone not in ("", "unknown")
    budget.check(zone_known=zone_known, tariff_known=bool(chosen.tariff), assume_high=options.assume_high)
    assumed = ""
    if budget.cost is not None and not chosen.tariff:
        price = HIGH_PRICE_PER_KWH.get(chosen.currency)
        if price is None:
            raise UsageError(
                f'a budget in {chosen.currency} needs a price, and no high one is known: set JOULEWISE_TARIFF="0.30{chosen.currency}/kWh"'
            )
        chosen = replace(chosen, tariff=f"{price:g}{chosen.currency}/kWh")
        assumed = f"no tariff is set: money is counted at {price:.2f} {chosen.currency}/kWh"
    budget = replace(budget, assume_high=options.assume_high)
    return Limits(budget, wiring.place(chosen=chosen), SharedBudget(pot) if pot else None, assumed)


def _pot(options: RunOptions) -> Pot | None:
    if not options.pot:
        return None
    from joulewise.ledger.pots import Pot

    return Pot(wiring.store(), options.pot)


def _as_mapping(budget: Budget) -> dict[str, Any]:
    names = ("time_s", "energy_j", "carbon_g", "cost", "trials", "plateau")
    return {name: value for name in names if (value := getattr(budget, name)) is not None}


def _known(limits: Mapping[str, Any]) -> dict[str, Any]:
    names = ("time_s", "energy_j", "carbon_g", "cost", "trials", "plateau")
    return {name: limits[name] for name in names if name in limits}


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value


def _with(total: float | None, own: Figure | None, told: Figure | None) -> Figure | None:
    if total is None:
        return own
    return exact(max(0.0, total + (own.value if own else 0.0) - (told.value if told else 0.0)))
