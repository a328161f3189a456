from __future__ import annotations

import pytest

from joulewise.vocabulary.observed import Threads
from tests.diagnosing.views import causes, found, phases, view


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


def test_switches_beside_neighbours():
    """How often surplus threads slept and were woken is theirs, whatever the neighbours do: 11 us for each."""
    counters = {"busy_cpu_s": [8.0 * t for t in range(101)], "run_delay_s": [50.0 * t for t in range(101)]}
    seen = view(cpu_s=400.0, threads=Threads(torch=16), switches=8_000_000, phases=phases(forward=100.0))
    finding = found(seen, cpus=4.0, counters=counters)[0]

    assert finding.cause == "thread_oversubscription"
    assert finding.saving.cpu_s.value == pytest.approx(0.75 * 8_000_000 * 11e-6)


def test_few_switches():
    """Surplus threads that hardly sleep burn next to nothing, however long they waited for a CPU."""
    counters = {"busy_cpu_s": [4.0 * t for t in range(101)], "run_delay_s": [4.0 * t for t in range(101)]}
    seen = view(cpu_s=400.0, threads=Threads(torch=16), switches=1000, phases=phases(forward=100.0))
    assert causes(seen, cpus=4.0, counters=counters) == []


def test_threads_that_fit_sleep_for_other_reasons():
    """As many threads as CPUs may switch as they like: a queue, a disk."""
    seen = view(cpu_s=400.0, threads=Threads(torch=4), switches=8_000_000, phases=phases(forward=100.0))
    assert causes(seen, cpus=4.0) == []
