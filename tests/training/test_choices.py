"""What a recipe is, and how options are compared."""

import pytest

from joulewise.training.choices import KNOBS, Choice, Option, Recipe, cheapest, kept
from joulewise.vocabulary.errors import UnknownName, UsageError


class TestCheapest:
    def test_simplest_first(self):
        """What is hardly better than something simpler is not taken."""
        assert cheapest([Option("fp32", 1.0), Option("bf16", 0.98)]).value == "fp32"
        assert cheapest([Option("fp32", 1.0), Option("bf16", 0.9)]).value == "bf16"

    def test_unmeasured(self):
        """What could not be measured is never taken."""
        assert cheapest([Option("fp32", 1.0), Option("fp16", why="not here")]).value == "fp32"
        with pytest.raises(UsageError, match="none of fp16 could be measured"):
            cheapest([Option("fp16", why="not here")])


class TestRecipe:
    def test_says_itself(self):
        """A line for each knob with what was measured, and what the probe cost."""
        choice = Choice("precision", "bf16", "fewest joules", (Option("fp32", 0.002), Option("bf16", 0.001)))
        recipe = Recipe((choice,), "cpu", None, 12.3, 0.001, 4096, "measured: a meter")

        assert recipe["precision"] == "bf16"
        assert "bf16  fewest joules [fp32 2 mJ; bf16 1 mJ]" in str(recipe)
        assert "the probe cost 12.3 J over 4096 samples (measured: a meter)" in str(recipe)
        with pytest.raises(UnknownName, match="unknown knob 'precisions'; did you mean precision"):
            recipe["precisions"]

    def test_a_probe_dearer_than_the_run(self):
        """A probe that costs more than the whole run that it is for says so; one that does not, or has no end, does not."""
        size = Choice("batch_size", 32, "as kept")
        dear, cheap, open_end = (
            str(Recipe((size,), "cpu", steps, probe_j, 0.001, 4096, "a meter"))
            for steps, probe_j in ((100, 16.0), (100, 0.5), (None, 16.0))
        )

        assert "the probe cost 5 times what the whole run will (3.2 J)" in dear
        assert "times what" not in cheap + open_end


class TestKept:
    def test_names(self):
        """Every knob can be refused; what is no knob is refused itself."""
        assert kept({"batch_size": 8}) == {"batch_size": 8}
        assert kept(None) == {}
        with pytest.raises(UnknownName, match="did you mean batch_size"):
            kept({"batchsize": 8})
        assert len(KNOBS) == 9

    @pytest.mark.parametrize(
        ("keep", "message"),
        [
            ({"batch_size": 0}, "batch_size 0"),
            ({"threads": "two"}, "threads 'two'"),
            ({"memory_format": "nhwc"}, "memory_format 'nhwc'"),
            ({"transform": "never"}, "transform 'never'"),
        ],
    )
    def test_values(self, keep, message):
        """Values that cannot be are refused in one line."""
        with pytest.raises(UsageError, match=message):
            kept(keep)
