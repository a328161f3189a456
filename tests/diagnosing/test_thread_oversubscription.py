from __future__ import annotations

import pytest

from joulewise.vocabulary.observed import Threads
from tests.diagnosing.views import causes, phases, view


def run(threads: int, delay_s: float, busy: float = 4.0):
    counters = {
        "run_delay_s": [delay_s * t / 100 for t in range(101)],
        "busy_cpu_s": [busy * t for t in range(101)],
    }
    seen = view(cpu_s=400.0, threads=Threads(torch=threads), phases=phases(forward=100.0))
    return causes(seen, cpus=4.0, counters=counters)


def test_more_than_cpus():
    """Sixteen threads on four CPUs that wait for each other are a waste."""
    assert run(16, 400.0) == ["thread_oversubscription"]


@pytest.mark.parametrize(("threads", "delay_s", "busy"), [(4, 400.0, 4.0), (16, 1.0, 4.0), (16, 400.0, 6.0)])
def test_healthy(threads, delay_s, busy):
    """As many threads as CPUs, threads that hardly wait, and neighbours accuse nobody."""
    assert run(threads, delay_s, busy) == []
