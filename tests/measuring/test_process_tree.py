"""The recorded work: every process once, with what it used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.measuring.process_tree import ProcessTree
from joulewise.testing.procfs import FakeProc

ROOT = 4_000_001  # no such process on the machine that runs the test


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    fake = FakeProc(tmp_path)
    fake.start(ROOT, parent=1)
    return fake


def tree(proc: FakeProc, **options: object) -> ProcessTree:
    return ProcessTree(
        ROOT,
        from_start=bool(options.get("from_start", True)),
        mark=str(options.get("mark", "")),
        proc=str(proc.root),
    )


def test_children_count(proc):
    """A child's seconds count while it lives and after its parent waited for it, once."""
    seen = tree(proc)
    proc.start(ROOT + 1, parent=ROOT)
    proc.work(ROOT + 1, cpu_s=2.0)
    assert seen.sample(1.0).cpu_s == pytest.approx(2.0)

    proc.work(ROOT + 1, cpu_s=1.0)
    proc.end(ROOT + 1)

    assert seen.sample(2.0).cpu_s == pytest.approx(3.0)


def test_child_between_ticks(proc):
    """A child that starts and ends between two ticks still counts, through its parent."""
    seen = tree(proc)
    proc.start(ROOT + 1, parent=ROOT)
    proc.work(ROOT + 1, cpu_s=0.5)
    proc.end(ROOT + 1)

    assert seen.sample(1.0).cpu_s == pytest.approx(0.5)


def test_nobody_waits(proc):
    """Where a parent ignores its children's end, their last seconds seen are kept."""
    seen = tree(proc)
    proc.start(ROOT + 1, parent=ROOT)
    proc.work(ROOT + 1, cpu_s=2.0)
    seen.sample(1.0)
    proc.end(ROOT + 1, waited_for=False)
    proc.work(ROOT, cpu_s=1.0)

    assert seen.sample(2.0).cpu_s == pytest.approx(3.0)


def test_orphan_stays(proc):
    """A process that init adopted stays part of the work."""
    seen = tree(proc)
    proc.start(ROOT + 1, parent=ROOT)
    seen.sample(1.0)
    proc.end(ROOT)
    proc.work(ROOT + 1, cpu_s=1.0)

    assert seen.sample(2.0).cpu_s == pytest.approx(1.0)
    assert seen.pids == {ROOT + 1}


def test_marked_daemon(proc):
    """A daemon that detached between two ticks is found by the mark in its environment; a stranger is not."""
    seen = tree(proc, mark="/runs/x")
    proc.start(ROOT + 1, parent=1, environ=b"A=1\0JOULEWISE_RECORDING=/runs/x\0")
    proc.start(ROOT + 2, parent=1, environ=b"JOULEWISE_RECORDING=/runs/xy\0")

    seen.sample(1.0)

    assert seen.pids == {ROOT, ROOT + 1}


def test_neighbours_do_not_count(proc):
    """Other processes of the machine are no part of the work."""
    seen = tree(proc)
    proc.start(ROOT + 9, parent=1)
    proc.work(ROOT + 9, cpu_s=5.0)

    assert seen.sample(1.0).cpu_s == 0.0


def test_attached_starts_at_zero(proc):
    """Attaching to a process counts from then on, not what it used before."""
    proc.work(ROOT, cpu_s=7.0, read_bytes=100)
    seen = tree(proc, from_start=False)
    proc.work(ROOT, cpu_s=1.0, read_bytes=10)

    sample = seen.sample(1.0)

    assert sample.cpu_s == pytest.approx(1.0)
    assert sample.read_bytes == 10


def test_root_that_ended_before_anybody_looked(proc):
    """A program too short for a tick is known from what its parent learnt when it ended."""
    proc.end(ROOT)
    seen = tree(proc)
    assert seen.sample(0.0).cpu_s is None

    seen.root_used(0.25)

    assert seen.sample(1.0).cpu_s == pytest.approx(0.25)


def test_root_ended_with_an_orphan_left(proc):
    """What the root used in all counts once, beside what an orphan goes on using."""
    seen = tree(proc)
    proc.work(ROOT, cpu_s=1.0)
    proc.start(ROOT + 1, parent=ROOT)
    seen.sample(0.0)
    proc.end(ROOT)
    proc.work(ROOT + 1, cpu_s=0.5)
    seen.sample(1.0)

    seen.root_used(1.2)

    assert seen.sample(2.0).cpu_s == pytest.approx(1.7)


def test_no_proc_is_unknown(tmp_path):
    """Where /proc is not there, the work's CPU seconds are unknown, not zero."""
    assert ProcessTree(ROOT, from_start=True, proc=str(tmp_path)).sample(0.0).cpu_s is None


def test_delay_accounting_off(proc):
    """With the kernel's delay accounting off, waiting for I/O is unknown and not zero."""
    assert tree(proc).sample(1.0).blkio_delay_s is None

    proc.delay_accounting(on=True)
    assert tree(proc).sample(1.0).blkio_delay_s == 0.0


@given(st.lists(st.tuples(st.sampled_from(["work", "fork", "end", "tick"]), st.integers(0, 5)), max_size=40))
def test_only_grows(tmp_path_factory, actions):
    """Whatever the processes do, the work's seconds only grow and never exceed what was used."""
    proc = FakeProc(tmp_path_factory.mktemp("proc"))
    proc.start(ROOT)
    seen, alive, used, last = tree(proc), [ROOT], 0.0, 0.0
    for number, (action, which) in enumerate(actions):
        pid = alive[which % len(alive)]
        if action == "work":
            proc.work(pid, cpu_s=0.1)
            used += 0.1
        elif action == "fork":
            alive.append(ROOT + 1 + number)
            proc.start(alive[-1], parent=pid)
        elif action == "end" and pid != ROOT:
            alive.remove(pid)
            proc.end(pid, waited_for=which % 2 == 0)
        else:
            now = seen.sample(float(number)).cpu_s
            assert last <= now <= used + 1e-6
            last = now or 0.0


def test_real_processes():
    """On the real /proc, children that ended and were waited for are counted with their parent."""
    burn = "sum(i * i for i in range(4_000_000))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{burn}']); print('x', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        seen = ProcessTree(child.pid, from_start=True)
        assert child.stdout is not None
        child.stdout.readline()

        sample = seen.sample(1.0)

        times = os.times()
        child.communicate(b"\n")
    used = os.times().children_user + os.times().children_system - times.children_user - times.children_system
    assert 0.05 < sample.cpu_s <= used + 0.03
    assert sample.processes == 1
    assert sample.resident_bytes > 1_000_000
