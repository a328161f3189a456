"""What was run before."""

from __future__ import annotations

import numpy as np

from joulewise.searching.history import State
from joulewise.searching.journal import read, replay
from joulewise.searching.log import FileLog
from joulewise.searching.ordering import search
from joulewise.searching.past import Past, fitting, of_study
from joulewise.searching.space import Choice, Float, Space
from tests.searching.doubles import SPACE, Meter, valley


def test_begins_with_what_is_known(tmp_path):
    """A study that knows an earlier one finds as good settings for less, and runs none of its complete trials again."""
    first = Meter()
    path = tmp_path / "first.jsonl"
    before = search(valley(first), SPACE, "150J", measure=first, minimise=True, opened=lambda: FileLog(path))
    past = of_study("first", read(path))
    assert len(past) == sum(t.epoch > 0 for t in before.trials)

    def run(**options):
        meter = Meter()
        return search(valley(meter), SPACE, "60J", measure=meter, minimise=True, **options)

    cold, warm = run(), run(past=past, opened=lambda: FileLog(tmp_path / "second.jsonl"))

    assert warm.best_value <= before.best_value <= cold.best_value
    assert len(warm.own) < len(warm.trials)
    assert warm.spent["energy_j"] <= 60
    complete = {t.key for t in warm.trials if t.past and t.epoch == 27}
    assert complete
    assert not complete & {t.key for t in warm.own}
    lines = read(tmp_path / "second.jsonl")
    assert replay(lines).differing == ()
    assert sum(line["kind"] == "past" for line in lines) == len(past)
    assert f"{len(warm.own)} trials, " in warm.report()
    assert f"after {len(past)} of before" in warm.report()


def test_going_on_adds_nothing(tmp_path):
    """What was run before stands at a study's head once, however often it goes on; budgets in trials do not count it."""
    past = [Past({"x": 0.1 * i, "width": 2}, (1.0,), (2.0,), "run") for i in range(1, 9)]

    def run(budget):
        meter = Meter()
        return search(valley(meter), SPACE, budget, measure=meter, minimise=True, epochs=3, past=past,
                      opened=lambda: FileLog(tmp_path / "s.jsonl"))  # fmt: skip

    run("3trials")
    study = run("5trials")

    assert len(study.own) == 5
    assert len(study.trials) == 13


def test_fitting():
    """Runs belong to the space if they name what applies, within its range; of the same settings the longest stays."""
    space = Space(
        {"lr": Float(0.0, 1.0), "opt": Choice(("sgd", "adam")), "m": Float(0, 1, when={"opt": ("sgd",)})}
    )
    runs = [
        Past({"lr": 0.5, "opt": "adam", "batch": 3}, (1.0,), (), "a"),
        Past({"lr": 0.5, "opt": "adam", "m": 0.3}, (1.0, 2.0), (), "b"),
        Past({"lr": 0.5, "opt": "sgd"}, (1.0,), (), "no momentum"),
        Past({"lr": 5, "opt": "adam"}, (1.0,), (), "outside"),
        Past({"lr": "high", "opt": "adam"}, (1.0,), (), "a word"),
        Past({"opt": "adam"}, (1.0,), (), "no rate"),
    ]

    assert [(p.source, p.params) for p in fitting(runs, space)] == [("b", {"lr": 0.5, "opt": "adam"})]


def test_without_costs():
    """Runs whose joules are unknown are learnt from, too."""
    past = [Past({"x": x, "width": 3}, ((x - 0.3) ** 2,), (), "r") for x in np.linspace(0, 1, 12)]
    meter = Meter()
    study = search(valley(meter), SPACE, "40J", measure=meter, minimise=True, epochs=1, past=past)

    assert study.own
    assert all(t.state is State.COMPLETE for t in study.own if t.epoch)
    assert abs(study.space.configuration(study.own[0].point)["x"] - 0.3) < 0.2
