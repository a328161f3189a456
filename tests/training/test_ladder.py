"""A ladder of smaller models."""

from math import log

import pytest

from joulewise.training.choices import Choice, Recipe
from joulewise.training.ladder import Constants, Rung, calibrated, climb, judge
from joulewise.vocabulary.errors import UsageError

SURE = Constants(level=0.0, slope=1.0, reach=0.05)  # early ranks that carry over nearly as they are
LARGE = Rung("large", 1000, 0.20, 9.0, 3.0)


class TestJudge:
    def test_the_smallest_that_holds(self):
        """Of several that hold, the smallest is taken; what it saves is of the largest's joules."""
        rungs = [
            Rung("tiny", 10, 0.40, 1, 0.3),
            LARGE,
            Rung("small", 100, 0.205, 3, 1),
            Rung("half", 500, 0.2, 6, 2),
        ]
        ladder = judge(rungs, 0.10, 0.01, SURE)

        assert [s.rung.name for s in ladder.standings] == ["half", "small", "tiny"]
        assert [s.holds for s in ladder.standings] == [True, True, False]
        assert ladder.smallest == rungs[2]
        assert ladder.standings[1].training_saved == pytest.approx(2 / 3)
        assert "take small, and confirm it" in str(ladder)

    def test_size_speaks_too(self):
        """Of two with the same early error, the one with fewer weights is expected to end worse, by the constants' size."""
        constants = Constants(level=0.0, slope=0.0, reach=0.01, size=-0.1)
        ladder = judge(
            [LARGE, Rung("half", 500, 0.2, 6, 2), Rung("tenth", 100, 0.2, 3, 1)], 0.1, 0.01, constants
        )

        assert [s.expected for s in ladder.standings] == pytest.approx([0.1 * 2**0.1, 0.1 * 10**0.1])
        assert [s.holds for s in ladder.standings] == [True, False]

    def test_says_no(self):
        """Where early ranks are as weak as they really are, a small tolerance is never promised."""
        ladder = judge([LARGE, Rung("small", 100, 0.2, 3, 1)], 0.10, 0.01)

        assert ladder.smallest is None
        assert str(ladder).endswith("no: no smaller model can be told to stay within 0.01 of the largest")

    @pytest.mark.parametrize(
        ("rungs", "error", "tolerance", "message"),
        [
            ([LARGE], 0.1, 0.1, "1 rungs are no ladder"),
            ([LARGE, LARGE], 0.0, 0.1, "largest_error is 0"),
            ([LARGE, LARGE], 0.1, 0.0, "tolerance is 0"),
            ([LARGE, Rung("none", 1, 0.0, 1, 1)], 0.1, 0.1, "none has an error of 0"),
            ([LARGE, Rung("empty", 0, 0.2, 1, 1)], 0.1, 0.1, "empty has 0 weights"),
        ],
    )
    def test_refuses(self, rungs, error, tolerance, message):
        """What cannot be judged is refused in one line."""
        with pytest.raises(UsageError, match=message):
            judge(rungs, error, tolerance)


class TestClimb:
    def test_trains_each_rung(self):
        """Each model is trained for a ninth of the run and weighed; a wider one learns what a narrow one cannot."""
        torch = pytest.importorskip("torch")
        nn = torch.nn
        knobs = {
            "threads": 1,
            "memory_format": "contiguous",
            "precision": "fp32",
            "compile": False,
            "batch_size": 32,
            "optimiser": "wsd",
            "learning_rate": 0.02,
            "transform": "always",
            "workers": 0,
        }
        recipe = Recipe(tuple(Choice(k, v, "") for k, v in knobs.items()), "cpu", None, 0, 0, 0, "")
        x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
        y = (x[:, 0] * x[:, 1] > 0).long()
        models = {
            str(w): lambda w=w: nn.Sequential(nn.Linear(2, w), nn.ReLU(), nn.Linear(w, 2)) for w in (1, 32)
        }
        rungs = climb(
            models,
            recipe,
            (x[:800], y[:800]),
            (x[800:], y[800:]),
            loss=nn.functional.cross_entropy,
            epochs=90,
        )

        assert [r.name for r in rungs] == ["1", "32"]
        assert rungs[0].weights < rungs[1].weights
        assert rungs[1].error < 0.1 < rungs[0].error
        assert all(r.training_j > 0 and r.request_j > 0 for r in rungs)


class TestCalibrated:
    def test_a_family_that_keeps_its_ranks(self):
        """Rungs whose errors at a third of the fidelity said the same of each other promise much; the end is let hold."""
        before = [Rung(f"w{n}", n, 0.4 * 0.9**i, 1, 1) for i, n in enumerate((1, 2, 4, 8, 16))]
        rungs = [Rung(f"w{n}", n, 0.2 * 0.98**i, 1, 1) for i, n in enumerate((1, 2, 4, 8, 16))]
        own = calibrated(before, rungs)

        assert own.slope == pytest.approx(
            (log(0.98) / log(0.9)) ** 2
        )  # twice: two steps of three to the whole
        assert own.level == pytest.approx(0, abs=1e-9)
        assert own.reach == pytest.approx(0, abs=1e-9)
        assert judge(rungs, 0.1, 0.01, own).smallest.name == "w1"
        assert judge(rungs, 0.1, 0.01).smallest is None

    def test_a_family_that_does_not(self):
        """Where early ranks turned round the slope is none, and the reach says how little is known."""
        before = [Rung(f"w{n}", n, e, 1, 1) for n, e in ((1, 0.2), (2, 0.3), (4, 0.25), (8, 0.35))]
        rungs = [Rung(f"w{n}", n, e, 1, 1) for n, e in ((1, 0.3), (2, 0.2), (4, 0.25), (8, 0.1))]

        assert calibrated(before, rungs).slope == 0
        assert calibrated(before, rungs).reach > 0.2

    def test_refuses(self):
        """Too few rungs, others than before, or all of a size: one line each."""
        rungs = [Rung(f"w{n}", n, 0.2, 1, 1) for n in (4, 5, 6, 7)]
        with pytest.raises(UsageError, match="3 rungs cannot calibrate themselves"):
            calibrated(rungs[:3], rungs[:3])
        with pytest.raises(UsageError, match="has other rungs"):
            calibrated(rungs[:3], rungs)
        with pytest.raises(UsageError, match="only 0 pairs"):
            calibrated(rungs, rungs)
