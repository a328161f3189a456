"""`joulewise diagnose` shows a diff where a program's script is still there, as it ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulewise.cli.diagnose import _diff
from joulewise.measuring.agent.inside.prints import digest
from tests.diagnosing.test_validation_diff import PERIOD
from tests.diagnosing.test_validation_too_often import trainer
from tests.diagnosing.views import case, found


@pytest.fixture
def shown(tmp_path: Path):
    """Return a function that gives the diff of a run of the script, as it now stands in its folder."""
    (tmp_path / "train.py").write_text(PERIOD)
    view = trainer(40, code=digest(PERIOD.encode()))
    recording = case(view).recording
    recording.metadata["cwd"] = str(tmp_path)  # type: ignore[index]
    return lambda: _diff(recording, (view,), found(view)[0])


def test_shown(shown):
    """The period is changed in the script's own lines."""
    assert "-EVERY = 10\n+EVERY = 250\n" in shown()


def test_edited_since(shown, tmp_path: Path):
    """A script that was edited since, or is gone, has no diff: the lines would not be those that ran."""
    (tmp_path / "train.py").write_text(PERIOD + "\n")
    assert shown() is None
    (tmp_path / "train.py").unlink()
    assert shown() is None
