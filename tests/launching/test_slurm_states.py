from __future__ import annotations

import pytest

from joulewise.launching.port import State
from joulewise.launching.slurm_commands import _exit_code, _first_line, _row, hosts
from joulewise.launching.slurm_states import status_of


def row(state, code="0", restarts="0", priority="4294901758", reason="None", task="N/A"):
    found = _row(
        f"7|7|{task}|{state}|{code}|{restarts}|{priority}|{reason}|n[1-2]|1790000000|1790000060|joulewise:a-1 zone=DE|x|"
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        ("PENDING", State.QUEUED),
        ("CONFIGURING", State.QUEUED),
        ("RUNNING", State.RUNNING),
        ("COMPLETING", State.RUNNING),
        ("SUSPENDED", State.SUSPENDED),
        ("COMPLETED", State.FINISHED),
        ("TIMEOUT", State.CANCELLED),
        ("OUT_OF_MEMORY", State.CANCELLED),
        ("NODE_FAIL", State.LOST),
        ("A_STATE_OF_NEXT_YEAR", State.RUNNING),
    ],
)
def test_states(state, becomes):
    """Every state of Slurm is one of ours; one that is not known counts as living, so nobody starts a second copy."""
    assert status_of([row(state)]).state is becomes


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("n[01-03,7],m1", ("n01", "n02", "n03", "n7", "m1")),
        ("a[1-2]b", ("a1b", "a2b")),
    ],
)
def test_nodes(text, names):
    """A list of nodes as Slurm writes it is taken apart; a job says where it runs."""
    assert hosts(text) == names
    assert status_of([row("RUNNING")]).nodes == ("n1", "n2")


def test_times():
    """What has ended says from when to when it ran; of what waits Slurm only guesses, and that is not told."""
    ended = status_of([row("COMPLETED"), row("FAILED", code="256")])

    assert (ended.ended_utc - ended.began_utc).total_seconds() == 60
    assert status_of([row("RUNNING")]).began_utc
    assert status_of([row("RUNNING")]).ended_utc is None
    assert status_of([row("PENDING")]).began_utc is None


def test_held():
    """A job that waits with no priority is held."""
    assert status_of([row("PENDING", priority="0", reason="JobHeldUser")]).state is State.HELD


def test_reason():
    """Why a job waits or ended is told; what says nothing is not."""
    assert status_of([row("PENDING", reason="Resources")]).reason == "Resources"
    assert "time limit" in status_of([row("TIMEOUT", code="0:15")]).reason
    assert status_of([row("COMPLETED")]).reason == ""


@pytest.mark.parametrize(
    ("told", "code"), [("0", 0), ("768", 3), ("9", 137), ("35072", 137), ("3:0", 3), ("0:9", 137), ("N/A", 0)]
)
def test_exit_codes(told, code):
    """Exit codes are a shell's, from a wait status (22.05) or from `code:signal` (later)."""
    assert _exit_code(told) == code


def test_array():
    """An array is as far as its least task, and ends with the worst exit code of all."""
    going = status_of([row("COMPLETED", task="0"), row("PENDING", task="1"), row("RUNNING", task="2")])
    ended = status_of([row("COMPLETED", task="0"), row("FAILED", code="768", task="1")])

    assert (going.state, going.exit_code) == (State.RUNNING, None)
    assert going.reason == "1 of 3 tasks have ended"
    assert (ended.state, ended.exit_code) == (State.FINISHED, 3)


def test_comment_with_bars():
    """A comment may hold the separator, since it comes last."""
    assert row("RUNNING").comment == "joulewise:a-1 zone=DE|x"


def test_torn_line():
    """A line that is no job is no row."""
    assert _row("slurm_load_jobs error: whatever") is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed", "invalid partition specified: x"),
        ("allocation failure: Requested node configuration is not available", "allocation failure: Requested node configuration is not available"),
        ("squeue: error: resolve\nsqueue: fatal: Could not establish a configuration source", "Could not establish a configuration source"),
        ("Access/permission denied for job 3", "Access/permission denied for job 3"),
        ("", ""),
    ],
)  # fmt: skip
def test_first_line(text, line):
    """Of what a command says, the line that tells why."""
    assert _first_line(text) == line
