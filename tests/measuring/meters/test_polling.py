"""The poller: last answers, their age, faults, a thread that nobody waits for, forks."""

from __future__ import annotations

import os
import threading

import pytest

from joulewise.measuring.meters.polling import Poller
from joulewise.testing.clock import FakeClock
from joulewise.vocabulary.errors import MeterError


class TestPoller:
    def test_the_last_answer_stays(self) -> None:
        """A fault keeps the last good answer with its age, and says why there is none since."""
        clock, answers = FakeClock(), iter((1, 0, 3))

        def ask() -> int:
            answer = next(answers)
            if not answer:
                raise MeterError("no")
            return answer

        poller = Poller(ask, 1.0, clock.monotonic_s)
        poller.poll()
        clock.sleep(2)
        poller.poll()

        assert (poller.answer.value, poller.answer.fault, poller.age_s()) == (1, "no", 2.0)
        assert poller.poll().value == 3
        assert (poller.answer.fault, poller.age_s()) == ("", 0.0)

    def test_a_source_that_never_answers(self) -> None:
        """Starting waits as long as it was told to and no longer; closing does not wait at all."""
        never = threading.Event()
        poller = Poller(never.wait, 1.0)

        assert poller.start(0.01).fault == "no answer within 0.01 s"
        poller.close()
        never.set()

    def test_it_asks_again(self) -> None:
        """The thread asks again by itself, and ends when it is closed."""
        asked = threading.Semaphore(0)
        poller = Poller(asked.release, 0.001)
        poller.start(5)
        for _ in range(3):
            assert asked.acquire(timeout=5)
        poller.close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    def test_a_forked_child_asks_for_itself(self) -> None:
        """A child that reads the answer gets a thread of its own: its answers do not grow old."""
        poller = Poller(os.getpid, 0.001)
        poller.start(5)
        child = os.fork()
        if not child:
            for _ in range(5000):
                if poller.answer.value == os.getpid():
                    os._exit(0)
                threading.Event().wait(0.001)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        poller.close()

        assert os.waitstatus_to_exitcode(status) == 0
