"""The generator of programs: variants, twins, truths, and that the templates are programs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from joulewise.vocabulary.finding import Cause

PLACE = Path(__file__).resolve().parents[2] / "bench" / "diagnose" / "generate.py"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_variants(generate):
    """Varied lines take their n-th values together; the last one stays where another line has more."""
    text = "A = 1  # vary: 1, 2, 3\nB = 7  # vary: 7, 8\nC = 9\n"
    assert generate.variants(text) == [
        "A = 1\nB = 7\nC = 9\n",
        "A = 2\nB = 8\nC = 9\n",
        "A = 3\nB = 8\nC = 9\n",
    ]


def test_twin(generate):
    """The twin differs in the marked lines only, and neither keeps a mark."""
    found, twin = generate.sides("if x:\n    a = 1  # fixed: a = 2\n")
    assert found == "if x:\n    a = 1\n"
    assert twin == "if x:\n    a = 2\n"
    assert generate.sides("a = 1\n")[1] is None


def test_all_templates(generate, tmp_path):
    """A hundred and two healthy controls and at least thirty wastes with twins come out, each a program that compiles."""
    assert generate.generate(tmp_path, "healthy") == 102
    assert generate.generate(tmp_path, "wasteful") >= 30
    for folder in tmp_path.iterdir():
        truth = json.loads((folder / "truth.json").read_text())
        for script in folder.glob("*.py"):
            text = script.read_text()
            compile(text, str(script), "exec")
            assert "# vary:" not in text
            assert "# fixed:" not in text
        if truth["cause"] is None:
            assert not (folder / "train_fixed.py").exists()
        else:
            assert Cause(truth["cause"])
            assert (folder / "train_fixed.py").read_text() != (folder / "train.py").read_text()
