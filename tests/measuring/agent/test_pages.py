from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from joulewise.measuring.agent.inside import layout as at
from joulewise.measuring.agent.pages import Pages

NAME = "agent-host-{}-{}"


def write(folder: Path, pid: int, began_s: float, **numbers: float) -> str:
    """Write the two files of an agent; keys are names in the layout, or `kind_name` of a phase."""
    page = [0.0] * at.NUMBERS
    page[at.MAGIC], page[at.BEGAN], page[at.SINCE], page[at.CURRENT] = at.VERSION, began_s, began_s, at.GAP
    for key, value in numbers.items():
        page[getattr(at, key)] = value
    name = NAME.format(pid, int(began_s * 1000))
    (folder / f"{name}.page").write_bytes(struct.pack(f"{at.NUMBERS}d", *page))
    head = {"pid": pid, "parent": 1, "kind": "main", "command": ["python", "x.py"]}
    (folder / f"{name}.facts").write_text(repr({"set": {"head": head}, "add": {}}) + "\n")
    return name


def proc(folder: Path, pid: int, ticks: int, started: int = 50, state: str = "R") -> None:
    """Write a process into a fake /proc, whose main thread used all of its CPU time."""
    for path in (folder / str(pid), folder / str(pid) / "task" / str(pid)):
        path.mkdir(parents=True, exist_ok=True)
        fields = [state, *["0"] * 10, str(ticks), "0", *["0"] * 6, str(started)]
        (path / "stat").write_text(f"{pid} (python) {' '.join(fields)}\n")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr("joulewise.measuring.agent.pages.process_start", lambda pid: 50)
    (tmp_path / "run").mkdir()
    return tmp_path / "run", tmp_path / "proc"


def test_open_phase_is_closed_by_the_reader(places: tuple[Path, Path]):
    """A process that is in one phase for minutes is told with it, and with the CPU seconds that /proc knows."""
    folder, fake = places
    write(folder, 7, 100.0, CURRENT=at.OPTIMISER, SINCE=110.0, CPU_AT=2.0)
    proc(fake, 7, 5200)
    (entry,) = Pages(str(folder), 90.0, 7, str(fake)).look(165.0)

    assert entry["set"]["page"]["open"][:3] == ["optimiser", 55.0, 5200 / os.sysconf("SC_CLK_TCK") - 2.0]
    assert entry["set"]["page"]["end_s"] == 75.0
    assert entry["set"]["head"]["kind"] == "main"
    assert not entry["set"]["page"]["ended"]


def test_ended_process(places: tuple[Path, Path]):
    """The account of a process that is gone is closed when it was last seen, and its files are removed."""
    folder, fake = places
    write(folder, 8, 100.0)
    proc(fake, 8, 10)
    pages = Pages(str(folder), 100.0, 7, str(fake))
    pages.look(105.0)
    proc(fake, 8, 10, state="Z")
    (entry,) = pages.look(106.0)

    assert entry["set"]["page"]["ended"]
    assert entry["set"]["page"]["end_s"] == pytest.approx(5.0)
    assert list(folder.iterdir()) == []
    assert pages.look(107.0) == []
    assert pages.any_seen


def test_executed_another_program(places: tuple[Path, Path]):
    """When a process executes another Python, the first account ends where the second begins."""
    folder, fake = places
    write(folder, 9, 100.0)
    proc(fake, 9, 10)
    pages = Pages(str(folder), 100.0, 9, str(fake))
    pages.look(101.0)
    write(folder, 9, 103.5)
    entries = {e["of"]: e for e in pages.look(105.0)}

    assert entries["host-9-100000"]["set"]["page"]["end_s"] == pytest.approx(3.5)
    assert not entries["host-9-103500"]["set"]["page"]["ended"]


def test_root_ends_when_its_parent_says(places: tuple[Path, Path]):
    """The root's end is known exactly: the last look closes it there."""
    folder, fake = places
    write(folder, 7, 100.0)
    (entry,) = Pages(str(folder), 100.0, 7, str(fake)).look(109.0, last=True, root_end_s=108.25)

    assert entry["set"]["page"]["end_s"] == pytest.approx(8.25)


def test_told_less_often_with_age(places: tuple[Path, Path]):
    """A process that runs for an hour is told every half minute, not every second; its last word is never left out."""
    folder, fake = places
    write(folder, 7, 100.0)
    proc(fake, 7, 10)
    pages = Pages(str(folder), 100.0, 7, str(fake))
    told = sum(len(pages.look(100.0 + 3600 + second)) for second in range(120))

    assert 3 <= told <= 6
    assert len(pages.look(3721.0, last=True)) == 1


def test_torn_and_foreign_facts(places: tuple[Path, Path]):
    """A line that is torn, or is no literal, is left out; what follows is read, and nothing is executed."""
    folder, fake = places
    name = write(folder, 7, 100.0)
    with open(folder / f"{name}.facts", "a") as file:
        file.write(
            "__import__('os').abort()\n{'set': {'a': 1}, 'add': {'curve': [[101.0, 2, None, {}]]}}\n{'set': {'b'"
        )
    proc(fake, 7, 10)
    (entry,) = Pages(str(folder), 100.0, 7, str(fake)).look(101.0)

    assert entry["set"]["a"] == 1
    assert entry["add"] == {"curve": [[1.0, 2, None, {}]]}
    assert "b" not in entry["set"]


def test_page_that_is_not_ready(places: tuple[Path, Path]):
    """A page that is still being made is looked at again later."""
    folder, fake = places
    name = write(folder, 7, 100.0, MAGIC=0.0)
    proc(fake, 7, 10)
    pages = Pages(str(folder), 100.0, 7, str(fake))

    assert pages.look(101.0) == []
    write(folder, 7, 100.0)
    assert [e["of"] for e in pages.look(102.0)] == [name.removeprefix("agent-")]


def test_no_folder(tmp_path: Path):
    """A folder that is gone has no news."""
    assert Pages(str(tmp_path / "gone"), 0.0, 1).look(1.0) == []
