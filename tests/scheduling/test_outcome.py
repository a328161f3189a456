"""What becomes of a job whose attempt is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.launching.port import State, Status
from joulewise.ledger import jobs
from joulewise.ledger.memory import open_memory
from joulewise.scheduling.outcome import outcome
from joulewise.testing.queue_contract import add, ticket
from joulewise.vocabulary.ticket import Stage


@pytest.fixture(scope="module")
def line():
    store = open_memory()
    yield jobs.find(store, add(store))
    store.close()


@pytest.mark.parametrize(
    ("status", "given", "stage", "reason"),
    [
        (Status(State.FINISHED, 0), {}, Stage.DONE, "done after 60 s of running"),
        (Status(State.FINISHED, 1), {}, Stage.FAILED, "failed with exit code 1"),
        (Status(State.FINISHED, 1), {"retries": 2}, Stage.QUEUED, "failed with 1; tried again (1 more left)"),
        (Status(State.FINISHED, 127), {"retries": 2}, Stage.FAILED, "failed with exit code 127"),
        (Status(State.FINISHED, 3), {"retries": 2, "budget": "2MJ"}, Stage.FAILED, "stopped by its budget"),
        (Status(State.LOST, None, "its node failed"), {}, Stage.FAILED, "its node failed; it is not declared restartable"),
        (Status(State.LOST, None, "its node failed"), {"restartable": True}, Stage.QUEUED, "its node failed; starts again"),
        (Status(State.CANCELLED, None, "it ran into its time limit"), {}, Stage.FAILED, "ended by the engine: it ran into its time limit"),
    ],
)  # fmt: skip
def test_outcome(line, status, given, stage, reason):
    """Each end has its stage and its reason."""
    told = outcome(line, ticket(**given), status, 60.0)
    assert (told.stage, told.reason) == (stage, reason)


def test_wanted(line):
    """A job whose end was asked for is cancelled however it ended."""
    asked = replace(line, wanted="cancel")
    for status in (Status(State.FINISHED, 143), Status(State.CANCELLED), Status(State.LOST, None, "gone")):
        assert outcome(asked, ticket(restartable=True), status, 1.0).stage is Stage.CANCELLED


def test_given_up_after_twenty(line):
    """A job that takes its machine down each time is not started for ever."""
    tired = replace(line, fence=20)
    assert outcome(tired, ticket(restartable=True), Status(State.LOST), 1.0).stage is Stage.FAILED
