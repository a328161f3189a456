"""The journal's lines."""

from __future__ import annotations

import pytest

from joulewise.searching.deciding import Rules
from joulewise.searching.journal import Journal, Known, head, read, safe_name
from joulewise.vocabulary.errors import UsageError
from tests.searching.doubles import SPACE

HEAD = head("mine", SPACE, Rules(9))


def added(path, line):
    """Add a line to a journal as a process of its own would."""
    journal = Journal(path)
    journal.add(line)
    journal.close()


def test_one_process_at_a_time(tmp_path):
    """A journal that is open cannot be opened again; once it is closed it can."""
    path = tmp_path / "s.jsonl"
    journal = Journal(path)

    with pytest.raises(UsageError, match="is being searched by another process"):
        Journal(path)

    journal.close()
    added(path, HEAD)


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
        ('{"kind": "head", "format": 99}\n', "has format 99, but this joulewise knows 1"),
        ('{"kind": "head", "format": 1}\nnonsense\n{}\n', "damaged at line 2"),
    ],
)
def test_refused(tmp_path, text, message):
    """What is no journal, or a newer one, is refused in one line."""
    path = tmp_path / "s.jsonl"
    path.write_text(text)

    with pytest.raises(UsageError, match=message):
        read(path)


def test_repeated_epochs():
    """Epochs that a restarted trial repeats are not counted twice as values."""
    known = Known()
    known.take({"kind": "decision", "step": "start", "trial": 0, "point": [0.5, None]})
    for epoch in (1, 2, 1, 2, 3):
        known.take(
            {"kind": "epoch", "trial": 0, "epoch": epoch, "value": float(epoch), "cost": 1.0, "spent": {}}
        )

    assert known.trials[0].values == (1.0, 2.0, 3.0)


def test_names():
    """A study's name becomes the name of a file in one folder; one without a letter is refused."""
    assert safe_name("../my study") == "my-study"
    with pytest.raises(UsageError, match="needs a letter"):
        safe_name("../")
