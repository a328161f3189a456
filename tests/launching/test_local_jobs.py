from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from joulewise.launching import processes
from joulewise.launching.local_jobs import LocalJobs
from joulewise.launching.port import Checkpointing, Order, Refused, Resources, State
from joulewise.testing.engine_contract import COUNTS, SAVES, EngineContract, EngineRig


@pytest.fixture
def rig(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    made = EngineRig(LocalJobs(tmp_path / "jobs"), lambda: LocalJobs(tmp_path / "jobs"), folder)
    yield made
    made.clean()


class TestLocalJobs(EngineContract):
    pass


def jobs_of(rig):
    return rig.folder.parent / "jobs"


def the_folder(rig, handle):
    return jobs_of(rig) / handle.partition("/")[2]


def test_killed_starters(rig):
    """Whoever is killed in the middle of a start, and however many start at once, one copy runs."""
    seen = rig.folder / "copies"
    program = f"import os, time; open({str(seen)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(60)"
    starter = (
        "import sys; from pathlib import Path; from joulewise.launching.local_jobs import LocalJobs;"
        "from joulewise.launching.port import Order;"
        "LocalJobs(Path(sys.argv[1])).start(Order(sys.argv[2], (sys.executable, '-I', '-S', '-c', sys.argv[3]), '/'))"
    )
    rng = random.Random(5)
    for attempt in range(6):
        key = f"job-{attempt}"
        seen.write_text("")
        starters = [
            subprocess.Popen([sys.executable, "-c", starter, str(jobs_of(rig)), key, program])
            for _ in range(3)
        ]
        for one in starters:
            time.sleep(rng.random() * 0.15)
            one.send_signal(signal.SIGKILL)
            one.wait()
        handle = rig.engine.start(Order(key, (sys.executable, "-I", "-S", "-c", program), "/"))
        rig.keys[handle] = key
        rig.await_state(handle, State.RUNNING)
        rig._await(seen.read_text, bool, "to be seen")
        time.sleep(0.2)
        assert len(seen.read_text().split()) == 1


def test_killed_keeper(rig):
    """A program whose keeper is killed goes on, is still suspended and ended on request; its exit code is lost."""
    handle = rig.start(COUNTS)
    rig.await_log(handle, "3\n")
    keeper = json.loads((the_folder(rig, handle) / "state.json").read_text())["keeper"][0]
    os.kill(keeper, signal.SIGKILL)

    assert rig.again().status(handle).state is State.RUNNING
    rig.engine.suspend(handle)
    rig.await_state(handle, State.SUSPENDED)
    rig.engine.resume(handle)
    rig.await_state(handle, State.RUNNING)
    program = json.loads((the_folder(rig, handle) / "state.json").read_text())["program"][0]
    os.kill(program, signal.SIGKILL)

    ended = rig.await_state(handle, State.LOST)
    assert "keeper was killed" in ended.reason
    assert ended.exit_code is None


def test_killed_keeper_of_a_held_job(rig):
    """A job that waits survives its keeper: the next who asks gives it a new one."""
    handle = rig.start("print('ran')", held=True)
    keeper = json.loads((the_folder(rig, handle) / "state.json").read_text())["keeper"][0]
    os.kill(keeper, signal.SIGKILL)

    rig.engine.release(handle)

    assert rig.await_state(handle, State.FINISHED).exit_code == 0


def test_requeue_after_the_keeper_died(rig):
    """An adopted program can still be asked to save its state, and starts anew."""
    handle = rig.start(SAVES, str(rig.folder / "saved"), checkpointing=Checkpointing(signal.SIGUSR1, 20.0))
    rig.await_log(handle, "began")
    os.kill(json.loads((the_folder(rig, handle) / "state.json").read_text())["keeper"][0], signal.SIGKILL)

    rig.engine.requeue(handle)

    rig.await_state(handle, State.HELD)
    rig.engine.release(handle)
    assert rig.await_state(handle, State.FINISHED).restarts == 1
    assert "went on from half" in rig.whole_log(handle)


@pytest.mark.parametrize(("state", "becomes"), [("running", State.LOST), ("held", State.HELD)])
def test_machine_restarted(rig, state, becomes):
    """After a restart of the machine, what ran is lost, even where its process id is used again; what waited waits."""
    handle = rig.start(COUNTS, held=state == "held")
    rig.await_state(handle, State.RUNNING if state == "running" else State.HELD)
    file = the_folder(rig, handle) / "state.json"
    told = json.loads(file.read_text())
    os.kill(told["keeper"][0], signal.SIGKILL)
    if told["program"][0]:
        os.killpg(told["program"][0], signal.SIGKILL)
    file.write_text(json.dumps({**told, "boot": "another", "program": [os.getpid(), 5]}))

    assert rig.await_state(handle, becomes)
    assert rig.engine.start(Order(rig.keys[handle], ("true",), "/")) == handle
    assert rig.engine.status(handle).state is becomes


def test_process_id_used_again(rig):
    """A process that has the program's id, but not its start, is not taken for it."""
    handle = rig.start(COUNTS)
    rig.await_log(handle, "1\n")
    file = the_folder(rig, handle) / "state.json"
    told = json.loads(file.read_text())
    os.kill(told["keeper"][0], signal.SIGKILL)
    os.killpg(told["program"][0], signal.SIGKILL)
    bystander = subprocess.Popen(["sleep", "60"])
    file.write_text(json.dumps({**told, "program": [bystander.pid, 5], "keeper": [bystander.pid, 5]}))

    assert rig.await_state(handle, State.LOST)
    rig.engine.cancel(handle, 0.0)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_limit(rig):
    """A job that runs longer than it may is ended, and the reason says so."""
    handle = rig.start(COUNTS, resources=Resources(limit_s=0.5))

    assert "limit of 0.5 s" in rig.await_state(handle, State.CANCELLED).reason


def test_leftovers(rig):
    """What a program leaves behind, in a session of its own, ends with the job."""
    child = rig.folder / "child"
    handle = rig.start(
        "import subprocess, sys; p = subprocess.Popen(['sleep', '300'], start_new_session=True);"
        "open(sys.argv[1], 'w').write(str(p.pid))",
        str(child),
    )

    assert rig.await_state(handle, State.FINISHED).exit_code == 0
    assert processes.started(int(child.read_text())) == -1


def test_another_host(rig):
    """A handle of another machine is refused, with the machine's name."""
    with pytest.raises(Refused, match="runs on node17"):
        rig.engine.status("node17/abc-1")


def test_no_folder(rig):
    """A working folder that does not exist is refused before anything is written."""
    with pytest.raises(Refused, match="no folder /no/such"):
        rig.engine.start(Order("a-1", ("true",), "/no/such"))
    assert rig.engine.find("a-1") is None


def test_private(rig):
    """What a job was told and what it wrote is the user's alone."""
    handle = rig.start("print('secret')")
    rig.await_state(handle, State.FINISHED)

    folder = the_folder(rig, handle)
    assert folder.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.glob("*.json"))


def test_keeper_is_small(rig):
    """A keeper loads no library of ours but what it needs, and next to none of Python's."""
    handle = rig.start("print('ran')", held=True)
    keeper = json.loads((the_folder(rig, handle) / "state.json").read_text())["keeper"][0]
    told = Path(f"/proc/{keeper}/smaps_rollup").read_text().splitlines()
    resident = next(line for line in told if line.startswith("Private_Dirty"))

    assert int(resident.split()[1]) < 12_000  # kB


def test_folder_gone(rig):
    """A start repeated after the working folder was deleted still finds the job that runs."""
    order = Order("gone-1", ("sleep", "60"), str(rig.folder))
    handle = rig.engine.start(order)
    rig.keys[handle] = order.key
    rig.folder.rmdir()

    assert rig.again().start(order) == handle
