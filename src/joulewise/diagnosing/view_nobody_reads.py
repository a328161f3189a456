"""A view that nobody reads: it was materialised again, and no reader has come for a month.

What the store knew at the end of the run stands in its recording (`joulewise materialise` writes it there). Counterfactual:
the run is left out as a whole.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, Said, about
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind


def estimate(case: Case) -> list[Estimate]:
    """Return the whole run, if it made a view that nobody reads."""
    told = case.recording.params
    if "unread_since" not in told:
        return []
    since = str(told["unread_since"])
    cpu_s, wall_s = case.cpu_s, case.wall_s
    said = words(str(told.get("view")), since)
    return [
        Estimate(
            Cause.VIEW_NOBODY_READS,
            about(cpu_s, 0.95 * cpu_s, cpu_s),
            about(wall_s, 0.95 * wall_s, wall_s),
            said.evidence,
            said.remedy,
            said.risk,
            "",
            "materialisation",
        )
    ]


def words(view: str, since: str) -> Said:
    """Return what is said of a view that nobody has read `since` an ISO time ("" is never)."""
    return Said(
        f"view {view} was {'not read since ' + since[:10] if since else 'never read'}, and no other view is made from it",
        Remedy(RemedyKind.DIFF, f"take {view} out of the file of views"),
        "a reader that comes less often than once in 30 days would find old values, and then none",
    )
