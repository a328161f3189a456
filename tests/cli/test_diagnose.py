"""`joulewise diagnose`: findings of a real run, as text and as JSON."""

from __future__ import annotations

import json
import sys

import pytest

SWEEP = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

def features(x):
    return np.array([np.concatenate([np.sort(r), np.percentile(r, (5, 50, 95))]) for r in x])

rng = np.random.default_rng(0)
x, y = rng.normal(size=({rows}, 20)), rng.integers(0, 2, {rows})
ready = None
for c in (0.01, 0.1, 1.0, 10.0):
    a = StandardScaler().fit_transform(features(x)) if ready is None else ready
    ready = {keep}
    LogisticRegression(C=c).fit(a, y)
"""


@pytest.fixture
def swept(home, joulewise, monkeypatch):
    """Record a small sweep that makes its features for every fit, or once."""
    pytest.importorskip("sklearn")
    for library in (
        "OMP",
        "OPENBLAS",
    ):  # threads that spin at each other's barriers would measure the neighbours
        monkeypatch.setenv(f"{library}_NUM_THREADS", "1")

    def record(name: str, *, wasteful: bool) -> None:
        (home / "sweep.py").write_text(SWEEP.format(rows=9000, keep="None" if wasteful else "a"))
        done = joulewise("run", "--quiet", "--name", name, "--", sys.executable, "sweep.py")
        assert done.returncode == 0, done.stderr

    return record


def test_named(joulewise, swept):
    """A sweep that prepares the same data for every fit is told so, with what it would save."""
    swept("sweep", wasteful=True)
    done = joulewise("diagnose", "sweep", "--json")
    told = json.loads(done.stdout)

    assert told["schema_version"] == 1
    assert told["seen_from_inside"] is True
    (finding,) = told["findings"]
    assert finding["cause"] == "repeated_preprocessing"
    assert 0.05 < finding["saving_cpu"] < 0.8
    assert finding["saving"]["cpu_s"]["low"] <= finding["saving"]["cpu_s"]["value"]
    assert finding["remedy"]["kind"] == "diff"

    text = joulewise("diagnose").stdout
    assert "1. repeated preprocessing:" in text
    assert "the same 9000 rows 4 times" in text
    assert "risk    none" in text
    assert "waste (repeated preprocessing): prepare the data once" in joulewise("show", "sweep").stdout


def test_nothing(joulewise, recorded):
    """Where nothing is surely wasted, nothing is named."""
    recorded("short")
    assert "nothing is surely wasted" in joulewise("diagnose", "short").stdout


def test_not_seen(home, joulewise):
    """A program that could not be entered is told apart from a healthy one."""
    joulewise("run", "--quiet", "--name", "shell", "--", "sh", "-c", "sleep 0.1")
    assert "no process of it was seen from inside" in joulewise("diagnose", "shell").stdout


def test_experiment(joulewise, recorded):
    """An experiment tells which share of its joules bought nothing; a repetition is one only with known seeds."""
    recorded("grid-a")
    recorded("grid-b")
    told = json.loads(joulewise("diagnose", "--experiment", "grid", "--json").stdout)

    assert told["runs"] == 2
    assert told["repeated"] == []
    assert told["bought_nothing_j"] == 0
    assert "2 runs" in joulewise("diagnose", "--experiment", "grid").stdout


def test_wrong_use(joulewise, recorded):
    """Wrong use is one line and exit code 2."""
    recorded("short")
    wrong = [
        ("nothing",),
        ("short", "--experiment", "x"),
        ("--experiment", "nothing"),
        ("short", "--features"),
        ("short", "--store", "x.db"),
        ("short", "--deadline", "soon"),
        ("short", "--requests", "no-such-file"),
    ]
    for arguments in wrong:
        done = joulewise("diagnose", *arguments)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


def test_requests_of_a_foreign_server(home, joulewise, recorded):
    """A server's own log may be given; what tells of no request is refused."""
    recorded("short")
    (home / "access.log").write_text('INFO: 127.0.0.1:1 - "POST /predict HTTP/1.1" 200 OK\n')
    (home / "other.log").write_text("started\n")

    assert joulewise("diagnose", "short", "--requests", "access.log").returncode == 0
    assert joulewise("diagnose", "short", "--requests", "other.log").returncode == 2
