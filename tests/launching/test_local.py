"""Local processes: started as a shell starts them, waited for, signalled, ended with their tree."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulewise.launching import local
from joulewise.launching.local import Ended, LocalProcess, forwardable, spawn
from joulewise.launching.processes import CannotStart

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are tested on Linux")


@pytest.fixture(autouse=True)
def mask() -> Iterator[None]:
    """Give back the signal mask that a test's processes changed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    while signal.sigtimedwait(forwardable() | {signal.SIGCHLD}, 0) is not None:
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait(process: LocalProcess) -> Ended:
    ended = process.wait(30)
    assert ended is not None
    return ended


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def appears(path: Path) -> str:
    """Return what stands in a file, once it is there."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text.strip()
        time.sleep(0.005)
    raise AssertionError(f"{path} never came")


class TestEnd:
    @pytest.mark.parametrize("code", [0, 1, 7, 125, 255])
    def test_exit_code(self, code):
        """The exit code is the program's."""
        ended = wait(spawn(["sh", "-c", f"exit {code}"]))

        assert (ended.exit_code, ended.signal, ended.code) == (code, None, code)

    @pytest.mark.parametrize("name", ["KILL", "TERM", "INT", "SEGV", "PIPE", "XFSZ"])
    def test_signal(self, name):
        """A killed program tells its signal; a shell shows 128 + n."""
        number = getattr(signal, f"SIG{name}")

        ended = wait(spawn(["sh", "-c", f"kill -{name} $$"]))

        assert (ended.exit_code, ended.signal, ended.code) == (None, number, 128 + number)

    def test_use(self):
        """What it used is what the kernel counted, its waited-for children included."""
        busy = "import time, os\nwhile time.process_time() < 0.2: pass"
        ended = wait(spawn(["sh", "-c", f"{sys.executable} -I -S -c '{busy}'; exit 0"]))

        assert ended.cpu_s >= 0.2
        assert ended.peak_resident_bytes > 1_000_000

    def test_not_yet(self):
        """While the program runs, waiting ends after its time with nothing; afterwards with the same end every time."""
        process = spawn(["sleep", "600"])

        assert process.wait(0.01) is None
        process.send(signal.SIGKILL)
        assert wait(process) == wait(process)
        process.send(signal.SIGTERM)  # nothing happens


class TestRefusal:
    @pytest.mark.parametrize(
        ("command", "words", "code"),
        [
            ("no-such-program-anywhere", "no-such-program-anywhere: command not found", 127),
            ("./no/such/program", "./no/such/program: No such file or directory", 127),
            ("/", "/: Is a directory", 126),
            ("/etc/passwd/x", "/etc/passwd/x: Not a directory", 126),
            ("/etc/passwd", "/etc/passwd: Permission denied", 126),
        ],
    )
    def test_words_and_code(self, command, words, code):
        """What cannot be started is said with the shell's words and exit code."""
        with pytest.raises(CannotStart) as caught:
            spawn([command])

        assert (str(caught.value), caught.value.exit_code) == (words, code)

    def test_binary_of_another_kind(self, tmp_path):
        """A binary that the kernel does not know is refused, and not fed to a shell."""
        path = tmp_path / "binary"
        path.write_bytes(b"\x01\x02\0\x03")
        path.chmod(0o755)

        with pytest.raises(CannotStart, match="Exec format error") as caught:
            spawn([str(path)])
        assert caught.value.exit_code == 126

    def test_mask_is_given_back(self):
        """After a refusal no signal stays blocked."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with pytest.raises(CannotStart):
            spawn(["no-such-program-anywhere"])

        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


class TestTransparency:
    def test_script_without_shebang(self, tmp_path):
        """A script without a first line for the kernel is run by sh, with its arguments."""
        path = tmp_path / "script"
        path.write_text(f'echo "$#:$1" > {tmp_path}/out; exit 3\n')
        path.chmod(0o755)

        assert wait(spawn([str(path), "a b", "c"])).exit_code == 3
        assert appears(tmp_path / "out") == "2:a b"

    def test_mask_of_the_program(self, tmp_path):
        """The program has the signal mask that this process had before, not the one that it has now."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        wait(spawn(["sed", "-n", f"/^SigBlk/w {tmp_path}/out", "/proc/self/status"]))

        assert appears(tmp_path / "out") == f"SigBlk:\t{1 << (signal.SIGUSR2 - 1):016x}"

    def test_python_ignores_what_the_program_does_not(self, tmp_path):
        """SIGPIPE and SIGXFSZ, which Python ignores, have their defaults in the program."""
        wait(spawn(["sh", "-c", f"grep SigIgn /proc/self/status > {tmp_path}/out"]))

        ignored = int(appears(tmp_path / "out").split()[1], 16)
        assert not ignored & (1 << (signal.SIGPIPE - 1))
        assert not ignored & (1 << (signal.SIGXFSZ - 1))

    def test_environment_at_the_limit(self):
        """An environment that our mark makes too large is passed without the mark."""
        plain = {f"V{i}": "x" * 100_000 for i in range(10)}
        process = spawn(["true"], {**plain, local.MARK: "y" * 140_000})

        assert wait(process).exit_code == 0

    def test_locale_of_python(self, monkeypatch, tmp_path):
        """The LC_CTYPE that Python put into its own environment is not the program's."""
        if "LC_CTYPE" in Path("/proc/self/environ").read_text(errors="replace"):
            pytest.skip("this process was born with LC_CTYPE")
        monkeypatch.setenv("LC_CTYPE", "C.UTF-8")
        wait(spawn(["sh", "-c", f"echo ${{LC_CTYPE-none}} > {tmp_path}/out"]))

        assert appears(tmp_path / "out") == "none"


def to_this_thread(number):
    """Send a signal to the thread that waits: a test runner has threads of its own, in which it would not be blocked."""
    signal.pthread_kill(threading.get_ident(), number)


class TestSignals:
    def test_from_a_process(self, tmp_path):
        """A signal that a process sent to this one is passed on."""
        process = spawn(
            ["sh", "-c", f"trap 'exit 7' USR1; echo up > {tmp_path}/up; while :; do sleep 0.01; done"]
        )
        appears(tmp_path / "up")

        to_this_thread(signal.SIGUSR1)

        assert wait(process).exit_code == 7

    def test_what_is_forwardable(self):
        """Everything that somebody may send is passed on; faults of one's own and the unholdable are not."""
        numbers = forwardable()

        assert {
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGALRM,
            signal.SIGWINCH,
        } <= numbers
        assert not {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGCHLD, signal.SIGPIPE} & numbers

    def test_new_size_of_the_screen(self):
        """A new size of the terminal is told to whoever draws on it, and to the program."""
        told: list[str] = []
        process = spawn(["sleep", "600"])
        process.screen = local.Screen(lambda: None, lambda: None, lambda: told.append("size"))
        to_this_thread(signal.SIGWINCH)
        process.wait(0.05)
        process.send(signal.SIGKILL)
        wait(process)

        assert told == ["size"]

    def test_without_sigtimedwait(self, monkeypatch, tmp_path):
        """Where the kernel tells no sender (macOS), signals other than the terminal's own are passed on all the same."""
        monkeypatch.setattr(local, "_SignalQueue", local._PolledSignals)
        process = spawn(
            ["sh", "-c", f"trap 'exit 8' USR1; echo up > {tmp_path}/up; while :; do sleep 0.01; done"]
        )
        appears(tmp_path / "up")
        to_this_thread(signal.SIGUSR1)
        ended = wait(process)
        process.give_back()

        assert ended.exit_code == 8
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL

    def test_forgotten(self):
        """Signals that came after the end can be forgotten."""
        process = spawn(["true"])
        wait(process)
        to_this_thread(signal.SIGTERM)
        process.drain()
        process.give_back()  # would end this process if it were pending


class TestTree:
    def test_members(self, tmp_path):
        """The tree is the process and its descendants, alive."""
        process = spawn(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait"])
        child = int(appears(tmp_path / "pid"))

        assert {pid for pid, _ in process.tree()} == {process.pid, child}
        process.end(5)
        assert not process.tree()
        assert not alive(child)

    def test_marked_daemon(self, tmp_path):
        """A daemon that left the tree belongs to it by its mark, and ends with it."""
        environment = {**os.environ, local.MARK: str(tmp_path)}
        script = f"(setsid sh -c 'echo $$ > {tmp_path}/pid; sleep 600' &) ; while :; do sleep 0.01; done"
        process = spawn(["sh", "-c", script], environment)
        daemon = int(appears(tmp_path / "pid"))

        assert daemon in {pid for pid, _ in process.tree()}
        process.end(5)
        assert not alive(daemon)

    def test_asks_first(self, tmp_path):
        """Whoever ends when asked is not killed, and its exit code tells so."""
        process = spawn(
            ["sh", "-c", f"trap 'exit 5' TERM; echo up > {tmp_path}/up; while :; do sleep 0.01; done"]
        )
        appears(tmp_path / "up")

        assert process.end(20).exit_code == 5

    def test_kills_after_the_grace(self, tmp_path):
        """Whoever ignores SIGTERM is killed after the grace, with its children."""
        script = f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/pid; while :; do sleep 0.01; done"
        process = spawn(["sh", "-c", script])
        child = int(appears(tmp_path / "pid"))

        assert process.end(0.1).signal == signal.SIGKILL
        assert not alive(child)

    def test_orphans_of_the_shell(self, tmp_path):
        """A shell that dies of SIGTERM leaves no child that goes on spending."""
        process = spawn(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait"])
        child = int(appears(tmp_path / "pid"))

        assert process.end(5).signal == signal.SIGTERM
        assert not alive(child)

    def test_stopped_program(self, tmp_path):
        """A stopped program is continued, so that it hears the request."""
        process = spawn(
            ["sh", "-c", f"trap 'exit 6' TERM; echo up > {tmp_path}/up; while :; do sleep 0.01; done"]
        )
        appears(tmp_path / "up")
        process.send(signal.SIGSTOP)

        assert process.end(20).exit_code == 6

    def test_a_group_of_its_own(self, tmp_path):
        """A program that leads a group is asked as a group."""
        code = "import os, time; os.setpgid(0, 0); pid = os.fork(); time.sleep(600)"
        process = spawn([sys.executable, "-I", "-S", "-c", code])
        until = time.monotonic() + 20
        while len(process.tree()) < 2 and time.monotonic() < until:
            time.sleep(0.005)
        members = process.tree()

        assert process.end(5).signal == signal.SIGTERM
        assert not any(alive(pid) for pid, _ in members)
