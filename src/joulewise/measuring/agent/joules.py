"""Joules of phases: the work's processor joules go to processes and phases by their CPU seconds.

Equal CPU seconds are taken to cost the same, as in the attribution of the whole work. Joules of devices other than
processors are not split over phases: nothing tells which phase used them.
"""

from __future__ import annotations

from dataclasses import replace

from joulewise.measuring.attribution import attribute
from joulewise.vocabulary.observed import ProcessView, observe
from joulewise.vocabulary.recording import Component, Recording


def attributed(recording: Recording) -> tuple[ProcessView, ...]:
    """Return what the agent saw, with joules by phase; without them where processor joules or CPU seconds are unknown."""
    views = observe(recording)
    parts = [
        d.work_j
        for d in attribute(recording).devices
        if d.device.component is Component.CPU and d.device.counted
    ]
    known = [p.value for p in parts if p is not None]
    used_s = next(
        (s for s in reversed(recording.ticks.counters.get("work_cpu_s", [])) if s is not None), None
    )
    seen_s = sum(v.cpu_s for v in views)
    if not known or not used_s:
        return views
    j_per_s = sum(known) / max(
        used_s, seen_s
    )  # a process's clock is finer than the tree's: never more than all
    return tuple(
        replace(view, phases=tuple(replace(p, energy_j=p.cpu_s * j_per_s) for p in view.phases))
        for view in views
    )
