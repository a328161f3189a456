"""How far the work has come, from what it logs."""

from __future__ import annotations

import pytest

from joulewise.measuring.progress import Followed, Progress
from joulewise.measuring.track import Joined


def test_milestones_grow():
    """A milestone is set when the work says that it came further, and only then."""
    seen = Progress()
    for epoch, joules in ((1, 10.0), (1, 12.0), (2, 20.0)):
        seen.take({"epoch": epoch, "epochs": 4})
        seen.mark(joules, joules)

    assert [(m.share, m.energy_j) for m in seen.milestones] == [(0.25, 10.0), (0.5, 20.0)]


def test_milestones_stay_few():
    """A million steps leave a bounded number of milestones, the last one among them."""
    seen = Progress()
    for step in range(1, 5001):
        seen.take({"step": step, "steps": 5000})
        seen.mark(float(step), float(step))

    assert len(seen.milestones) <= 129
    assert seen.milestones[-1].share == 1.0


def test_trials_are_counted_once():
    """A trial that logs twice is one trial."""
    seen = Progress()
    for trial in (1, 1, 2):
        seen.take({"trial": trial})

    assert (seen.trials, seen.points) == (2, 3)


def test_improvement_after_six_epochs():
    """The plateau rule's figure is known after six epochs."""
    seen = Progress()
    for epoch in range(6):
        assert seen.improvement is None
        seen.take({"epoch": epoch, "loss": 1.0 - 0.1 * epoch})

    assert seen.improvement == pytest.approx(0.5)


def test_follows_other_files(tmp_path):
    """What another process of the work logs is seen once, and half a line is left for the next look."""
    followed = Followed(tmp_path, "run-host-1.jsonl")
    other = Joined(tmp_path)
    other.append("point", values={"epoch": 1})
    assert [dict(v) for v in followed.new_points()] == [{"epoch": 1}]
    assert list(followed.new_points()) == []

    path = next(tmp_path.iterdir())
    other.append("point", values={"epoch": 2})
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert list(followed.new_points()) == []
    path.write_bytes(whole)

    assert [dict(v) for v in followed.new_points()] == [{"epoch": 2}]


def test_no_folder():
    """Without a folder there is nothing to follow."""
    assert list(Followed(None, "x").new_points()) == []
