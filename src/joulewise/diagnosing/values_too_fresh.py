"""Values fresher than anybody needs: a view is made anew at least twice as often as its readers ask for.

What readers tolerate and when they come stands in the run's recording, as the store knew it at its end. Counterfactual: of
so many runs only those that are needed are made. An incremental run that comes later has more to do, so its cost is
between that of one run (nothing changed but the work of looking) and that of all the runs that it stands for; this run
is saved by that share.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, about
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.quantities import format_duration


def estimate(case: Case) -> list[Estimate]:
    """Return the share of the run that its readers do not need."""
    told = case.recording.params
    made_s, needed_s = told.get("made_every_s"), told.get("needed_every_s")
    if (
        not isinstance(made_s, int | float)
        or not isinstance(needed_s, int | float)
        or not 0 < made_s < needed_s
    ):
        return []
    share = 1 - made_s / needed_s
    low = share if told.get("full") else 0.3 * share  # what changed has to be computed once in any case
    cpu_s, wall_s = case.cpu_s, case.wall_s
    why = (
        "every reader is content with older values"
        if told.get("fresh_why") == "tolerated"
        else "it is read less often"
    )
    return [
        Estimate(
            Cause.VALUES_TOO_FRESH,
            about((share + low) / 2 * cpu_s, low * cpu_s, share * cpu_s),
            about((share + low) / 2 * wall_s, low * wall_s, share * wall_s),
            f"view {told.get('view')} is made anew every {format_duration(made_s)}, every {format_duration(needed_s)} would do: {why}",
            Remedy(RemedyKind.SETTING, f'every = "{needed_s:.0f}s" in view {told.get("view")}'),
            "values are older when they are read, but not older than every reader says it tolerates",
            "",
            "materialisation",
        )
    ]
