"""Derived twice: a view computes from the same rows what another view computes as well.

Which columns those are stands in the run's recording (`joulewise materialise` compares the parsed expressions of the views
in the store). Counterfactual: the columns are read from the other view. What a column costs is not measured; each is
taken to have an equal share of the run, and all of it is between nothing (the rest needs the same scan) and twice that.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, Said, about
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind


def estimate(case: Case) -> list[Estimate]:
    """Return the run's share of the columns that another view has as well."""
    told = case.recording.params
    columns, share = told.get("derived_also"), told.get("derived_share")
    if not columns or not isinstance(share, int | float):
        return []
    cpu_s, wall_s = case.cpu_s, case.wall_s
    said = words(f"view {told.get('view')}", str(columns))
    low, high = (share if share >= 1 else 0.2 * share), min(1.0, 1.6 * share)
    return [
        Estimate(
            Cause.DERIVED_TWICE,
            about(share * cpu_s, low * cpu_s, high * cpu_s),
            about(share * wall_s, low * wall_s, high * wall_s),
            said.evidence,
            said.remedy,
            said.risk,
            "",
            "derivation",
        )
    ]


def words(mine: str, others: str) -> Said:
    """Return what is said of a view, or a column of one, whose values `others` (view.column) are as well."""
    return Said(
        f"{mine} derives what {others} derives: the same expression over the same rows",
        Remedy(
            RemedyKind.DIFF, f"read {others} instead: name that view in FROM, or give the model both views"
        ),
        "none: the values are the same; they come when the other view is materialised",
    )
