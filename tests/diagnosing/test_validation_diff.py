"""The diff for a program that evaluates too often: what it changes, and that the changed program does so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from joulewise.diagnosing.validation_diff import validation_diff
from tests.diagnosing.test_validation_too_often import trainer
from tests.diagnosing.views import evaluations

MOVED = """\
calls = []


def evaluate(epoch):
    calls.append(epoch)


for epoch in range(2):
    for step in range(100):
        work = step * 2
        if step % 10 == 0 and step:
            evaluate(epoch)  # for the curve
    print("epoch", epoch)
print(len(calls))
"""
PERIOD = """\
EVERY = 10
calls = []


def evaluate():
    calls.append(1)


step = 0
for epoch in range(4):
    for _ in range(250):
        step += 1
        if step % EVERY == 0:
            evaluate()
print(len(calls))
"""


def seen(**fields):
    return trainer(40, evaluations=evaluations([(n + 1) * 24 for n in range(40)], **fields))


def applied(source: str, diff: str, folder: Path) -> str:
    """Return what the program says once the diff has been applied by `patch`."""
    (folder / "train.py").write_text(source)
    subprocess.run(["patch", "-p1", "--quiet"], cwd=folder, input=diff, text=True, check=True)
    done = subprocess.run(["python3", "train.py"], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_behind_the_loop(tmp_path: Path):
    """A call whose condition is no plain period moves behind the loop over the batches, once an epoch."""
    diff = validation_diff(MOVED, seen(), "train.py")

    assert diff is not None
    assert "-        if step % 10 == 0 and step:\n" in diff
    assert "+    evaluate(epoch)  # for the curve\n" in diff
    assert applied(MOVED, diff, tmp_path) == "2"


def test_another_period(tmp_path: Path):
    """A period that is written once becomes the steps of an epoch."""
    diff = validation_diff(PERIOD, seen(), "train.py")

    assert diff is not None
    assert "-EVERY = 10\n+EVERY = 250\n" in diff
    assert applied(PERIOD, diff, tmp_path) == "4"


def test_period_that_serves_something_else():
    """A number that logging uses, too, is left alone: the call moves."""
    source = PERIOD.replace(
        "            evaluate()\n",
        "            evaluate()\n        if step % EVERY == 1:\n            print(step)\n",
    )
    diff = validation_diff(source, seen(), "train.py")

    assert diff is not None
    assert "+    evaluate()\n" in diff
    assert "EVERY = 250" not in diff


@pytest.mark.parametrize(
    "source",
    [
        MOVED.replace("            evaluate(epoch)", "            evaluate(epoch)\n            break"),
        MOVED.replace("evaluate(epoch)  #", "score = evaluate(epoch)  #").replace("work = step * 2", "work = step * score"),
        MOVED.replace("        if step % 10 == 0 and step:\n            evaluate(epoch)", "        evaluate(epoch) if step else None\n        evaluate(epoch)"),
        MOVED.replace("and step:\n            evaluate(epoch)", "and step: evaluate(epoch)"),
        MOVED.replace("for epoch in range(2):\n    for step", "epoch = 0\nif True:\n    for step"),
        MOVED.replace("evaluate", "other"),
        "def evaluate(:",
        "",
    ],
)  # fmt: skip
def test_what_cannot_be_read(source: str):
    """What leaves the loop, is needed in it, is called twice or not seen at all gets no diff; nor does what is no Python."""
    assert validation_diff(source, seen(), "train.py") is None


def test_healthy():
    """Where nothing is evaluated too often there is no diff."""
    assert validation_diff(MOVED, trainer(4), "train.py") is None
