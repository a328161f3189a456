"""`joulewise attach` records a program that already runs, and never touches it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from joulewise import wiring
from joulewise.cli.attach import Target, Watched, command, find_target, user_name
from joulewise.ledger.files import process_start
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.recording import EndState

_BUSY = "import time\nend = time.monotonic() + {s}\nwhile time.monotonic() < end: pass\n"


@pytest.fixture
def program():
    """Start programs that are ended with the test."""
    started = []

    def start(text, **options):
        process = subprocess.Popen([sys.executable, "-c", text], **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def attached(*arguments):
    result = CliRunner().invoke(command, [*map(str, arguments), "--interval", "0.1", "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_until_it_ends(program, tmp_path):
    """A program is recorded until it ends: its joules, its folder, its command; the recording is found again."""
    busy = program(_BUSY.format(s=1.5), cwd=tmp_path, env={**os.environ, "RANK": "7"})
    reaper = threading.Thread(target=busy.wait, daemon=True)
    reaper.start()

    answer = attached(busy.pid, "--name", "busy", "--zone", "DE")

    recording = wiring.find("busy")
    assert answer["schema_version"] == 1
    assert (answer["role"], answer["run_id"]) == ("attach", recording.run_id)
    assert recording.end.state is EndState.FINISHED
    assert "ended" in recording.end.reason
    assert recording.command[1] == "-c"
    assert recording.metadata["cwd"] == str(tmp_path)
    assert recording.metadata["rank"] == "7"
    assert recording.metadata["zone"] == "DE"
    used = [s for s in recording.ticks.counters["work_cpu_s"] if s is not None]
    assert used[-1] > 0.1
    reaper.join()


def test_for_a_while(program):
    """With --for the recording ends and the program runs on."""
    sleeper = program("import time; time.sleep(60)")

    answer = attached(sleeper.pid, "--for", "0.4s")

    assert "runs on" in answer["reason"]
    assert 0.3 < answer["duration_s"] < 10
    assert sleeper.poll() is None


def test_report(program, tmp_path):
    """With --report the report of this recording is written; a card is printed that says why the recording ended."""
    sleeper = program("import time; time.sleep(60)")
    file = tmp_path / "report.html"

    arguments = [
        str(sleeper.pid),
        "--for",
        "0.3s",
        "--interval",
        "0.1",
        "--name",
        "nap",
        "--report",
        str(file),
    ]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)

    assert result.stdout.startswith("nap · finished in")
    assert "runs on" in result.stdout.splitlines()[0]
    assert wiring.find("nap").run_id in file.read_text()


def test_nowhere_to_write(program, monkeypatch):
    """Where nothing can be kept, that is said, and what was seen is shown all the same."""
    monkeypatch.setenv("JOULEWISE_RUNS", "/proc/nowhere")
    sleeper = program("import time; time.sleep(60)")

    result = CliRunner().invoke(command, [str(sleeper.pid), "--for", "0.3s", "--interval", "0.1"])

    assert result.exit_code == 0
    assert "not everything was kept" in result.stderr
    assert "energy" in result.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(program, number):
    """At Ctrl-C (or SIGTERM) the card is shown, the exit code is 0, and the program runs on."""
    sleeper = program("import time; time.sleep(60)")
    recorder = subprocess.Popen(
        [sys.executable, "-m", "joulewise", "attach", str(sleeper.pid), "--name", "sleeper"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _until(lambda: _handles(recorder.pid, signal.SIGTERM))
    recorder.send_signal(number)
    output, _errors = recorder.communicate(timeout=60)

    assert recorder.returncode == 0
    assert output.startswith("sleeper · finished in")
    assert "the program runs on" in output
    assert sleeper.poll() is None


def test_what_it_used_before_is_not_counted(program):
    """CPU seconds from before are not in the recording."""
    text = _BUSY.format(s=0.6) + "print('done', flush=True)\ntime.sleep(60)"
    sleeper = program(text, stdout=subprocess.PIPE)
    assert sleeper.stdout.readline() == b"done\n"
    sleeper.stdout.close()

    attached(sleeper.pid, "--for", "0.5s", "--name", "later")

    used = [s for s in wiring.find("later").ticks.counters["work_cpu_s"] if s is not None]
    assert used[-1] < 0.2


def test_unknown_process():
    """A process id that nothing has, or can have, is one line."""
    for pid, words in ((2**22 + 5, "there is no process"), (0, "PID is 0"), (-4, "PID is -4")):
        with pytest.raises(UsageError, match=words):
            find_target(pid)


def test_zombie(program):
    """A process that has ended and was not waited for is said to be over."""
    dead = program("pass")
    _until(lambda: b") Z" in Path(f"/proc/{dead.pid}/stat").read_bytes())

    with pytest.raises(UsageError, match=f"ended already: it is a zombie, until its parent {os.getpid()}"):
        find_target(dead.pid)


def test_other_user(program):
    """A process of another user is refused with both names and what to do; root may attach to all."""
    sleeper = program("import time; time.sleep(60)")

    with pytest.raises(UsageError, match=f"belongs to {user_name(os.geteuid())}.*sudo joulewise attach"):
        find_target(sleeper.pid, own_uid=os.geteuid() + 12345)
    assert find_target(sleeper.pid, own_uid=0).pid == sleeper.pid


def test_thread():
    """The id of a thread is refused with that of its process."""
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        with pytest.raises(UsageError, match=f"thread of process {os.getpid()}"):
            find_target(other.native_id or 0)
    finally:
        stop.set()
        other.join()


def test_itself():
    """Joulewise does not record itself: that would never end."""
    with pytest.raises(UsageError, match="itself"):
        find_target(os.getpid())


@pytest.mark.parametrize("pidfd", [True, False])
def test_end_is_seen(program, pidfd):
    """The end of a process is seen by pidfd and without it, also before anybody has waited for it."""
    sleeper = program("import time; time.sleep(60)")
    watched = Watched(Target(sleeper.pid, process_start(sleeper.pid), ()), pidfd=pidfd)

    assert not watched.ended(0.05)
    sleeper.kill()
    assert watched.ended(20.0)
    watched.close()


def test_number_that_was_used_again():
    """A process that has the number but started at another time is not the one that was meant."""
    watched = Watched(Target(os.getpid(), process_start(os.getpid()) - 1, ()))

    assert watched.ended(0.0)
    watched.close()


def test_bad_options(program, tmp_path):
    """A zone, time, interval or file that cannot be is one line, and nothing is recorded."""
    sleeper = program("import time; time.sleep(60)")
    for arguments, kind in (
        (["--zone", "Germny"], UnknownName),
        (["--for", "soon"], UsageError),
        (["--for", "0s"], UsageError),
        (["--interval", "0"], UsageError),
        (["--interval", "nan"], UsageError),
        (["--report", str(tmp_path / "no" / "r.html")], UsageError),
        (["--report", str(tmp_path)], UsageError),
    ):
        result = CliRunner().invoke(command, [str(sleeper.pid), *arguments])
        assert isinstance(result.exception, kind), arguments
    assert wiring.recordings() == []


def test_no_number():
    """What is no number ends with exit code 2 and one line."""
    done = subprocess.run(
        [sys.executable, "-m", "joulewise", "attach", "firefox"], capture_output=True, text=True
    )

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "firefox" in done.stderr


def _until(happens, patience_s=60.0):
    end = time.monotonic() + patience_s
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.02)


def _handles(pid, number):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        mask = next(line for line in file if line.startswith("SigCgt:")).split()[1]
    return bool(int(mask, 16) >> (number - 1) & 1)
