"""The index: looks at little, sees every change, and no damaged recording stops it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from joulewise.ledger import refreshing
from joulewise.ledger.files import RecordingFile, boot_id, process_start, read_recording, run_folder
from joulewise.ledger.index import count_runs, find_run, list_runs
from joulewise.ledger.memory import open_memory
from joulewise.ledger.minutes import minute_means, minutes_of
from joulewise.ledger.refreshing import rebuild, refresh
from joulewise.ledger.store import open_store
from joulewise.testing.ledger_contract import START, summarise, write_recording
from joulewise.vocabulary.errors import LedgerError, UnknownName, UsageError
from joulewise.vocabulary.figures import Basis, Boundary, Figure
from joulewise.vocabulary.recording import Component, Device, EndState, Machine, Recording, Ticks


@pytest.fixture
def store():
    store = open_memory()
    yield store
    store.close()


@pytest.fixture
def reads(monkeypatch):
    """Return the list of recordings that were opened."""
    opened: list[str] = []
    original = read_recording

    def read(folder: Path):
        opened.append(folder.name)
        return original(folder)

    monkeypatch.setattr(refreshing, "read_recording", read)
    return opened


def start_recording(runs: Path, name: str = "running", pid: int | None = None) -> RecordingFile:
    """Begin a recording of this very process, and leave it open."""
    pid = os.getpid() if pid is None else pid
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%S}-{name}-000000"
    file = RecordingFile(run_folder(runs, run_id), f"run-here-{pid}.jsonl")
    file.append("head", format=1, run=run_id, name=name, role="run", host=os.uname().nodename, boot=boot_id(), pid=pid,
                pid_start=process_start(pid), utc=now.isoformat(), mono=1.0, interval_s=1.0, command=["x"])  # fmt: skip
    return file


def settle(runs: Path) -> None:
    """Make every folder of a day look as if it had last changed long ago."""
    for day in runs.iterdir():
        os.utime(day, (1e9, 1e9))


class TestRefresh:
    def test_nothing_there(self, store, tmp_path):
        """A folder of recordings that does not exist yet is an empty one."""
        assert refresh(store, tmp_path / "nothing", summarise) == refreshing.Refreshed(0, 0, 0, ())

    def test_looks_at_little(self, store, tmp_path, reads, monkeypatch):
        """A day that did not change is not scanned, and a recording that has ended is opened once."""
        write_recording(tmp_path, "a")
        settle(tmp_path)
        refresh(store, tmp_path, summarise)
        reads.clear()
        monkeypatch.setattr(refreshing._Scan, "_scan_day", lambda *_: pytest.fail("scanned"))

        assert refresh(store, tmp_path, summarise) == refreshing.Refreshed(0, 0, 0, ())
        assert reads == []

    def test_grain_of_time(self, store, tmp_path):
        """A day scanned within two seconds of its last change is scanned again: a newcomer in the same tick is seen."""
        write_recording(tmp_path, "a")
        day = next(tmp_path.iterdir())
        refresh(store, tmp_path, summarise)
        status = day.stat()
        write_recording(tmp_path, "b")
        os.utime(day, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a coarse clock would leave it

        assert refresh(store, tmp_path, summarise).new == 1

    def test_running_grows_and_ends(self, store, tmp_path):
        """A running recording is read anew as it grows, until it has ended; its minutes come with its end."""
        file = start_recording(tmp_path)
        refresh(store, tmp_path, summarise)
        assert find_run(store, "running").state is EndState.RUNNING
        assert refresh(store, tmp_path, summarise).changed == 0
        file.append("point", t=1.0, values={"loss": 0.5})
        assert refresh(store, tmp_path, summarise).changed == 1
        assert find_run(store, "running").last_point == {"loss": 0.5}
        file.append("end", state="stopped", t=2.0, exit_code=3)
        file.close()
        refresh(store, tmp_path, summarise)

        found = find_run(store, "running")
        assert (found.state, found.exit_code, found.duration_s) == (EndState.STOPPED, 3, 2.0)
        assert store.query("SELECT growing FROM recordings") == [{"growing": 0}]

    def test_process_died(self, store, tmp_path):
        """A recording whose writer was killed is lost at the next refresh, though its file did not change."""
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        start_recording(tmp_path, pid=sleeper.pid).close()
        refresh(store, tmp_path, summarise)
        before = find_run(store, "running").state
        sleeper.kill()
        sleeper.wait()

        assert before is EndState.RUNNING
        assert refresh(store, tmp_path, summarise).changed == 1
        assert find_run(store, "running").state is EndState.LOST
        assert refresh(store, tmp_path, summarise).changed == 0

    def test_large_running_recording(self, store, tmp_path, reads):
        """A large running recording is not read anew for a few more ticks, but at once when it ends."""
        file = start_recording(tmp_path)
        for t in range(1500):
            file.append("note", t=t, kind="a", text="x" * 1000)
        refresh(store, tmp_path, summarise)
        reads.clear()
        file.append("note", t=2000, kind="a", text="small")
        refresh(store, tmp_path, summarise)
        assert reads == []
        file.append("end", state="finished", t=2001.0, exit_code=0)
        file.close()
        refresh(store, tmp_path, summarise)

        assert find_run(store, "latest").state is EndState.FINISHED

    def test_newborn(self, store, tmp_path):
        """A folder whose files are still empty is not damaged: it is about to be a recording."""
        folder = run_folder(tmp_path, "20260301T000000-new-000000")
        folder.mkdir(parents=True)
        assert refresh(store, tmp_path, summarise).damaged == ()
        settle(tmp_path)
        source = write_recording(tmp_path / "other")
        shutil.copy(next(source.iterdir()), folder)

        assert refresh(store, tmp_path, summarise).new == 1
        assert find_run(store, "latest").run_id == folder.name

    def test_damaged_stops_nobody(self, store, tmp_path):
        """Damaged recordings are reported, each with its reason, and read once they are mended."""
        good = write_recording(tmp_path, "good")
        foreign = good.parent / "20260301T999999-foreign"
        foreign.mkdir()
        (foreign / "x.jsonl").write_text('{"hello": "world"}\n')
        future = write_recording(tmp_path, "future")
        path = next(future.iterdir())
        head = b'{"k":"head","format":99}'
        import zlib

        path.write_bytes(b"%s\t%08x\n" % (head, zlib.crc32(head)))

        found = refresh(store, tmp_path, summarise)
        assert found.new == 1
        assert {Path(d.folder).name for d in found.damaged} == {foreign.name, future.name}
        assert any("has format 99" in d.why for d in found.damaged)
        assert len(refresh(store, tmp_path, summarise).damaged) == 2
        shutil.copy(next(good.iterdir()), path)
        mended = refresh(store, tmp_path, summarise)
        assert (mended.new, len(mended.damaged)) == (1, 1)
        shutil.rmtree(foreign)
        assert refresh(store, tmp_path, summarise).damaged == ()

    def test_folder_that_may_not_be_read(self, store, tmp_path, monkeypatch):
        """Recordings that may not be read are one line, and are not taken for deleted."""
        write_recording(tmp_path)
        refresh(store, tmp_path, summarise)

        def refuse(path):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(LedgerError, match=r"cannot look at the recordings in .*: Permission denied"):
            refresh(store, tmp_path, summarise)
        assert count_runs(store) == 1

    def test_summary_that_fails(self, store, tmp_path):
        """A recording on which the arithmetic fails is damaged, the others are listed."""
        write_recording(tmp_path, "good")
        write_recording(tmp_path, "bad")

        def picky(recording):
            if recording.name == "bad":
                raise ZeroDivisionError("by nothing")
            return summarise(recording)

        found = refresh(store, tmp_path, picky)

        assert [s.name for s in list_runs(store)] == ["good"]
        assert found.damaged[0].why == "ZeroDivisionError: by nothing"

    def test_day_deleted(self, store, tmp_path):
        """A whole day that was deleted is forgotten, and so is a running recording's folder."""
        write_recording(tmp_path, "a")
        write_recording(tmp_path, "b", at=START + timedelta(days=1))
        start_recording(tmp_path).close()
        refresh(store, tmp_path, summarise)
        for day in tmp_path.iterdir():
            shutil.rmtree(day)

        assert refresh(store, tmp_path, summarise).forgotten == 3
        assert list_runs(store) == []

    def test_home_moved(self, store, tmp_path, reads):
        """Recordings that moved with their home are known again without being opened, and found at the new place."""
        write_recording(tmp_path / "old", "a")
        refresh(store, tmp_path / "old", summarise)
        (tmp_path / "old").rename(tmp_path / "new")
        reads.clear()
        refresh(store, tmp_path / "new", summarise)

        assert reads == []
        assert Path(find_run(store, "a").folder).is_relative_to(tmp_path / "new")
        assert count_runs(store) == 1
        assert len(store.query("SELECT * FROM shards")) == 1

    def test_two_homes(self, store, tmp_path):
        """Recordings of two folders stand side by side; refreshing one forgets nothing of the other."""
        write_recording(tmp_path / "one", "a")
        write_recording(tmp_path / "two", "b")
        refresh(store, tmp_path / "one", summarise)
        refresh(store, tmp_path / "two", summarise)
        refresh(store, tmp_path / "one", summarise)

        assert count_runs(store) == 2

    def test_copied_folder(self, store, tmp_path):
        """A copy of a recording under another name is one more recording."""
        folder = write_recording(tmp_path, "a")
        shutil.copytree(folder, folder.with_name(folder.name + "-copy"))
        refresh(store, tmp_path, summarise)

        assert {s.run_id for s in list_runs(store)} == {folder.name, folder.name + "-copy"}

    def test_strange_text(self, store, tmp_path):
        """A command that is not UTF-8 and a name with a zero byte are listed, and lost to nobody."""

        def odd(recording):
            return replace(summarise(recording), name="a\0b", command=os.fsdecode(b"train \xff"))

        write_recording(tmp_path)
        assert refresh(store, tmp_path, odd).new == 1
        assert (list_runs(store)[0].name, list_runs(store)[0].command) == ("a\\x00b", "train \\udcff")

    def test_figures_come_back(self, store, tmp_path):
        """Figures come back with value, interval, basis and boundary; unknown ones as None."""
        energy = Figure(5.0, 4.0, 7.0, Basis.MODELLED, boundary=Boundary.WALL)

        def known(recording):
            return replace(summarise(recording), energy_j=energy, idle_j=None, machine_j=energy.scaled(2))

        write_recording(tmp_path)
        refresh(store, tmp_path, known)
        listed = list_runs(store)[0]

        assert (listed.energy_j, listed.idle_j, listed.machine_j) == (energy, None, energy.scaled(2))

    def test_many_processes(self, tmp_path):
        """Four processes that refresh one file at the same time make no error and agree."""
        check_many_processes(str(tmp_path / "ledger.db"), tmp_path / "runs")

    @pytest.mark.service
    def test_many_processes_on_a_server(self, tmp_path, postgres_url):
        """On PostgreSQL neither: lines are written in the order of their ids, so nobody waits in a circle."""
        check_many_processes(postgres_url, tmp_path / "runs")


def check_many_processes(place: str, runs: Path) -> None:
    for number in range(60):
        write_recording(runs, f"r{number}", at=START + timedelta(hours=number))
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from joulewise.ledger.refreshing import rebuild, refresh\n"
        "from joulewise.ledger.store import open_store\n"
        "from joulewise.testing.ledger_contract import summarise\n"
        "store = open_store(sys.argv[1])\n"
        "for _ in range(3): refresh(store, Path(sys.argv[2]), summarise)\n"
        "rebuild(store, Path(sys.argv[2]), summarise)\n"
    )
    command = [sys.executable, "-c", program, place, str(runs)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [worker.communicate()[1] for worker in workers]
    store = open_store(place)

    assert errors == [b""] * 4
    assert count_runs(store) == 60
    store.close()


class TestList:
    @pytest.fixture
    def filled(self, store, tmp_path):
        names = ["digits", "digits-long", "resnet"]
        for number, name in enumerate(names):
            write_recording(
                tmp_path,
                name,
                at=START + timedelta(hours=number),
                end="failed" if number == 2 else "finished",
            )
        refresh(store, tmp_path, summarise)
        return store

    def test_order_and_pages(self, filled):
        """Newest first; limit and offset cut a page; None lists all."""
        assert [s.name for s in list_runs(filled, limit=2)] == ["resnet", "digits-long"]
        assert [s.name for s in list_runs(filled, limit=2, offset=2)] == ["digits"]
        assert [s.name for s in list_runs(filled, limit=None, order="oldest")] == [
            "digits",
            "digits-long",
            "resnet",
        ]
        with pytest.raises(UnknownName, match="unknown order 'newst'; did you mean newest"):
            list_runs(filled, order="newst")

    def test_filters(self, filled):
        """Filters narrow together, and the count agrees with the list."""
        assert [s.name for s in list_runs(filled, name="digits")] == ["digits-long", "digits"]
        assert [s.name for s in list_runs(filled, state=EndState.FAILED)] == ["resnet"]
        assert [s.name for s in list_runs(filled, since=START + timedelta(hours=1), name="digits")] == [
            "digits-long"
        ]
        assert count_runs(filled, text="DIGITS") == 2
        assert count_runs(filled, text="_") == 0
        assert count_runs(filled) == 3

    def test_find(self, filled):
        """`latest`, an id, the beginning of an id, a name and the beginning of a name find their recording."""
        digits = list_runs(filled, name="digits", order="oldest")[0]

        assert find_run(filled, "latest").name == "resnet"
        assert find_run(filled, digits.run_id) == digits
        assert find_run(filled, digits.run_id[:14]) == digits
        assert find_run(filled, "digits") == digits
        assert find_run(filled, "res").name == "resnet"
        assert find_run(filled, "digits-").name == "digits-long"

    def test_find_nothing(self, filled, store):
        """What names nothing, or several, is one line with what could be meant."""
        with pytest.raises(UnknownName, match="unknown recording 'resent'; did you mean resnet"):
            find_run(filled, "resent")
        with pytest.raises(UsageError, match="'dig' could be any of digits, digits-long; write more of it"):
            find_run(filled, "dig")
        with pytest.raises(UsageError, match="'2026' could be any of 20260301T14"):
            find_run(filled, "2026")
        with pytest.raises(UnknownName):
            find_run(filled, "")

    def test_find_in_nothing(self, store):
        """An empty ledger says how to make a recording."""
        with pytest.raises(UsageError, match="there is no recording yet; make one: joulewise run -- COMMAND"):
            find_run(store, "latest")

    def test_rebuild_finds_all(self, filled, tmp_path):
        """A rebuild of a spoilt index gives what a first refresh gave."""
        before = list_runs(filled)
        filled.execute("UPDATE recordings SET name = 'spoilt', energy_j = 0")

        assert rebuild(filled, tmp_path, summarise).new == 3
        assert list_runs(filled) == before


class TestMinutes:
    @staticmethod
    def recording(ticks: Ticks, *devices: Device) -> Recording:
        machine = Machine("h", None, None, None, None)
        end = index_end(ticks.t_s[-1])
        return Recording(
            "r", "n", "run", START, "h-1", (), {}, {}, machine, devices, (), ticks, (), (), (), end, 1.0
        )

    def test_means(self):
        """Constant power is that power in every minute, the last and partial one included."""
        times = [float(t) for t in range(151)]
        ticks = Ticks(times, {"d": [10.0 * t for t in times]}, {}, {})

        means = minute_means(self.recording(ticks, device("d")))

        assert [(m.minute, m.component) for m in means] == [(n, Component.CPU) for n in range(3)]
        assert [m.mean_w for m in means] == pytest.approx([10.0] * 3)

    def test_gap(self):
        """Readings that are missing lose detail and no energy: minutes times means give the joules."""
        ticks = Ticks([0.0, 30.0, 60.0, 90.0, 180.0], {"d": [0.0, 300.0, None, None, 4800.0]}, {}, {})

        means = minute_means(self.recording(ticks, device("d")))

        assert sum(m.mean_w * 60 for m in means) == pytest.approx(4800.0)

    def test_parts_are_not_added_twice(self):
        """What another device contains is left out, devices of a component add up, the node stands apart."""
        ticks = Ticks(
            [0.0, 60.0],
            {"a": [0.0, 60.0], "b": [0.0, 120.0], "core": [0.0, 30.0], "node": [0.0, 600.0]},
            {},
            {},
        )
        devices = (
            device("a"),
            device("b"),
            device("core", within="a"),
            device("node", component=Component.NODE),
        )

        means = minute_means(self.recording(ticks, *devices))

        assert [(m.component, m.mean_w) for m in means] == [(Component.CPU, 3.0), (Component.NODE, 10.0)]

    def test_missing_part(self):
        """Where one of two packages tells nothing there is no mean, rather than half of one."""
        ticks = Ticks([0.0, 60.0, 120.0], {"a": [0.0, 60.0, 120.0], "b": [0.0, 60.0, None]}, {}, {})

        means = minute_means(self.recording(ticks, device("a"), device("b")))

        assert [(m.minute, m.mean_w) for m in means] == [(0, 2.0)]

    def test_kept(self, store, tmp_path):
        """The ledger gives back the minutes of a recording that has ended."""
        folder = write_recording(tmp_path)
        refresh(store, tmp_path, summarise)

        assert [(m.minute, m.mean_w) for m in minutes_of(store, folder.name)] == [(0, 50.0), (1, 50.0)]


def device(name: str, component: Component = Component.CPU, within: str = "") -> Device:
    return Device(name, component, "test", Basis.MEASURED, Boundary.DEVICE, 0.0, 0.0, "test", within=within)


def index_end(t_s: float):
    from joulewise.vocabulary.recording import End

    return End(EndState.FINISHED, t_s, 0)
