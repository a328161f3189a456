"""What a program tells of its metric: printed, logged, or seen by the phases hook."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from joulewise.searching.heard import in_line, printed
from joulewise.searching.objective import Handle, TrialFailed
from joulewise.searching.script import Script
from joulewise.searching.space import Float, Space

SPACE = Space({"rate": Float(0.0, 1.0)})

# A program whose framework tells its numbers, as Keras' and Lightning's callbacks do through the hook.
TOLD = """
import sys, time
agent = sys.modules["_joulewise_agent"]
line = next(o for o in __import__("gc").get_objects() if type(o).__name__ == "Timeline")
def tell(epoch, step=0, **values):
    line.facts.add("curve", [time.perf_counter(), step, epoch, values])
    line.facts.write(time.perf_counter())
"""
NEEDS_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed here"
)

LOOP = """
import sys, time, torch
rate = float(sys.argv[1])
x = torch.randn(64, 4); y = x.sum(1, keepdim=True)
model = torch.nn.Linear(4, 1); optimiser = torch.optim.SGD(model.parameters(), rate)
def validate():
    with torch.no_grad():
        return float(torch.nn.functional.mse_loss(model(x), y))
def train():
    for epoch in range(5):
        for _ in range(8):
            loss = torch.nn.functional.mse_loss(model(x), y)
            optimiser.zero_grad(); loss.backward(); optimiser.step()
            time.sleep(0.02)
        val_loss = validate()
train()
"""


def values_of(tmp_path, text: str, metric: str, **options) -> list[float]:
    """Return what a program tells, its text told first."""
    path = tmp_path / "train.py"
    path.write_text(text)
    handle = Handle(0, {"rate": 0.1}, 50)
    values = []
    for value in Script([sys.executable, str(path), "{rate}"], metric, SPACE, **options)(handle):
        values.append(value)
        handle.yielded(value)
    return values


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("val_loss: 0.25", 0.25),
        ("epoch 3/9 | loss=1.0 | val_loss=2.5e-1", 0.25),
        ('{"epoch": 3, "val_loss": 0.25}', 0.25),
        ("Val_Loss = 25 %", 0.25),
        ("val_loss=.25, accuracy=1", 0.25),
        ("best_val_loss: 0.1", None),
        ("val_loss_ema: 0.1", None),
        ("val_loss of trial 3", None),
        ("val_loss: 1e", None),
    ],
)
def test_line(line, value):
    """A line that names the metric with a number tells a value; one that names another does not."""
    assert in_line(printed("val_loss"), line) == value


def test_seen(tmp_path):
    """A framework's own numbers are seen, one an epoch, whatever the case of their name."""
    program = (
        TOLD
        + "for e in range(4):\n    tell(e, loss=1.0, Val_Acc=e / 4)\n    tell(e, loss=1.0, Val_Acc=9.0)\n"
    )

    assert values_of(tmp_path, program, "val_acc") == [0.0, 0.25, 0.5, 0.75]


def test_late_epoch(tmp_path):
    """An evaluation that is told before the loop's epoch is known anew counts: its step has grown."""
    program = TOLD + "for s, e in ((8, 0), (16, 1), (24, 1)):\n    tell(e, s, acc=0.5)\n"

    assert values_of(tmp_path, program, "acc") == [0.5, 0.5, 0.5]


def test_passing_loss(tmp_path):
    """The training loss of a moment counts once an epoch, as it stood at the epoch's end; without an epoch, not at all."""
    program = (
        TOLD
        + "tell(None, loss=7.0)\nfor e in range(3):\n    for i in range(3):\n        tell(e, loss=10.0 * e + i)\n"
    )

    assert values_of(tmp_path, program, "loss") == [2.0, 12.0, 22.0]


def test_told_once(tmp_path):
    """A program that prints a value, and whose hook sees it, too, has told it once: what came first is listened to."""
    program = (
        TOLD
        + "for e in range(3):\n    print(f'score: {e}', flush=True)\n    time.sleep(.1)\n    tell(e, score=e)\n"
    )

    assert values_of(tmp_path, program, "score") == [0.0, 1.0, 2.0]


def test_without_phases(tmp_path):
    """Without the hook nothing of it is in the program."""
    program = "import sys\nprint('m:', int('_joulewise_agent' in sys.modules))\n"

    assert values_of(tmp_path, program, "m") == [1.0]
    assert values_of(tmp_path, program, "m", phases=False) == [0.0]


def test_other_names(tmp_path):
    """A metric that is never told is said with the names of what is told."""
    with pytest.raises(
        TrialFailed, match=r"without printing f1: 0\.91 or the like; what it tells is loss, acc$"
    ):
        values_of(tmp_path, TOLD + "tell(0, loss=1.0, acc=0.5)\n", "f1")


def test_no_output(tmp_path):
    """A program that has closed its output is listened to still."""
    program = TOLD + "import os\nos.close(1)\nfor e in range(3):\n    time.sleep(.1)\n    tell(e, acc=e)\n"

    assert values_of(tmp_path, program, "acc") == [0.0, 1.0, 2.0]


@NEEDS_TORCH
@pytest.mark.slow
def test_loop_of_pytorch(tmp_path):
    """A loop in PyTorch that prints nothing: what it calls the result of its evaluation is seen, and its training loss."""
    validated = values_of(tmp_path, LOOP, "val_loss")
    trained = values_of(tmp_path, LOOP, "loss")

    assert len(validated) >= 4  # the last one stands in no frame any more when the program ends
    assert validated == sorted(validated, reverse=True)
    assert len(trained) == 5
    assert trained == sorted(trained, reverse=True)
