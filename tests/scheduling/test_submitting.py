"""Submitting: all of a job or nothing of it, and one line that says why."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

import pytest

from joulewise.ledger import jobs
from joulewise.ledger.memory import open_memory
from joulewise.scheduling.submitting import carried, require_command, submit
from joulewise.testing.queue_contract import HOUR, NOW, ticket
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.ticket import Ticket
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
