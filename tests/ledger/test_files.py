"""Recordings on disk: what was written comes back, whatever happened to the file."""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.ledger.files import (
    FORMAT,
    RecordingFile,
    boot_id,
    decode,
    encode,
    is_alive,
    new_run_id,
    parse_recording,
    process_start,
    read_head,
    read_recording,
    run_folder,
)
from joulewise.vocabulary.errors import RecordingError
from joulewise.vocabulary.recording import EndState, Point

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1" / "20260301T120000-digits-3f9a2c"
HEAD = {
    "k": "head", "format": FORMAT, "run": "r1", "name": "digits", "role": "run", "host": "elsewhere", "boot": "b",
    "pid": 1, "pid_start": 5, "utc": "2026-03-01T12:00:00+00:00", "mono": 1000.0, "interval_s": 1.0, "command": ["x"],
}  # fmt: skip
COLUMNS = {"k": "columns", "devices": ["d"], "counters": ["work_cpu_s"], "gauges": []}
END = {"k": "end", "state": "finished", "t": 9.0, "exit_code": 0}


def tick(t, joules, cpu_s=0.0):
    return {"k": "tick", "t": t, "j": [joules], "c": [cpu_s], "g": []}


def parse(*entries, **others):
    files = {"run.jsonl": [e if isinstance(e, bytes) else encode(e) for e in entries]}
    files |= {f"{name}.jsonl": [encode(e) for e in lines] for name, lines in others.items()}
    return parse_recording(files, "here")


class TestGolden:
    def test_format_1(self):
        """The golden recording of format 1 reads as it did when the format was released."""
        recording = read_recording(GOLDEN)

        assert (recording.run_id, recording.name, recording.role) == (GOLDEN.name, "digits", "run")
        assert recording.started_utc == datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert recording.command == ("python", "digits.py", "--name", "é")
        assert recording.params == {"lr": 0.1, "dataset_size": 1797, "seed": 7}
        assert recording.metadata == {"git": "0f14ff7", "python": "3.11.7"}
        assert recording.machine.owned_cpus == 2.5
        assert recording.machine.owned_memory_bytes is None
        assert [d.id for d in recording.devices if d.counted] == ["rapl:package-0", "modelled:memory"]
        assert recording.missing[0].why == "no driver"
        assert recording.ticks.t_s == [0.0, 1.0, 2.0]
        assert recording.ticks.energy_j == {
            "rapl:package-0": [0.0, 20.5, 41.0],
            "rapl:core": [0.0, None, None],
            "modelled:memory": [0.0, 6.4, 12.8],
        }
        assert recording.ticks.counters["busy_cpu_s"] == [0.0, 1.0, None]
        assert [(s.name, s.start_s, s.end_s) for s in recording.spans] == [
            ("outer", 0.2, 2.05),
            ("inner", 0.6, None),
        ]
        assert recording.points[0] == Point(0.8, {"accuracy": 0.5}, "golden-4713")
        assert math.isnan(recording.points[1].values["loss"])
        assert (recording.end.state, recording.end.exit_code, recording.duration_s) == (
            EndState.FAILED,
            3,
            2.1,
        )
        assert recording.damage == (
            "joined-golden-4713-1000500.jsonl line 5 is torn; it was skipped",
            "run-golden-4711.jsonl line 11 is damaged; it was skipped",
        )

    def test_lines_are_json(self):
        """Every whole line is JSON before its tab, for whoever reads it without us."""
        for line in (GOLDEN / "run-golden-4711.jsonl").read_bytes().splitlines():
            assert json.loads(line.split(b"\t")[0])["k"]


class TestLine:
    @given(
        st.dictionaries(
            st.text(),
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
        )
    )
    def test_round_trip(self, entry):
        """Whatever JSON can say comes back from its line."""
        assert decode(encode(entry)) == entry

    @given(st.binary())
    def test_noise(self, noise):
        """Noise is not an entry, and raises nothing."""
        assert decode(noise) is None

    @given(st.integers(0, 200), st.integers(1, 255))
    def test_one_wrong_byte(self, at, mask):
        """A single wrong byte anywhere before the newline is noticed."""
        line = bytearray(encode(HEAD))
        line[at % (len(line) - 1)] ^= mask

        assert decode(bytes(line)) is None or bytes(line).lower() == encode(HEAD)

    def test_arguments_that_are_not_utf8(self):
        """A command argument of arbitrary bytes is kept (as Python's surrogates)."""
        argument = os.fsdecode(b"\xff\xfe")

        assert decode(encode({"command": [argument]})) == {"command": [argument]}

    def test_foreign_numbers(self):
        """Scalars of other libraries become numbers; what is no number becomes its text."""

        class Scalar:
            def item(self):
                return 1.5

        class Thing:
            def __repr__(self) -> str:
                return "a thing"

        assert decode(encode({"a": Scalar(), "b": Thing()})) == {"a": 1.5, "b": "a thing"}


class TestReading:
    def test_torn_last_line(self):
        """A torn last line costs itself only, and is said."""
        whole = parse(HEAD, COLUMNS, tick(0, 0.0), tick(1, 5.0), encode(tick(2, 9.0))[:-20])

        assert whole.ticks.energy_j == {"d": [0.0, 5.0]}
        assert whole.damage == ("run.jsonl line 5 is torn; it was skipped",)

    def test_damaged_middle_line(self):
        """A damaged line in the middle costs itself only: counters are cumulative, so no energy is lost."""
        whole = parse(
            HEAD, COLUMNS, tick(0, 0.0), encode(tick(1, 5.0)).replace(b"5.0", b"6.0"), tick(2, 9.0), END
        )

        assert whole.ticks.t_s == [0.0, 2.0]
        assert whole.ticks.energy_j == {"d": [0.0, 9.0]}
        assert whole.damage == ("run.jsonl line 4 is damaged; it was skipped",)

    def test_damaged_columns(self):
        """Without the line that names the columns, ticks keep their times and nothing is guessed."""
        whole = parse(HEAD, b"\0" * 40 + b"\n", tick(0, 0.0), tick(1, 5.0))

        assert whole.ticks.t_s == [0.0, 1.0]
        assert whole.ticks.energy_j == {}

    def test_lines_of_a_wrong_shape(self):
        """A line whose checksum holds but whose content is not as its kind should be is skipped and said."""
        whole = parse(
            HEAD,
            COLUMNS,
            {"k": "tick"},
            {"no": "kind"},
            {"k": "close"},
            {"k": "meta", "meta": 3},
            tick(1, 5.0),
            END,
        )

        assert whole.ticks.energy_j == {"d": [5.0]}
        assert len(whole.damage) == 4
        assert "line 3 is not as its kind should be" in whole.damage[0]

    def test_newer_kinds_and_fields(self):
        """What a newer joulewise of the same format added is passed over in silence."""
        machine = {
            "host": "h",
            "cpus": 2,
            "owned_cpus": 2,
            "memory_bytes": 1,
            "owned_memory_bytes": 1,
            "colour": "red",
        }
        whole = parse(HEAD, {"k": "smell", "t": 1}, {"k": "machine", "machine": machine}, END)

        assert whole.damage == ()
        assert whole.machine.cpus == 2

    def test_columns_may_change(self):
        """A device that comes later, or goes, is unknown (None) at the other ticks."""
        later = {**COLUMNS, "devices": ["e"]}
        whole = parse(HEAD, COLUMNS, tick(0, 1.0), later, tick(1, 2.0))

        assert whole.ticks.energy_j == {"d": [1.0, None], "e": [None, 2.0]}

    def test_not_a_number(self):
        """Losses that are not a number, or infinite, come back so."""
        values = {"loss": math.nan, "best": -math.inf, "note": "Ada", "worst": math.inf}
        point = parse(HEAD, {"k": "point", "t": 1.0, "values": values}).points[0]

        assert math.isnan(point.values["loss"])
        assert (point.values["best"], point.values["worst"], point.values["note"]) == (
            -math.inf,
            math.inf,
            "Ada",
        )

    def test_processes_inside(self):
        """A process inside the work has a clock of its own: same boot by its monotonic origin, else by UTC."""
        inner = {
            **HEAD,
            "role": "joined",
            "host": "elsewhere",
            "pid": 2,
            "mono": 1002.5,
            "utc": "2020-01-01T00:00:00+00:00",
        }
        other = {
            **HEAD,
            "role": "joined",
            "host": "node2",
            "pid": 3,
            "boot": "c",
            "mono": 7.0,
            "utc": "2026-03-01T12:00:04+00:00",
        }
        span = [{"k": "open", "t": 1.0, "id": 1, "name": "step"}, {"k": "close", "t": 2.0, "id": 1}]

        whole = parse(HEAD, *span, END, inner=[inner, *span], other=[other, *span])

        assert [(s.process, s.start_s, s.end_s) for s in whole.spans] == [
            ("elsewhere-1", 1.0, 2.0),
            ("elsewhere-2", 3.5, 4.5),
            ("node2-3", 5.0, 6.0),
        ]
        assert len({s.id for s in whole.spans}) == 3

    def test_recorder_comes_first(self):
        """Whatever the files are called, the recorder's own file says what the recording is."""
        assert parse({**HEAD, "role": "joined", "name": "inner", "pid": 2}, zz=[HEAD, END]).name == "digits"

    def test_file_without_head(self):
        """A file whose header is torn is skipped and said; the others are read."""
        files = {"a.jsonl": [b'{"k":"he'], "run.jsonl": [encode(HEAD), encode(END)]}

        assert parse_recording(files, "here").damage == ("a.jsonl: no readable header; the file was skipped",)

    @pytest.mark.parametrize("version", [FORMAT + 1, "2", None])
    def test_future_format(self, version):
        """A recording of a future format is refused in one line that says what to do."""
        with pytest.raises(
            RecordingError, match=f"here has format {version!r}, but this joulewise reads up to 1; upgrade"
        ):
            parse({**HEAD, "format": version})

    def test_head_that_lacks(self):
        """A header without what it must have is one line, not a traceback."""
        with pytest.raises(RecordingError, match="its header lacks 'boot'"):
            parse({k: v for k, v in HEAD.items() if k != "boot"})

    def test_unknown_component(self):
        """A device of a component that we do not know is one line, not a traceback."""
        with pytest.raises(RecordingError, match="not as this joulewise knows them"):
            parse(HEAD, {"k": "devices", "devices": [{"id": "x", "component": "quantum"}]})

    def test_foreign_folder(self, tmp_path):
        """A folder of something else, an empty one and a missing one are refused by name."""
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(RecordingError, match=r"is not a joulewise recording: it holds no \.jsonl file"):
            read_recording(tmp_path)
        (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
        with pytest.raises(RecordingError, match="no file in it has a readable header"):
            read_recording(tmp_path)
        with pytest.raises(RecordingError, match="No such file or directory"):
            read_recording(tmp_path / "nothing")


class TestEnd:
    def test_running(self):
        """A recording without an end whose writer lives is running."""
        head = {
            **HEAD,
            "host": os.uname().nodename,
            "boot": boot_id(),
            "pid": os.getpid(),
            "pid_start": process_start(os.getpid()),
        }

        assert parse(head, COLUMNS, tick(3, 1.0)).end.state is EndState.RUNNING

    @pytest.mark.parametrize("change", [{"pid_start": 1}, {"boot": "an earlier boot"}, {"pid": 2**22 + 1}])
    def test_lost(self, change):
        """One whose writer is gone is lost, even if its number or its boot is used again; its ticks stand."""
        head = {
            **HEAD,
            "host": os.uname().nodename,
            "boot": boot_id(),
            "pid": os.getpid(),
            "pid_start": process_start(os.getpid()),
            **change,
        }
        whole = parse(head, COLUMNS, tick(3, 1.0))

        assert whole.end.state is EndState.LOST
        assert whole.duration_s == 3.0

    def test_other_host(self):
        """A recording of another host runs as long as it was written to lately; then it is lost."""
        now = datetime.now(UTC).isoformat()

        assert parse({**HEAD, "utc": now}).end.state is EndState.RUNNING
        assert parse(HEAD, COLUMNS, tick(3, 1.0)).end.state is EndState.LOST

    def test_alive(self):
        """A process is known by its id, its start, its boot and its host together."""
        start = process_start(os.getpid())

        assert is_alive(os.uname().nodename, boot_id(), os.getpid(), start)
        assert not is_alive(os.uname().nodename, boot_id(), os.getpid(), start + 1)
        assert not is_alive("another", boot_id(), os.getpid(), start)
        assert process_start(2**22 + 1) == -1


class TestWriting:
    def test_round_trip(self, tmp_path):
        """What is appended comes back; folder and file are private."""
        folder = run_folder(tmp_path, "20260301T120000-a-000001")
        file = RecordingFile(folder, "run.jsonl")
        for entry in (HEAD, COLUMNS, tick(1, 5.0), END):
            file.append(str(entry["k"]), **{k: v for k, v in entry.items() if k != "k"})
        file.sync()
        file.close()

        assert folder == tmp_path / "2026-03-01" / "20260301T120000-a-000001"
        assert read_recording(folder).ticks.energy_j == {"d": [5.0]}
        assert read_head(folder)["pid"] == 1
        assert (file.fault, file.kept_in_memory) == ("", b"")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "run.jsonl").stat().st_mode) == 0o600

    def test_nowhere_to_write(self, tmp_path):
        """Where the folder cannot be made, lines are kept in memory and the reason is said."""
        (tmp_path / "file").touch()
        file = RecordingFile(tmp_path / "file" / "run", "run.jsonl")
        file.append("head", **{k: v for k, v in HEAD.items() if k != "k"})

        assert "Not a directory" in file.fault
        assert (
            parse_recording({"memory": file.kept_in_memory.splitlines(keepends=True)}, "m").name == "digits"
        )

    def test_no_folder(self):
        """Without a folder everything is kept in memory and nothing is wrong."""
        file = RecordingFile(None, "run.jsonl")
        file.append("note", t=0, kind="a", text="b")

        assert file.fault == ""
        assert file.kept_in_memory.endswith(b"\n")

    def test_closed_by_the_program(self, tmp_path):
        """A daemon closes every descriptor, and its own files get their numbers: nothing of ours lands in them."""
        file = RecordingFile(tmp_path / "run", "run.jsonl")
        file.append("note", t=0, kind="a", text="before")
        number = file._fd
        os.close(number)
        with open(tmp_path / "theirs", "wb", buffering=0) as theirs:
            moved = os.dup2(theirs.fileno(), number) if theirs.fileno() != number else number
            file.append("note", t=1, kind="a", text="after")
            file.sync()
            file.close()
            os.fstat(number)  # theirs is still open
            if moved != theirs.fileno():
                os.close(number)

        assert (tmp_path / "theirs").read_bytes() == b""
        assert "the program closed the file" in file.fault
        assert b"after" in file.kept_in_memory

    def test_closed_standard_streams(self, tmp_path):
        """A program started with its streams closed does not inherit our file as its standard output."""
        program = (
            "import os, sys\n"
            "for fd in (0, 1, 2): os.close(fd)\n"
            "from pathlib import Path\n"
            "from joulewise.ledger.files import RecordingFile\n"
            "file = RecordingFile(Path(sys.argv[1]), 'run.jsonl')\n"
            "file.append('note', t=0, kind='a', text='b')\n"
            "for fd in (0, 1, 2):\n"
            "    try: os.write(fd, b'stray')\n"
            "    except OSError: pass\n"
            "file.append('note', t=1, kind='a', text='b')\n"
            "os._exit(0 if not file.fault else 9)\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], check=False)

        assert done.returncode == 0
        lines = (tmp_path / "run" / "run.jsonl").read_bytes().splitlines(keepends=True)
        assert [decode(line) is not None for line in lines] == [True, True]

    def test_full_disk(self, tmp_path):
        """A full disk loses lines, never raises, is said; and once there is room, later lines are whole again."""
        program = (
            "import resource, sys\n"
            "from pathlib import Path\n"
            "from joulewise.ledger.files import RecordingFile\n"
            "file = RecordingFile(Path(sys.argv[1]), 'run.jsonl')\n"
            f"file.append('head', **{ {k: v for k, v in HEAD.items() if k != 'k'}!r})\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY))\n"
            "faults = []\n"
            "for t in range(9):\n"
            "    file.append('note', t=t, kind='a', text='x' * 60); faults.append(file.fault)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
            "file.append('note', t=99, kind='a', text='room again')\n"
            "print(faults[0] == '', faults[-1])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "run")],
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.stderr == ""
        assert done.stdout.startswith("True cannot write to")
        recording = read_recording(tmp_path / "run")
        assert recording.notes[-1].text == "room again"
        assert len(recording.damage) == 1
        assert 2 <= len(recording.notes) < 10

    @pytest.mark.service
    def test_really_full_disk(self, tmp_path):
        """The same on a file system that is really full (a tiny tmpfs of root's)."""
        if os.geteuid() != 0:
            pytest.skip("mounting a tiny file system needs root")
        place = tmp_path / "tiny"
        place.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("this container may not mount a file system")
        try:
            file = RecordingFile(place / "run", "run.jsonl")
            file.append("head", **{k: v for k, v in HEAD.items() if k != "k"})
            for t in range(400):
                file.append("note", t=t, kind="a", text="x" * 60)
            file.sync()
            file.close()
            recording = read_recording(place / "run")
        finally:
            subprocess.run(["umount", str(place)], check=True)

        assert "cannot write to" in file.fault
        assert recording.name == "digits"
        assert 10 < len(recording.notes) < 400

    def test_second_writer_is_refused(self, tmp_path):
        """Two writers never share a file: the second keeps its lines in memory."""
        one = RecordingFile(tmp_path / "run", "run.jsonl")
        other = RecordingFile(tmp_path / "run", "run.jsonl")
        one.close()

        assert "File exists" in other.fault


class TestNames:
    def test_id_sorts_and_reads(self):
        """An id begins with its time, holds the name and is safe as a folder's name."""
        run_id = new_run_id("my run/№ 1", datetime(2026, 11, 23, 8, 15, tzinfo=UTC))

        assert run_id.startswith("20261123T081500-my-run-")
        assert "/" not in run_id

    @pytest.mark.parametrize("name", ["", "..", "///", "-"])
    def test_id_without_letters(self, name):
        """A name without a letter still gives an id."""
        assert new_run_id(name, datetime(2026, 1, 1, tzinfo=UTC)).startswith("20260101T000000-run-")

    def test_head_of_nothing(self, tmp_path):
        """A folder without a readable header has none; a missing one is said."""
        assert read_head(tmp_path) == {}
        with pytest.raises(RecordingError):
            read_head(tmp_path / "nothing")
