from __future__ import annotations

import pytest

from joulewise.diagnosing import diagnose
from joulewise.vocabulary.library_calls import Polling
from joulewise.vocabulary.observed import Phase, PhaseTotal
from tests.diagnosing.views import case, causes, found, view


def service(polled=90.0, answered=0.1, **fields):
    told = {
        "requests": 50,
        "phases": (
            PhaseTotal(Phase.FORWARD, 50, answered, answered),
            PhaseTotal(Phase.WAITING, 0, 95.0, polled),
        ),
    }
    return view(**{**told, **fields})


def test_polling():
    """A core in use the whole time for fifty requests is saved, and the run lasts as long."""
    finding = found(service())[0]

    assert finding.cause == "busy_idle_service"
    assert finding.saving.cpu_share == pytest.approx(0.87, abs=0.01)
    assert finding.saving.wall_s.value == 0
    assert finding.saving.energy_share is not None
    assert 0 < finding.saving.energy_share < finding.saving.cpu_share  # memory stands by all the same


@pytest.mark.parametrize(
    "fields",
    [
        {"requests": 0},  # threads that compute
        {"polled": 5.0},  # it sleeps
        {"polled": 60.0, "answered": 30.0},  # answering is the work
        {"requests": 20_000},  # traffic
    ],
)
def test_healthy(fields):
    """Sleeping, answering and computing in threads are not polling."""
    assert causes(service(**fields)) == []


def test_pauses():
    """A load that pauses follows the requests."""
    used = [0.0]
    for second in range(100):
        used.append(used[-1] + (2.0 if second % 2 else 0.0))
    assert causes(service(), counters={"work_cpu_s": used}) == []


def test_a_neighbour_on_the_core():
    """A poller that got half a core and waited for the other half is one all the same."""
    half = [0.5 * t for t in range(101)]
    run = {"counters": {"work_cpu_s": half, "run_delay_s": half}}
    assert causes(service(polled=45.0, cpu_s=50.0), **run) == ["busy_idle_service"]


def test_a_sleeper_among_neighbours():
    """A service that sleeps waits for a CPU at each waking on a crowded machine, and is no poller for that."""
    run = {
        "counters": {
            "work_cpu_s": [0.05 * t for t in range(101)],
            "run_delay_s": [0.9 * t for t in range(101)],
        }
    }
    assert causes(service(polled=5.0, answered=0.2, cpu_s=6.0), **run) == []


def _foreign(cores: float, requests: int | None):
    laid = case(cpus=cores)
    told = diagnose(laid.recording, (), laid.account, requests=requests)
    return [f.cause.value for f in told], told


def test_foreign_server():
    """A server that nobody sees into and that works in its quietest seconds is polling, if its own log tells few requests."""
    names, told = _foreign(0.9, 3)

    assert names == ["busy_idle_service"]
    assert told[0].saving.cpu_s.value == pytest.approx(0.97 * 90)
    assert _foreign(0.9, None)[0] == []  # nobody said that it is a server
    assert _foreign(0.9, 5000)[0] == []  # fifty requests a second are work
    assert _foreign(0.05, 3)[0] == []  # it sleeps


def test_a_long_start():
    """What counts is the time after the start: beside neighbours an import takes as long as the service lasts."""
    half = service(
        phases=(
            PhaseTotal(Phase.IMPORT, 5, 55.0, 15.0),
            PhaseTotal(Phase.FORWARD, 50, 0.1, 0.1),
            PhaseTotal(Phase.WAITING, 0, 44.0, 38.0),
        ),
    )
    assert causes(half) == ["busy_idle_service"]


def test_looks_that_find_nothing():
    """A thread's own turns are saved, without any request; turns that have no name are only in the interval."""
    polls = (Polling(5_000_000, 40.0, 60.0, "bot.py:main"), Polling(1000, 2.0, 3.0))
    idle = (PhaseTotal(Phase.OTHER, 0, 90.0, 80.0),)
    finding = found(view(pollings=polls, phases=idle))[0]

    assert finding.cause == "busy_idle_service"
    assert finding.saving.cpu_s.value == pytest.approx(0.97 * 42)
    assert finding.saving.cpu_s.high >= 1.3 * 42
    assert "bot.py:main" in finding.evidence


def test_few_looks():
    """A program that looks now and then, and works, has nothing to save."""
    working = (PhaseTotal(Phase.OTHER, 0, 90.0, 80.0),)
    assert causes(view(pollings=(Polling(5_000, 2.0, 3.0),), phases=working)) == []
