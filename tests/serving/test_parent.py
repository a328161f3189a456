"""The parent waits without a CPU second, starts a worker when somebody asks, and replaces one that was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from joulewise.serving.places import activated, listen

PROGRAM = str(find_spec("joulewise.serving.parent").origin)
# a worker: answers one connection with its pid and what it was handed, then ends with the code that it is sent
WORKER = """
import os, socket, sys
s = socket.socket(fileno=3)
told = os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] == str(os.getpid()), os.environ["JOULEWISE_PARENT"] == str(os.getppid())
while True:
    c, _ = s.accept()
    c.sendall(repr((os.getpid(), *told)).encode() + b"\\n")
    code = c.recv(10)
    if code:
        os._exit(int(code))
"""


@contextmanager
def parent(worker=WORKER, *options, program=(PROGRAM,)):
    with listen("127.0.0.1", 0) as listening:
        listening.listen(50)
        listening.set_inheritable(True)
        process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                *program,
                *options,
                str(listening.fileno()),
                sys.executable,
                "-c",
                worker,
            ],
            pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process, listening.getsockname()[1]
        finally:
            process.kill()
            process.communicate()


def ask(port, code=b""):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        told = s.makefile().readline()
        s.sendall(code or b" ")
        if not code.strip():
            s.shutdown(socket.SHUT_WR)
        return eval(told)


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_wakes_again():
    """A worker that ended with 0 leaves the parent asleep; the next connection has a new one, with the sockets handed over."""
    with parent() as (process, port):
        first, *told = ask(port, b"0")
        assert told == ["1", True, True]
        second, *_ = ask(port, b"0")
        assert second != first
        while children(process.pid) or "poll" not in Path(f"/proc/{process.pid}/wchan").read_text():
            time.sleep(0.01)
        used = Path(f"/proc/{process.pid}/schedstat").read_text()
        time.sleep(0.3)
        assert Path(f"/proc/{process.pid}/schedstat").read_text() == used  # not one wake-up
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_small():
    """Asleep, the parent holds less than 10 MB of its own."""
    with parent() as (process, port):
        ask(port, b"0")
        while children(process.pid):
            pass
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        pss_kb = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        assert pss_kb < 10_000


def test_killed():
    """A worker that is killed is told, and the next connection is answered by another."""
    with parent() as (process, port):
        first, *_ = ask(port, b"0")
        second = socket.create_connection(("127.0.0.1", port), timeout=20)
        pid = eval(second.makefile().readline())[0]
        os.kill(pid, signal.SIGKILL)
        second.close()
        third, *_ = ask(port, b"0")
        assert len({first, pid, third}) == 3
        process.send_signal(signal.SIGTERM)
        _out, err = process.communicate(timeout=20)
        assert err == "joulewise: the worker ended with signal 9; the next request starts another one\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_handed_on(number):
    """A signal while a worker is there goes to the worker, and its code is the parent's."""
    worker = "import signal, os, sys, socket\n" + f"signal.signal({int(number)}, lambda *_: os._exit(7))\n"
    worker += "c, _ = socket.socket(fileno=3).accept()\nc.sendall(b'(1,)\\n')\nsignal.pause()"
    with parent(worker) as (process, port), socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.makefile().readline()
        process.send_signal(number)
        assert process.wait(20) == 7


def test_wrong_use_ends_the_parent():
    """A first worker that was used wrongly ends the parent, too: nothing is tried again and again."""
    with parent("raise SystemExit(2)") as (process, _port):
        assert process.wait(20) == 2


def test_once():
    """Where somebody else waits on the sockets, the parent ends with its last worker, and the sockets stay his."""
    with parent(WORKER, "--once") as (process, port):
        first, *told = ask(port, b"0")
        assert told == ["1", True, True]
        assert first != process.pid
        assert process.wait(20) == 0
        socket.create_connection(("127.0.0.1", port)).close()


ELSEWHERE = """
import posix, runpy, _socket, sys
for module, names in ((posix, ("memfd_create", "pipe2")), (_socket, ("SOCK_SEQPACKET", "MSG_CMSG_CLOEXEC"))):
    for name in names:
        delattr(module, name)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_elsewhere():
    """Without what only Linux has, the parent sleeps, wakes, tells of a killed worker and hands signals on all the same."""
    with parent(program=("-c", ELSEWHERE, PROGRAM)) as (process, port):
        first, *told = ask(port, b"0")
        assert told == ["1", True, True]
        while children(process.pid):
            time.sleep(0.01)
        second = socket.create_connection(("127.0.0.1", port), timeout=20)
        pid = eval(second.makefile().readline())[0]
        assert pid != first
        os.kill(pid, signal.SIGKILL)
        second.close()
        ask(port, b"0")
        process.send_signal(signal.SIGTERM)
        _out, err = process.communicate(timeout=20)
        assert err == "joulewise: the worker ended with signal 9; the next request starts another one\n"


def test_activated(monkeypatch):
    """Sockets are taken from the environment only by the process that they are meant for."""
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert activated() == ([], False)
    assert "LISTEN_FDS" not in os.environ
    assert activated() == ([], False)
