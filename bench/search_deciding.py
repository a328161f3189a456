"""What does a search cost itself? CPU of a decision after so many trials, and what starting a trial adds: `make bench-search`.

    python bench/search_deciding.py

A decision: seven settings, 52 epochs, trials frozen after 1 to 52 of them; one thread, the median of 20. A start: from the end
of one trial's epoch to the first line of the next one's objective, its decision and its lines in the journal included; and the same of an
unedited program, less what the bare program needs to be started. Seconds of the wall's clock are for a quiet machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from joulewise.searching.deciding import Rules, decide
from joulewise.searching.history import State, Trial
from joulewise.searching.log import FileLog
from joulewise.searching.script import Script
from joulewise.searching.space import Float, Space
from joulewise.searching.study import Study
from joulewise.vocabulary.budget import Budget, Spent

SPACE = Space({f"p{i}": Float(0, 1) for i in range(7)})
EPOCHS = 52
LENGTHS, SHARES = (1, 3, 6, 9, 16, 27, 52), (0.3, 0.4, 0.1, 0.1, 0.05, 0.03, 0.02)
PROGRAM = (
    "import time; print('told', time.monotonic(), flush=True); print('loss: 1', flush=True); time.sleep(60)"
)


def trials_of(count: int) -> list[Trial]:
    """Return a study's trials as a search leaves them: most frozen early, a few trained to their end."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(count):
        point, length = rng.random(7), int(rng.choice(LENGTHS, p=SHARES))
        top = 1 - ((point - 0.4) ** 2).sum() / 7
        values = top - 0.5 / np.arange(1, length + 1) + rng.normal(0, 0.002, length)
        state = State.COMPLETE if length == EPOCHS else State.PAUSED
        trials.append(
            Trial(number, point, tuple(values), (float(np.exp(point[0])),) * length, state, key=str(number))
        )
    return trials


def decision_ms(count: int) -> list[float]:
    """Return CPU milliseconds of decisions after `count` trials."""
    trials, beliefs, took = trials_of(count), None, []
    for seed in range(23):
        began = time.process_time()
        _, beliefs = decide(SPACE, trials, beliefs, Rules(EPOCHS, seed))
        took.append(1000 * (time.process_time() - began))
    return took[3:]


def start_ms(program: bool, count: int = 30) -> list[float]:
    """Return milliseconds from the end of one trial's epoch to the begin of the next trial."""
    began: list[float] = []
    ended: list[float] = []

    def objective(trial):
        began.append(time.monotonic())
        if program:
            told = Script([sys.executable, "-c", PROGRAM, "{p0}"], "loss", SPACE)(trial)
            next(told)
            told.close()
        ended.append(time.monotonic())
        yield float(trial["p0"])

    with tempfile.TemporaryDirectory() as folder:
        study = Study("starts", SPACE, Rules(EPOCHS), FileLog(Path(folder) / "s.jsonl"))
        study.run(objective, Budget(trials=count), lambda: Spent(time_s=time.monotonic()),
                  stopped=lambda s: "enough" if len(s.trials) >= count else "")  # fmt: skip
    if program:
        bare = []
        for _ in range(10):
            at = time.monotonic()
            child = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)
            assert child.stdout is not None
            child.stdout.readline()
            bare.append(time.monotonic() - at)
            child.kill()
            child.wait()
            child.stdout.close()
        return [1000 * (e - b - float(np.median(bare))) for b, e in zip(began, ended, strict=True)]
    return [1000 * (b - e) for b, e in zip(began[1:], ended, strict=False)]


def main() -> None:
    for count in (10, 100, 1000):
        took = decision_ms(count)
        print(
            f"a decision after {count:5} trials   {np.median(took):6.1f} ms CPU ({min(took):.1f} to {max(took):.1f})"
        )
    for what, program in (("an objective in Python", False), ("a program, beyond its own start", True)):
        took = start_ms(program)
        print(f"a start, {what:32} {np.median(took):6.1f} ms (at most {max(took):.1f})")


if __name__ == "__main__":
    main()
