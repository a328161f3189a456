"""Request-time joins: a served model joins, aggregates or uses a window while somebody waits for its answer.

Counterfactual: the derivation is materialised, and a request reads one row by its key: a few microseconds from a file, some
tenths of a millisecond from a store elsewhere, measured at 10 to 2,800 times less than the join. Saved is the rest of
the statement's CPU time in the server's own process; a database elsewhere saves more, which is not seen here. The run
lasts as long as before: a server waits for requests.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, Said, about
from joulewise.features.hygiene import Query, RequestJoin, request_joins
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import ProcessView, Statement

_LEAST_CALLS = 20
_GET_S = (5e-6, 1e-5, 1e-4)  # a get by key: SQLite, that with its unpacking, Redis on loopback


def estimate(case: Case) -> list[Estimate]:
    """Return what joins in the request path took, for each process that serves and trains nothing."""
    return [found for view in case.views if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    if (
        not (view.server or view.requests)
        or view.steps
        or any(p.method[:3] == "fit" for p in view.preparations)
    ):
        return None
    asked = {s.sql: s for s in view.statements if s.calls >= _LEAST_CALLS}
    joins = request_joins(Query(s.sql, s.calls, s.cpu_s) for s in asked.values())
    if not joins:
        return None
    spent_s, calls = sum(j.cpu_s for j in joins), sum(j.calls for j in joins)
    least_s, usual_s, most_s = spared(spent_s, calls)
    worst = joins[0]
    said = words(worst)
    return Estimate(
        Cause.REQUEST_TIME_JOIN,
        about(usual_s, least_s, most_s),
        about(0.0, 0.0, 0.0),
        f"{said.evidence}{_again(asked[worst.sql])}",
        said.remedy,
        said.risk,
        view.process,
        f"{view.process}:statements",
    )


def spared(cpu_s: float, calls: int) -> tuple[float, float, float]:
    """Return the CPU seconds that are left over when each call is a get by key: least, likely, most."""
    least_s, usual_s, most_s = (max(0.0, cpu_s - calls * get_s) for get_s in reversed(_GET_S))
    return least_s, usual_s, most_s


def words(join: RequestJoin) -> Said:
    """Return what is said of a statement that joins while a request waits."""
    return Said(
        f"{join.calls} requests each ran a statement with {join.what} ({1000 * join.cpu_s / max(1, join.calls):.2g} CPU-ms): "
        f"{_short(' '.join(join.sql.split()))}",
        Remedy(
            RemedyKind.COMMAND,
            "derive it once for all entities in a view (joulewise materialise views.py) and read one row by its key in the request",
        ),
        "values are as old as the last materialisation; the view's TTL bounds it, and every answer tells the age",
    )


def _again(statement: Statement) -> str:
    if statement.different is None or statement.different >= statement.calls:
        return ""
    return f"; {statement.calls - statement.different} of them with values that had been asked for before"


def _short(sql: str) -> str:
    return sql if len(sql) <= 160 else sql[:157] + "..."
