"""A finding as the shell shows it: in lines, and as JSON fields."""

from __future__ import annotations

from typing import Any

from joulewise.cli.output import figure_fields, figure_text, plain
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Finding
from joulewise.vocabulary.quantities import format_duration, format_money


def finding_lines(number: int, finding: Finding) -> list[str]:
    """Return a finding under its number: what was seen, what it saves, how long it takes, what to try, at which risk."""
    saving = finding.saving
    amounts = [f"{figure_text(saving.cpu_s, 's')} of CPU time"]
    if saving.energy_j is not None:
        amounts.insert(0, figure_text(saving.energy_j, "J"))
    if saving.carbon_g is not None:
        amounts.append(figure_text(saving.carbon_g, "g"))
    if saving.cost is not None:
        amounts.append(format_money(saving.cost, saving.currency))
    return [
        f"{number}. {finding.cause.words}: {100 * saving.share:.0f} % of the run",
        f"   seen    {plain(finding.evidence, 400)}",
        f"   saves   {' · '.join(amounts)}",
        f"   time    {_time(saving.wall_s, saving.wall_share)}",
        f"   try     {plain(finding.remedy.text, 300)}",
        f"   risk    {plain(finding.risk, 200)}",
    ]


def _time(wall_s: Figure, share: float) -> str:
    if abs(share) < 0.005:
        return "as long as before"
    word = "shorter" if share > 0 else "longer"
    return f"{format_duration(abs(wall_s.value))} {word} ({100 * abs(share):.0f} %)"


def finding_fields(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON fields."""
    saving = finding.saving
    return {
        "cause": finding.cause.value,
        "saving_cpu": saving.cpu_share,
        "saving_wall": saving.wall_share,
        "saving_energy": saving.energy_share,
        "evidence": finding.evidence,
        "saving": {
            "energy_j": figure_fields(saving.energy_j),
            "cpu_s": figure_fields(saving.cpu_s),
            "wall_s": figure_fields(saving.wall_s),
            "carbon_g": figure_fields(saving.carbon_g),
            "cost": figure_fields(saving.cost),
            "currency": saving.currency or None,
        },
        "remedy": {"kind": finding.remedy.kind.value, "text": finding.remedy.text},
        "risk": finding.risk,
        "process": finding.process,
    }
