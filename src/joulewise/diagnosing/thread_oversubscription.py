"""More threads than CPUs: they wait for each other at every barrier, and some of that waiting burns CPU time.

Counterfactual: as many threads as CPUs. What can be seen is how long runnable threads waited for a CPU. While one waits, its
siblings at the barrier spin, but not for long: libgomp spins 300,000 rounds where every thread has a CPU, and 1,000 where there
are more threads than CPUs (GOMP_SPINCOUNT). Measured (bench/diagnose/threads.py: 4, 8 and 16 threads on two CPUs, layers of
128 and of 1024) a second waited burnt 0.03 to 0.2 CPU-seconds: a tenth is claimed, and never more than the part of the CPU
time that the surplus threads can burn.
Waiting that comes from neighbours is not ours to claim, so nothing is said where others were busy on the machine. Worse: there
as many threads as CPUs spin whole time slices away (2 threads beside neighbours took thirty times the CPU time of one).
"""

from __future__ import annotations

import shlex

from joulewise.diagnosing.case import Case, Estimate, about
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import ProcessView

_BURNT = (0.03, 0.1, 0.2)  # CPU seconds for each second that a runnable thread waited: least, usual, most
_OTHERS = 0.1  # of the machine's CPUs busy with others, at most


def estimate(case: Case) -> list[Estimate]:
    """Return what surplus threads burn, over all processes of the run."""
    computing = [(v, _threads(v)) for v in case.views if v.cpu_s > 0.1 * case.cpu_s]
    asked = sum(threads for _, threads in computing)
    delay_s = case.account.usage.run_delay_s
    if not computing or asked < 1.5 * case.cpus + 0.5 or not delay_s or _neighbours(case):
        return []
    surplus = 1 - case.cpus / asked
    most = surplus * sum(v.cpu_s for v, _ in computing)
    low, value, high = (min(burnt * delay_s, most) for burnt in _BURNT)
    worst, _ = max(computing, key=lambda c: c[1])
    return [
        Estimate(
            Cause.THREAD_OVERSUBSCRIPTION,
            about(value, low, high),
            about(value / case.cpus, 0.0, high / case.cpus),
            f"{asked} threads in {len(computing)} processes compute on {case.cpus:g} CPUs; runnable threads waited "
            f"{delay_s:.0f} s for one",
            Remedy(
                RemedyKind.COMMAND,
                f"joulewise run --with threads={max(1, int(case.cpus // len(computing)))} -- "
                f"{shlex.join(case.recording.command)}",
            ),
            "none beyond the order of sums",
            worst.process,
            "threads",
        )
    ]


def _threads(view: ProcessView) -> int:
    """Return how many threads a process computes with; a fork (a loader's worker) is told its parent's number and uses one."""
    if view.kind == "fork":
        return 1
    own = max(view.threads.torch or 1, view.threads.omp or 1) if view.threads.torch else view.threads.omp or 1
    return max(1, own)


def _neighbours(case: Case) -> bool:
    counters = case.recording.ticks.counters
    ours, busy = (_growth(counters.get(name, [])) for name in ("work_cpu_s", "busy_cpu_s"))
    cpus = case.recording.machine.cpus or case.cpus
    return ours is None or busy is None or busy - ours > _OTHERS * cpus * case.wall_s


def _growth(column: list[float | None]) -> float | None:
    known = [v for v in column if v is not None]
    return known[-1] - known[0] if known else None
