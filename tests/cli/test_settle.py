"""`joulewise settle`: promise and outcome of two real runs."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_diagnose import swept

__all__ = ["swept"]


@pytest.mark.slow
def test_promise_and_outcome(joulewise, swept):
    """The promise of the first run is compared with the second, shown and kept in the ledger."""
    swept("before", wasteful=True)
    swept("after", wasteful=False)
    told = json.loads(joulewise("settle", "before", "after", "--json").stdout)

    assert told["cause"] == "repeated_preprocessing"
    assert told["promised_share"]["value"] > 0.05
    assert told["realised_share"]["value"] > 0
    assert told["noise_assumed"] is True
    text = joulewise("settle", "before", "after").stdout
    assert "promised " in text
    assert "verdict  " in text
    kept = json.loads(joulewise("runs", "--savings", "--json").stdout)
    assert len(kept["savings"]) == 1
    assert kept["promised"] == 1
    assert (
        "1 of 1" in joulewise("runs", "--savings").stdout or "0 of 1" in joulewise("runs", "--savings").stdout
    )


def test_wrong_use(joulewise, recorded):
    """A run against itself, a finding that was not made, or no run is one line and exit code 2."""
    recorded("one")
    recorded("two")
    for arguments in (
        ("one", "one"),
        ("one", "two", "--cause", "small_batch"),
        ("one", ","),
        ("one", "none"),
    ):
        done = joulewise("settle", *arguments)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


def test_nothing_settled(joulewise, recorded):
    """Without settlements the list says how to make one."""
    recorded("one")
    assert "joulewise settle BEFORE AFTER" in joulewise("runs", "--savings").stdout
