"""More threads than CPUs: they wait for each other at every barrier, and some of that waiting burns CPU time.

Counterfactual: as many threads as CPUs. What can be seen is how long runnable threads waited for a CPU. While one waits, its
siblings at the barrier spin, but not for long: libgomp spins 300,000 rounds where every thread has a CPU, and 1,000 where there
are more threads than CPUs (GOMP_SPINCOUNT). Measured (bench/diagnose/threads.py: 4, 8 and 16 threads on two CPUs, layers of
128 and of 1024) a second waited burnt 0.03 to 0.2 CPU-seconds: a tenth is claimed, and never more than the part of the CPU
time that the surplus threads can burn.
Beside neighbours that waiting is not ours to claim. There, and wherever it is known, how often the threads gave their CPU away
tells more: where there are more threads than CPUs each barrier puts its waiting threads to sleep and wakes them up, which takes a
system call, two switches and cold caches: 9 to 17 us of CPU time for each, measured beside neighbours at 4, 8 and 16 threads on two
CPUs; a single thread has none. The surplus threads' share of them is claimed, whatever the neighbours do.
As many threads as CPUs spin whole time slices away beside neighbours (two took 28 times the CPU time of one), with hardly a switch;
how much of their CPU time that was is not seen, so nothing is said.
"""

from __future__ import annotations

import shlex

from joulewise.diagnosing.case import Case, Estimate, about
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import ProcessView

_BURNT = (0.03, 0.1, 0.2)  # CPU seconds for each second that a runnable thread waited: least, usual, most
_SWITCH_S = (6e-6, 11e-6, 18e-6)  # CPU seconds for each sleep of a thread with its waking: least, usual, most
_OTHERS = 0.1  # of the machine's CPUs busy with others, at most


def estimate(case: Case) -> list[Estimate]:
    """Return what surplus threads burn, over all processes of the run."""
    computing = [(v, _threads(v)) for v in case.views if v.cpu_s > 0.1 * case.cpu_s]
    asked = sum(threads for _, threads in computing)
    if not computing or asked < 1.5 * case.cpus + 0.5:
        return []
    surplus = 1 - case.cpus / asked
    known = _switched(computing, surplus) or _delayed(case)
    if known is None:
        return []
    most = surplus * sum(v.cpu_s for v, _ in computing)
    (low, value, high), words = known
    worst, _ = max(computing, key=lambda c: c[1])
    return [
        Estimate(
            Cause.THREAD_OVERSUBSCRIPTION,
            about(min(value, most), min(low, most), min(high, most)),
            about(min(value, most) / case.cpus, 0.0, min(high, most) / case.cpus),
            f"{asked} threads in {len(computing)} processes compute on {case.cpus:g} CPUs; {words}",
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


_Known = tuple[tuple[float, float, float], str]


def _switched(computing: list[tuple[ProcessView, int]], surplus: float) -> _Known | None:
    """Return what putting threads to sleep and waking them took, where the processes that have several told how often."""
    told = [v.switches for v, threads in computing if threads > 1]
    known = [n for n in told if n is not None]
    if not known or len(known) < len(told):
        return None
    low, value, high = (surplus * sum(known) * each_s for each_s in _SWITCH_S)
    return (low, value, high), f"{sum(known)} times one of them went to sleep at a barrier and was woken up"


def _delayed(case: Case) -> _Known | None:
    """Return what surplus threads burnt by how long runnable ones waited for a CPU, where no neighbour made them wait."""
    delay_s = case.account.usage.run_delay_s
    if not delay_s or _neighbours(case):
        return None
    low, value, high = (burnt * delay_s for burnt in _BURNT)
    return (low, value, high), f"runnable threads waited {delay_s:.0f} s for one"


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
