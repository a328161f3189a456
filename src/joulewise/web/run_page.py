"""One run: its report, with what drove it and what to try; it renews itself while the run goes on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from joulewise.measuring.accounting import Account
from joulewise.vocabulary.finding import Finding
from joulewise.vocabulary.quantities import format_duration, format_figure, format_money
from joulewise.vocabulary.recording import EndState
from joulewise.web.report import content
from joulewise.web.runs_page import run_address
from joulewise.web.templating import clip, environment


def render(account: Account, findings: Sequence[Finding]) -> str:
    """Return the page about a run."""
    recording = account.recording
    running = recording.end.state is EndState.RUNNING
    return (
        environment()
        .get_template("run.html")
        .render(
            nav="runs",
            title=clip(recording.name or recording.run_id, 80),
            findings=[finding_fields(f) for f in findings],
            running=running,
            live=run_address(recording.run_id) if running else "",
            experiment=f"/experiment?{urlencode({'name': recording.name})}" if recording.name else "",
            **content(account),
        )
    )


def finding_fields(finding: Finding) -> dict[str, Any]:
    """Return a finding in words: what was seen, what its remedy would save, what that risks."""
    saving = finding.saving
    amounts = [f"{format_figure(saving.cpu_s, 's')} of CPU time"]
    if saving.energy_j is not None:
        amounts.insert(0, format_figure(saving.energy_j, "J"))
    if saving.carbon_g is not None:
        amounts.append(format_figure(saving.carbon_g, "g"))
    if saving.cost is not None:
        amounts.append(format_money(saving.cost, saving.currency))
    wall = abs(saving.wall_share)
    longer = f"{format_duration(abs(saving.wall_s.value))} {'shorter' if saving.wall_share > 0 else 'longer'}"
    return {
        "cause": finding.cause.words,
        "share": f"{100 * saving.share:.0f} %",
        "width": f"{min(100.0, 100 * saving.share):.1f}%",
        "evidence": clip(finding.evidence, 600),
        "saves": amounts,
        "time": "as long as before" if wall < 0.005 else longer,
        "remedy": clip(finding.remedy.text, 600),
        "risk": clip(finding.risk, 300),
    }
