"""Team totals: a month by person, project, device, zone or host; the year to it; budgets left and targets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from joulewise.ledger.pots import Drawn, PotLine, amount_words
from joulewise.measuring.totalling import Total, caveats, rolled, together
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.moments import MONTH, month_before, months_between
from joulewise.vocabulary.quantities import format_duration, format_figure, format_money
from joulewise.vocabulary.target import Landing, MonthlyBudget, budget_words, landing_words
from joulewise.web.templating import clip, environment

BY = ("project", "person", "device", "zone", "host")
NOBODY = "(not told)"
_MOST_ROWS, MONTHS = 200, 12
_MOST_POTS, _MOST_NAMED = 50, 5
_LOOKS = ("cpu", "gpu", "memory", "storage", "network")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page is about: how to group, the month, one project or person ("" is all)."""

    month: str
    by: str = "project"
    project: str = ""
    person: str = ""

    def __post_init__(self) -> None:
        """Refuse a grouping or a month that does not exist."""
        if self.by not in BY:
            raise UnknownName("grouping", self.by, BY)
        if not MONTH.fullmatch(self.month):
            raise UsageError(f"month is {self.month!r}, but must be a month: 2026-11")
        if "\0" in self.project + self.person:  # no database keeps one in a text
            raise UsageError("a project or person holds a zero byte, which no name has")

    @property
    def address(self) -> str:
        """Where the page is."""
        fields = {"by": self.by, "month": self.month, "project": self.project, "person": self.person}
        return "/totals?" + urlencode({k: v for k, v in fields.items() if v})


@dataclass(frozen=True, slots=True)
class Shown:
    """What the ledger tells for the page: rows of the month, the same a month for the year to it, budgets with their use, targets.

    `pots` are those that runs of the month drew from, `drawn` by whom; `part`: others may have drawn, too, whom the reader does not see.
    """

    rows: Sequence[Total]
    months: Sequence[Total]
    budgets: Sequence[tuple[MonthlyBudget, Figure | None]] = ()
    landings: Sequence[Landing] = ()
    pots: Sequence[PotLine] = ()
    drawn: Sequence[Drawn] = ()
    part: bool = False


def where_address(project: str, month: str) -> str:
    """Return where the page is that says where a project's month went."""
    return "/where?" + urlencode({k: v for k, v in (("project", project), ("month", month)) if v})


def render(asked: Asked, shown: Shown) -> str:
    """Return the page."""
    rows = sorted(shown.rows, key=lambda t: -_joules(t))
    whole = together(rows, "all") if rows else None
    top = max((t.energy_j.high for t in rows if t.energy_j is not None), default=0.0)
    meanings = list(whole.grams) if whole is not None else []
    return (
        environment()
        .get_template("totals.html")
        .render(
            nav="totals",
            title="Totals",
            asked=asked,
            groupings=BY,
            before=replace(asked, month=month_before(asked.month, 1)).address,
            after=replace(asked, month=month_before(asked.month, -1)).address,
            clear=Asked(asked.month, asked.by).address if asked.project or asked.person else "",
            where=where_address(asked.project, asked.month),
            meanings=meanings,
            rows=[_row(t, top, meanings, asked) for t in rows[:_MOST_ROWS]],
            left_out=max(0, len(rows) - _MOST_ROWS),
            whole=_row(whole, top, meanings, asked) if whole is not None else None,
            notes=[f"{c[0].upper()}{c[1:]}." for c in caveats(whole)] if whole is not None else [],
            months=_months(shown.months, asked, tops := _tops(shown.months)),
            legend=[
                {"name": clip(key, 40) or NOBODY, "key": look}
                for key, look in zip(tops, _LOOKS, strict=False)
            ]
            + (
                [{"name": "the others", "key": "idle"}]
                if len({t.key for t in shown.months}) > len(tops)
                else []
            ),
            budgets=[_budget(b, used) for b, used in shown.budgets],
            landings=[_landing(one) for one in shown.landings],
            pots=[_pot(line, shown.drawn) for line in shown.pots[:_MOST_POTS]],
            more_pots=max(0, len(shown.pots) - _MOST_POTS),
            part=shown.part,
        )
    )


def _joules(total: Total) -> float:
    return total.energy_j.value if total.energy_j is not None else -1.0


def _row(total: Total, top: float, meanings: Sequence[str], asked: Asked) -> dict[str, Any]:
    grams = total.grams
    inside = {
        "project": replace(asked, project=total.key, by="person"),
        "person": replace(asked, person=total.key),
    }
    return {
        "name": clip(total.key, 80) or NOBODY,
        "href": inside[asked.by].address if asked.by in inside and total.key else "",
        "where": where_address(total.key, asked.month) if asked.by == "project" and total.key else "",
        "runs": f"{total.runs:,}",
        "time": format_duration(total.duration_s),
        "energy": format_figure(total.energy_j, "J") if total.energy_j is not None else "unknown",
        "basis": total.energy_j.basis.word if total.energy_j is not None else "unknown",
        "place": _place(total.energy_j, top),
        "grams": [
            {"meaning": m, "words": format_figure(grams[m].figure, "g") if m in grams else "–"}
            for m in meanings
        ],
        "cost": format_money(total.cost, total.currency) if total.cost is not None else "",
    }


def _place(figure: Figure | None, top: float) -> dict[str, str] | None:
    if figure is None or top <= 0:
        return None
    return {
        "x": f"{100 * max(0.0, figure.low) / top:.1f}%",
        "width": f"{max(0.5, 100 * (figure.high - max(0.0, figure.low)) / top):.1f}%",
        "at": f"{100 * figure.value / top:.1f}%",
    }


def _tops(months: Sequence[Total]) -> list[str]:
    """Return the keys that used most in all, as many as there are colours that are told apart."""
    return [t.key for t in sorted(rolled(months, lambda t: t.key), key=lambda t: -_joules(t))[: len(_LOOKS)]]


def _months(months: Sequence[Total], asked: Asked, tops: Sequence[str]) -> list[dict[str, Any]]:
    """Return the months to the asked one as bars of their parts, with the interval of the whole."""
    by_month = {month: [t for t in months if t.month == month] for month in {t.month for t in months}}
    wholes = {month: together(parts, month).energy_j for month, parts in by_month.items()}
    top = max((energy.high for energy in wholes.values() if energy is not None), default=0.0)
    rows = []
    for month in months_between(month_before(asked.month, MONTHS - 1), asked.month):
        energy = wholes.get(month)
        place = _place(energy, top)
        rows.append(
            {
                "month": month,
                "href": replace(asked, month=month).address,
                "words": format_figure(energy, "J") if energy is not None else "nothing",
                "parts": _stack(by_month.get(month, ()), tops, top) if place else [],
                "low": place["x"] if place else "0",
                "high": f"{100 * energy.high / top:.1f}%" if energy is not None and place else "0",
            }
        )
    return rows


def _stack(parts: Sequence[Total], tops: Sequence[str], top: float) -> list[dict[str, str]]:
    """Return the parts of a month side by side, the rest of them last."""
    joules = dict.fromkeys((*_LOOKS, "idle"), 0.0)
    for part in parts:
        look = _LOOKS[tops.index(part.key)] if part.key in tops else "idle"
        joules[look] += max(0.0, _joules(part))
    at, stack = 0.0, []
    for look, value in joules.items():
        if value > 0:
            stack.append({"key": look, "x": f"{100 * at / top:.2f}%", "width": f"{100 * value / top:.2f}%"})
            at += value
    return stack


def _budget(budget: MonthlyBudget, used: Figure | None) -> dict[str, Any]:
    share = used.value / budget.limit if used is not None and budget.limit > 0 else 0.0
    return {
        "who": clip(budget.who, 80),
        "words": budget_words(budget, used),
        "width": f"{100 * min(1.0, share):.1f}%",
        "over": share > 1,
    }


def _pot(line: PotLine, drawn: Sequence[Drawn]) -> dict[str, Any]:
    """Return how a pot's limits stand, and who drew most of the one that is nearest to its end."""
    left = sorted(line.left, key=lambda one: -one.share)
    name = left[0].name if left else "time_s"
    by = sorted(
        ((getattr(d.spent, name), d) for d in drawn if d.pot == line.name),
        key=lambda pair: (pair[0] is None, -(pair[0] or 0.0)),
    )
    currency = left[0].currency if left else ""
    return {
        "name": clip(line.name, 80),
        "limits": [
            {"words": one.words, "width": f"{100 * min(1.0, one.share):.1f}%", "over": one.share > 1}
            for one in left
        ],
        "by": ", ".join(
            f"{clip(d.key, 40) or NOBODY} {_drawn_words(d, name, value, currency)}"
            for value, d in by[:_MOST_NAMED]
        ),
        "others": max(0, len(by) - _MOST_NAMED),
    }


def _drawn_words(one: Drawn, name: str, value: float | None, currency: str) -> str:
    if value is None:
        return "(not known)"
    return ("at least " if name in one.incomplete else "") + amount_words(name, value, currency)


def _landing(landing: Landing) -> dict[str, Any]:
    return {
        "who": clip(landing.target.who, 80),
        "words": clip(landing_words(landing), 300),
        "course": landing.course.value,
        "key": landing.course.name.lower(),
    }


__all__ = ["BY", "MONTHS", "Asked", "Shown", "render", "where_address"]
