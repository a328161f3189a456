"""The diff for a program that saves too often: what it changes, and that the changed program does so."""

from __future__ import annotations

import pytest

from joulewise.diagnosing.checkpoint_diff import checkpoint_diff
from joulewise.diagnosing.checkpoint_too_often import steps_between_saves
from tests.diagnosing.test_validation_diff import applied
from tests.diagnosing.views import phases, view

SAVING = """\
import pickle

EVERY = 2
saved = []


class file:
    write = saved.append


def keep(step):
    pickle.dump({"step": step}, file)


step = 0
for epoch in range(4):
    for _ in range(240):
        step += 1
        if step % EVERY == 0:
            keep(step)
    print("epoch", epoch)
keep(step)
print(len(saved))
"""


def seen():
    """Return a run that saved at every second of its 960 steps."""
    return view(steps=960, epochs=4, phases=phases(forward=60.0, checkpoint=(480, 20.0)))


def test_another_period(tmp_path):
    """The period becomes the steps between the checkpoints that insure the run, which the finding names, too."""
    diff = checkpoint_diff(SAVING, seen(), "train.py")
    every = steps_between_saves(seen())

    assert diff is not None
    assert f"-EVERY = 2\n+EVERY = {every}\n" in diff
    assert applied(SAVING, diff, tmp_path) == str(960 // every + 1)


def test_a_name_of_a_library():
    """The program's own `dump` may call the library's, and is read like any other."""
    source = SAVING.replace("keep(", "dump(")
    assert checkpoint_diff(source, seen(), "train.py") is not None
    assert (
        checkpoint_diff(
            source.replace("    pickle.dump", "    evaluate(step)\n    pickle.dump"), seen(), "train.py"
        )
        is None
    )


@pytest.mark.parametrize(
    "source",
    [
        SAVING.replace("pickle.dump", "print"),
        SAVING.replace("        if step % EVERY == 0:\n    ", ""),
        SAVING.replace("    print(", "    print(EVERY, "),
        SAVING.replace("            keep(step)\n", "            keep(step)\n        if step == 7:\n            keep(step)\n"),
        SAVING.replace("            keep(step)\n", "            print(evaluate(step))\n            keep(step)\n"),
        SAVING.replace("    pickle.dump", "    evaluate(step)\n    pickle.dump"),
        SAVING.replace("    pickle.dump", "    keep(step - 1)\n    pickle.dump"),
        "def keep(:",
        "",
    ],
)  # fmt: skip
def test_what_cannot_be_read(source):
    """What does not save, does more, saves at every step or in two places, or has a number for something else, gets no diff."""
    assert checkpoint_diff(source, seen(), "train.py") is None


def test_nothing_saved():
    """Where no checkpoint was seen there is no diff."""
    assert checkpoint_diff(SAVING, view(steps=960, epochs=4, phases=phases(forward=60.0)), "train.py") is None
