"""The journal's lines."""

from __future__ import annotations

import pytest

from joulewise.searching.deciding import Rules
from joulewise.searching.journal import Known, head, read, safe_name
from joulewise.searching.log import FileLog
from joulewise.vocabulary.errors import UsageError
from tests.searching.doubles import SPACE

HEAD = head("mine", SPACE, Rules(9))


def added(path, line):
    """Add a line to a journal as a process of its own would."""
    log = FileLog(path)
    with log.alone():
        log.add(line)
    log.close()


def test_private(tmp_path):
    """A journal can be read by its user only."""
    path = tmp_path / "new" / "s.jsonl"
    added(path, HEAD)

    assert path.stat().st_mode & 0o777 == 0o600
    assert read(path)[0]["space"] == HEAD["space"]


def test_torn(tmp_path):
    """A torn last line is skipped when reading, and cut off before the next is written."""
    path = tmp_path / "s.jsonl"
    added(path, HEAD)
    path.write_text(path.read_text() + '{"kind": "e')
    assert len(read(path)) == 1

    added(path, {"kind": "end", "reason": "x"})

    assert [line["kind"] for line in read(path)] == ["head", "end"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no first line"),
        ('{"kind": "end"}\n', "has no first line"),
        (
            '{"kind": "head", "format": 1}\n',
            "has format 1, but this joulewise knows 2; give the new study another",
        ),
        ('{"kind": "head", "format": 99}\n', "has format 99, but this joulewise knows 2; update"),
        ('{"kind": "head", "format": 2}\nnonsense\n{}\n', "damaged at line 2"),
    ],
)
def test_refused(tmp_path, text, message):
    """What is no journal, or a newer one, is refused in one line."""
    path = tmp_path / "s.jsonl"
    path.write_text(text)

    with pytest.raises(UsageError, match=message):
        read(path)


START = {
    "kind": "decision",
    "worker": "w",
    "step": "start",
    "trial": 0,
    "point": [0.5, None],
    "params": {"x": 0.5},
}
JOINED = {"kind": "joined", "process": {}, "utc": "2026-01-01T00:00:00+00:00"}


def epoch(number, worker="w", trial=0, **spent):
    """Return the line of an epoch."""
    return {"kind": "epoch", "worker": worker, "trial": trial, "epoch": number, "value": float(number), "cost": 1.0, "spent": spent}  # fmt: skip


def known_of(*lines):
    """Return what follows from lines."""
    known = Known()
    for line in lines:
        known.take(line)
    return known


def test_repeated_epochs():
    """Epochs that a restarted trial repeats are not counted twice as values."""
    known = known_of({**JOINED, "worker": "w"}, START, *(epoch(n) for n in (1, 2, 1, 2, 3)))

    assert known.trials[0].values == (1.0, 2.0, 3.0)


def test_workers_spend_together():
    """Joules of workers add up, time is what passed while any worked, and a new shift goes on from the last."""
    known = known_of(
        {**JOINED, "worker": "a"}, {**JOINED, "worker": "b"}, START,
        epoch(1, "a", energy_j=5.0, time_s=10.0), epoch(2, "b", energy_j=7.0, time_s=12.0),
        {"kind": "parted", "worker": "a", "deciding_s": 0.1, "spent": {"energy_j": 6.0, "time_s": 11.0}},
        {"kind": "parted", "worker": "b", "deciding_s": 0.2, "spent": {"energy_j": 8.0, "time_s": 13.0}},
        {**JOINED, "worker": "c"}, epoch(3, "c", energy_j=1.0, time_s=2.0),
    )  # fmt: skip

    assert known.spent == {"energy_j": 15.0, "time_s": 15.0}
    assert known.spent_without("c") == {"energy_j": 14.0, "time_s": 13.0}


def test_lost_worker():
    """Of a worker that is gone without a word, the epoch in progress counts as expected, and its trials are free again."""
    known = known_of(
        {**JOINED, "worker": "w"}, {**JOINED, "worker": "v"}, START,
        {"kind": "began", "worker": "w", "trial": 0, "epoch": 1, "expected": 0.0}, epoch(1, energy_j=4.0, time_s=2.0),
        {"kind": "began", "worker": "w", "trial": 0, "epoch": 2, "expected": 4.0},
    )  # fmt: skip
    assert known.reserved("v") == 4.0
    assert known.reserved("w") == 0.0
    assert not known.trials[0].free_for("v")

    known.take({"kind": "lost", "worker": "w", "why": "x"})

    assert known.spent == {"energy_j": 8.0, "time_s": 4.0}
    assert known.reserved("v") == 0.0
    assert known.trials[0].free_for("v")
    assert not known.trials[0].resumable
    assert known.deaths == {(0, 2): 1}


def test_names():
    """A study's name becomes the name of a file in one folder; one without a letter is refused."""
    assert safe_name("../my study") == "my-study"
    with pytest.raises(UsageError, match="needs a letter"):
        safe_name("../")
