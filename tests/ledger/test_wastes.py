"""Wastes: looked into once, kept, and summed so that nothing is lost and nothing counts twice."""

from __future__ import annotations

import pytest

from joulewise.ledger import wastes
from joulewise.ledger.memory import open_memory
from joulewise.ledger.months import Filter
from joulewise.ledger.refreshing import rebuild, refresh
from joulewise.measuring.summarising import summary
from joulewise.testing.ledger_contract import write_recording
from joulewise.vocabulary.waste import REVISION, Part, Waste

ALL = Filter()


@pytest.fixture
def store(tmp_path):
    store = open_memory()
    for name in ("a", "b", "c"):
        write_recording(tmp_path, name, meta={"project": "vision" if name != "c" else "speech"})
    refresh(store, tmp_path, summary)
    yield store
    store.close()


def looked(store, share: float) -> dict[str, dict[Waste | None, Part] | None]:
    found: dict[Waste | None, Part] | None = {
        Waste.OVER_TRAINING: Part(share, share / 2, share),
        None: Part(1 - share, 0.0, 1.0),
    }
    return dict.fromkeys(wastes.waiting(store, ALL, 10)[:2], found)


def test_waits_until_it_was_looked_into(store):
    """What was kept does not wait any more; the rest is told as waiting."""
    assert len(wastes.waiting(store, ALL, 10)) == 3
    wastes.write(store, looked(store, 0.6))
    seen = wastes.split(store, ALL)

    assert len(wastes.waiting(store, ALL, 10)) == 1
    assert seen.waiting == pytest.approx(1 / 3)
    assert seen.waiting_runs == 1


def test_adds_up(store):
    """The wastes, what found none, what was not seen and what waits are the whole."""
    found = looked(store, 0.6)
    found[next(iter(found))] = None
    wastes.write(store, found)
    seen = wastes.split(store, ALL)
    parts = [p.share for p in seen.wastes.values()]

    assert sum(parts) + seen.none.share + seen.unseen + seen.waiting == pytest.approx(1)
    assert seen.wastes[Waste.OVER_TRAINING].share == pytest.approx(0.2)
    assert seen.wastes[Waste.OVER_TRAINING].low == pytest.approx(0.1)
    assert seen.unseen == pytest.approx(1 / 3)


def test_a_project(store):
    """A project's split holds only its own recordings."""
    assert wastes.split(store, Filter(project="speech")).runs == 1
    assert wastes.split(store, Filter(project="nope")).total_j == 0
    assert len(wastes.waiting(store, Filter(project="vision"), 10)) == 2


def test_better_estimators_look_again(store, monkeypatch):
    """What estimators of before had said does not count when they have changed."""
    wastes.write(store, looked(store, 0.6))
    monkeypatch.setattr(wastes, "REVISION", REVISION + 1)

    assert len(wastes.waiting(store, ALL, 10)) == 3
    assert wastes.split(store, ALL).wastes[Waste.OVER_TRAINING].share == 0


def test_a_view(store, tmp_path):
    """What was kept is a view: a rebuild empties it."""
    wastes.write(store, looked(store, 0.6))
    rebuild(store, tmp_path, summary)

    assert len(wastes.waiting(store, ALL, 10)) == 3


def test_examples(store):
    """The recordings that a waste took most of come first."""
    found = looked(store, 0.6)
    wastes.write(store, found)

    assert {run_id for run_id, _ in wastes.examples(store, ALL, Waste.OVER_TRAINING)} == set(found)
    assert wastes.examples(store, ALL, Waste.DATA_MOVEMENT) == []
