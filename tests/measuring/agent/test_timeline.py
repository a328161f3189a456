from __future__ import annotations

import ast
import itertools
import struct
from pathlib import Path

import pytest

from joulewise.measuring.agent.inside import layout as at
from joulewise.measuring.agent.inside import timeline
from joulewise.measuring.agent.inside.facts import Facts
from joulewise.measuring.agent.inside.timeline import Timeline


class Clocks:
    """Wall, process and thread clocks that go when they are told to; from a time that a monotonic clock may show."""

    def __init__(self) -> None:
        self.wall = 1000.0
        self.cpu = self.own = 5.0

    def work(self, seconds: float, threads: int = 1) -> None:
        self.wall += seconds
        self.own += seconds
        self.cpu += seconds * threads

    def sleep(self, seconds: float, beside: float = 0.0) -> None:
        self.wall += seconds
        self.cpu += beside


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(timeline, "clock", lambda: clocks.wall)
    monkeypatch.setattr(timeline, "process_cpu", lambda: clocks.cpu)
    monkeypatch.setattr(timeline, "thread_cpu", lambda: clocks.own)
    monkeypatch.setattr(timeline, "run_delay_s", lambda: 0.0)
    return clocks


@pytest.fixture
def line(clocks: Clocks, tmp_path: Path) -> Timeline:
    return Timeline(str(tmp_path))


def call(line: Timeline, clocks: Clocks, kind: int, seconds: float, threads: int = 1) -> None:
    before = line.enter(kind)
    clocks.work(seconds, threads)
    line.leave(before)


def wall(line: Timeline, kind: int) -> float:
    return float(line.page[at.WALL + kind])


def test_every_second_has_a_phase(line: Timeline, clocks: Clocks):
    """Calls and the gaps between them add up to the time that has passed."""
    for _ in range(5):
        for kind in (at.DATA, at.FORWARD, at.BACKWARD, at.OPTIMISER):
            clocks.work(0.01)
            call(line, clocks, kind, 0.02)
        clocks.sleep(0.5)
    line.enter(at.FORWARD)

    assert sum(line.page[at.WALL : at.WALL + 16]) == pytest.approx(clocks.wall - 1000.0)


def test_gaps_are_named_by_both_ends(line: Timeline, clocks: Clocks):
    """From forward to backward is the loss, from backward to the optimiser is clipping, before all of them is set-up."""
    clocks.work(1.0)
    call(line, clocks, at.FORWARD, 0.1)
    clocks.work(0.2)
    call(line, clocks, at.BACKWARD, 0.1)
    clocks.work(0.3)
    call(line, clocks, at.OPTIMISER, 0.1)
    clocks.work(0.4)
    call(line, clocks, at.FORWARD, 0.1)

    assert wall(line, at.SETUP) == pytest.approx(1.0)
    assert wall(line, at.FORWARD) == pytest.approx(0.4)
    assert wall(line, at.OPTIMISER) == pytest.approx(0.4)
    assert wall(line, at.OTHER) == pytest.approx(0.4)


def test_sleeping_between_calls_is_waiting(line: Timeline, clocks: Clocks):
    """What the main thread slept of a gap is waiting, with the CPU time that other threads used meanwhile."""
    call(line, clocks, at.FORWARD, 0.1)
    clocks.work(0.2)
    clocks.sleep(2.0, beside=1.9)
    call(line, clocks, at.OPTIMISER, 0.1)

    assert wall(line, at.WAITING) == pytest.approx(2.0)
    assert line.page[at.CPU + at.WAITING] == pytest.approx(1.9)
    assert wall(line, at.OTHER) == pytest.approx(0.2)


def test_no_core_is_no_waiting(line: Timeline, clocks: Clocks, monkeypatch: pytest.MonkeyPatch):
    """A thread that is ready and has no core does not wait: its neighbours are to blame."""
    call(line, clocks, at.FORWARD, 0.1)
    clocks.sleep(2.0)
    monkeypatch.setattr(timeline, "run_delay_s", lambda: 1.5)
    call(line, clocks, at.OPTIMISER, 0.1)

    assert wall(line, at.WAITING) == pytest.approx(0.5)


def test_cpu_of_threads(line: Timeline, clocks: Clocks):
    """A phase that computes with two threads uses two CPU seconds a second."""
    call(line, clocks, at.BACKWARD, 1.0, threads=2)

    assert line.page[at.CPU + at.BACKWARD] == pytest.approx(2.0)


def test_nested_calls(line: Timeline, clocks: Clocks):
    """A call inside another has its own time, and what is left is the outer one's."""
    before = line.enter(at.OPTIMISER)
    clocks.work(1.0)
    call(line, clocks, at.CHECKPOINT, 0.5)
    clocks.work(1.0)
    line.leave(before)

    assert (wall(line, at.OPTIMISER), wall(line, at.CHECKPOINT)) == pytest.approx((2.0, 0.5))


def test_fast_steps_are_sampled(line: Timeline, clocks: Clocks):
    """In a young loop one step every 16 ms is timed, of 5,000 a second one in 80; all are counted, no time is lost."""
    for _ in range(1000):
        call(line, clocks, at.FORWARD, 1e-4) if not line.skip else clocks.work(1e-4)
        call(line, clocks, at.OPTIMISER, 1e-4) if not line.skip else clocks.work(1e-4)
        line.stepped()
    line.wake()
    page = line.page

    assert page[at.STEPS] == 1000
    assert page[at.UNSAMPLED_STEPS] == pytest.approx((1000 - 32) * 79 / 80, rel=0.01)
    assert page[at.UNSAMPLED_WALL] + sum(page[at.WALL : at.WALL + 16]) == pytest.approx(0.2)
    assert page[at.SAMPLED + at.FORWARD] == pytest.approx(page[at.SAMPLED + at.OPTIMISER])


def test_slow_steps_are_all_timed(line: Timeline, clocks: Clocks):
    """Steps that are as far apart as the samples of an old loop are all timed, also when it has become old."""
    for _ in range(200):
        call(line, clocks, at.OPTIMISER, 0.512)
        line.stepped()

    assert line.page[at.UNSAMPLED_STEPS] == 0


def test_a_loop_of_hours(line: Timeline, clocks: Clocks):
    """The older a loop is, the rarer are its samples: two a second at last, at distances that no period shares."""
    taken = []
    for step in range(20_000):
        if not line.skip:
            taken.append(step)
            call(line, clocks, at.OPTIMISER, 0.01)
        else:
            clocks.work(0.01)
        line.stepped()
    apart = [b - a for a, b in itertools.pairwise(taken[-200:])]

    assert taken[:33] == list(range(33))
    assert sum(apart) / len(apart) == pytest.approx(51, rel=0.15)
    assert len(set(apart)) > 20
    assert line.step == 20_000 or line.so_far() == 20_000


def run_steps(line: Timeline, clocks: Clocks, count: int) -> None:
    """Make steps of a millisecond, half of it in a hooked call."""
    for _ in range(count):
        clocks.work(5e-4)
        if line.skip:
            clocks.work(5e-4)
        else:
            call(line, clocks, at.OPTIMISER, 5e-4)
        line.stepped()


def test_what_is_no_step(line: Timeline, clocks: Clocks):
    """What comes among untimed steps and is longer than they are is other work, or waiting, and not shared out as theirs."""
    run_steps(line, clocks, 100)
    clocks.work(1.0)
    clocks.sleep(2.0)
    run_steps(line, clocks, 100)
    line.wake()
    page = line.page

    assert page[at.UNSAMPLED_WALL] < 0.2
    assert page[at.WALL + at.WAITING] == pytest.approx(2.0, rel=0.01)
    assert page[at.WALL + at.OTHER] == pytest.approx(1.0, rel=0.1)
    assert page[at.UNSAMPLED_WALL] + sum(page[at.WALL : at.WALL + 16]) == pytest.approx(clocks.wall - 1000.0)


def test_a_long_wait_tells_itself(line: Timeline, clocks: Clocks):
    """A wait for data among untimed steps is data, and takes nothing of what the steps took."""
    run_steps(line, clocks, 100)
    while line.skip != timeline.UNTIMED:
        run_steps(line, clocks, 1)
    clocks.sleep(0.5)
    line.apart(at.DATA, 0.5)
    line.wake()

    assert wall(line, at.DATA) == pytest.approx(0.5)
    assert line.page[at.UNSAMPLED_WALL] < 0.2


def test_a_step_woken_in_its_middle_is_no_sample(line: Timeline, clocks: Clocks):
    """What wakes us within a step leaves the rest of it timed, and the next one is the sample."""
    run_steps(line, clocks, 100)
    while line.skip != timeline.UNTIMED:
        run_steps(line, clocks, 1)
    clocks.work(9e-4)
    line.wake()
    sampled = line.page[at.SAMPLED_STEPS]
    call(line, clocks, at.OPTIMISER, 1e-4)
    line.stepped()

    assert line.page[at.SAMPLED_STEPS] == sampled
    assert not line.skip
    run_steps(line, clocks, 1)
    assert line.page[at.SAMPLED_STEPS] == sampled + 1


@pytest.mark.parametrize(("untimed", "goes_on"), [(6, True), (2, False)])
def test_a_new_pass_is_no_reason_for_a_sample(line: Timeline, clocks: Clocks, untimed: int, goes_on: bool):
    """Where a pass begins one step is timed, and the untimed ones go on; passes of a step or two are sampled."""
    run_steps(line, clocks, 100)
    line.wake()
    while not line.skip or line.ticks.__length_hint__() < 10:
        run_steps(line, clocks, 1)
    left, sampled = line.ticks.__length_hint__(), line.page[at.SAMPLED_STEPS]
    run_steps(line, clocks, untimed)
    line.wake_between()
    assert not line.skip
    run_steps(line, clocks, 1)

    assert bool(line.skip) is goes_on
    assert not goes_on or line.ticks.__length_hint__() == left - untimed - 1
    assert line.page[at.SAMPLED_STEPS] == sampled
    while line.page[at.SAMPLED_STEPS] == sampled:  # it comes at its time
        run_steps(line, clocks, 1)
    assert line.page[at.STEPS] == line.step


def test_a_training_is_looked_at_alike(line: Timeline, clocks: Clocks):
    """Behind 1, 2, 4, 8 ... steps of a training the next one is timed, however rare samples are by then."""
    run_steps(line, clocks, 20_000)
    line.wake()
    line.begun = begun = line.step
    timed = set()
    while line.so_far() - begun < 5000:
        if not line.skip:
            timed.add(line.step - begun)
        run_steps(line, clocks, 1)

    assert timed >= {1 << n for n in range(13)}
    assert len(timed) < 100


def test_no_step_takes_less_than_nothing(line: Timeline, clocks: Clocks):
    """Waits that began before a sample make no step shorter than nothing, after which all time would be lost in the account."""
    run_steps(line, clocks, 100)
    for _ in range(200):
        while line.skip:
            run_steps(line, clocks, 1)
        line.apart(at.DATA, 0.5)
        run_steps(line, clocks, 1)
    line.wake()
    page = line.page

    assert line.step_s >= 0
    assert page[at.UNSAMPLED_WALL] >= 0
    assert page[at.UNSAMPLED_WALL] + sum(page[at.WALL : at.WALL + 16]) == pytest.approx(clocks.wall - 1000.0)


def test_page_tells_where_the_process_is(line: Timeline, clocks: Clocks, tmp_path: Path):
    """The file says at any moment which phase is open and since when, without any write at exit."""
    clocks.work(0.5)
    line.enter(at.CHECKPOINT)
    page = struct.unpack(f"{at.NUMBERS}d", next(tmp_path.glob("*.page")).read_bytes())

    assert (page[at.CURRENT], page[at.SINCE]) == (at.CHECKPOINT, clocks.wall)
    assert page[at.MAGIC] == at.VERSION


def test_facts_are_lines(tmp_path: Path):
    """Facts are written as one line at a time, which can be read back; a value is told once."""
    path = tmp_path / "x.facts"
    facts = Facts(str(path), 0.0)
    facts.put("model", {"name": "Ünet", "parameters": 3})
    facts.add("curve", [1.0, 2])
    facts.write(0.0)
    facts.write(1.0)

    (line,) = path.read_text().splitlines()
    assert ast.literal_eval(line) == {
        "set": {"model": {"name": "Ünet", "parameters": 3}},
        "add": {"curve": [[1.0, 2]]},
    }


def test_no_place_for_facts(tmp_path: Path):
    """Facts that cannot be written are lost without a word."""
    facts = Facts(str(tmp_path / "no" / "folder"), 0.0)
    facts.put("a", 1)
    facts.write(0.0)

    assert not (tmp_path / "no").exists()
