"""Held while idle: the work is done, or there is none, and the machine or its GPU is kept.

Two counterfactuals. A program that has finished and stays open ends when its work ends: saved is the time after it. A process
that holds a GPU between pieces of work lets go of it in pauses of five minutes and more: saved is what the GPU stood by in
them, less the time to come back (as long as the process took to be ready at first). A short pause is no waste: starting
again would cost more.

Seen on the GPU by power: within a tenth of standing by while memory is held. Waiting for requests on a CPU that sleeps costs
next to nothing and is never named.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, about
from joulewise.diagnosing.devices import watts
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView
from joulewise.vocabulary.quantities import format_bytes, format_duration
from joulewise.vocabulary.recording import Component

_GRACE_S = 2.0
_PAUSE_S = 300.0
_NEAR = 0.1  # of standing by: the board does nothing
_READY_S = 30.0  # to load a server again, where its start was not seen


def estimate(case: Case) -> list[Estimate]:
    """Return what letting go would have saved: of the run after its work, and of GPUs held in long pauses."""
    after = [found for view in case.views if view.kind == "main" and (found := _after_work(case, view))]
    return [*after, *_held(case)]


def _after_work(case: Case, view: ProcessView) -> Estimate | None:
    idle = view.phase(Phase.IDLE)
    others = any(v.process != view.process and v.cpu_s > 0.05 * case.cpu_s for v in case.views)
    if idle.wall_s <= _GRACE_S or view.requests or others:
        return None
    wall_s = idle.wall_s - _GRACE_S
    return Estimate(
        Cause.IDLE_HOLDER,
        about(idle.cpu_s, 0.5 * idle.cpu_s, idle.cpu_s),
        about(wall_s, 0.9 * wall_s, idle.wall_s),
        f"the last computation ended {format_duration(idle.wall_s)} before the process did; its memory was held until then",
        Remedy(
            RemedyKind.DIFF,
            "let the process end when its work is done; keep what is looked at later in a file",
        ),
        "none: nothing was computed any more",
        view.process,
        f"{view.process}:idle",
    )


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
