"""Admission: a deadline is accepted only where it can be met beside all that was promised before."""

from __future__ import annotations

import random

import pytest

from joulewise.scheduling.admission import Booked, admit

HOUR = 3600.0


def test_empty():
    """Where nothing is queued a job ends after its own length."""
    assert admit(Booked(2, HOUR, HOUR), [], 4) == admit(Booked(2, HOUR, 9 * HOUR), [], 4)
    assert admit(Booked(2, HOUR, HOUR), [], 4).finish_s == HOUR


def test_too_large():
    """A job that takes more than there is never ends."""
    assert admit(Booked(5, HOUR, HOUR), [], 4).finish_s == float("inf")


def test_behind_the_others():
    """Where what runs leaves no room, the earliest finish lies behind it."""
    runs = [Booked(4, 2 * HOUR, 5 * HOUR, runs=True)]

    assert not admit(Booked(1, HOUR, 2.5 * HOUR), runs, 4).admitted
    assert admit(Booked(1, HOUR, 2.5 * HOUR), runs, 4).finish_s == 3 * HOUR
    assert admit(Booked(1, HOUR, 3 * HOUR), runs, 4).admitted


def test_before_the_patient():
    """Those that can wait make room, but only as long as they still end in time."""
    patient = [Booked(4, 2 * HOUR, 4 * HOUR)]

    assert admit(Booked(4, HOUR, HOUR), patient, 4).admitted
    assert not admit(Booked(4, 2.5 * HOUR, 3 * HOUR), patient, 4).admitted
    assert admit(Booked(4, 2.5 * HOUR, 3 * HOUR), patient, 4).finish_s == 4.5 * HOUR


def test_beside_the_others():
    """A small job goes beside a large one that leaves it room."""
    assert admit(Booked(1, HOUR, HOUR), [Booked(3, 9 * HOUR, 9 * HOUR, runs=True)], 4).admitted


def test_those_late_anyhow_are_no_reason():
    """A job is not refused because another is late already."""
    late = [Booked(4, 3 * HOUR, HOUR)]

    assert admit(Booked(4, HOUR, 4 * HOUR), late, 4).admitted


def test_release():
    """A job that may begin later only is booked into the room that is left then."""
    runs = [Booked(2, 2 * HOUR, 5 * HOUR, runs=True)]

    assert admit(Booked(4, HOUR, 5 * HOUR), runs, 4, from_s=HOUR).finish_s == 3 * HOUR
    assert admit(Booked(4, HOUR, 9 * HOUR), runs, 4, from_s=4 * HOUR).finish_s == 5 * HOUR


@pytest.mark.parametrize("seed", range(30))
def test_what_is_admitted_can_be_served(seed):
    """Jobs admitted one by one are all served in time by the order that admission promises."""
    chance = random.Random(seed)
    kept: list[Booked] = []
    for _ in range(40):
        length = chance.uniform(0.2, 5) * HOUR
        fresh = Booked(chance.choice([1, 1, 2, 4]), length, length + chance.expovariate(1 / 10) * HOUR)
        told = admit(fresh, kept, 4)
        if told.admitted:
            assert told.finish_s <= fresh.due_s
            kept.append(fresh)
    used = sum(b.units * b.length_s for b in kept)
    assert 4 <= len(kept) < 40
    assert used <= 4 * max(b.due_s for b in kept)
