"""Which share of each recording's joules went to which waste: looked into once, kept, and summed by month.

A recording that has ended never changes, so its findings are computed once: a hundred thousand of them are a sum in
the database. `waiting` names what has not been looked into by estimators of this revision; whoever holds the recordings
looks and writes (`write`). The rows are a view, made again when they are lost.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from joulewise.ledger.months import Filter, asked
from joulewise.ledger.store import Store, upsert
from joulewise.vocabulary.waste import REVISION, Part, Waste

UNSEEN = "unseen"  # nothing could be said: not seen from inside, or not readable
_COLUMNS = ("run_id", "waste", "share", "low", "high", "revision")
_WRITE = upsert("wastes", _COLUMNS, _COLUMNS[:2])


@dataclass(frozen=True, slots=True)
class Split:
    """Where joules went. `none_j` found no waste, `unseen_j` could not be looked into, `waiting_j` has not been yet.

    Shares add up to 1 with theirs; `wastes` holds every waste, with its share of `total_j` and interval.
    """

    total_j: float
    runs: int
    wastes: Mapping[Waste, Part]
    none: Part
    unseen: float
    waiting: float
    waiting_runs: int


def waiting(store: Store, chosen: Filter, limit: int) -> list[tuple[str, Path]]:
    """Return ended recordings of this host that were not looked into, with their folders, the most joules first."""
    _, where, values = asked("month", chosen)
    prefix = f"{os.uname().nodename}:" if store.shared else ""
    rows = store.query(
        "SELECT r.run_id, r.root, r.day FROM recordings r JOIN (SELECT run_id, SUM(energy_j) AS joules FROM months "  # noqa: S608
        f"{where} GROUP BY run_id) m ON m.run_id = r.run_id WHERE r.growing = 0 AND m.joules > 0 "
        "AND substr(r.root, 1, :length) = :prefix AND NOT EXISTS "
        "(SELECT 1 FROM wastes w WHERE w.run_id = r.run_id AND w.revision >= :revision) ORDER BY m.joules DESC LIMIT :limit",
        {**values, "revision": REVISION, "limit": limit, "length": len(prefix), "prefix": prefix},
    )
    return [(r["run_id"], Path(r["root"].removeprefix(prefix), r["day"], r["run_id"])) for r in rows]


def write(store: Store, parts: Mapping[str, Mapping[Waste | None, Part] | None]) -> None:
    """Keep what recordings were found to have wasted, by id; None: nothing could be said."""
    rows = []
    for run_id, found in parts.items():
        known = (
            {UNSEEN: Part(1.0, 1.0, 1.0)}
            if found is None
            else {w.value if w else "": p for w, p in found.items()}
        )
        rows += [
            {
                "run_id": run_id,
                "waste": w,
                "share": p.share,
                "low": p.low,
                "high": p.high,
                "revision": REVISION,
            }
            for w, p in known.items()
        ]
    if rows:
        with store.transaction():
            store.execute("DELETE FROM wastes WHERE run_id = :run_id", *({"run_id": r} for r in parts))
            store.execute(_WRITE, *rows)


def split(store: Store, chosen: Filter) -> Split:
    """Return where the joules of these months went, as far as it was looked into."""
    _, where, values = asked("month", chosen)
    counted = f"SELECT COUNT(DISTINCT run_id) AS runs, SUM(energy_j) AS joules FROM months {where}"  # noqa: S608
    whole = store.query(counted, values)[0]
    rows = store.query(
        "SELECT w.waste, COUNT(DISTINCT m.run_id) AS runs, SUM(m.energy_j * w.share) AS value, SUM(m.energy_j * w.low) AS low, "  # noqa: S608
        f"SUM(m.energy_j * w.high) AS high FROM (SELECT run_id, energy_j FROM months {where} AND energy_j > 0) m "
        "JOIN wastes w ON w.run_id = m.run_id WHERE w.revision >= :revision GROUP BY w.waste",
        {**values, "revision": REVISION},
    )
    total_j = whole["joules"] or 0.0
    seen = (
        {r["waste"]: Part(*(r[k] / total_j for k in ("value", "low", "high"))) for r in rows}
        if total_j
        else {}
    )
    nothing = Part(0.0, 0.0, 0.0)
    left = max(0.0, 1.0 - sum(p.share for p in seen.values())) if total_j else 0.0
    left = 0.0 if left < 1e-9 else left
    open_rows = store.query(
        f"SELECT COUNT(DISTINCT run_id) AS runs FROM months {where} AND energy_j > 0 AND NOT EXISTS "  # noqa: S608
        "(SELECT 1 FROM wastes w WHERE w.run_id = months.run_id AND w.revision >= :revision)",
        {**values, "revision": REVISION},
    )
    return Split(
        total_j,
        whole["runs"],
        {w: seen.get(w.value, nothing) for w in Waste},
        seen.get("", nothing),
        seen.get(UNSEEN, nothing).share,
        left,
        open_rows[0]["runs"],
    )


def examples(store: Store, chosen: Filter, waste: Waste, limit: int = 3) -> Sequence[tuple[str, float]]:
    """Return the recordings in which a waste took most joules: (id, joules), the largest first."""
    _, where, values = asked("month", chosen)
    rows = store.query(
        f"SELECT m.run_id, SUM(m.energy_j * w.share) AS joules FROM (SELECT run_id, energy_j FROM months {where} AND energy_j > 0) m "  # noqa: S608
        "JOIN wastes w ON w.run_id = m.run_id WHERE w.waste = :waste AND w.share > 0 AND w.revision >= :revision "
        "GROUP BY m.run_id ORDER BY joules DESC, m.run_id LIMIT :limit",
        {**values, "waste": waste.value, "revision": REVISION, "limit": limit},
    )
    return [(r["run_id"], r["joules"]) for r in rows]
