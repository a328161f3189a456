"""The recording on disk: a folder with one append-only file per process that writes to it.

    runs/2026-11-23/20261123T081500-digits-3f9a2c/
        run-myhost-4711.jsonl       the recorder: header, devices, ticks, end
        track-myhost-4713.jsonl     a process inside the run: spans and points

No file has two writers, so it is right on NFS, under fork and under `torchrun`. Each line is a JSON object, a tab
and the CRC-32 of the JSON in hex (`cut -f1 FILE | jq` reads it); a line is written by one `write` call. After
`kill -9` at most one tick is lost; a torn or damaged line is skipped and said. Kinds of line (key `k`):

    head     format, run id, name, role, host, boot, process, start (UTC and monotonic), command
    machine, devices, missing, meta, params     what was found; a later line of the same kind adds to it
    columns  the names of what the ticks hold from here on
    tick     t, joules by device, raw counter values, counters, gauges
    open, close     a span begins, ends
    point, note     what the program logged; something worth telling
    seen     what the agent saw in one process (`of`): values that replace (`set`) and series that grow (`add`)
    end      state, exit code, signal, reason

The format number grows when an older reader would misread; every released format stays readable.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, final

from joulewise.vocabulary.errors import RecordingError
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import (
    Component,
    Device,
    End,
    EndState,
    Machine,
    Missing,
    Note,
    Point,
    Recording,
    Span,
    Ticks,
)

FORMAT = 1
QUIET_S = 120.0  # a recording of another host runs as long as it was written to within this time
_T = TypeVar("_T")
_PRIMARY = ("run", "attach", "track", "serve")
_HEAD = ("run", "name", "role", "host", "boot", "pid", "pid_start", "utc", "mono")


@final
class RecordingFile:
    """One process's append-only part of a recording. Where it cannot be written, it keeps the lines in memory.

    Not safe for concurrent writers: whoever owns it calls `append` under a lock or from one thread.
    """

    def __init__(self, folder: Path | None, file_name: str) -> None:
        self.folder = folder
        self.kept_in_memory = b""
        self.fault = ""  # why nothing is kept on disk, or what was lost
        self._fd = -1
        self._identity = (0, 0)
        self._torn = False
        if folder is None:
            return
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = _above_standard_streams(os.open(folder / file_name, flags, 0o600))
            self._identity = _identity(self._fd)
        except OSError as error:
            self.fault = f"cannot write {folder}: {error.strerror}"

    def append(self, kind: str, /, **values: Any) -> None:
        """Write one line; a full disk loses the line and is said in `fault`, never raised."""
        line = encode({"k": kind, **values})
        if self._fd >= 0 and not self._is_ours():
            self._fd = -1
            self.fault = f"the program closed the file of its recording in {self.folder}"
        if self._fd < 0:
            self.kept_in_memory += line
            return
        if self._torn:
            line = b"\n" + line
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self.fault = f"cannot write to {self.folder}: {error.strerror}"
            return
        self._torn = written < len(line)
        if self._torn:
            self.fault = f"cannot write to {self.folder}: no space left"

    def sync(self) -> None:
        """Ask the kernel to put what was written on the disk."""
        if self._fd >= 0 and self._is_ours():
            try:
                os.fsync(self._fd)
            except OSError as error:
                self.fault = f"cannot write to {self.folder}: {error.strerror}"

    def close(self) -> None:
        """Close the file; appending afterwards keeps lines in memory."""
        if self._fd >= 0 and self._is_ours():
            os.close(self._fd)
        self._fd = -1

    def _is_ours(self) -> bool:
        """Whether the descriptor is still our file: a daemon closes all of them, and numbers are used again."""
        try:
            return _identity(self._fd) == self._identity
        except OSError:
            return False


def new_run_id(name: str, now_utc: datetime) -> str:
    """Return an id that sorts by time and can be read: `20261123T081500-digits-3f9a2c07e1`."""
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:40] or "run"
    return f"{now_utc:%Y%m%dT%H%M%S}-{slug}-{os.urandom(5).hex()}"


def run_folder(runs: Path, run_id: str) -> Path:
    """Return where a recording lives under `runs`: one folder a day, so that no folder grows without end."""
    return runs / f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}" / run_id


def encode(entry: Mapping[str, Any]) -> bytes:
    """Return one line: JSON, a tab, the CRC-32 of the JSON, a newline. Numbers that JSON lacks become strings."""
    try:
        body = json.dumps(entry, separators=(",", ":"), allow_nan=False, default=_plain)
    except ValueError:
        body = json.dumps(_finite(entry), separators=(",", ":"), default=_plain)
    data = body.encode("utf-8", "backslashreplace")
    return b"%s\t%08x\n" % (data, zlib.crc32(data))


def decode(line: bytes) -> dict[str, Any] | None:
    """Return the entry of one line, or None if the line is torn or damaged."""
    body, tab, crc = line.rstrip(b"\n").rpartition(b"\t")
    if not tab or len(crc) != 8:
        return None
    try:
        if zlib.crc32(body) != int(crc, 16):
            return None
        entry = json.loads(body)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def read_recording(folder: Path) -> Recording:
    """Return the recording in `folder`; a running one up to its last whole line.

    Raises RecordingError if the folder is missing, holds no recording, or one of a future format.
    """
    try:
        names = sorted(n for n in os.listdir(folder) if n.endswith(".jsonl"))
    except OSError as error:
        raise RecordingError(f"cannot read the recording {folder}: {error.strerror}") from None
    if not names:
        raise RecordingError(f"{folder} is not a joulewise recording: it holds no .jsonl file with a header")
    return parse_recording({name: _lines(folder / name) for name in names}, str(folder))


def read_head(folder: Path) -> dict[str, Any]:
    """Return the header of the recorder's own file: run, role, host, boot, pid, pid_start; {} if none can be read."""
    heads: list[dict[str, Any]] = []
    try:
        for name in sorted(n for n in os.listdir(folder) if n.endswith(".jsonl")):
            with open(folder / name, "rb") as file:
                heads.append(decode(file.readline()) or {})
    except OSError as error:
        raise RecordingError(f"cannot read the recording {folder}: {error.strerror}") from None
    heads = [h for h in heads if h.get("k") == "head" and "role" in h and "utc" in h]
    return min(heads, key=_rank, default={})


def parse_recording(files: Mapping[str, Iterable[bytes]], where: str) -> Recording:
    """Return the recording that the lines of `files` (by file name) make up; `where` is for messages."""
    parts: list[_Part] = []
    damage: list[str] = []
    for name, lines in files.items():
        part = _Part(name, where)
        for line in lines:
            part.take(line)
        if part.head is None:
            damage.append(f"{name}: no readable header; the file was skipped")
            continue
        damage += part.damage
        parts.append(part)
    if not parts:
        raise RecordingError(f"{where} is not a joulewise recording: no file in it has a readable header")
    parts.sort(key=lambda p: _rank(p.head or {}))
    try:
        return _assemble(parts, tuple(damage))
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(
            f"cannot read the recording {where}: its header or devices are not as this joulewise knows them ({error!r})"
        ) from None


def _rank(head: Mapping[str, Any]) -> tuple[int, str]:
    """Return a key that puts the recorder's own file first."""
    role = head["role"]
    return _PRIMARY.index(role) if role in _PRIMARY else len(_PRIMARY), head["utc"]


def is_alive(host: str, boot: str, pid: int, started: int) -> bool:
    """Whether the process that wrote a recording still runs on this machine."""
    if host != os.uname().nodename or boot != boot_id():
        return False
    return process_start(pid) == started


def process_start(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (with its id this names it); -1 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return -1 if os.path.exists("/proc/self") or not _signalable(pid) else 0


def boot_id() -> str:
    """Return the kernel's id of this boot ("" where there is none)."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _signalable(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _above_standard_streams(fd: int) -> int:
    """Move a file off 0, 1 and 2: a program whose streams are closed must not inherit ours."""
    if fd > 2:
        return fd
    import fcntl

    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror}") from None


def _plain(value: Any) -> Any:
    for kind in (float, int):  # numpy and torch scalars
        if hasattr(value, "item"):
            return _finite(value.item())
        if isinstance(value, kind):
            return kind(value)
    return repr(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


@final
class _Part:
    """The lines of one file, sorted into what they tell."""

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self._where = where
        self.head: dict[str, Any] | None = None
        self.damage: list[str] = []
        self.machine: dict[str, Any] = {}
        self.devices: dict[str, dict[str, Any]] = {}
        self.missing: list[dict[str, Any]] = []
        self.metadata: dict[str, Any] = {}
        self.params: dict[str, Any] = {}
        self.ticks = Ticks([], {}, {}, {})
        self.opened: dict[int, dict[str, Any]] = {}
        self.closed: dict[int, float] = {}
        self.points: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        self.seen: dict[str, dict[str, Any]] = {}
        self.end: dict[str, Any] | None = None
        self._columns: list[tuple[list[float | None], ...]] = []
        self._number = 0
        self._torn_last = False

    def take(self, line: bytes) -> None:
        """Sort one line in; a damaged one is remembered by its number."""
        self._number += 1
        if line == b"\n":
            return
        entry = decode(line)
        if entry is None:
            text = "torn" if not line.endswith(b"\n") else "damaged"
            self.damage.append(f"{self.name} line {self._number} is {text}; it was skipped")
            return
        try:
            self._sort(entry)
        except (AttributeError, KeyError, TypeError, ValueError):
            self.damage.append(
                f"{self.name} line {self._number} is not as its kind should be; it was skipped"
            )

    def _sort(self, entry: dict[str, Any]) -> None:
        if self.head is None:
            self._take_head(entry)
            return
        match entry["k"]:
            case "tick":
                self._take_tick(entry)
            case "columns":
                self._take_columns(entry)
            case "open":
                self.opened[entry["id"]] = entry
            case "close":
                self.closed[entry["id"]] = entry["t"]
            case "point":
                self.points.append(entry)
            case "note":
                self.notes.append(entry)
            case "machine":
                self.machine.update(entry["machine"])
            case "devices":
                self.devices.update({d["id"]: d for d in entry["devices"]})
            case "missing":
                self.missing += entry["missing"]
            case "meta":
                self.metadata.update(entry["meta"])
            case "params":
                self.params.update(entry["params"])
            case "seen":
                seen = self.seen.setdefault(entry["of"], {})
                seen.update(entry.get("set", {}))
                for key, series in entry.get("add", {}).items():
                    seen.setdefault(key, []).extend(series)
            case "end":
                self.end = entry
            case _:
                pass  # a kind that a newer joulewise of the same format added

    def _take_head(self, entry: dict[str, Any]) -> None:
        if entry.get("k") != "head":
            return
        version = entry.get("format")
        if not isinstance(version, int) or version > FORMAT:
            raise RecordingError(
                f"{self._where} has format {version!r}, but this joulewise reads up to {FORMAT}; upgrade joulewise to read it"
            )
        if missing := [key for key in _HEAD if key not in entry]:
            raise RecordingError(
                f"{self._where} is not a joulewise recording: its header lacks {missing[0]!r}"
            )
        self.head = entry

    def _take_columns(self, entry: dict[str, Any]) -> None:
        ticks, count = self.ticks, len(self.ticks.t_s)
        self._columns = [
            tuple(series.setdefault(name, [None] * count) for name in entry[key])
            for key, series in (
                ("devices", ticks.energy_j),
                ("counters", ticks.counters),
                ("gauges", ticks.gauges),
            )
        ]

    def _take_tick(self, entry: dict[str, Any]) -> None:
        ticks = self.ticks
        t_s, values = float(entry["t"]), [entry[key] for key in ("j", "c", "g")]
        for columns, row in zip(self._columns, values, strict=False):  # no columns: their line was damaged
            for column, value in zip(columns, row, strict=False):
                column.append(value)
        ticks.t_s.append(t_s)
        count = len(ticks.t_s)
        for series in (ticks.energy_j, ticks.counters, ticks.gauges):
            for column in series.values():
                if len(column) < count:
                    column.append(None)

    def last_s(self) -> float:
        """Return the time of the last thing that this file tells."""
        times = [self.ticks.t_s[-1] if self.ticks.t_s else 0.0]
        times += [e["t"] for e in (*self.opened.values(), *self.points[-1:], *self.notes[-1:])]
        return max([*times, *self.closed.values()])


def _assemble(parts: list[_Part], damage: tuple[str, ...]) -> Recording:
    main = parts[0]
    head = main.head or {}
    spans: list[Span] = []
    points: list[Point] = []
    notes = [Note(n["t"], n["kind"], n["text"]) for n in main.notes]
    params = dict(main.params)
    metadata = dict(main.metadata)
    for number, part in enumerate(parts):
        process, offset = _process(part), _offset_s(part, main)
        base = number * 1_000_000  # span ids are unique per process; keep them apart
        for span in part.opened.values():
            end = part.closed.get(span["id"])
            parent = span.get("parent")
            spans.append(
                Span(
                    span["name"],
                    span["t"] + offset,
                    None if end is None else end + offset,
                    base + span["id"],
                    None if parent is None else base + parent,
                    span.get("thread", ""),
                    process,
                )
            )
        points += [Point(p["t"] + offset, _numbers(p["values"]), process) for p in part.points]
        if part is not main:
            params = {**part.params, **params}
            metadata = {**part.metadata, **metadata}
            notes += [Note(n["t"] + offset, n["kind"], n["text"]) for n in part.notes]
    spans.sort(key=lambda s: s.start_s)
    points.sort(key=lambda p: p.t_s)
    machine = _known(Machine, main.machine) if main.machine else Machine(head["host"], None, None, None, None)
    return Recording(
        run_id=head["run"],
        name=head["name"],
        role=head["role"],
        started_utc=datetime.fromisoformat(head["utc"]).astimezone(UTC),
        process=_process(main),
        command=tuple(head.get("command", ())),
        metadata=metadata,
        params=params,
        machine=machine,
        devices=tuple(_device(d) for d in main.devices.values()),
        missing=tuple(_known(Missing, m) for m in main.missing),
        ticks=main.ticks,
        spans=tuple(spans),
        points=tuple(points),
        notes=tuple(notes),
        end=_end(main),
        interval_s=head.get("interval_s", 1.0),
        damage=damage,
        seen=main.seen,
    )


def device_entry(device: Device) -> dict[str, Any]:
    """Return a device as it stands in the recording."""
    return asdict(device)


def _device(entry: dict[str, Any]) -> Device:
    known = {
        **entry,
        "component": Component(entry["component"]),
        "basis": Basis(entry["basis"]),
        "boundary": Boundary(entry["boundary"]),
    }
    return _known(Device, known)


def _known(kind: type[_T], entry: Mapping[str, Any]) -> _T:
    """Return the value that an entry describes, without what a newer joulewise of the same format added."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: v for k, v in entry.items() if k in names})


def _process(part: _Part) -> str:
    head = part.head or {}
    return f"{head['host']}-{head['pid']}"


def _offset_s(part: _Part, main: _Part) -> float:
    one, other = part.head or {}, main.head or {}
    if one["boot"] == other["boot"] and one["boot"]:
        return float(one["mono"] - other["mono"])  # one monotonic clock on one machine
    return (datetime.fromisoformat(one["utc"]) - datetime.fromisoformat(other["utc"])).total_seconds()


def _end(main: _Part) -> End:
    head, end = main.head or {}, main.end
    if end is not None:
        return End(
            EndState(end["state"]), end["t"], end.get("exit_code"), end.get("signal"), end.get("reason", "")
        )
    if is_alive(head["host"], head["boot"], head["pid"], head["pid_start"]):
        return End(EndState.RUNNING, main.last_s())
    if head["host"] != os.uname().nodename and _silent_s(main) < QUIET_S:
        return End(EndState.RUNNING, main.last_s(), reason="its host says so: it was written to just now")
    return End(
        EndState.LOST,
        main.last_s(),
        reason="the recorder ended without a word (killed, or the machine went down)",
    )


def _silent_s(main: _Part) -> float:
    """Return how long ago a recording told its last thing, by the clocks of the two hosts."""
    head = main.head or {}
    began = datetime.fromisoformat(head["utc"])
    return (
        (datetime.now(UTC) - began).total_seconds() - main.last_s() - 10 * float(head.get("interval_s", 1.0))
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    words = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    return {k: words.get(v, v) if isinstance(v, str) else v for k, v in values.items()}
