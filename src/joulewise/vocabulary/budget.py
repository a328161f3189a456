"""A budget: how much a piece of work may use, and the pure rules that say when to warn and when to stop.

    Budget.parse("2MJ,200g,1EUR,3h,20trials,plateau=0.1%")

`judge` compares what was spent with the limits and answers continue, warn or stop, with the reason in words. The
central values count: they are what every view shows. `assume_high` makes grams and money count at the upper end
of their interval, for an unknown zone or tariff. `forecast` tells the total to expect from the progress so far;
its interval comes from the spread between epochs, so it says nothing about the meters' own error, which spent and
limit share. `improvement` is what the plateau rule looks at.

Nothing here reads a clock or a device: whoever holds them asks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import isfinite, sqrt
from typing import Any

from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.quantities import (
    ENERGY_UNITS,
    MASS_UNITS,
    TIME_UNITS,
    format_duration,
    format_si,
    parse_duration,
    split_quantity,
)
from joulewise.vocabulary.student import t95

EXAMPLE = "2MJ,200g,1EUR,3h,20trials,plateau=0.1%"
PLATEAU_EPOCHS = 5
_LEAST_STRETCH = 1e-9  # of progress; a shorter one is noise of its own making
_SYMBOLS = {"€": "EUR", "$": "USD", "£": "GBP"}
_CARBON_SUFFIX = re.compile(r"CO2(e|eq)?$", re.IGNORECASE)
_LOSS_WORDS = ("loss", "error", "perplexity", "ppl", "rmse", "mse", "mae", "nll", "wer", "cer", "fid")
_SCORE_WORDS = (
    "accuracy",
    "acc",
    "auc",
    "f1",
    "r2",
    "score",
    "precision",
    "recall",
    "bleu",
    "rouge",
    "iou",
    "map",
)
_HELD_OUT = ("val", "valid", "validation", "eval", "test", "dev")


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used so far. None is unknown; `improvement` is the plateau rule's figure, None before it can tell."""

    time_s: float
    energy_j: Figure | None = None
    carbon_g: Figure | None = None
    cost: Figure | None = None
    trials: int = 0
    improvement: float | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """The totals to expect at the end, each with its central 90 % interval. None is unknown."""

    time_s: Figure | None = None
    energy_j: Figure | None = None
    carbon_g: Figure | None = None
    cost: Figure | None = None


class Action(StrEnum):
    """What a verdict asks for."""

    CONTINUE = "continue"
    WARN = "warn"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Continue, warn or stop; `limit` says which limit it was about, `reason` is the sentence for the user.

    `limit` is the name of the budget's field (`energy_j`), or `forecast energy_j` where only the forecast passes it:
    whoever warns puts it into `warned`, so that no warning is given twice.
    """

    action: Action = Action.CONTINUE
    limit: str = ""
    reason: str = ""

    @property
    def stops(self) -> bool:
        """Whether a hard limit is reached."""
        return self.action is Action.STOP

    @property
    def warns(self) -> bool:
        """Whether there is something to warn of."""
        return self.action is Action.WARN


@dataclass(frozen=True, slots=True)
class Budget:
    """Hard limits, None where there is none; a warning is given at the share `soft` of each.

    `cost` is in `currency`. `plateau` is the least relative improvement over five epochs (0.001 is 0.1 %).
    """

    time_s: float | None = None
    energy_j: float | None = None
    carbon_g: float | None = None
    cost: float | None = None
    trials: int | None = None
    plateau: float | None = None
    soft: float = 0.8
    currency: str = "EUR"
    assume_high: bool = False

    def __post_init__(self) -> None:
        """Refuse limits that are not above zero."""
        for name in ("time_s", "energy_j", "carbon_g", "cost", "trials", "plateau"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and isfinite(value)):
                raise UsageError(f"the budget's {name} is {value:g}, but must be more than 0")
        if not 0 < self.soft <= 1:
            raise UsageError(f"the budget's soft share is {self.soft:g}, but must be above 0 and at most 1")

    @classmethod
    def parse(cls, text: str, currency: str = "EUR") -> Budget:
        """Return the budget that `text` names; raises UsageError with one line for what cannot be read."""
        limits: dict[str, Any] = {}
        written: dict[str, str] = {}
        parts = [part.strip() for part in text.split(",")]
        if not all(parts):
            raise UsageError(
                f"the budget {text!r} is empty or has an empty part; write for instance {EXAMPLE}"
            )
        for part in parts:
            name, value = _limit(part, currency)
            if name in limits:
                raise UsageError(
                    f"the budget names {_NOUNS[name]} twice: {written[name]} and {part}; keep one"
                )
            limits[name], written[name] = value, part
        return cls(**limits, currency=currency)

    def check(self, *, zone_known: bool, tariff_known: bool, assume_high: bool) -> None:
        """Refuse grams without a zone and money without a tariff, unless the high end is to be assumed."""
        if assume_high:
            return
        if self.carbon_g is not None and not zone_known:
            raise UsageError(
                "a budget in grams needs to know whose electricity it is: give --zone DE (your zone), or --assume-high"
            )
        if self.cost is not None and not tariff_known:
            raise UsageError(
                f'a budget in money needs a price: set a tariff, for instance JOULEWISE_TARIFF="0.30{self.currency}/kWh", or give --assume-high'
            )

    def __str__(self) -> str:
        parts = [
            f"{_written(name, getattr(self, name), self.currency)}"
            for name in _NOUNS
            if getattr(self, name) is not None
        ]
        return ",".join(parts)


# The fields of a budget that are limits, in the order in which they are judged, and what they are called.
_NOUNS: Mapping[str, str] = {
    "energy_j": "energy",
    "carbon_g": "CO2e",
    "cost": "money",
    "time_s": "time",
    "trials": "trials",
    "plateau": "plateau",
}


def judge(
    budget: Budget, spent: Spent, expected: Expected | None = None, warned: Collection[str] = frozenset()
) -> Verdict:
    """Return stop if a hard limit is reached, else warn of the first limit not yet in `warned`, else continue.

    A warning comes at the soft share of a limit, and when the forecast total passes the limit with 95 %
    confidence: its 90 % interval lies above the limit.
    """
    used = {name: _used(budget, spent, name) for name in _NOUNS if name != "plateau"}
    for name, value in used.items():
        limit = getattr(budget, name)
        if limit is not None and value is not None and value >= limit:
            return Verdict(
                Action.STOP, name, f"{_share_of(budget, name, value)} is used: the budget is spent"
            )
    if budget.plateau is not None and spent.improvement is not None and spent.improvement < budget.plateau:
        return Verdict(
            Action.STOP,
            "plateau",
            f"the best value improved by {100 * spent.improvement:.2g} % in {PLATEAU_EPOCHS} epochs, less than {100 * budget.plateau:.2g} %",
        )
    for name, value in used.items():
        limit = getattr(budget, name)
        if limit is None or value is None or name in warned or value < budget.soft * limit:
            continue
        return Verdict(
            Action.WARN, name, f"{_share_of(budget, name, value)} is used ({100 * value / limit:.0f} %)"
        )
    if expected is not None:
        return _judge_forecast(budget, expected, warned)
    return Verdict()


def _judge_forecast(budget: Budget, expected: Expected, warned: Collection[str]) -> Verdict:
    for name in ("energy_j", "carbon_g", "cost", "time_s"):
        limit, figure = getattr(budget, name), getattr(expected, name)
        key = f"forecast {name}"
        if limit is None or figure is None or key in warned or figure.low <= limit:
            continue
        low, high, most = (_shown(name, v, budget.currency) for v in (figure.low, figure.high, limit))
        return Verdict(
            Action.WARN,
            key,
            f"the forecast total is {low} to {high} of {_NOUNS[name]}, above the budget of {most} (95 % sure)",
        )
    return Verdict()


def forecast(milestones: Sequence[tuple[float, float]]) -> Figure | None:
    """Return the total to expect of an amount (joules or seconds), with its central 90 % interval.

    `milestones` are pairs of progress (0 to 1, growing) and the amount used until then. The stretches between them
    are taken as draws with one mean rate and a variance in proportion to 1 / length, as equal epochs are:

        m = sum(amount) / sum(share)        s2 = sum(share_i (rate_i - m)^2) / (n - 1)
        rest = R m +- t(n - 1) sqrt(s2 (R + R^2 / W)),  R = share left, W = share seen

    The first stretch holds the start of the program and is left out once three others are known. None before two
    stretches are known.
    """
    known = [(0.0, 0.0)]
    for share, amount in milestones:
        if known[-1][0] + _LEAST_STRETCH < share <= 1:
            known.append((share, max(amount, known[-1][1])))
    stretches = [(s1 - s0, a1 - a0) for (s0, a0), (s1, a1) in pairwise(known)]
    if len(stretches) >= 4:
        stretches = stretches[1:]
    if len(stretches) < 2:
        return None
    done, used = known[-1]
    left = 1 - done
    seen = sum(s for s, _ in stretches)
    mean = sum(a for _, a in stretches) / seen
    variance = sum(s * (a / s - mean) ** 2 for s, a in stretches) / (len(stretches) - 1)
    degrees = len(stretches) - 1
    arm = t95(degrees) * sqrt(variance * (left + left**2 / seen))
    rest = left * mean
    return Figure(
        used + rest, used + max(0.0, rest - arm), used + rest + arm, Basis.MODELLED, "forecast from progress"
    )


def progress(values: Mapping[str, Any], *, from_zero: bool = False) -> float | None:
    """Return how much of the work is done (0 to 1) from a logged point; None if the point does not tell.

    `progress` itself, `epoch` of `epochs`, or `step` of `steps`. A point is logged at the end of what it names;
    `from_zero` says that the program calls its first epoch or step 0.
    """
    direct = _number(values.get("progress"))
    if direct is not None and 0 <= direct <= 1:
        return direct
    for part, whole in (("epoch", "epochs"), ("step", "steps")):
        done, total = _number(values.get(part)), _number(values.get(whole))
        if done is not None and total is not None and total > 0 and 0 <= done <= total:
            return min(1.0, (done + from_zero) / total)
    return None


def improvement(points: Iterable[Mapping[str, Any]]) -> float | None:
    """Return how much the best value improved over the last five logged epochs, as a share of its size before.

    The value is the held-out loss if one is logged, else the loss, else the first metric whose direction its name
    tells (`accuracy` up, `rmse` down). None before six epochs; a value that is not a number counts as no improvement.
    """
    epochs: dict[Any, dict[str, float]] = {}
    for values in points:
        if "epoch" in values:
            numbers = {k: n for k, v in values.items() if (n := _number(v)) is not None}
            epochs.setdefault(values["epoch"], {}).update(numbers)
    metric = _metric([name for numbers in epochs.values() for name in numbers])
    if metric is None:
        return None
    name, falls = metric
    series = [numbers[name] * (1 if falls else -1) for numbers in epochs.values() if name in numbers]
    if len(series) <= PLATEAU_EPOCHS:
        return None
    before = min((v for v in series[:-PLATEAU_EPOCHS] if isfinite(v)), default=None)
    if before is None:
        return None
    best = min([before, *(v for v in series[-PLATEAU_EPOCHS:] if isfinite(v))])
    return (before - best) / abs(before) if before else (1.0 if best < before else 0.0)


def falls(metric: str) -> bool | None:
    """Return whether a metric of this name falls as the work gets better; None if its name does not tell."""
    told = _metric([metric])
    return None if told is None else told[1]


def _metric(names: Sequence[str]) -> tuple[str, bool] | None:
    """Return the metric to watch and whether it falls as the work gets better."""
    words = {name: re.split(r"[^a-z0-9]+", name.casefold()) for name in dict.fromkeys(names)}
    losses = [n for n, parts in words.items() if "loss" in parts]
    held_out = [n for n in losses if any(w in words[n] for w in _HELD_OUT)]
    for name in (*held_out, *losses):
        return name, True
    for name, parts in words.items():
        if any(w in parts for w in _LOSS_WORDS):
            return name, True
        if any(w in parts for w in _SCORE_WORDS):
            return name, False
    return None


def _limit(part: str, currency: str) -> tuple[str, Any]:
    """Return the field of the budget and its value for one part of the text."""
    key, equals, value = part.partition("=")
    if equals:
        if key.strip() != "plateau":
            raise UnknownName(
                "limit", key.strip(), ["plateau"], f"in the budget; write for instance {EXAMPLE}"
            )
        number, unit = _quantity(value, part)
        if unit not in ("", "%"):
            raise UsageError(f"plateau is {value!r}, but must be a share, for instance plateau=0.1%")
        return "plateau", _above_zero(number / (100 if unit == "%" else 1), part)
    if re.fullmatch(r"(\s*[0-9]*\.?[0-9]+\s*[a-z]+){2,}\s*", part):  # 1h30m
        return "time_s", _above_zero(parse_duration(part), part)
    number, unit = _quantity(_CARBON_SUFFIX.sub("", part), part)
    for name, units in (("energy_j", ENERGY_UNITS), ("carbon_g", MASS_UNITS), ("time_s", TIME_UNITS)):
        if unit in units:
            return name, _above_zero(number * units[unit], part)
    if unit in ("trial", "trials"):
        if number != int(number):
            raise UsageError(f"the budget names {part!r}, but trials are counted in whole numbers")
        return "trials", _above_zero(int(number), part)
    if not unit:
        raise UsageError(f"the budget's {part!r} has no unit; write for instance {EXAMPLE}")
    money = _SYMBOLS.get(unit, unit.upper())
    if money == currency.upper():
        return "cost", _above_zero(number, part)
    if unit in _SYMBOLS or (len(unit) == 3 and unit.isupper()):
        raise UsageError(
            f"the budget is in {money}, but the configured currency is {currency}, and no money is converted; write it in {currency} or set JOULEWISE_CURRENCY={money}"
        )
    raise UnknownName(
        "unit",
        unit,
        [*ENERGY_UNITS, *MASS_UNITS, *TIME_UNITS, currency, "trials"],
        f"in the budget's {part!r}; write for instance {EXAMPLE}",
    )


def _quantity(text: str, part: str) -> tuple[float, str]:
    try:
        return split_quantity(text)
    except UsageError:
        raise UsageError(f"cannot read {part!r} in the budget; write for instance {EXAMPLE}") from None


def _above_zero(value: float, part: str) -> float:
    if not (value > 0 and isfinite(value)):
        raise UsageError(f"the budget's {part!r} is nothing; a limit must be more than 0")
    return value


def _used(budget: Budget, spent: Spent, name: str) -> float | None:
    value = getattr(spent, name)
    if isinstance(value, Figure):
        return value.high if budget.assume_high and name in ("carbon_g", "cost") else value.value
    return None if value is None else float(value)


def _share_of(budget: Budget, name: str, value: float) -> str:
    used, limit = (_shown(name, v, budget.currency) for v in (value, getattr(budget, name)))
    high = " (at the high end)" if budget.assume_high and name in ("carbon_g", "cost") else ""
    return f"{used} of {limit}{high}" if name == "trials" else f"{_NOUNS[name]}: {used} of {limit}{high}"


def _shown(name: str, value: float, currency: str) -> str:
    match name:
        case "energy_j":
            return format_si(value, "J")
        case "carbon_g":
            return format_si(value, "g")
        case "cost":
            return f"{value:.3g} {currency}"
        case "time_s":
            return format_duration(value)
        case _:
            return f"{value:.0f} trials"


def _written(name: str, value: float, currency: str) -> str:
    match name:
        case "energy_j":
            return f"{value:g}J"
        case "carbon_g":
            return f"{value:g}g"
        case "cost":
            return f"{value:g}{currency}"
        case "time_s":
            return f"{value:g}s"
        case "trials":
            return f"{value}trials"
        case _:
            return f"plateau={100 * value:g}%"


def _number(value: Any) -> float | None:
    """Return a logged value as a float (numpy's and torch's scalars, too); None if it is not a number."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
