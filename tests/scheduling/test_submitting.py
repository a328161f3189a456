"""Submitting: all of a job or nothing of it, and one line that says why."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

import pytest

from joulewise.ledger import jobs
from joulewise.ledger.leases import Leases
from joulewise.ledger.memory import open_memory
from joulewise.scheduling.submitting import carried, require_command, submit
from joulewise.testing.queue_contract import HOUR, NOW, ticket
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.ticket import Needs, Ticket
from tests.scheduling.test_queue_plan import grid


@pytest.fixture
def store():
    store = open_memory()
    yield store
    store.close()


def asked(*argv: str, hours: float = 2.0, cwd: str = "/", **given: Any) -> Ticket:
    return replace(ticket("a", hours), argv=argv or (sys.executable, "-V"), cwd=cwd, **given)


def test_written_and_planned(store):
    """The job is in the queue with its first plan, and the plan comes back."""
    done = submit(store, asked(), grid(), NOW)

    assert done.placement.start_utc == NOW + 6 * HOUR
    assert [x.id for x in jobs.lines(store)] == [done.id]
    assert jobs.story(store, done.id)[0].what == "submitted"


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (asked(hours=40.0), "give it until"),
        (
            asked("no-such-program-here"),
            "there is no program 'no-such-program-here' to run: no folder of the PATH",
        ),
        (asked("./no/such/file"), "it is no file that can be executed"),
        (asked(cwd="/no/such/folder"), "there is no folder /no/such/folder"),
        (replace(asked(), job=replace(asked().job, zones=("FR",))), "no signal for FR"),
    ],
)
def test_refused_whole(store, wrong, line):
    """What cannot be is refused in one line, and nothing is half submitted."""
    with pytest.raises(UsageError, match=line):
        submit(store, wrong, grid(), NOW)

    assert jobs.lines(store) == []


def test_a_cluster_has_its_own_programs(store):
    """The command of a job for a cluster is not looked for here."""
    assert submit(store, asked("only-there", engine="slurm"), grid(), NOW).id


def test_environment():
    """Paths and languages are taken along, and what is named; no secrets by accident."""
    here = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "LANG": "C.UTF-8"}

    assert carried(here, {"SEED": "1"}) == {"PATH": "/bin", "LANG": "C.UTF-8", "SEED": "1"}


def test_relative_program(tmp_path):
    """A relative program is looked for in the job's folder."""
    script = tmp_path / "go.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)

    require_command("./go.sh", str(tmp_path), dict(os.environ))


class TestBesideOthers:
    """A deadline is accepted only where everybody's room holds it; nobody who was promised one loses it."""

    def enrol(self, store, cpus: int = 4) -> None:
        Leases(store, "w", "here/1").enrol("DE", "local", "", Needs(cpus), NOW)

    def test_refused_with_the_earliest_finish(self, store):
        """What does not fit beside what is queued is refused with the earliest finish, and nothing is written."""
        self.enrol(store)
        submit(store, asked(hours=20.0, needs=Needs(4)), grid(), NOW)

        with pytest.raises(
            UsageError, match=r"beside what is queued it ends 2026-03-02 14:01 UTC at the earliest"
        ):
            submit(store, asked(hours=5.0, needs=Needs(2)), grid(), NOW)
        assert len(jobs.lines(store)) == 1

    def test_taken_late(self, store):
        """Told to, the queue takes it all the same, as soon as there is room, and says when it will end."""
        self.enrol(store)
        submit(store, asked(hours=20.0, needs=Needs(4)), grid(), NOW)

        done = submit(store, asked(hours=5.0, needs=Needs(2)), grid(), NOW, late=True)

        line = jobs.find(store, done.id)
        assert line.start_utc == NOW
        assert line.reason.startswith("taken late: beside what is queued it ends 2026-03-02 14:01 UTC")

    def test_fits(self, store):
        """What fits beside the others is taken."""
        self.enrol(store)
        submit(store, asked(hours=20.0, needs=Needs(3)), grid(), NOW)

        assert submit(store, asked(hours=20.0, needs=Needs(1)), grid(), NOW).id

    def test_no_worker_is_large_enough(self, store):
        """What no worker could ever run is refused."""
        self.enrol(store)

        with pytest.raises(UsageError, match="it takes 8 CPUs, and no worker that is there has as much"):
            submit(store, asked(needs=Needs(8)), grid(), NOW)

    def test_another_engine(self, store):
        """Workers of another engine say nothing about this one."""
        Leases(store, "w", "here/1").enrol("DE", "slurm", "", Needs(4), NOW)

        assert submit(store, asked(needs=Needs(8)), grid(), NOW).id
