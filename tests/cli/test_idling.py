"""A device that stands idle is told while the run goes on: once for a stretch, and again only after it was busy."""

from __future__ import annotations

import pytest

from joulewise.cli.idling import Idling
from joulewise.measuring.recorder import Snapshot


def seen(t_s: float, cpu_s: float | None = None, **gauges: float | None) -> Snapshot:
    named = {name.replace("__", ":"): value for name, value in gauges.items()}
    return Snapshot(t_s, None, None, None, None, {}, 0, 0, work_cpu_s=cpu_s, gauges=named)


def told(idling: Idling, looks: list[Snapshot]) -> list[tuple[str, float]]:
    return [(idle.device, idle.since_s) for look in looks for idle in idling.look(look)]


def test_once_for_a_stretch():
    """A stretch is told once, however long it is; after the work computed again, the next one is."""
    busy = [seen(t, float(t)) for t in range(0, 60, 10)]
    idle = [seen(t, 50.0, resident_bytes=2e9) for t in range(60, 1000, 10)]
    again = [seen(1000, 60.0), *(seen(t, 60.0) for t in range(1010, 2000, 10))]

    assert told(Idling(300.0), [*busy, *idle, *again]) == [("machine", 60), ("machine", 1010)]


def test_a_timer_is_idle_and_work_is_not():
    """A timer's few milliseconds are idle; a twentieth of a core is work; CPU time that is not known is neither."""
    assert told(Idling(100.0), [seen(t, 0.001 * t) for t in range(0, 500, 10)]) == [("machine", 10)]
    assert told(Idling(100.0), [seen(t, 0.05 * t) for t in range(0, 500, 10)]) == []
    assert told(Idling(100.0), [seen(t) for t in range(0, 500, 10)]) == []
    assert Idling(1.0).look(None) == []


@pytest.mark.parametrize(
    ("used", "ours", "said"),
    [
        (0.0, 1.0, True),
        (0.9, 1.0, False),
        (0.0, None, True),
        (0.0, 0.0, False),
        (None, 1.0, False),
        (0.9, 0.0, False),
    ],
)
def test_a_held_gpu(used, ours, said):
    """A GPU on which the work holds memory is idle where it computes nothing; one of others, or that tells nothing, is not."""
    looks = [
        seen(t, float(t), gpu_memory_bytes__gpu0=3e9, gpu_utilisation__gpu0=used, gpu_work_share__gpu0=ours)
        for t in range(0, 500, 10)
    ]  # fmt: skip
    assert told(Idling(300.0), looks) == ([("gpu0", 0)] if said else [])


def test_others_work_on_it():
    """Others who work on a GPU that is held make it no busier for this run."""
    looks = [
        seen(t, float(t), gpu_memory_bytes__gpu0=3e9, gpu_utilisation__gpu0=0.9 if t == 200 else 0.0,
             gpu_work_share__gpu0=0.0 if t == 200 else 0.5)
        for t in range(0, 500, 10)
    ]  # fmt: skip
    assert told(Idling(300.0), looks) == [("gpu0", 0)]


def test_words():
    """The sentence says the device, for how long, since when and what is held."""
    looks = [seen(0, 0.0), seen(10, 10.0), *(seen(t, 10.0, resident_bytes=2e9) for t in (20, 320))]
    idling = Idling(300.0)
    (idle,) = [found for look in looks for found in idling.look(look)]

    assert (
        idle.words
        == "no process of the run has computed for 5m 00s, since 20.0 s into the run; 2.00 GB of memory are held"
    )
