"""The Python face: spans, points and budgets of a stretch of one's own program."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from joulewise.ledger.files import new_run_id, read_recording
from joulewise.measuring.machine import machine
from joulewise.measuring.recorder import Recorder, Work
from joulewise.measuring.track import Joined, Run, Track
from joulewise.testing.meters import HandMeter, device, found
from joulewise.vocabulary.budget import Action, Verdict
from joulewise.vocabulary.clock import SystemClock
from joulewise.vocabulary.errors import BudgetExceeded
from joulewise.vocabulary.recording import EndState


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def track(folder: Path, judge=lambda: None) -> Track:
    def open_run(_name: str | None) -> Run:
        work = Work("test", os.getpid(), "track")
        recorder = Recorder(
            work,
            folder,
            new_run_id("test", SystemClock().now_utc()),
            survey=lambda: [found(HandMeter(device("cpu")))],
            machine=machine,
            interval_s=0.05,
        )
        recorder.start()
        return Run(recorder.append, recorder, judge)

    return Track(open_run)


def test_spans_nest(folder):
    """A span inside a span has it as its parent, and both have a beginning and an end."""
    with track(folder) as run, run.span("epoch"), run.span("data"):
        pass

    data, epoch = sorted(read_recording(folder).spans, key=lambda s: s.name)
    assert data.parent == epoch.id
    assert epoch.parent is None
    assert epoch.start_s <= data.start_s <= data.end_s <= epoch.end_s


def test_spans_of_threads_are_their_own(folder):
    """Threads have spans of their own, which are nobody's children."""
    with track(folder) as run, run.span("main"):
        threads = [
            threading.Thread(target=lambda: run.span("worker").__enter__(), name=f"w{n}") for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    workers = [s for s in read_recording(folder).spans if s.name == "worker"]
    assert {s.thread for s in workers} == {"w0", "w1", "w2"}
    assert {s.parent for s in workers} == {None}


def test_spans_of_tasks_are_their_own(folder):
    """Asyncio tasks that overlap each keep their own parent."""

    async def task(run: Run, name: str) -> None:
        with run.span(name):
            await asyncio.sleep(0)
            with run.span(f"{name}-inner"):
                await asyncio.sleep(0)

    async def both(run: Run) -> None:
        await asyncio.gather(task(run, "a"), task(run, "b"))

    with track(folder) as run:
        asyncio.run(both(run))

    spans = {s.name: s for s in read_recording(folder).spans}
    assert spans["a-inner"].parent == spans["a"].id
    assert spans["b-inner"].parent == spans["b"].id


def test_forked_child_writes_its_own_file(folder):
    """A forked child that logs writes to a file of its own, and does not end its parent's recording."""
    with track(folder) as run:
        child = os.fork()
        if child == 0:
            run.log(loss=0.5)
            with run.span("in the child"):
                pass
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        run.log(loss=0.4)

    recording = read_recording(folder)
    assert len(list(folder.iterdir())) == 2
    assert {p.values["loss"] for p in recording.points} == {0.5, 0.4}
    assert [s.name for s in recording.spans] == ["in the child"]
    assert recording.end.state is EndState.FINISHED


def test_forked_child_that_leaves_the_block(folder):
    """A forked child that runs out of the block leaves its parent's recording alone."""
    with track(folder):
        child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

    assert read_recording(folder).end.state is EndState.FINISHED


def test_exception_is_the_reason(folder):
    """A run that ends by an exception has failed, says why, and the exception goes on."""
    with pytest.raises(ValueError, match="bad"), track(folder):
        raise ValueError("bad")

    end = read_recording(folder).end
    assert (end.state, end.reason) == (EndState.FAILED, "ValueError: bad")


def test_budget_stops_at_a_safe_point(folder):
    """When the budget is spent, the next log raises, and the recording is stopped with the reason."""
    verdict = Verdict(Action.STOP, "energy_j", "used 2.1 MJ of 2 MJ")
    with pytest.raises(BudgetExceeded, match=r"2\.1 MJ"), track(folder, lambda: verdict) as run:
        run.log(loss=1.0)

    assert read_recording(folder).end.state is EndState.STOPPED


def test_should_stop_without_raising(folder):
    """A framework can ask whether to stop, without an exception."""
    with track(folder, lambda: Verdict(Action.STOP, "energy_j", "spent")) as run:
        assert run.should_stop

    with track(folder.parent / "other") as run:
        assert not run.should_stop


def test_decorated_function(folder):
    """A decorated function returns what it returns and is recorded."""

    @track(folder)
    def double(number: int) -> int:
        return 2 * number

    assert double(21) == 42
    assert double.__name__ == "double"
    assert read_recording(folder).end.state is EndState.FINISHED


def test_joined_recording(folder):
    """A process inside a run adds its spans and points to that recording, at the right time."""
    with track(folder) as run:
        run.log(epoch=0)
        inner = Run(Joined(folder).append, None, lambda: None)
        with inner.span("inner"):
            inner.log(epoch=1)
        inner.param(size=3)

    recording = read_recording(folder)
    assert [p.values["epoch"] for p in recording.points] == [0, 1]
    assert recording.spans[0].name == "inner"
    assert recording.params == {"size": 3}
    assert 0.0 <= recording.points[1].t_s <= recording.duration_s + 0.1


def test_odd_values_are_kept(folder):
    """NaN, infinities and numbers of other libraries are logged, never refused."""

    class Scalar:
        def item(self) -> float:
            return 0.25

    with track(folder) as run:
        run.log(loss=float("nan"), bound=float("-inf"), accuracy=Scalar(), thing=object)

    values = read_recording(folder).points[0].values
    assert values["loss"] != values["loss"]
    assert (values["bound"], values["accuracy"]) == (float("-inf"), 0.25)


HELD = """
import time, joulewise
with joulewise.track("held"):
    used_s = time.process_time()
    sum(range(30_000_000))
    used_s = time.process_time() - used_s
(account,) = joulewise.recordings("held")
print(account.usage.cpu_s, used_s, account.footprint.total_j.value)
"""


def test_a_call_that_holds_the_interpreter(home):
    """CPU seconds of one long call, during which no thread of Python runs, are counted from the start of the block."""
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=60)
    counted_s, used_s, energy_j = map(float, done.stdout.split())

    assert counted_s >= 0.9 * used_s - 0.02
    assert energy_j > 0
