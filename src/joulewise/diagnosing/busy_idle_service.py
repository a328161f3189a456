"""A service that is busy while idle: it polls for requests that rarely come.

Counterfactual: it sleeps until a request comes; saved is the CPU time that went neither into answering nor into
anything else that is known. The sign of polling is a steady load: a core is in use in nearly every second, whatever
arrives, while answering takes next to nothing of it. Work that comes with requests, or a batch computed in threads,
either leaves pauses or shows no requests. The run lasts as long as before.

A thread that asks a queue, an event loop or a future again and again, and finds nothing, is seen at it: with no request at all, and
beside threads that work. Its CPU time is the turns of that loop (`Polling`), so nothing needs to be inferred from its load.

Of a foreign server (another language, another's process) nothing is seen inside; how many requests came is told by its own
metrics or access log. Where they were rare, what it uses in its quietest tenth of seconds is what it uses for nothing.
"""

from __future__ import annotations

from itertools import pairwise

from joulewise.diagnosing.case import Case, Estimate, about, around, loop
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView
from joulewise.vocabulary.quantities import format_duration

_LEAST_REQUESTS = 3
_MOST_PER_S = 50.0
_ANSWERING = 0.2  # of the CPU time, at most, for the load to be called polling
_ASKED = 0.8  # of a core, at least
_USED = 0.1  # of a core, at least
_CROWDED = 0.2  # of the time waited for a CPU
_END_S = 0.2  # CPU time in which an interpreter with torch ends, at least
_PAUSE = 0.15  # of a core: a second with less is a pause
_RARE_PER_S = 1.0  # requests, at most, that a foreign server answers for its quiet seconds to be known
_FOREIGN_TICKS = 20


def estimate(case: Case) -> list[Estimate]:
    """Return the CPU time of polling, for each process that answers requests."""
    own = [found for view in case.views for found in (_of(case, view), _looking(view)) if found]
    return own or [found for found in (_foreign(case),) if found]


def _looking(view: ProcessView) -> Estimate | None:
    """Return the CPU time of threads that look for something to do and find nothing."""
    polls = [p for p in view.pollings if p.cpu_s > 0]
    if not polls:
        return None
    polled_s = sum(p.cpu_s for p in polls)
    unnamed_s = view.phase(Phase.WAITING).cpu_s + view.phase(Phase.OTHER).cpu_s - min(_END_S, view.tail_cpu_s)
    most_s = max(
        polled_s, min(unnamed_s, 1.3 * polled_s)
    )  # turns that were interrupted are among what has no name
    worst = max(polls, key=lambda p: p.cpu_s)
    return Estimate(
        Cause.BUSY_IDLE_SERVICE,
        about(0.97 * polled_s, 0.9 * polled_s, most_s),
        around(0.0, 0.0),
        f"{sum(p.looks for p in polls)} looks for something to do found nothing, one upon another "
        f"({worst.where or 'an event loop'}): {polled_s:.1f} CPU-seconds in {sum(p.wall_s for p in polls):.0f} s",
        Remedy(
            RemedyKind.DIFF,
            "wait for what comes instead of looking: queue.get(timeout=1.0), await queue.get() or event.wait(), future.result(), "
            "select without a timeout",
        ),
        "none: the same answers; a request may wait some microseconds longer",
        view.process,
        f"{view.process}:waiting",
    )


def _foreign(case: Case) -> Estimate | None:
    """Return the CPU time that a server uses in its quietest seconds, where its requests are few and were told."""
    asked = case.requests
    if asked is None or case.wall_s <= 0 or asked / case.wall_s > _RARE_PER_S:
        return None
    ticks = case.recording.ticks
    used = ticks.counters.get("work_cpu_s", [])
    rates = sorted(
        (b - a) / (t1 - t0)
        for (t0, a), (t1, b) in pairwise(zip(ticks.t_s, used, strict=False))
        if a is not None and b is not None and t1 - t0 > 0.2
    )
    if len(rates) < _FOREIGN_TICKS:
        return None
    quiet = rates[len(rates) // 10]
    if quiet < _USED:
        return None
    polled_s = quiet * case.wall_s
    return Estimate(
        Cause.BUSY_IDLE_SERVICE,
        around(0.97 * polled_s, 0.1),
        around(0.0, 0.0),
        f"{asked} requests in {format_duration(case.wall_s)}, and {quiet:.2f} cores in use in the quietest seconds, whatever came",
        Remedy(
            RemedyKind.SETTING,
            "let the server wait instead of polling: fewer workers, no busy-wait (Triton: --backend-config=...,poll=0; "
            "vLLM: VLLM_SLEEP_WHEN_IDLE=1), event loops without a spinning timer",
        ),
        "none: the same answers; a request may wait some microseconds longer",
        "",
        "foreign:waiting",
    )


def _of(case: Case, view: ProcessView) -> Estimate | None:
    if view.requests < _LEAST_REQUESTS or view.duration_s <= 0:
        return None
    waiting, other = view.phase(Phase.WAITING), view.phase(Phase.OTHER)
    quiet_s = waiting.wall_s + other.wall_s
    polled_s = waiting.cpu_s + other.cpu_s - min(_END_S, view.tail_cpu_s)
    answered_s = view.phase(Phase.FORWARD).cpu_s + view.phase(Phase.VALIDATION).cpu_s
    ready_s, end_s = loop(view)  # however long it took to start up beside neighbours
    if quiet_s < 0.5 * (end_s - ready_s) or answered_s > _ANSWERING * polled_s:
        return None
    if view.requests / quiet_s > _MOST_PER_S or not _steady(case, view, quiet_s, polled_s):
        return None
    return Estimate(
        Cause.BUSY_IDLE_SERVICE,
        around(0.97 * polled_s, 0.05),
        around(0.0, 0.0),
        f"{view.requests} requests in {quiet_s:.0f} s; answering took {answered_s:.1f} CPU-seconds, waiting for them "
        f"{polled_s:.1f} ({polled_s / quiet_s:.2f} cores the whole time)",
        Remedy(
            RemedyKind.DIFF,
            "wait for a request instead of polling: queue.get(timeout=1.0) for get_nowait(), select or await for a loop",
        ),
        "none: the same answers; a request may wait some microseconds longer",
        view.process,
        f"{view.process}:waiting",
    )


def _steady(case: Case, view: ProcessView, quiet_s: float, polled_s: float) -> bool:
    """Say whether a core was asked for all the time: it was used, or waited for, and no second went by without load.

    A neighbour on the core does not make a poller pause; so what the run waited for a CPU, from the end of its set-up
    on, counts as asked for. But a sleeper waits for a CPU at each waking, too: a tenth of a core must have been used.
    """
    if polled_s < _USED * quiet_s:
        return False
    ticks = case.recording.ticks
    ready_s, _ = loop(view)
    last_s = view.start_s + 0.97 * view.duration_s
    used, delayed = (ticks.counters.get(name, []) for name in ("work_cpu_s", "run_delay_s"))
    inside = [n for n, t_s in enumerate(ticks.t_s) if ready_s <= t_s <= last_s]
    if len(inside) < 4:
        return False
    inside = _between_looks(delayed, inside)
    span_s = ticks.t_s[inside[-1]] - ticks.t_s[inside[0]]
    used_s, delay_s = (_grown(column, inside) for column in (used, delayed))
    if used_s + delay_s < _ASKED * span_s:
        return False
    if delay_s > _CROWDED * span_s:  # neighbours make the pauses here
        return True
    loads = [
        (b - a) / (ticks.t_s[n] - ticks.t_s[n - 1])
        for n in inside[1:]
        if (a := used[n - 1]) is not None
        and (b := used[n]) is not None
        and ticks.t_s[n] - ticks.t_s[n - 1] > 0.2
    ]
    return len(loads) >= 3 and sum(load < _PAUSE for load in loads) <= 0.05 * len(loads)


def _between_looks(delayed: list[float | None], inside: list[int]) -> list[int]:
    """Return the ticks from one look at the delay to another, all of them where it hardly grew: it is read every few ticks."""
    moved = [n for m, n in pairwise(inside) if n < len(delayed) and delayed[m] != delayed[n]]
    return [n for n in inside if moved[0] <= n <= moved[-1]] if len(moved) >= 2 else inside


def _grown(column: list[float | None], inside: list[int]) -> float:
    known = [v for n in inside if n < len(column) and (v := column[n]) is not None]
    return known[-1] - known[0] if known else 0.0
