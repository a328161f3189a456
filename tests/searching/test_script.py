"""An unedited program as an objective: command line, metric, freezing, failing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from joulewise.searching.history import State
from joulewise.searching.objective import Handle, TrialFailed
from joulewise.searching.ordering import search
from joulewise.searching.script import Script, command
from joulewise.searching.space import Choice, Float, Int, Space
from joulewise.vocabulary.budget import Spent
from joulewise.vocabulary.errors import UnknownName, UsageError

SPACE = Space({"rate": Float(0.0, 1.0), "layers": Int(1, 3)})

PROGRAM = """
import argparse, os, sys, time
# as slow as an epoch is, so that it is stopped before the next one
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--layers", type=int)
parser.add_argument("--fail", type=float, default=2.0)
parser.add_argument("--state", default="")
a = parser.parse_args()
done = int(open(a.state).read()) if os.path.exists(a.state) else 0
for epoch in range(done + 1, 7):
    if a.rate > a.fail:
        sys.exit("no memory for this")
    if a.state:
        open(a.state, "w").write(str(epoch))
    print(f"epoch {epoch}: loss={1 / epoch:.3f} val_accuracy: {100 * (a.rate - 0.1 / epoch):.4f} %", flush=True)
    time.sleep(0.2 if a.state else 0.005)
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(PROGRAM)
    return path


def epochs_meter():
    """Return a meter by the wall clock's seconds, so that a budget in trials ends the search."""
    began = time.monotonic()
    return lambda: Spent(time_s=time.monotonic() - began)


def script(path, *arguments, metric="val_accuracy", folder=None):
    return Script([sys.executable, str(path), *arguments], metric, SPACE, folder)


def test_search(program):
    """A program is searched with no change to it, the best of its settings is found by what it prints."""
    study = search(script(program), SPACE, "8trials", measure=epochs_meter(), epochs=6)

    best = study.best
    assert best is not None
    assert len(study.trials) == 8
    assert study.best_value == pytest.approx((study.best_params or {})["rate"] - 0.1 / best.epoch, abs=1e-5)
    assert (study.best_params or {})["rate"] == max(t.point[0] for t in study.trials)


def test_stands_still(program):
    """Between epochs the program is stopped; closed, it is gone."""
    values = script(program)(Handle(0, {"rate": 0.5, "layers": 2}, 6))

    assert next(values) == pytest.approx(0.4)
    children = [int(p) for p in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    stopped = [p for p in children if state(p) == "T"]
    assert len(stopped) == 1
    assert next(values) == pytest.approx(0.45)
    values.close()
    assert not os.path.exists(f"/proc/{stopped[0]}")


def test_logged(tmp_path):
    """What the program logs with `track` counts, too."""
    path = tmp_path / "train.py"
    path.write_text(
        "import joulewise\nwith joulewise.track() as run:\n    run.log(val_accuracy=0.5)\n    run.log(val_accuracy=0.75)\n"
    )
    handle = Handle(0, {"rate": 0.5}, 6)

    values = []
    for value in Script([sys.executable, str(path), "{rate}"], "val_accuracy", SPACE)(handle):
        values.append(value)
        handle.yielded(value)

    assert values == [0.5, 0.75]


def test_command():
    """Parameters take their place in the command, or are added to it; one that does not apply leaves its place out."""
    argv = ["python", "t.py", "optim.lr={rate}", "--momentum={momentum}", "--out={checkpoint}"]

    told = command(argv, {"rate": 0.1, "nesterov": True, "layers": 3, "checkpoint": "/c"})

    assert told == ["python", "t.py", "optim.lr=0.1", "--out=/c", "--nesterov=true", "--layers=3"]


def test_failures(program):
    """A program that fails has failed its trial, with its exit code and its last words; the study goes on."""
    study = search(script(program, "--fail=0.7"), SPACE, "8trials", measure=epochs_meter(), epochs=6)

    failed = [t for t in study.trials if t.state is State.FAILED]
    assert failed
    assert all(
        t.why == "the program ended with exit code 1 after epoch 0: no memory for this" for t in failed
    )
    assert (study.best_params or {})["rate"] <= 0.7


def test_no_metric(program):
    """A program that never names the metric is said so, in one line."""
    with pytest.raises(UsageError, match=r"the program ended without printing f1: 0\.91 or the like"):
        search(script(program, metric="f1"), SPACE, "8trials", measure=epochs_meter(), epochs=6)


def test_wrong_use(program):
    """Programs that are not there, and places for parameters that the space lacks, are refused at once."""
    with pytest.raises(UsageError, match="no-such-program: command not found"):
        Script(["no-such-program"], "loss", SPACE)
    with pytest.raises(UnknownName, match=r"unknown parameter 'rat'; did you mean rate\? in the command"):
        script(program, "--lr={rat}")
    with pytest.raises(UsageError, match="there is no program to search"):
        Script([], "loss", SPACE)
    with pytest.raises(UnknownName, match="in the condition of b"):
        Space({"a": Choice((1,)), "b": Float(0, 1, when={"c": (1,)})})


def test_checkpoint(program, tmp_path):
    """A program with a checkpoint goes on from it when its process was lost; a gone checkpoint fails in one line."""
    objective = script(program, "--state={checkpoint}", folder=tmp_path / "states")
    kept: list[tuple[int, object]] = []
    first = Handle(3, {"rate": 0.5, "layers": 2}, 6)
    first.remember(lambda epoch, state: kept.append((epoch, state)), None, 0, ())
    values = objective(first)
    for _ in range(2):
        first.yielded(next(values))
        first.keep_saved()
    values.close()
    assert kept == [(1, tmp_path / "states" / "3"), (2, tmp_path / "states" / "3")]

    again = Handle(3, {"rate": 0.5, "layers": 2}, 6)
    again.remember(lambda *_: None, tmp_path / "states" / "3", 2, (0.4, 0.45))
    values = objective(again)
    assert next(values) == pytest.approx(0.5 - 0.1 / 3, abs=1e-5)
    values.close()

    os.remove(tmp_path / "states" / "3")
    with pytest.raises(TrialFailed, match=r"its checkpoint .* is gone"):
        next(objective(again))


WORKER = """
import sys, time
from joulewise.searching.objective import Handle
from joulewise.searching.script import Script
from joulewise.searching.space import Float, Space
values = Script([sys.executable, sys.argv[1], "{rate}"], "loss", Space({"rate": Float(0, 1)}))(Handle(0, {"rate": 0.5}, 6))
next(values)
print("told", flush=True)
time.sleep(60)
"""


def test_killed_worker(tmp_path):
    """A stopped program does not outlive its worker: the kernel hangs up on it."""
    path = tmp_path / "train.py"
    path.write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nwhile True:\n    print('loss=1', flush=True)\n    time.sleep(0.01)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(path)], stdout=subprocess.PIPE, cwd=tmp_path)
    assert worker.stdout.readline() == b"told\n"
    pid = int((tmp_path / "pid").read_text())
    assert state(pid) == "T"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()

    end_s = time.monotonic() + 10
    while alive(pid) and time.monotonic() < end_s:
        time.sleep(0.01)
    assert not alive(pid)


def state(pid: int) -> str:
    """Return a process's state as the kernel names it; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def alive(pid: int) -> bool:
    return state(pid) not in ("", "Z")
