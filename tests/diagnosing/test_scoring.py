"""The table of the bench: truths from pairs, errors beyond their standard error, coverage, saving won."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parents[2] / "bench" / "diagnose" / "scoring.py"


@pytest.fixture(scope="module")
def scoring():
    spec = importlib.util.spec_from_file_location("scoring", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scoring"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def runs(*pairs):
    return {"as_found": [{"cpu": a} for a, _ in pairs], "fixed": [{"cpu": b} for _, b in pairs]}


def test_truth(scoring):
    """A truth is the mean over its pairs; its error is pooled over all programs, so one pair has one, too."""
    measured = {"_note": "text", "a": runs((10, 5), (10, 6)), "b": runs((10, 8))}

    assert scoring.spread(measured) == pytest.approx(0.0707, abs=1e-4)
    assert scoring.truth(measured, "a").share == pytest.approx(0.45)
    assert scoring.truth(measured, "a").error == pytest.approx(0.05)
    assert scoring.truth(measured, "b").error == pytest.approx(0.0707, abs=1e-4)
    assert scoring.truth(measured, "c") is None


def test_score(scoring, tmp_path, capsys):
    """A right first advice wins its saving; an accused control, a wrong and a harmful advice are counted as such."""
    causes = {"right": "small_batch", "wrong": "over_training", "worse": "oversized_model", "healthy": None}
    for name, cause in causes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "truth.json").write_text(json.dumps({"cause": cause}))

    def advice(cause):
        return [{"cause": cause, "saving_cpu": 0.4, "low_cpu": 0.3, "high_cpu": 0.45}]

    predicted = {
        "right": advice("small_batch"),
        "wrong": advice("costly_shuffle"),
        "worse": advice("oversized_model"),
        "healthy": advice("small_batch"),
    }
    measured = {
        "right": runs((10, 5), (10, 5)),
        "wrong": runs((10, 5), (10, 5)),
        "worse": runs((10, 12), (10, 12)),
    }
    total = scoring.score(tmp_path, predicted, measured)

    assert (total.wasteful, total.right, total.healthy, total.accused, total.raised) == (3, 2, 1, 1, 1)
    assert total.won_s / total.possible_s == pytest.approx(0.5)
    assert total.inside == 0
    assert total.errors == pytest.approx([-0.1, 0.6])
    assert "| first advice names the cause | 2 of 3 |" in capsys.readouterr().out
