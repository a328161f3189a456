"""Held while idle: the work is done, or there is none, and the machine or its GPU is kept.

Three counterfactuals. A program that has finished and stays open ends when its work ends: saved is the time after it. A process
that holds a GPU between pieces of work lets go of it in pauses of five minutes and more: saved is what the GPU stood by in
them, less the time to come back (as long as the process took to be ready at first). A short pause is no waste: starting
again would cost more.

A server of ours that stays awake while nobody asks (`--sleep never`, always-on) sleeps in such pauses: saved is what it stood by
in them, memory and CPU time, less a second to wake. Its recording tells when requests came.

The end is seen by the run's CPU time: none of its processes computes between its last hooked call and its end. A GPU's pauses
are seen by power: within a tenth of standing by while memory is held. Waiting for requests on a CPU that sleeps costs
next to nothing and is never named where nothing tells how rarely they came.
"""

from __future__ import annotations

from itertools import pairwise

from joulewise.diagnosing.case import Case, Estimate, about
from joulewise.diagnosing.devices import watts
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView
from joulewise.vocabulary.quantities import format_bytes, format_duration
from joulewise.vocabulary.recording import Component

_GRACE_S = 2.0
_END_S = 1.5  # CPU time in which an interpreter ends, torch and all
_QUIET = 0.01  # of a core: a timer
_LACKED = 0.25  # of a quiet stretch: one that waited for a CPU as long was starved, not idle
_PAUSE_S = 300.0
_NEAR = 0.1  # of standing by: the board does nothing
_NOTED_S = 60.0  # a server of ours notes what it answered within a minute: it may have come so much earlier
_WAKE_S = 1.0
_READY_S = 30.0  # to load a server again, where its start was not seen


def estimate(case: Case) -> list[Estimate]:
    """Return what letting go would have saved: of the run after its work, and of GPUs held in long pauses."""
    after = [found for view in case.views if view.kind == "main" and (found := _after_work(case, view))]
    return [*after, *_held(case), *_awake(case)]


def _after_work(case: Case, view: ProcessView) -> Estimate | None:
    seen = [p.t_s for p in view.curve[-1:]] + [e.t_s + e.wall_s for e in view.evaluations[-1:]]
    quiet_s = _quiet(case, max(seen, default=view.start_s + view.duration_s - view.tail_wall_s))
    hooked = view.steps or view.phase(Phase.FORWARD).calls or view.preparations
    if quiet_s <= _GRACE_S or view.requests or not hooked:
        return None
    wall_s = quiet_s - _GRACE_S
    return Estimate(
        Cause.IDLE_HOLDER,
        about(0.0, 0.0, _QUIET * quiet_s),
        about(wall_s, 0.9 * wall_s, quiet_s),
        f"after its last step nothing computed for {format_duration(quiet_s)}, in no process of the run; what it held in memory "
        "was held until then",
        Remedy(
            RemedyKind.DIFF,
            "let the process end when its work is done; keep what is looked at later in a file",
        ),
        "none: nothing was computed any more",
        view.process,
        f"{view.process}:idle",
    )


def _quiet(case: Case, from_s: float) -> float:
    """Return the longest stretch after `from_s` in which nothing computed; 0 where work followed it, or a CPU was lacking."""
    ticks = case.recording.ticks
    own = ticks.counters.get("work_cpu_s", [])
    delayed = ticks.counters.get("run_delay_s") or [0.0] * len(own)
    told = [
        (t, a, d) for t, a, d in zip(ticks.t_s, own, delayed, strict=False) if a is not None and d is not None
    ]
    longest = since = after_s = waited_s = began_d = 0.0
    for (t0, a, _), (t1, b, d1) in pairwise(told):
        if t1 <= from_s or b - a > _QUIET * (t1 - t0):
            since, began_d = 0.0, d1
            continue
        since += t1 - max(t0, from_s)
        if since > longest:
            longest, after_s, waited_s = since, told[-1][1] - b, d1 - began_d
    return longest if after_s <= _END_S and waited_s <= _LACKED * longest else 0.0


def _held(case: Case) -> list[Estimate]:
    found = []
    ready = [
        v.phase(Phase.IMPORT).wall_s + v.phase(Phase.SETUP).wall_s for v in case.views if v.kind == "main"
    ]
    back_s = max([_READY_S, *ready])
    gauges = case.recording.ticks.gauges
    for device in case.recording.devices:
        held = [b for b in gauges.get(f"gpu_memory_bytes:{device.id}", []) if b]
        if device.component is not Component.GPU or not held:
            continue
        pauses = _pauses(watts(case.recording, device))
        let_go_s = sum(max(0.0, s - back_s) for s in pauses)
        if let_go_s <= 0:
            continue
        asked = case.requests
        traffic = "" if asked is None else f"; {asked} requests came in all"
        found.append(
            Estimate(
                Cause.IDLE_HOLDER,
                about(0.0, 0.0, 0.0),
                about(let_go_s, 0.8 * let_go_s, sum(pauses)),
                f"{format_bytes(sum(held) / len(held))} of {device.id} were held while it stood by for {format_duration(sum(pauses))} "
                f"in {len(pauses)} pauses of more than five minutes{traffic}",
                Remedy(
                    RemedyKind.SETTING,
                    f"let go of the GPU after five minutes without work and load again when it comes ({format_duration(back_s)}): "
                    "joulewise serve does, and so do scale-to-zero settings of Knative, KServe and Ray Serve",
                ),
                f"none to the answers; the first request after a pause waits {format_duration(back_s)}",
                "",
                f"held:{device.id}",
            )
        )
    return found


def _awake(case: Case) -> list[Estimate]:
    """Return what a server of ours stood by for in long pauses between requests."""
    if case.recording.role != "serve":
        return []
    told = [(p.t_s, p.values) for p in case.recording.points if "requests" in p.values]
    last_s = case.wall_s
    pauses = [
        t1 - t0 - (_NOTED_S if after.get("requests", 0) > before.get("requests", 0) else 0.0)
        for (t0, before), (t1, after) in pairwise([*told, (last_s, told[-1][1])] if told else [])
    ]
    pauses = [pause_s for pause_s in pauses if pause_s >= _PAUSE_S]
    asleep_s = sum(pause_s - _WAKE_S for pause_s in pauses)
    if asleep_s <= 0:
        return []
    values = told[-1][1]
    standing_cpu_s = float(values.get("standing_by_cpu_s", 0.0)) * asleep_s / case.wall_s
    return [
        Estimate(
            Cause.IDLE_HOLDER,
            about(standing_cpu_s, 0.5 * standing_cpu_s, min(case.cpu_s, 2 * standing_cpu_s)),
            about(asleep_s, 0.9 * asleep_s, sum(pauses)),
            f"{values['requests']} requests came in all, and none in {len(pauses)} pauses of more than five minutes, "
            f"{format_duration(sum(pauses))} together, while the server stayed awake",
            Remedy(
                RemedyKind.SETTING,
                "let it sleep when nobody asks: joulewise serve --sleep auto, and no --always-on where a second may pass",
            ),
            "none to the answers; the first request after a pause waits about a second, with --zygote half of it",
            "",
            "awake",
        )
    ]


def _pauses(power: list[tuple[float, float, float]]) -> list[float]:
    """Return the lengths of the stretches of five minutes and more at standing-by power."""
    if not power:
        return []
    standing_w = min(w for _, _, w in power)
    pauses, since = [], None
    for t0, t1, w in power:
        if w <= (1 + _NEAR) * standing_w:
            since = t0 if since is None else since
            end = t1
        elif since is not None:
            pauses.append(end - since)
            since = None
    if since is not None:
        pauses.append(end - since)
    return [s for s in pauses if s >= _PAUSE_S]
