"""Reducing: fewer ticks, the same joules; whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.ledger.bodies import mark_of, same_file
from joulewise.ledger.files import RecordingFile, encode, parse_recording, read_recording
from joulewise.ledger.reducing import PART, reduce_folder, reduced, summary_fields
from joulewise.measuring.summarising import summary

HEAD = {"k": "head", "format": 1, "run": "r", "name": "n", "role": "run", "host": "h", "boot": "", "pid": 1, "pid_start": 0,
        "utc": "2026-03-01T12:00:00+00:00", "mono": 0.0, "interval_s": 1.0, "command": []}  # fmt: skip
DEVICE = {"id": "rapl:0", "component": "cpu", "meter": "rapl", "basis": 0, "boundary": "device",
          "error_low": 0.05, "error_high": 0.05, "source": "test"}  # fmt: skip
MACHINE = {"host": "h", "cpus": 4, "owned_cpus": 4.0, "memory_bytes": 10**9, "owned_memory_bytes": None}


def content(
    joules: list[float | None], *, step_s: float = 1.0, end: bool = True, cut: int | None = None
) -> bytes:
    """Return a recording's file with one tick a step; `cut` puts a second line of columns before that tick."""
    lines = [HEAD, {"k": "machine", "machine": MACHINE}, {"k": "devices", "devices": [DEVICE]}]
    columns = {"k": "columns", "devices": ["rapl:0"], "counters": ["work_cpu_s", "busy_cpu_s"], "gauges": ["threads"]}  # fmt: skip
    lines.append(columns)
    for number, j in enumerate(joules):
        t = number * step_s
        if number == cut:
            lines.append(columns)
        lines.append(
            {"k": "tick", "t": t, "j": [j], "r": [j], "c": [0.7 * t, 1.5 * t], "g": [float(number % 5)]}
        )
        if number % 100 == 7:
            lines.append({"k": "point", "t": t, "values": {"loss": 1 / (number + 1)}})
    if end:
        lines.append({"k": "end", "state": "finished", "t": len(joules) * step_s, "exit_code": 0})
    return b"".join(map(encode, lines))


def read(text: bytes):
    return parse_recording({"run-h-1.jsonl": [line + b"\n" for line in text.splitlines()]}, "test")


@given(
    st.lists(st.floats(0, 500), min_size=2, max_size=400),
    st.sets(st.integers(0, 399), max_size=40),
    st.sampled_from([1.0, 0.5, 7.0, 90.0]),
    st.none() | st.integers(0, 300),
)
def test_no_joule_is_lost(watts, unread, step_s, cut):
    """Whatever was read when, the device's joules in all are the same to the last bit, and the ledger's line is, too."""
    total, joules = 0.0, list[float | None]()
    for number, w in enumerate(watts):
        total += w * step_s
        joules.append(None if number in unread else total)
    before = read(content(joules, step_s=step_s, cut=cut))
    fields = summary_fields(summary(before))
    after = read(reduced(content(joules, step_s=step_s, cut=cut), fields))
    known = [[j for j in r.ticks.energy_j["rapl:0"] if j is not None] for r in (before, after)]

    assert known[1][-1:] == known[0][-1:]
    if joules[0] is not None:
        assert known[1][0] == known[0][0]
    assert set(known[1]) <= set(known[0])
    assert (after.ticks.t_s[0], after.ticks.t_s[-1]) == (before.ticks.t_s[0], before.ticks.t_s[-1])
    assert after.ticks.t_s == sorted(set(after.ticks.t_s))
    assert after.ticks.counters["busy_cpu_s"][-1] == before.ticks.counters["busy_cpu_s"][-1]
    one, other = (
        [_ends(f) for f in (s.energy_j, s.idle_j, s.machine_j)] for s in (summary(before), summary(after))
    )
    assert one == other
    assert summary(before).components_j == summary(after).components_j
    assert after.points == before.points
    assert not after.damage


def _ends(figure):
    return None if figure is None else (figure.value, figure.low, figure.high, figure.basis)


def test_smaller():
    """An hour of seconds becomes an hour of minutes; gauges are their mean; again changes nothing."""
    text = content([50.0 * t for t in range(3600)])
    small = reduced(text, {})
    ticks = read(small).ticks

    assert len(ticks.t_s) == 62
    assert len(small) < len(text) / 15
    assert ticks.t_s[1:3] == [59.0, 119.0]
    assert ticks.gauges["threads"][2] == pytest.approx(2.0)
    assert reduced(small, {}) == small
    assert mark_of(text.splitlines(keepends=True)[0]) != mark_of(small.splitlines(keepends=True)[0])
    assert same_file(*(mark_of(t.splitlines(keepends=True)[0]) for t in (text, small)))


def test_damage_and_unknown_kinds_stay():
    """A damaged line, and one of a kind that is not known, stay as they are."""
    text = content([1.0, 2.0, 3.0], end=False) + b"not a line\n" + encode({"k": "new", "x": 1}) + b'{"torn'

    assert reduced(text, {}).endswith(b"not a line\n" + encode({"k": "new", "x": 1}) + b'{"torn')
    assert reduced(b"", {}) == b""
    assert reduced(b"garbage\n", {}) == b"garbage\n"


def test_killed_at_every_step(tmp_path: Path, monkeypatch):
    """Whoever is killed while it reduces leaves every file whole, and the next one completes it."""
    text = content([50.0 * t for t in range(600)])
    names = ["joined-h-2.jsonl", "run-h-1.jsonl"]
    small = reduced(text, {})

    class Killed(Exception):
        pass

    for at in range(1, 40):
        for name in names:
            (tmp_path / name).write_bytes(text)
        calls = 0

        def dying(real, at=at):
            def call(*arguments, **options):
                nonlocal calls
                calls += 1
                if calls == at:
                    raise Killed
                return real(*arguments, **options)

            return call

        fd = os.open(tmp_path, os.O_RDONLY)
        try:
            with monkeypatch.context() as patch:
                for name in ("open", "replace", "utime", "fsync", "unlink"):
                    patch.setattr(os, name, dying(getattr(os, name)))
                reduce_folder(fd, names, {})
        except Killed:
            assert all((tmp_path / n).read_bytes() in (text, small) for n in names)
            reduce_folder(fd, names, {})
        else:
            break
        finally:
            os.close(fd)
        assert [(tmp_path / n).read_bytes() for n in names] == [small] * 2
        assert not list(tmp_path.glob(f"*{PART}"))
    assert at > 6


def test_times_stay(tmp_path: Path):
    """A reduced file is as old as it was: the index need not read it again."""
    file = RecordingFile(tmp_path, "run-h-1.jsonl")
    file.close()
    path = tmp_path / "run-h-1.jsonl"
    path.write_bytes(content([50.0 * t for t in range(300)]))
    os.utime(path, (1e9, 1e9))
    fd = os.open(tmp_path, os.O_RDONLY)
    before, after = reduce_folder(fd, ["run-h-1.jsonl"], {})
    os.close(fd)

    assert path.stat().st_mtime == 1e9
    assert path.stat().st_size == after < before
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_recording(tmp_path).end.exit_code == 0
