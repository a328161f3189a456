"""The recorder: ticks into a file, never in the way of the work."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from joulewise.ledger.files import new_run_id, read_recording
from joulewise.measuring.machine import machine
from joulewise.measuring.meters.port import Found
from joulewise.measuring.recorder import Recorder, Work
from joulewise.testing.meters import ClockMeter, HandMeter, device, found
from joulewise.vocabulary.clock import SystemClock
from joulewise.vocabulary.recording import Component, EndState, Missing

PACKAGE = device("rapl:package-0", uuid="host:package-0")


def recorder(folder: Path | None, *meters: Any, **options: Any) -> Recorder:
    answers = [found(*meters), *options.pop("answers", [])]
    work = Work(str(options.pop("name", "test")), os.getpid(), "track", ("python", "train.py"), {"size": 3})
    run_id = new_run_id("test", SystemClock().now_utc())
    return Recorder(
        work,
        folder,
        run_id,
        survey=lambda: answers,
        machine=machine,
        interval_s=0.02,
        **options,
    )


def ticked(what: Recorder, ticks: int = 2) -> Recorder:
    """Start and wait until it has ticked."""
    what.start()
    seen: set[float] = set()
    for _ in range(2000):
        if (latest := what.latest) is not None:
            seen.add(latest.t_s)
        if len(seen) >= ticks:
            return what
        threading.Event().wait(0.005)
    raise AssertionError("the recorder does not tick")


def test_records_everything(tmp_path):
    """What was read, logged and noted is in the recording, with its end."""
    meter = HandMeter(PACKAGE)
    what = ticked(recorder(tmp_path / "run", meter, describe=lambda: {"git_revision": "abc"}))
    meter.energy_j = 12.5
    what.append("point", values={"epoch": 1, "loss": 0.5})
    what.note("user", "hello")
    recording = what.stop(EndState.FINISHED, exit_code=0)

    assert recording.end.state is EndState.FINISHED
    assert recording.ticks.energy_j[PACKAGE.id][-1] == 12.5
    assert recording.points[0].values == {"epoch": 1, "loss": 0.5}
    assert recording.notes[0].text == "hello"
    assert recording.metadata["git_revision"] == "abc"
    assert recording.params == {"size": 3}
    assert recording.devices == (PACKAGE,)
    assert recording == read_recording(tmp_path / "run")
    assert meter.closed


def test_own_cpu_time_is_seen(tmp_path):
    """The CPU seconds of the recorded process are in the recording."""
    what = ticked(recorder(tmp_path / "run"))
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    recording = what.stop(EndState.FINISHED)

    assert recording.ticks.counters["work_cpu_s"][-1] == pytest.approx(0.2, abs=0.15)
    assert what.latest.work_cpu_s == pytest.approx(recording.ticks.counters["work_cpu_s"][-1], abs=1e-3)


def test_lost_device_is_said_once(tmp_path):
    """A device that is lost is noted once, is unknown meanwhile, and comes back."""
    meter = HandMeter(PACKAGE)
    what = ticked(recorder(tmp_path / "run", meter))
    meter.energy_j = None
    ticked_more(what, 4)
    meter.energy_j = 30.0
    recording = what.stop(EndState.FINISHED)

    assert [n.text for n in recording.notes] == [f"{PACKAGE.id} cannot be read: the test took it away"]
    assert None in recording.ticks.energy_j[PACKAGE.id]
    assert recording.ticks.energy_j[PACKAGE.id][-1] == 30.0


def ticked_more(what: Recorder, ticks: int) -> None:
    begin = what.latest
    assert begin is not None
    for _ in range(2000):
        if what.latest is not None and what.latest.t_s - begin.t_s >= ticks * what.interval_s:
            return
        threading.Event().wait(0.005)
    raise AssertionError("the recorder does not tick")


def test_no_folder_keeps_in_memory():
    """Without a folder the recording is still made, in memory."""
    what = ticked(recorder(None, HandMeter(PACKAGE)))
    recording = what.stop(EndState.FINISHED)

    assert recording.end.state is EndState.FINISHED
    assert len(recording.ticks.t_s) >= 2


def test_unwritable_folder_says_so(tmp_path):
    """A folder that cannot be written is said, and the recording goes on in memory."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    what = ticked(recorder(blocked / "run", HandMeter(PACKAGE)))
    recording = what.stop(EndState.FINISHED)

    assert "cannot write" in what.fault
    assert recording.end.state is EndState.FINISHED


def test_hanging_meter_cannot_hold(tmp_path):
    """A meter that never answers does not keep the work from ending, and the recording says so."""
    release = threading.Event()

    class Hanging:
        device = PACKAGE

        def read(self):
            release.wait(30)
            return HandMeter(PACKAGE).read()

        def close(self):
            pass

    what = recorder(tmp_path / "run", Hanging())
    what.start()
    recording = what.stop(EndState.FINISHED, exit_code=0)
    release.set()

    assert recording.end.state is EndState.FINISHED
    assert any("did not answer" in n.text for n in recording.notes)


def test_fault_of_ours_is_told_and_kept_in(tmp_path):
    """A fault of the recorder itself reaches neither the program nor its streams; the recording ends and says it."""

    def survey():
        raise RuntimeError("a bug")

    what = Recorder(
        Work("test", os.getpid(), "track"),
        tmp_path / "run",
        "run-1",
        survey=survey,
        machine=machine,
        interval_s=0.02,
    )
    what.start()
    recording = what.stop(EndState.FAILED, exit_code=7)

    assert (recording.end.state, recording.end.exit_code) == (EndState.FAILED, 7)
    assert "RuntimeError: a bug" in what.fault
    assert what.fault in recording.notes[0].text


def test_missing_sources_are_listed(tmp_path):
    """What could not be read is in the recording with what to do about it."""
    answers = [Found((), (Missing("powercap", "readable by root only", "chmod"),))]
    recording = ticked(recorder(tmp_path / "run", answers=answers)).stop(EndState.FINISHED)

    assert recording.missing == (Missing("powercap", "readable by root only", "chmod"),)


def test_snapshot_counts_trials_and_points(tmp_path):
    """The running snapshot holds what a budget needs: joules, points, trials."""
    meter = ClockMeter(device("gpu", Component.GPU), 50.0, time.monotonic)
    what = ticked(recorder(tmp_path / "run", meter))
    what.append("point", values={"trial": 1, "loss": 0.5})
    what.append("point", values={"trial": 2})
    ticked_more(what, 2)
    latest = what.latest
    what.stop(EndState.FINISHED)

    assert latest is not None
    assert (latest.points, latest.trials, latest.last_point["loss"]) == (2, 2, 0.5)


def test_raw_counters_are_kept(tmp_path):
    """Every tick is one whole line that holds the joules and the raw readings."""
    ticked(recorder(tmp_path / "run", HandMeter(PACKAGE))).stop(EndState.FINISHED)
    lines = next((tmp_path / "run").iterdir()).read_bytes().splitlines()

    assert all(len(line.rpartition(b"\t")[2]) == 8 for line in lines)
    assert any(b'"k":"tick"' in line and b'"r":' in line for line in lines)
