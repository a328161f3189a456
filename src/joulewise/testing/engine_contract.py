"""What every engine promises, as a test class to inherit: give it a fixture `rig`.

The programs are small Python scripts that talk through their output and through files in `rig.folder`, which the
engine's machines must see. What an engine is not able to do it must refuse, and that is tested, too.
"""

# ruff: noqa: S101 - assertions are what a contract is made of

from __future__ import annotations

import hashlib
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from joulewise.launching.port import (
    BEGIN,
    HOLD,
    PLACE,
    REQUEUE,
    SUSPEND,
    Checkpointing,
    Engine,
    Order,
    Refused,
    Resources,
    State,
    Status,
)

COUNTS = """
import sys, time
for i in range(3000):
    print(i, flush=True)
    time.sleep(0.05)
"""
SAVES = """
import os, signal, sys, time
saved = sys.argv[1]
def save(number, frame):
    with open(saved, "w") as file:
        file.write("half")
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGUSR1, save)
if os.path.exists(saved):
    print("went on from", open(saved).read(), flush=True)
    sys.exit(0)
print("began", flush=True)
while True:
    time.sleep(0.05)
"""
SAYS_GOODBYE = """
import signal, sys, time
def end(number, frame):
    print("goodbye", flush=True)
    open("goodbye", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("began", flush=True)
while True:
    time.sleep(0.05)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("began", flush=True)
while True:
    time.sleep(0.05)
"""
BIG = """
import sys
for i in range(200000):
    sys.stdout.write("%09d joules and not one line is lost\\n" % i)
"""
_LATER = timedelta(hours=1)
_T = TypeVar("_T")


@dataclass
class EngineRig:
    """An engine under test: `again` makes a second one that knows only what a new process would."""

    engine: Engine
    again: Callable[[], Engine]
    folder: Path  # seen by the engine's machines under the same name
    patience_s: float = 30.0
    grace_s: float = 1.0
    keeps_logs: bool = True  # of the start before a requeue
    keys: dict[str, str] = field(default_factory=dict)  # of the handles that were started

    def start(self, program: str, *arguments: str, **fields: Any) -> str:
        """Start a Python program and return its handle."""
        return self.run((sys.executable, "-I", "-S", "-c", program, *arguments), **fields)

    def run(self, argv: tuple[str, ...], **fields: Any) -> str:
        """Start a command and return its handle."""
        order = Order(f"{uuid4().hex}-1", argv, str(self.folder), name="contract", **fields)
        handle = self.engine.start(order)
        self.keys[handle] = order.key
        return handle

    def await_state(self, handle: str, *states: State) -> Status:
        """Return the status as soon as it is one of `states`; fail after the patience."""
        return self._await(lambda: self.engine.status(handle), lambda s: s.state in states, f"to be {states}")

    def await_log(self, handle: str, text: str) -> str:
        """Return the log as soon as `text` is in it."""
        return self._await(
            lambda: self.whole_log(handle),
            lambda log: text in log,
            f"to say {text!r}: {self.engine.status(handle)}",
        )

    def whole_log(self, handle: str) -> str:
        """Return all that was written so far, read piece by piece."""
        told = piece = self.engine.logs(handle)
        while len(piece) == 1 << 20:  # less than that: no more yet
            piece = self.engine.logs(handle, len(told))
            told += piece
        return told.decode()

    def clean(self) -> None:
        """Cancel whatever a test left behind."""
        for handle in self.keys:
            self.engine.cancel(handle, 0.0)

    def _await(self, ask: Callable[[], _T], holds: Callable[[_T], bool], what: str) -> _T:
        until_s = time.monotonic() + self.patience_s
        while not holds(seen := ask()):
            if time.monotonic() > until_s:
                pytest.fail(f"waited {self.patience_s:g} s for the job {what}; it is {str(seen)[-300:]}")
            time.sleep(0.05)
        return seen


def _able(rig: EngineRig, ability: str) -> None:
    if ability not in rig.engine.abilities:
        pytest.skip(f"{rig.engine.name} cannot {ability} here, and says so")


class EngineContract:
    """Inherit it and define the fixture `rig`."""

    def test_runs(self, rig: EngineRig) -> None:
        """A command runs in its folder, with its environment and its arguments as they are, and ends with 0."""
        words = ("two words", 'it\'s "quoted"', "$HOME `date` \\ %j %%", "größer\nnext line", "")
        program = "import os, sys; print(os.getcwd(), os.environ['GREETING'], ascii(sys.argv[1:]))"

        handle = rig.start(program, *words, env={"GREETING": "good day; $USER,\n'"})

        ended = rig.await_state(handle, State.FINISHED, State.LOST, State.CANCELLED)
        assert (ended.state, ended.exit_code, ended.restarts) == (State.FINISHED, 0, 0)
        told = rig.whole_log(handle)
        assert str(rig.folder) in told
        assert "good day; $USER,\n'" in told
        assert ascii(list(words)) in told
        assert not ended.live

    def test_both_streams(self, rig: EngineRig) -> None:
        """What is written to either stream is in the log, and can be read while the program runs."""
        handle = rig.start(
            "import sys, time; print('out', flush=True); print('err', file=sys.stderr, flush=True); time.sleep(60)"
        )

        rig.await_log(handle, "out")
        rig.await_log(handle, "err")
        assert rig.await_state(handle, State.RUNNING).live

    @pytest.mark.parametrize("code", [1, 42, 255])
    def test_exit_codes(self, rig: EngineRig, code: int) -> None:
        """The program's exit code comes back unchanged."""
        handle = rig.start(f"raise SystemExit({code})")

        ended = rig.await_state(handle, State.FINISHED)
        assert ended.exit_code == code

    def test_killed_by_a_signal(self, rig: EngineRig) -> None:
        """A program that a signal kills ends with 128 and the signal's number, as in a shell."""
        handle = rig.start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

        ended = rig.await_state(handle, State.FINISHED)
        assert ended.exit_code == 128 + signal.SIGKILL

    def test_bad_command(self, rig: EngineRig) -> None:
        """A command that does not exist ends with 127, and the log says so."""
        handle = rig.run(("/no/such/command", "--fast"))

        ended = rig.await_state(handle, State.FINISHED)
        assert ended.exit_code == 127
        assert "/no/such/command" in rig.whole_log(handle)

    def test_no_program(self, rig: EngineRig) -> None:
        """A file that is no program ends with 126."""
        (rig.folder / "data.txt").write_text("no program")

        handle = rig.run((str(rig.folder / "data.txt"),))

        assert rig.await_state(handle, State.FINISHED).exit_code == 126

    def test_big_output(self, rig: EngineRig) -> None:
        """Eight megabytes of output come back whole, in pieces of a mebibyte at most."""
        handle = rig.start(BIG)

        rig.await_state(handle, State.FINISHED)
        assert len(rig.engine.logs(handle)) <= 1 << 20
        told = rig.whole_log(handle).encode()
        truth = b"".join(b"%09d joules and not one line is lost\n" % i for i in range(200_000))
        assert hashlib.sha256(told).hexdigest() == hashlib.sha256(truth).hexdigest()

    def test_started_twice(self, rig: EngineRig) -> None:
        """A start repeated under the same key, by whomever, returns the first handle and starts nothing."""
        order = Order(
            key=f"{uuid4().hex}-7",
            argv=(
                sys.executable,
                "-I",
                "-S",
                "-c",
                "print('one copy', flush=True); import time; time.sleep(60)",
            ),
            cwd=str(rig.folder),
        )

        assert rig.engine.find(order.key) is None
        first = rig.engine.start(order)
        rig.keys[first] = order.key
        again = rig.again()
        assert again.start(order) == first
        rig.await_log(first, "one copy")
        assert rig.again().start(order) == first
        assert rig.again().find(order.key) == first
        time.sleep(0.5)
        assert rig.whole_log(first).count("one copy") == 1
        again.cancel(first, 1.0)
        rig.await_state(first, State.CANCELLED)
        assert again.start(order) == first
        assert again.status(first).state is State.CANCELLED

    def test_held(self, rig: EngineRig) -> None:
        """A held job does not run; released, it does. To release it twice is no error."""
        _able(rig, HOLD)
        handle = rig.start("import time; time.sleep(1); print('ran')", held=True)

        assert rig.await_state(handle, State.HELD).live
        time.sleep(1.0)
        assert rig.engine.status(handle).state is State.HELD
        assert rig.whole_log(handle) == ""
        rig.engine.release(handle)
        rig.engine.release(handle)
        assert rig.await_state(handle, State.FINISHED).exit_code == 0

    def test_begin(self, rig: EngineRig) -> None:
        """A job does not start before its begin, and starts when its begin is moved to now."""
        _able(rig, BEGIN)
        handle = rig.start("print('ran')", begin_utc=datetime.now(UTC) + _LATER)

        time.sleep(1.0)
        assert rig.engine.status(handle).state is State.QUEUED
        rig.engine.begin(handle, datetime.now(UTC))
        rig.await_state(handle, State.FINISHED)

    def test_begin_comes(self, rig: EngineRig) -> None:
        """A job starts by itself when its begin has come, and not before."""
        _able(rig, BEGIN)
        begin = datetime.now(UTC) + timedelta(seconds=3)
        handle = rig.start("import time; print(time.time())", begin_utc=begin)

        rig.await_state(handle, State.FINISHED)
        assert float(rig.whole_log(handle)) >= begin.timestamp() - 1.0

    def test_hold_what_waits(self, rig: EngineRig) -> None:
        """A job that waits for its begin can be held and moved; it stays held when its begin comes."""
        _able(rig, BEGIN)
        _able(rig, HOLD)
        handle = rig.start("print('ran')", begin_utc=datetime.now(UTC) + _LATER)

        rig.engine.hold(handle)
        rig.engine.hold(handle)
        rig.await_state(handle, State.HELD)
        rig.engine.begin(handle, datetime.now(UTC))
        time.sleep(1.5)
        assert rig.engine.status(handle).state is State.HELD
        rig.engine.release(handle)
        rig.await_state(handle, State.FINISHED)

    def test_suspend(self, rig: EngineRig) -> None:
        """A suspended program stands still, children too, and goes on where it stood when it is resumed."""
        _able(rig, SUSPEND)
        handle = rig.start(
            "import subprocess, sys; subprocess.run([sys.executable, '-I', '-S', '-c', sys.argv[1]])", COUNTS
        )
        rig.await_log(handle, "5\n")

        rig.engine.suspend(handle)
        rig.engine.suspend(handle)
        rig.await_state(handle, State.SUSPENDED)
        time.sleep(0.3)  # what was written may be on its way
        before = rig.whole_log(handle)
        time.sleep(1.0)
        assert rig.whole_log(handle) == before
        rig.engine.resume(handle)
        rig.engine.resume(handle)
        rig.await_state(handle, State.RUNNING)
        numbers = rig.await_log(handle, f"{len(before.split()) + 5}\n").split()
        assert numbers == [str(i) for i in range(len(numbers))]

    def test_cancel_suspended(self, rig: EngineRig) -> None:
        """A suspended program can be ended, and hears that it is."""
        _able(rig, SUSPEND)
        handle = rig.start(SAYS_GOODBYE)
        rig.await_log(handle, "began")
        rig.engine.suspend(handle)
        rig.await_state(handle, State.SUSPENDED)

        rig.engine.cancel(handle, 20.0)

        rig.await_state(handle, State.CANCELLED)
        assert (rig.folder / "goodbye").exists()

    def test_requeue(self, rig: EngineRig) -> None:
        """A program is asked by its signal, saves its state and is held; released, it goes on from there."""
        _able(rig, REQUEUE)
        handle = rig.start(
            SAVES, str(rig.folder / f"saved-{uuid4().hex}"), checkpointing=Checkpointing(signal.SIGUSR1, 20.0)
        )
        rig.await_log(handle, "began")

        rig.engine.requeue(handle)

        rig.await_state(handle, State.HELD)
        time.sleep(1.0)
        assert rig.engine.status(handle).state is State.HELD
        assert rig.again().start(Order(key=rig.keys[handle], argv=("true",), cwd=str(rig.folder))) == handle
        rig.engine.release(handle)
        ended = rig.await_state(handle, State.FINISHED)
        told = rig.whole_log(handle)
        assert (ended.exit_code, ended.restarts) == (0, 1)
        assert "went on from half" in told
        assert told.find("saved") < told.index("went on from half")
        assert ("saved" in told) == rig.keeps_logs

    def test_requeue_stubborn(self, rig: EngineRig) -> None:
        """A program that does not answer its checkpoint signal is ended after the grace, and can be started anew."""
        _able(rig, REQUEUE)
        handle = rig.start(STUBBORN, checkpointing=Checkpointing(signal.SIGTERM, rig.grace_s))
        rig.await_log(handle, "began")

        rig.engine.requeue(handle)

        rig.await_state(handle, State.HELD)
        rig.engine.cancel(handle)
        rig.await_state(handle, State.CANCELLED)

    def test_no_checkpoint(self, rig: EngineRig) -> None:
        """A program that cannot save its state is never requeued: that is refused, and it runs on."""
        handle = rig.start(COUNTS)
        rig.await_log(handle, "2\n")

        with pytest.raises(Refused):
            rig.engine.requeue(handle)

        said = len(rig.whole_log(handle).split())
        rig.await_log(handle, f"{said + 5}\n")
        assert rig.engine.status(handle).state is State.RUNNING

    def test_cancel(self, rig: EngineRig) -> None:
        """A cancelled program hears SIGTERM first and may say goodbye. To cancel twice is no error."""
        handle = rig.start(SAYS_GOODBYE)
        rig.await_log(handle, "began")

        rig.engine.cancel(handle, 20.0)
        rig.engine.cancel(handle, 20.0)

        ended = rig.await_state(handle, State.CANCELLED)
        assert not ended.live
        assert (rig.folder / "goodbye").exists()
        rig.engine.cancel(handle)
        assert rig.engine.status(handle).state is State.CANCELLED

    def test_cancel_stubborn(self, rig: EngineRig) -> None:
        """A program that does not listen is killed after the grace, and so are its children."""
        handle = rig.start(
            "import subprocess, sys; subprocess.run([sys.executable, '-I', '-S', '-c', sys.argv[1], sys.argv[2]])",
            STUBBORN.replace("import signal, time", "import os, signal, sys, time\nopen(sys.argv[1], 'w').write(str(os.getpid()))"),
            str(rig.folder / "child"),
        )  # fmt: skip
        rig.await_log(handle, "began")

        rig.engine.cancel(handle, rig.grace_s)

        rig.await_state(handle, State.CANCELLED)
        child = Path("/proc", (rig.folder / "child").read_text(), "stat")
        until_s = time.monotonic() + 5
        while child.exists() and child.read_bytes().rpartition(b")")[2].split()[0] != b"Z":
            assert time.monotonic() < until_s, "the child outlived its job"
            time.sleep(0.05)

    def test_cancel_what_waits(self, rig: EngineRig) -> None:
        """A job that has not started never does once it is cancelled."""
        _able(rig, HOLD)
        handle = rig.start("print('ran')", held=True)
        rig.await_state(handle, State.HELD)

        rig.engine.cancel(handle)

        rig.await_state(handle, State.CANCELLED)
        assert rig.whole_log(handle) == ""

    def test_cancel_what_ended(self, rig: EngineRig) -> None:
        """To cancel what has ended changes nothing, and to hold or suspend it is refused."""
        handle = rig.start("print('ran')")
        rig.await_state(handle, State.FINISHED)

        before = rig.engine.status(handle)

        rig.engine.cancel(handle)

        assert rig.engine.status(handle) == before
        assert (before.state, before.exit_code) == (State.FINISHED, 0)
        for ask in (rig.engine.hold, rig.engine.suspend, rig.engine.requeue):
            with pytest.raises(Refused):
                ask(handle)

    def test_wrong_times(self, rig: EngineRig) -> None:
        """What runs is not held, what waits is not suspended: refused in one line that names the job."""
        runs = rig.start(COUNTS)
        rig.await_log(runs, "2\n")
        with pytest.raises(Refused) as refused:
            rig.engine.hold(runs)
        assert "\n" not in str(refused.value)
        if HOLD in rig.engine.abilities:
            waits = rig.start("print('ran')", held=True)
            rig.await_state(waits, State.HELD)
            with pytest.raises(Refused):
                rig.engine.suspend(waits)

    def test_unable(self, rig: EngineRig) -> None:
        """What the engine is not able to do, it refuses in one line, and the job runs on."""
        handle = rig.start(COUNTS, checkpointing=Checkpointing())
        rig.await_log(handle, "2\n")
        asks: dict[str, Callable[[], object]] = {
            BEGIN: lambda: rig.engine.start(
                Order("x", ("true",), str(rig.folder), begin_utc=datetime.now(UTC) + _LATER)
            ),
            HOLD: lambda: rig.engine.start(Order("x", ("true",), str(rig.folder), held=True)),
            SUSPEND: lambda: rig.engine.suspend(handle),
            REQUEUE: lambda: rig.engine.requeue(handle),
            PLACE: lambda: rig.engine.place(handle, ("n1",)),
        }

        for ability in asks.keys() - rig.engine.abilities:
            with pytest.raises(Refused) as refused:
                asks[ability]()
            assert "\n" not in str(refused.value)

        assert rig.await_state(handle, State.RUNNING).live
        assert rig.engine.find("x") is None

    def test_unknown_handle(self, rig: EngineRig) -> None:
        """A handle that the engine never gave out is refused, whatever is asked."""
        asks = (rig.engine.status, rig.engine.logs, rig.engine.cancel, rig.engine.release, rig.engine.resume)
        for handle in ("", "999999999", "nobody/knows", "../../etc"):
            for ask in asks:
                with pytest.raises(Refused):
                    ask(handle)

    def test_impossible_order(self, rig: EngineRig) -> None:
        """What no machine here could run is refused in one line, and nothing is half-submitted."""
        order = Order(
            f"{uuid4().hex}-1", ("true",), str(rig.folder), resources=Resources(cpus=4000, nodes=2000)
        )

        with pytest.raises(Refused) as refused:
            rig.engine.start(order)

        assert "\n" not in str(refused.value)
        assert rig.engine.find(order.key) is None

    def test_logs_by_offset(self, rig: EngineRig) -> None:
        """A log can be read on from any byte, and past its end there is nothing."""
        handle = rig.start("print('0123456789')")
        rig.await_state(handle, State.FINISHED)
        rig.await_log(handle, "9\n")

        whole = rig.whole_log(handle)
        at = whole.index("0123456789")
        assert rig.engine.logs(handle, at + 4) == whole[at + 4 :].encode()
        assert rig.engine.logs(handle, len(whole)) == b""
        assert rig.engine.logs(handle, len(whole) + 1000) == b""

    def test_delays(self, rig: EngineRig) -> None:
        """Delays are seconds, never below zero."""
        told = rig.engine.delays()

        assert min(told.start_s, told.requeue_s, told.wake_s) >= 0
