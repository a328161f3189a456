from __future__ import annotations

import pytest

from tests.diagnosing.views import causes, found, phases, view


def trainer(saves, seconds, **fields):
    told = {
        "steps": 800,
        "epochs": 5,
        "phases": phases(forward=20.0, backward=20.0, optimiser=20.0, checkpoint=(saves, seconds)),
    }
    return view(**{**told, **fields})


def test_more_than_insures():
    """Of 400 checkpoints five and a last one are kept."""
    finding = found(trainer(400, 40.0))[0]

    assert finding.cause == "checkpoint_too_often"
    assert finding.saving.cpu_s.value == pytest.approx(40.0 * (1 - 6 / 400))
    assert "400 calls to save or sync in 800 steps" in finding.evidence
    assert finding.remedy.text == "save every 160 steps"


@pytest.mark.parametrize("saves", [1, 5, 10])
def test_last_and_best(saves):
    """Up to two an epoch are left alone, however long they take."""
    assert causes(trainer(saves, 40.0)) == []


def test_without_epochs():
    """Without epochs Young's interval decides: one for a run of a hundred seconds."""
    assert found(trainer(400, 40.0, epochs=None))[0].saving.cpu_s.value == pytest.approx(40.0 * (1 - 2 / 400))


def test_synced_log():
    """Syncs that write next to nothing are a log's, not checkpoints."""
    told = {
        "steps": 5000,
        "epochs": 5,
        "parameters": 1_000_000,
        "phases": phases(forward=50.0, checkpoint=(5000, 40.0)),
    }
    written = {"written_bytes": [1e4 * t for t in range(101)]}
    finding = found(view(**told), counters=written)[0]

    assert finding.cause == "logging_overhead"
    assert finding.saving.cpu_s.value == pytest.approx(40 * (1 - 10 / 5000))
    assert "no os.fsync" in finding.remedy.text
