"""Too many loader workers: processes are started and fed for items that the loop could make in passing.

Counterfactual: no workers. Saved is the workers' CPU time, their ends included (what the run used beside the processes that
were seen), and what the loop used to start them and to take their batches; it then makes the items itself, for what making
them took and 30 microseconds a batch. And the waiting for the first batch of each pass is saved, in which workers start. The loop then makes the items itself, so the
wall time grows by that: where making items is real work, nothing is left to save and the run would last longer. No more
wall time is claimed than CPU time: what the loop waited while neighbours held the CPUs is not the workers' fault.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, about
from joulewise.diagnosing.overhead import BATCH_S, LOOP_S
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_END_S = 0.1  # CPU time in which a forked process with torch ends, after it was last seen
_REAL_WORK = 0.6  # of what workers use that makes items: from there on they are worth having
_SHORTER = 0.9  # of the wall time saved that is claimed


def estimate(case: Case) -> list[Estimate]:
    """Return what loading without workers would have saved, for each process with loaders that have some."""
    return [found for view in case.views if (found := _of(case, view))]


def _of(case: Case, view: ProcessView) -> Estimate | None:
    loaders = [one for one in view.loaders if one.workers > 0 and one.fetched]
    workers = [v for v in case.views if v.parent_pid == view.pid and v.kind == "fork"]
    if not loaders or not workers:
        return None
    making_cpu_s = sum(one.fetch_cpu_s for one in loaders)
    making_s = sum(one.fetch_s for one in loaders)
    waited_s = sum(one.wait_s for one in loaders)
    batches = sum(one.batches for one in loaders)
    unseen_s = max(0.0, case.cpu_s - sum(v.cpu_s for v in case.views))  # their ends among it
    used_s = sum(w.cpu_s for w in workers) + min(unseen_s, _END_S * len(workers))
    # starting workers and receiving from them; what follows a batch stays
    loop_s = max(0.0, view.phase(Phase.DATA).cpu_s - LOOP_S * batches)
    cpu_s = used_s + loop_s - making_cpu_s - BATCH_S * batches
    if cpu_s <= 0 or making_cpu_s > _REAL_WORK * used_s:
        return None
    wall_s = min(waited_s - making_s, cpu_s)  # workers that a neighbour keeps from running are no overhead
    most = max(loaders, key=lambda one: one.workers)
    first_s = sum(one.first_wait_s for one in loaders)
    keep = " and persistent_workers=True" if wall_s < 0 else ""
    return Estimate(
        Cause.TOO_MANY_LOADER_WORKERS,
        about(cpu_s, 0.7 * cpu_s, 1.4 * cpu_s),
        about(_SHORTER * wall_s if wall_s > 0 else wall_s, 0.5 * wall_s, 1.2 * wall_s),
        f"{len(workers)} workers ({most.workers} a pass) used {used_s:.1f} CPU-seconds to make items "
        f"that cost {making_cpu_s:.1f}; starting them kept the loop waiting {first_s:.1f} s",
        Remedy(RemedyKind.SETTING, f"num_workers=0 instead of {most.workers}{keep}"),
        "none: the same items; a random augmentation draws other numbers",
        view.process,
        f"{view.process}:workers",
    )
