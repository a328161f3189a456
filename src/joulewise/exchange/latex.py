"""A recording's cost for a paper: a LaTeX sentence that says how each figure is known (it needs no package), and BibTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from joulewise import __version__
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import format_duration, format_figure, format_money
from joulewise.vocabulary.text import plain

_ABOUT = "Energy, carbon and cost of machine-learning work, with intervals"
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "…": r"\dots{}", "µ": r"$\mu$", "<": r"\textless{}",
    ">": r"\textgreater{}", '"': "''",
}  # fmt: skip


def sentence(account: Account) -> str:
    """Return the sentence: time, machine, energy, carbon and money, each with its 90 % interval and basis."""
    recording, cost = account.recording, account.footprint
    machine = escaped(plain(recording.machine.cpu_model, 80)) or "an unknown processor"
    parts = [
        f"The run \\emph{{{escaped(plain(recording.name, 60))}}} took {format_duration(recording.duration_s)} on {machine}"
    ]
    if cost.total_j is None:
        parts.append("; its energy could not be measured.")
    else:
        parts.append(f" and used {_words(cost.total_j, 'J')} at the wall.")
    if cost.carbon_g is not None:
        intensity = cost.factors["intensity"]
        parts.append(
            f" That is {_words(cost.carbon_g, 'g')} of CO\\textsubscript{{2}}e from electricity "
            f"({intensity.value:.0f}~g/kWh: {escaped(intensity.source)})"
        )
        embodied = cost.embodied_g
        parts.append(f" and {_words(embodied, 'g')} of embodied carbon." if embodied is not None else ".")
    if cost.cost is not None:
        parts.append(f" Its electricity cost {escaped(format_money(cost.cost, cost.currency))}.")
    parts.append(f" Figures are best values with 90\\,\\% intervals, by joulewise {__version__}.")
    return "".join(parts)


def bibtex(accounts: Sequence[Account]) -> str:
    """Return what a paper cites for these figures: joulewise, and the source of each grid intensity used."""
    entries = [
        f"@software{{joulewise,\n  title = {{joulewise}},\n  version = {{{__version__}}},\n  note = {{{_ABOUT}}}\n}}"
    ]
    sources = {
        a.footprint.factors["intensity"].source: a.recording.started_utc.year
        for a in accounts
        if "intensity" in a.footprint.factors
    }
    entries += [
        f"@misc{{intensity{number},\n  title = {{Carbon intensity of electricity: {escaped(source)}}},\n"
        f"  note = {{Used for runs of {year}}}\n}}"
        for number, (source, year) in enumerate(sorted(sources.items()), 1)
    ]
    return "\n\n".join(entries) + "\n"


def escaped(text: str) -> str:
    """Return text in which no character means anything to LaTeX."""
    return re.sub("|".join(re.escape(c) for c in _SPECIAL), lambda found: _SPECIAL[found[0]], text)


def _words(figure: Figure, unit: str) -> str:
    value, _, interval = format_figure(figure, unit).partition(" (")
    inside = f"90\\,\\% interval {escaped(interval.rstrip(')'))}; " if interval else ""
    return f"{escaped(value).replace(' ', '~')} ({inside}{figure.basis.word})"
