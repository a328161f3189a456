"""Pushing: nothing lost, nothing twice, whoever sends, is killed or goes away; and any machine can read it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from joulewise.ledger import bodies, pushing
from joulewise.ledger.bodies import append, contents, held, mark_of, read_body, replace, seal
from joulewise.ledger.files import RecordingFile, boot_id, process_start, read_recording, run_folder
from joulewise.ledger.index import count_runs, find_run, list_runs
from joulewise.ledger.memory import open_memory
from joulewise.ledger.pushing import push, unsent
from joulewise.ledger.refreshing import rebuild, refresh
from joulewise.ledger.store import open_store
from joulewise.testing.ledger_contract import summarise, write_recording
from joulewise.vocabulary.errors import LedgerError, RecordingError
from joulewise.vocabulary.recording import EndState

pytestmark = pytest.mark.service


@pytest.fixture
def ledger(postgres_url):
    store = open_store(postgres_url)
    yield store
    store.close()


@pytest.fixture
def on_host(monkeypatch):
    """Return a function that makes this process one of another machine."""

    def become(name: str) -> None:
        real = os.uname()
        monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename=name, release=real.release, sysname="Linux", machine=real.machine))  # fmt: skip

    return become


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def begin(runs: Path, name: str = "growing", host: str = "") -> RecordingFile:
    """Begin a recording of this very process and leave it open."""
    run_id = f"20260301T120000-{name}-00000000aa"
    file = RecordingFile(run_folder(runs, run_id), "run-here-1.jsonl")
    file.append("head", format=1, run=run_id, name=name, role="run", host=host or os.uname().nodename, boot=boot_id(),
                pid=os.getpid(), pid_start=process_start(os.getpid()), utc="2026-03-01T12:00:00+00:00", mono=1.0)  # fmt: skip
    file.append("columns", devices=["rapl:0"], counters=[], gauges=[])
    return file


class TestPush:
    def test_every_byte_is_there_once(self, ledger, tmp_path):
        """What was pushed is the files, byte by byte; pushing again sends nothing."""
        folders = [write_recording(tmp_path, name) for name in ("a", "b", "c")]

        first, second = push(ledger, tmp_path, summarise), push(ledger, tmp_path, summarise)

        assert (first.recordings, first.waiting, first.refused) == (3, 0, ())
        assert first.sent_bytes == sum(len(b) for f in folders for b in bytes_of(f).values())
        assert (second.recordings, second.sent_bytes, unsent(ledger, tmp_path)) == (0, 0, 0)
        for folder in folders:
            assert contents(ledger, folder.name) == bytes_of(folder)

    def test_another_machine_reads_it(self, ledger, tmp_path, on_host):
        """A recording is read from the ledger where its folder is not, and is the same."""
        folder = write_recording(tmp_path / "n1")
        on_host("n1")
        push(ledger, tmp_path / "n1", summarise)
        on_host("n2")
        refresh(ledger, tmp_path / "n2", summarise)
        told = find_run(ledger, "digits")

        assert told.folder.startswith("n1:")
        assert read_body(ledger, told.run_id) == read_recording(folder)

    def test_growing(self, ledger, tmp_path):
        """A recording that goes on is sent line by line, never half of one, and sealed when it has ended."""
        file = begin(tmp_path)
        folder = file.folder
        assert folder is not None
        for tick in range(5):
            file.append("tick", t=float(tick), j=[10.0 * tick], c=[], g=[])
            with open(folder / "run-here-1.jsonl", "ab") as torn:
                torn.write(b'{"k":"ti')  # the next line is being written
            sent = push(ledger, tmp_path, summarise)
            assert (sent.waiting, sent.recordings) == (1, 1)
            assert read_body(ledger, folder.name).ticks.t_s == [float(t) for t in range(tick + 1)]
            os.truncate(folder / "run-here-1.jsonl", (folder / "run-here-1.jsonl").stat().st_size - 8)
        assert held(ledger, folder.name)["run-here-1.jsonl"].parts == 5
        file.append("end", state="finished", t=5.0, exit_code=0)
        file.close()

        assert push(ledger, tmp_path, summarise).waiting == 0
        assert held(ledger, folder.name)["run-here-1.jsonl"].parts == 1
        assert contents(ledger, folder.name) == bytes_of(folder)
        assert find_run(ledger, "growing").state is EndState.FINISHED

    def test_two_senders_of_one_folder(self, ledger, tmp_path, postgres_url, on_host, monkeypatch):
        """What two nodes of a cluster see on one disk is there once, although both send it at once."""
        folder = write_recording(tmp_path)
        monkeypatch.setattr(pushing, "PART_BYTES", 64)
        other = open_store(postgres_url)
        real = append
        turn: list[int] = []

        def contested(store, *rest):
            if not turn:  # the other sends all of it in the moment before our first part
                turn.append(1)
                on_host("n2")
                push(other, tmp_path, summarise)
                on_host("n1")
            return real(store, *rest)

        monkeypatch.setattr(pushing, "append", contested)
        on_host("n1")
        push(ledger, tmp_path, summarise)
        other.close()

        assert contents(ledger, folder.name) == bytes_of(folder)

    def test_killed_anywhere(self, ledger, tmp_path, monkeypatch):
        """Whatever statement a sender dies at, the next push completes it: nothing lost, nothing twice."""
        monkeypatch.setattr(pushing, "PART_BYTES", 400)
        folder = write_recording(tmp_path)
        statements = 0
        real = type(ledger).execute

        class Killed(Exception):
            pass

        def dying(at):
            nonlocal statements
            statements = 0

            def execute(self, sql, *rows):
                nonlocal statements
                statements += 1
                if statements == at:
                    raise Killed
                return real(self, sql, *rows)

            return execute

        died = 0
        for at in range(1, 200):
            bodies.forget(ledger, folder.name)
            ledger.execute("DELETE FROM recordings")
            ledger.execute("DELETE FROM shards")
            ledger.execute("DELETE FROM unsent")
            monkeypatch.setattr(type(ledger), "execute", dying(at))
            try:
                push(ledger, tmp_path, summarise)
            except Killed:
                died += 1
            else:
                break
            finally:
                monkeypatch.setattr(type(ledger), "execute", real)
            push(ledger, tmp_path, summarise)
            assert contents(ledger, folder.name) == bytes_of(folder), at
            assert unsent(ledger, tmp_path) == 0
        assert died > 10

    def test_time_is_up(self, ledger, tmp_path):
        """A push that has no time left says what waits, and the next one sends it."""
        for name in ("a", "b"):
            write_recording(tmp_path, name)

        assert push(ledger, tmp_path, summarise, within_s=-1.0).waiting == 2
        assert push(ledger, tmp_path, summarise).recordings == 2

    def test_server_away(self, ledger, tmp_path, postgres_url):
        """Where the server cuts the connection in the middle, one line is raised; a new connection goes on."""
        import psycopg

        folder = write_recording(tmp_path)
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            )
        with pytest.raises(LedgerError, match="cannot use the ledger"):
            push(ledger, tmp_path, summarise)
        again = open_store(postgres_url)
        push(again, tmp_path, summarise)

        assert contents(again, folder.name) == bytes_of(folder)
        again.close()

    def test_another_recording_of_that_id(self, ledger, tmp_path, on_host):
        """A recording that has the id of another is refused and named; the first stays as it is."""
        on_host("n1")
        folder = write_recording(tmp_path / "n1")
        push(ledger, tmp_path / "n1", summarise)
        before = contents(ledger, folder.name)
        on_host("n2")
        copy = run_folder(tmp_path / "n2", folder.name)
        shutil.copytree(folder, copy)
        path = next(copy.iterdir())
        path.write_bytes(path.read_bytes().replace(b"digits", b"digitz"))
        path.write_bytes(b"".join(relined(path)))

        refused = push(ledger, tmp_path / "n2", summarise).refused

        assert [r.why for r in refused] == [f"{folder.name}: the ledger holds another {path.name} of that id, which stays as it is"]  # fmt: skip
        assert contents(ledger, folder.name) == before

    def test_deleted_here_stays_there(self, ledger, tmp_path):
        """What was pushed stays listed and readable after its folder was deleted; what was not is forgotten."""
        kept = write_recording(tmp_path, "kept")
        push(ledger, tmp_path, summarise)
        gone = write_recording(tmp_path, "gone")
        refresh(ledger, tmp_path, summarise)
        recording = read_recording(kept)
        for folder in (kept, gone):
            shutil.rmtree(folder)
        refresh(ledger, tmp_path, summarise)

        assert [s.name for s in list_runs(ledger)] == ["kept"]
        assert find_run(ledger, "kept").folder == ""
        assert read_body(ledger, kept.name) == recording
        assert unsent(ledger, tmp_path) == 0

    def test_rebuild_leaves_others_alone(self, ledger, tmp_path, on_host):
        """Rebuilding on one machine reads its own recordings anew and drops nobody else's lines."""
        for host in ("n1", "n2"):
            on_host(host)
            write_recording(tmp_path / host, host)
            push(ledger, tmp_path / host, summarise)

        assert rebuild(ledger, tmp_path / "n2", summarise).new == 1
        assert count_runs(ledger) == 2
        assert push(ledger, tmp_path / "n2", summarise).sent_bytes == 0

    def test_silent_for_a_day(self, ledger, tmp_path, on_host):
        """A recording of a machine that has not spoken for a day is lost, until that machine speaks again."""
        on_host("n1")
        file = begin(tmp_path / "n1", host="n1")
        push(ledger, tmp_path / "n1", summarise)
        ledger.execute("UPDATE recordings SET mtime_ns = 1")
        on_host("n2")
        refresh(ledger, tmp_path / "n2", summarise)
        assert find_run(ledger, "growing").state is EndState.LOST
        on_host("n1")
        file.append("end", state="finished", t=1.0, exit_code=0)
        file.close()
        push(ledger, tmp_path / "n1", summarise)

        assert find_run(ledger, "growing").state is EndState.FINISHED


def relined(path: Path):
    """Yield the lines of a file with their checksums made right again."""
    import zlib

    for line in path.read_bytes().splitlines():
        body = line.rpartition(b"\t")[0]
        yield b"%s\t%08x\n" % (body, zlib.crc32(body))


class TestBodies:
    def test_a_gap_is_refused(self):
        """A part is taken only where what comes before it is there, and only of the same file."""
        store = open_memory()
        mark = mark_of(b"head\n")

        assert not append(store, "r", "f", mark, 5, b"later")
        assert append(store, "r", "f", mark, 0, b"head\n")
        assert not append(store, "r", "f", mark, 0, b"head\n")
        assert not append(store, "r", "f", mark_of(b"other\n"), 5, b"later")
        assert append(store, "r", "f", mark, 5, b"later")
        assert contents(store, "r") == {"f": b"head\nlater"}
        store.close()

    def test_seal_and_replace(self):
        """Sealing keeps the content in fewer parts; replacing needs to know what was there."""
        store = open_memory()
        mark = mark_of(b"a\n")
        append(store, "r", "f", mark, 0, b"a\n")
        append(store, "r", "f", mark, 2, b"b\n")
        assert not seal(store, "r", "f", mark, b"a\n")  # not all of it
        assert seal(store, "r", "f", mark, b"a\nb\n")
        assert not seal(store, "r", "f", mark, b"a\nb\n")
        assert held(store, "r")["f"].parts == 1
        assert not replace(store, "r", "f", mark_of(b"x\n"), b"c\n")
        assert replace(store, "r", "f", mark, b"c\n")
        assert contents(store, "r") == {"f": b"c\n"}
        store.close()

    def test_not_there(self):
        """A recording that was not pushed says what to do."""
        store = open_memory()
        with pytest.raises(RecordingError, match="was not pushed; run 'joulewise push' there"):
            read_body(store, "r")
        store.close()
