"""Promise 1: whatever a program does, it does the same under `joulewise run`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli import nasty
from tests.cli.nasty import NASTY, Nasty

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="transparency is promised and tested on Linux"
)
JOULEWISE = (sys.executable, "-m", "joulewise", "run", "--quiet", "--")


def as_a_shell(code: int) -> int:
    """Return the exit code as a shell shows it: 128 + n for a signal, which is what joulewise returns."""
    return 128 - code if code < 0 else code


@pytest.mark.parametrize("program", NASTY, ids=[n.name for n in NASTY])
def test_same_as_without(program: Nasty, tmp_path: Path):
    """Exit code and every byte of both outputs are those of the program alone."""
    seen = []
    for joulewise in (False, True):
        folder = tmp_path / ("recorded" if joulewise else "alone") / "folder"
        folder.mkdir(parents=True)
        seen.append(nasty.run(program, folder, joulewise))
        alive = nasty.clean_up(folder)
        assert alive == (folder / "daemon.pid").exists()
    alone, recorded = seen

    def neutral(text: bytes) -> bytes:
        return re.sub(re.escape(str(tmp_path).encode()) + rb"/[a-z]*/", b"/", text)

    assert as_a_shell(recorded.code) == as_a_shell(alone.code)
    assert without_ours(neutral(recorded.out)) == neutral(alone.out)
    assert neutral(recorded.err) == neutral(alone.err)


def without_ours(text: bytes) -> bytes:
    """Take out the two variables that joulewise adds, where a program prints its whole environment."""
    return re.sub(rb"(JOULEWISE_RECORDING=|PYTHONPATH=[^\n:]*/agent/boot)[^\n]*\n", b"", text)


def test_enough_programs():
    """There are many nasty programs, each with a name of its own."""
    assert len({n.name for n in NASTY}) == len(NASTY) >= 60


READY = "import signal, sys, time\n{}\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)"


def start(code: str, *, group: bool = False, command: tuple[str, ...] = JOULEWISE) -> subprocess.Popen[bytes]:
    """Start Python code under joulewise and wait until it says that it is ready."""
    running = subprocess.Popen(
        [*command, *nasty.python(READY.format(code))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=group,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    return running


def finish(running: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Wait for its end and return the exit code and what it printed."""
    out, _ = running.communicate(timeout=30)
    return running.returncode, out


TRAP = "signal.signal(signal.{0}, lambda *_: (print('heard', flush=True), sys.exit(7)))"


@pytest.mark.parametrize(
    "name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGWINCH", "SIGCONT"]
)
def test_signal_to_joulewise_reaches_the_program(name: str):
    """A signal sent to joulewise alone is heard by the program, once, and its exit code is what counts."""
    running = start(TRAP.format(name))
    os.kill(running.pid, getattr(signal, name))

    assert finish(running) == (7, b"heard\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGQUIT"])
def test_program_dies_of_the_signal(name: str):
    """A program that a passed-on signal kills gives 128 + n."""
    number = getattr(signal, name)
    running = start(f"signal.signal(signal.{name}, signal.SIG_DFL)")
    os.kill(running.pid, number)

    assert finish(running) == (128 + number, b"")


def test_signal_to_the_group():
    """A signal to the whole group ends both, and the exit code tells it."""
    running = start("signal.signal(signal.SIGINT, signal.SIG_DFL)", group=True)
    os.killpg(running.pid, signal.SIGINT)

    assert finish(running)[0] == 130


def test_ignored_signal_changes_nothing():
    """A program that ignores SIGTERM lives on under joulewise, and so does joulewise."""
    running = start(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5))"
    )
    os.kill(running.pid, signal.SIGTERM)
    os.kill(running.pid, signal.SIGUSR1)

    assert finish(running)[0] == 5


def test_killed_joulewise_leaves_the_program_alone(tmp_path: Path):
    """After `kill -9` of joulewise the program goes on."""
    running = start(f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))")
    running.kill()
    running.wait()
    program = int((tmp_path / "pid").read_text())

    os.kill(program, 0)  # alive
    os.kill(program, signal.SIGKILL)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    running.stderr.close()


def test_full_disk(tmp_path: Path):
    """On a full disk the program's code and bytes are the same, and nothing hangs."""
    if os.geteuid() != 0:
        pytest.skip(
            "to make a small file system needs root; a limit on file size stands in (see the nasty programs)"
        )
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=16k tmpfs {disk} || exit 99; head -c 100000 /dev/zero > {disk}/fill 2>/dev/null; exec "$@"'
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            script,
            "sh",
            *JOULEWISE,
            "sh",
            "-c",
            "echo out; echo err >&2; sleep 0.3; exit 9",
        ],
        env={**os.environ, "JOULEWISE_HOME": str(disk / "home")},
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode in (1, 99):
        pytest.skip(f"no private file system can be mounted here: {done.stderr.decode().strip()}")

    assert (done.returncode, done.stdout, done.stderr) == (9, b"out\n", b"err\n")


def test_read_only_disk(tmp_path: Path):
    """With a home that nobody can write to, the program's code and bytes are the same."""
    if os.geteuid() != 0:
        home = tmp_path / "home"
        home.mkdir(mode=0o500)
        command: list[str] = [*JOULEWISE, "sh", "-c", "echo out; exit 9"]
    else:
        home = tmp_path / "home"
        home.mkdir()
        script = f'mount -t tmpfs -o ro tmpfs {home} || exit 99; exec "$@"'
        command = ["unshare", "-m", "sh", "-c", script, "sh", *JOULEWISE, "sh", "-c", "echo out; exit 9"]
    done = subprocess.run(
        command, env={**os.environ, "JOULEWISE_HOME": str(home)}, capture_output=True, timeout=60, check=False
    )
    if done.returncode in (1, 99):
        pytest.skip(f"no private file system can be mounted here: {done.stderr.decode().strip()}")

    assert (done.returncode, done.stdout, done.stderr) == (9, b"out\n", b"")


@pytest.mark.parametrize(
    "fault",
    [
        "import joulewise.cli.session as s; s.Session.__init__ = lambda *_: 1 / 0",
        "import joulewise.cli.session as s; s.Session.look = lambda *_: 1 / 0; s.Session.wait_s = lambda *_: 0.05",
        "import joulewise.cli.session as s; s.Session.close = lambda *_: 1 / 0",
        "import joulewise.measuring.recorder as r; r.Recorder._tick = lambda *_: 1 / 0",
        "import joulewise.measuring.recorder as r; r.Recorder._open = lambda *_: 1 / 0",
        "import joulewise.measuring.recorder as r; r.Recorder.stop = lambda *a, **k: 1 / 0",
        "import joulewise.measuring.recorder as r; r.Recorder.start = lambda *_: (_ for _ in ()).throw(MemoryError())",
        "import joulewise.wiring as w; w.recorder = None",
        "import joulewise.wiring as w; w.account = lambda *a: [][1]",
        "import sys; sys.modules['joulewise.wiring'] = None",
        "import threading; threading.Thread.start = lambda *_: (_ for _ in ()).throw(RuntimeError('no threads'))",
    ],
)
def test_any_fault_of_ours(fault: str):
    """Whatever fails in the recorder, the program's code and bytes stay, and no traceback is shown."""
    code = f"{fault}\nfrom joulewise.cli.run import main\nimport sys\nmain(['--', 'sh', '-c', 'echo out; echo err >&2; sleep 0.2; exit 9'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (9, b"out\n")
    assert b"Traceback" not in done.stderr
    assert b"err\n" in done.stderr


def test_hanging_meter():
    """A meter that never answers keeps nobody from ending: two seconds, not more."""
    code = (
        "import joulewise.measuring.recorder as r, time\nr.Recorder._tick = lambda *_: time.sleep(600)\n"
        "from joulewise.cli.run import main\nmain(['--quiet', '--', 'sh', '-c', 'exit 9'])"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (9, b"", b"")
    assert time.monotonic() - began < 20


def test_stderr_that_nobody_reads():
    """A reader that never reads the card keeps nobody from ending."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 65536)
    except BlockingIOError:
        pass
    os.set_blocking(write, True)
    command = [*JOULEWISE[:-2], "--", "sh", "-c", "exit 9"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=write, timeout=60, check=False)
    os.close(read)
    os.close(write)

    assert (done.returncode, done.stdout) == (9, b"")


def test_as_process_one():
    """As process 1 of a container it passes signals on, waits for adopted zombies and gives the code."""
    if os.geteuid() != 0:
        pytest.skip("a process namespace of one's own needs root")
    script = """
        sh -c '(sleep 0.05; exit 3) & exit 0'; sleep 0.3
        for look in $(seq 40); do
            zombies=$(ps -eo stat= 2>/dev/null | grep -c Z); [ "$zombies" = 0 ] && break; sleep 0.1
        done
        echo "$zombies"; exit 9"""
    done = subprocess.run(
        ["unshare", "-p", "-f", "--mount-proc", *JOULEWISE, "sh", "-c", script],
        capture_output=True,
        timeout=60,
        check=False,
    )
    if b"unshare" in done.stderr:
        pytest.skip(f"no process namespace here: {done.stderr.decode().strip()}")

    assert (done.returncode, done.stdout, done.stderr) == (9, b"0\n", b"")
