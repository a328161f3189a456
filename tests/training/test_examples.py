"""The examples for each framework run as they stand, and joulewise ends each before its planned end or says why not."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {
    "train_adapters": ("torch", "transformers", "peft", "sklearn"),
    "train_smaller": ("torch", "torch_pruning", "schedulefree", "sklearn"),
    "train_torch": ("torch", "schedulefree", "sklearn"),
    "train_lightning": ("lightning", "sklearn"),
    "train_transformers": ("transformers", "accelerate", "sklearn"),
    "train_accelerate": ("accelerate", "sklearn"),
    "train_keras": ("keras", "torch", "sklearn"),
    "train_scikit_learn": ("sklearn",),
    "train_lightgbm": ("lightgbm", "sklearn"),
    "train_xgboost": ("xgboost", "sklearn"),
}


def test_each_has_its_row():
    """No example of training is left out of this test."""
    assert {p.stem for p in EXAMPLES.glob("train_*.py")} == set(NEEDS)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NEEDS)
def test_runs(name, tmp_path):
    """It ends well and prints the decision in one line."""
    for module in NEEDS[name]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "KERAS_BACKEND": "torch",
        "JOULEWISE_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    said = {"train_adapters": "take ", "train_smaller": "with 50% of its channels cut: loss"}.get(
        name, "at step"
    )
    assert said in done.stdout
