"""Values fresher than anybody needs: a view is made anew at least twice as often as its readers ask for.

What readers tolerate and when they come stands in the run's recording, as the store knew it at its end. Counterfactual: of
so many runs only those that are needed are made. An incremental run that comes later has more to do, so its cost is
between that of one run (nothing changed but the work of looking) and that of all the runs that it stands for; this run
is saved by that share.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, Said, about
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
    low, value, high = spared(made_s, needed_s, full=bool(told.get("full")))
    cpu_s, wall_s = case.cpu_s, case.wall_s
    said = words(str(told.get("view")), made_s, needed_s, str(told.get("fresh_why")))
    return [
        Estimate(
            Cause.VALUES_TOO_FRESH,
            about(value * cpu_s, low * cpu_s, high * cpu_s),
            about(value * wall_s, low * wall_s, high * wall_s),
            said.evidence,
            said.remedy,
            said.risk,
            "",
            "materialisation",
        )
    ]


def spared(made_s: float, needed_s: float, *, full: bool) -> tuple[float, float, float]:
    """Return the share of a view's runs that its readers do not need: least, likely, most."""
    share = 1 - made_s / needed_s
    low = share if full else 0.3 * share  # what changed has to be computed once in any case
    return low, (share + low) / 2, share


def words(view: str, made_s: float, needed_s: float, why: str) -> Said:
    """Return what is said of a view that is made every `made_s`; `why` is `tolerated` or `reads` (`features.hygiene`)."""
    reason = "every reader is content with older values" if why == "tolerated" else "it is read less often"
    return Said(
        f"view {view} is made anew every {format_duration(made_s)}, every {format_duration(needed_s)} would do: {reason}",
        Remedy(RemedyKind.SETTING, f'every = "{needed_s:.0f}s" in view {view}'),
        "values are older when they are read, but not older than every reader says it tolerates",
    )
