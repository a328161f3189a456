"""Errors: one clear line, the nearest known name, and an exit code for the doors."""

from __future__ import annotations

import pytest

from joulewise.vocabulary.errors import (
    BudgetExceeded,
    GridError,
    JoulewiseError,
    LedgerError,
    MeterError,
    RecordingError,
    UnknownName,
    UnlikeSignals,
    UsageError,
)


@pytest.mark.parametrize(
    ("known", "advice", "text"),
    [
        (["Germany", "Ghana"], "", "unknown zone 'germny'; did you mean Germany?"),
        (["Germany"], "give a zone", "unknown zone 'germny'; did you mean Germany? give a zone"),
        (["Chad"], "give a zone", "unknown zone 'germny'; give a zone"),
        (["Chad"], "(in rates.toml)", "unknown zone 'germny' (in rates.toml)"),
        ([], "", "unknown zone 'germny'"),
        (["DEU", "GERMANY"], "", "unknown zone 'germny'; did you mean GERMANY?"),
    ],
)
def test_unknown_name(known, advice, text):
    """An unknown name suggests what is near, whatever its case, and reads as one sentence."""
    assert str(UnknownName("zone", "germny", known, advice)) == text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JoulewiseError, 1),
        (UsageError, 2),
        (RecordingError, 2),
        (LedgerError, 1),
        (MeterError, 1),
        (GridError, 1),
        (UnlikeSignals, 2),
        (BudgetExceeded, 3),
    ],
)
def test_exit_codes(error, code):
    """Wrong use ends with 2, a spent budget with 3, everything else with 1."""
    assert error("x").exit_code == code
    assert issubclass(error, JoulewiseError)
