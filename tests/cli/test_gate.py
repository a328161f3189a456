"""`joulewise gate`."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def repeated(recorded):
    """Return a function that records a program several times under one name."""

    def make(name: str, code: str = "sum(range(30_000_000))", times: int = 4) -> None:
        for _ in range(times):
            recorded(name, code)

    return make


def test_fail_by_name(joulewise, repeated):
    """A name means all its finished recordings; four times the work fails with exit code 4."""
    repeated("base")
    repeated("change", "sum(range(120_000_000))")
    done = joulewise("gate", "change", "--baseline", "base", "--measure", "cpu", "--max-increase", "40%")

    assert (done.returncode, done.stderr) == (4, "")
    assert done.stdout.startswith("fail: the whole interval lies above the limit of +40 %\n")
    assert "(4 baseline, 4 candidate)" in done.stdout


def test_pass_as_json(joulewise, repeated):
    """Less work than the baseline's passes with exit code 0; JSON holds the evidence."""
    repeated("base", "sum(range(120_000_000))")
    repeated("change")
    done = joulewise("gate", "change", "--baseline", "base", "--measure", "cpu", "--json")
    fields = json.loads(done.stdout)

    assert done.returncode == 0
    assert (fields["decision"], fields["exit_code"], fields["runs"]) == (
        "pass",
        0,
        {"baseline": 4, "candidate": 4},
    )
    assert fields["ratio"]["high"] < 1


def test_single_runs_cannot_tell(joulewise, recorded):
    """One run a side cannot tell: exit code 5."""
    recorded("one")
    recorded("two")
    done = joulewise("gate", "two", "--baseline", "one")
    assert done.returncode == 5
    assert done.stdout.startswith("cannot tell: one run a side cannot tell how much a repeat differs")


def test_markdown(joulewise, repeated, tmp_path):
    """The comment for a pull request is Markdown in which a hostile name is only text."""
    repeated("base|<script>", times=2)
    repeated("change", times=2)
    out = tmp_path / "comment.md"
    done = joulewise("gate", "change", "--baseline", "base|<script>", "--markdown", str(out))

    text = out.read_text()
    assert done.returncode in (0, 4, 5)
    assert text.startswith("**joulewise gate: ")
    assert "| baseline | base\\|\\<script\\>, 2 runs |" in text


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--baseline", "one"), "gate needs a RUN to judge"),
        (("one", "--baseline", "one"), "is on both sides"),
        (("one", "--baseline", "nope"), "unknown recording 'nope'"),
        (("one", "--baseline", "one", "--max-increase", "10"), "must be a percentage, for instance 10%"),
    ],
)
def test_bad_input(joulewise, recorded, args, said):
    """Wrong use is one line and exit code 2."""
    recorded("one")
    done = joulewise("gate", *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
