"""`joulewise runs`."""

from __future__ import annotations

import json

import pytest


def test_lists_newest_first(joulewise, recorded):
    """Recordings stand in a table, newest first, with energy, basis and id."""
    recorded("first")
    recorded("second")
    lines = joulewise("runs").stdout.splitlines()

    assert lines[0].split() == ["started", "name", "state", "time", "energy", "basis", "id"]
    assert [line.split()[2] for line in lines[1:]] == ["second", "first"]
    assert "J (" in lines[1]


def test_filters(joulewise, recorded):
    """Text, name, state, time and limit choose among them; JSON counts all that fit."""
    for name in ("alpha", "beta", "alphabet"):
        recorded(name)

    def names(*arguments):
        fields = json.loads(joulewise("runs", "--json", *arguments).stdout)
        return fields["count"], [r["name"] for r in fields["runs"]]

    assert names("--name", "alpha") == (2, ["alphabet", "alpha"])
    assert names("bet") == (2, ["alphabet", "beta"])
    assert names("--state", "failed") == (0, [])
    assert names("--since", "1h", "--limit", "1") == (3, ["alphabet"])
    assert names("--since", "2100-01-01") == (0, [])
    assert names("--sort", "oldest", "--offset", "1") == (3, ["beta", "alphabet"])


def test_tells_that_there_are_more(joulewise, recorded):
    """A list that is cut says how many there are."""
    recorded("one")
    recorded("two")

    assert "1 of 2; --limit and --offset show more" in joulewise("runs", "--limit", "1").stdout


def test_nothing_fits(joulewise, recorded):
    """An empty list says whether nothing fits or nothing is there."""
    assert "make one: joulewise run" in joulewise("runs").stdout
    recorded("one")
    assert joulewise("runs", "zebra").stdout == "no recording fits\n"


@pytest.mark.parametrize("text", ["yesterday-ish", "7 parsecs", "-3d"])
def test_wrong_since(joulewise, text):
    """A time that cannot be read is one line with exit code 2."""
    done = joulewise("runs", f"--since={text}")

    assert done.returncode == 2
    assert "--since is" in done.stderr
    assert len(done.stderr.splitlines()) == 1
