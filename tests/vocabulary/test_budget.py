"""Budgets: parsing, the rules of warning and stopping, the forecast, the plateau."""

from __future__ import annotations

import math
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.vocabulary.budget import (
    Action,
    Budget,
    Expected,
    Spent,
    forecast,
    improvement,
    judge,
    progress,
)
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Figure, exact


def figure(value: float, low: float, high: float) -> Figure:
    return Figure(value, low, high, Basis.MODELLED)


class TestParse:
    def test_all_limits(self):
        """Every kind of limit can be written in one line."""
        budget = Budget.parse("2MJ,200g,1EUR,3h,20trials,plateau=0.1%")

        assert budget == Budget(10800.0, 2e6, 200.0, 1.0, 20, 0.001)

    @pytest.mark.parametrize(
        ("text", "field", "value"),
        [
            ("1.5kWh", "energy_j", 5.4e6),
            ("500 J", "energy_j", 500.0),
            ("3kg", "carbon_g", 3000.0),
            ("200gCO2e", "carbon_g", 200.0),
            ("1kgCO2", "carbon_g", 1000.0),
            ("90s", "time_s", 90.0),
            ("1h30m", "time_s", 5400.0),
            ("15min", "time_s", 900.0),
            ("0.5€", "cost", 0.5),
            ("2eur", "cost", 2.0),
            ("7 trials", "trials", 7),
            ("1trial", "trials", 1),
            ("plateau=0.002", "plateau", 0.002),
            (" 2MJ ", "energy_j", 2e6),
        ],
    )
    def test_units(self, text, field, value):
        """Units are read as people write them."""
        assert getattr(Budget.parse(text), field) == pytest.approx(value)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "empty"),
            ("2MJ,,3h", "empty part"),
            ("5", "no unit"),
            ("1,5MJ", "no unit"),
            ("2Mj", "did you mean"),
            ("2parsec", "unknown unit"),
            ("MJ", "cannot read"),
            ("-3h", "cannot read"),
            ("0J", "more than 0"),
            ("1MJ,2kWh", "twice"),
            ("1USD", "no money is converted"),
            ("$3", "cannot read"),
            ("3$", "USD"),
            ("1.5trials", "whole numbers"),
            ("plateau=3h", "share"),
            ("plateau=", "cannot read"),
            ("plato=1%", "plateau"),
            ("1e999J", "more than 0"),
        ],
    )
    def test_malformed(self, text, words):
        """What cannot be read is refused in one line that names it."""
        with pytest.raises(UsageError) as caught:
            Budget.parse(text)

        assert words in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_configured_currency(self):
        """Money is read in the configured currency and in no other."""
        assert Budget.parse("3USD", "USD").cost == 3.0
        with pytest.raises(UsageError, match="configured currency is USD"):
            Budget.parse("3EUR", "USD")

    @given(
        st.floats(1e-3, 1e12),
        st.floats(1e-3, 1e9),
        st.integers(1, 10**6),
        st.floats(1e-4, 0.5),
        st.floats(0.01, 1e6),
    )
    def test_written_is_read(self, joules, seconds, trials, plateau, grams):
        """What a budget writes is read back as the same budget, to six digits."""
        budget = Budget(seconds, joules, grams, 2.0, trials, plateau)

        again = Budget.parse(str(budget))

        assert again.energy_j == pytest.approx(joules, rel=1e-5)
        assert again.time_s == pytest.approx(seconds, rel=1e-5)
        assert (again.trials, again.cost) == (trials, 2.0)
        assert again.plateau == pytest.approx(plateau, rel=1e-5)
        assert again.carbon_g == pytest.approx(grams, rel=1e-5)

    @given(st.text(max_size=30))
    def test_any_text(self, text):
        """Any text is read or refused in one line, and never anything else."""
        with suppress(UsageError):
            assert isinstance(Budget.parse(text), Budget)

    def test_nothing_is_no_limit(self):
        """A limit of zero is a mistake, not a limit."""
        with pytest.raises(UsageError, match="more than 0"):
            Budget(energy_j=0.0)


class TestCheck:
    @pytest.mark.parametrize("text", ["200g", "1EUR"])
    def test_refused(self, text):
        """Grams without a zone and money without a tariff are refused, with what to give."""
        with pytest.raises(UsageError, match="--assume-high"):
            Budget.parse(text).check(zone_known=False, tariff_known=False, assume_high=False)

    def test_allowed(self):
        """With the high end assumed, with what is needed known, or without such limits, nothing is refused."""
        Budget.parse("200g,1EUR").check(zone_known=False, tariff_known=False, assume_high=True)
        Budget.parse("200g,1EUR").check(zone_known=True, tariff_known=True, assume_high=False)
        Budget.parse("2MJ,3h").check(zone_known=False, tariff_known=False, assume_high=False)


class TestJudge:
    def test_continue(self):
        """Below the soft share nothing is said."""
        assert judge(Budget.parse("1kJ,1h"), Spent(100.0, exact(700.0))).action is Action.CONTINUE

    def test_warn_once(self):
        """From the soft share on it warns, unless that was said."""
        budget, spent = Budget.parse("1kJ"), Spent(1.0, exact(800.0))

        verdict = judge(budget, spent)

        assert (verdict.action, verdict.limit) == (Action.WARN, "energy_j")
        assert "800 J of 1.00 kJ" in verdict.reason
        assert judge(budget, spent, None, {"energy_j"}).action is Action.CONTINUE

    @pytest.mark.parametrize(
        ("text", "spent", "limit"),
        [
            ("1kJ", Spent(0.0, exact(1000.0)), "energy_j"),
            ("1h", Spent(3600.0), "time_s"),
            ("5g", Spent(0.0, None, figure(5.0, 2.0, 9.0)), "carbon_g"),
            ("1EUR", Spent(0.0, None, None, exact(1.01)), "cost"),
            ("3trials", Spent(0.0, trials=3), "trials"),
            ("plateau=1%", Spent(0.0, improvement=0.009), "plateau"),
        ],
    )
    def test_stop(self, text, spent, limit):
        """At a hard limit it says stop, which limit, and why; even if it warned before."""
        verdict = judge(Budget.parse(text), spent, None, {"energy_j", "time_s", "carbon_g", "cost", "trials"})

        assert verdict.stops
        assert verdict.limit == limit
        assert verdict.reason

    def test_unknown_is_not_zero_and_not_spent(self):
        """What is not known neither stops nor warns."""
        assert judge(Budget.parse("1J,1g,1EUR"), Spent(5.0)).action is Action.CONTINUE

    def test_high_end(self):
        """Grams and money count at their high end where that is assumed; joules never do."""
        spent = Spent(0.0, figure(10.0, 5.0, 30.0), figure(10.0, 5.0, 30.0))

        assert judge(Budget(carbon_g=20.0, assume_high=True), spent).stops
        assert not judge(Budget(carbon_g=20.0), spent).stops
        assert not judge(Budget(energy_j=20.0, assume_high=True), spent).stops

    def test_forecast_warns_when_sure(self):
        """The forecast warns when its whole 90 % interval lies above the limit, and not before."""
        budget, spent = Budget.parse("1kJ"), Spent(1.0, exact(300.0))

        sure = judge(budget, spent, Expected(energy_j=figure(1500.0, 1001.0, 2000.0)))

        assert (sure.action, sure.limit) == (Action.WARN, "forecast energy_j")
        assert "95 % sure" in sure.reason
        assert not judge(budget, spent, Expected(energy_j=figure(1500.0, 999.0, 2000.0))).warns
        assert not judge(budget, spent, Expected(energy_j=figure(1500.0, 1001.0, 2000.0)), {sure.limit}).warns

    @given(st.floats(0.1, 1e6), st.floats(0.0, 2e6), st.floats(0.0, 2e6))
    def test_more_spent_is_never_more_lenient(self, limit, one, other):
        """Whoever spent more is never told to go on where another was stopped."""
        less, more = sorted((one, other))
        order = list(Action)
        budget = Budget(energy_j=limit)

        first, second = (judge(budget, Spent(0.0, exact(v))).action for v in (less, more))

        assert order.index(second) >= order.index(first)


class TestForecast:
    def test_steady(self):
        """Equal epochs give the exact total, with no spread."""
        total = forecast([(0.1, 100.0), (0.2, 200.0), (0.3, 300.0)])

        assert total is not None
        assert total.value == pytest.approx(1000.0)
        assert total.high - total.low == pytest.approx(0.0, abs=1e-9)

    def test_start_is_not_an_epoch(self):
        """What the start of the program took is spent once, not once an epoch."""
        total = forecast([(0.1, 600.0), (0.2, 700.0), (0.3, 800.0), (0.4, 900.0)])

        assert total is not None
        assert total.value == pytest.approx(1500.0)

    @pytest.mark.parametrize(
        "milestones", [[], [(0.1, 5.0)], [(0.1, 5.0), (0.1, 6.0)], [(0.0, 1.0), (0.2, 2.0)]]
    )
    def test_too_early(self, milestones):
        """Before two stretches are known there is no forecast."""
        assert forecast(milestones) is None

    def test_at_the_end(self):
        """At the end the forecast is what was used."""
        total = forecast([(0.5, 10.0), (0.7, 15.0), (1.0, 20.0)])

        assert total is not None
        assert (total.low, total.value, total.high) == (20.0, 20.0, 20.0)

    def test_uneven_stretches(self):
        """Progress in uneven steps counts by its length."""
        total = forecast([(0.05, 50.0), (0.25, 250.0), (0.3, 300.0)])

        assert total is not None
        assert total.value == pytest.approx(1000.0)

    def test_interval_covers(self):
        """The 90 % interval holds the true total in 87 to 93 of 100 noisy runs, after 3, 5 and 10 of 20 epochs."""
        chance = random.Random(7)
        for known in (3, 5, 10):
            hits = 0
            for _ in range(1500):
                used, milestones, total = 0.0, [], 0.0
                for epoch in range(20):
                    used += chance.gauss(100.0, 15.0)
                    if epoch < known:
                        milestones.append(((epoch + 1) / 20, used))
                total = used
                told = forecast(milestones)
                assert told is not None
                hits += told.low <= total <= told.high
            assert 0.87 <= hits / 1500 <= 0.93

    @given(
        st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(0, 1e9)), max_size=30),
    )
    def test_any_milestones(self, milestones):
        """Whatever was logged, the forecast is a figure at least as large as what is used, or None."""
        total = forecast(milestones)

        if total is not None:
            assert math.isfinite(total.value)
            assert total.low >= 0


class TestProgress:
    @pytest.mark.parametrize(
        ("values", "share"),
        [
            ({"epoch": 3, "epochs": 10}, 0.3),
            ({"step": 50, "steps": 200}, 0.25),
            ({"progress": 0.4, "epoch": 1, "epochs": 2}, 0.4),
            ({"epoch": 3}, None),
            ({"epoch": 11, "epochs": 10}, None),
            ({"epoch": "x", "epochs": 10}, None),
            ({"epoch": 1, "epochs": 0}, None),
            ({"progress": 40}, None),
            ({}, None),
        ],
    )
    def test_share(self, values, share):
        """Progress is told by epochs, steps or itself; anything else tells nothing."""
        assert progress(values) == share

    def test_from_zero(self):
        """A program that calls its first epoch 0 is one epoch further than it says, and never past its end."""
        assert progress({"epoch": 0, "epochs": 10}, from_zero=True) == pytest.approx(0.1)
        assert progress({"epoch": 10, "epochs": 10}, from_zero=True) == 1.0


class TestImprovement:
    def test_falling_loss(self):
        """The best loss of five epochs is compared with the best before them."""
        losses = [1.0, 0.8, 0.79, 0.81, 0.79, 0.78, 0.76]

        assert improvement({"epoch": i, "loss": v} for i, v in enumerate(losses)) == pytest.approx(0.04 / 0.8)

    def test_rising_accuracy(self):
        """A metric whose name says that more is better is read that way."""
        values = [0.5, 0.6, 0.6, 0.6, 0.6, 0.6]

        assert improvement({"epoch": i, "accuracy": v} for i, v in enumerate(values)) == pytest.approx(0.2)

    def test_held_out_first(self):
        """The loss on held-out data decides where both are logged."""
        points = [{"epoch": i, "loss": 1.0 / (i + 1), "val_loss": 1.0} for i in range(8)]

        assert improvement(points) == 0.0

    def test_too_early(self):
        """Five epochs are not enough to compare five with."""
        assert improvement({"epoch": i, "loss": 1.0} for i in range(5)) is None

    def test_steps_are_not_epochs(self):
        """Points without an epoch do not count."""
        assert improvement({"step": i, "loss": 1.0} for i in range(50)) is None

    def test_nan(self):
        """A loss that is no number is no improvement."""
        losses = [1.0, *[math.nan] * 5]

        assert improvement({"epoch": i, "loss": v} for i, v in enumerate(losses)) == 0.0

    def test_nothing_known(self):
        """Without a metric of known direction there is nothing to judge."""
        assert improvement({"epoch": i, "foo": 1.0} for i in range(20)) is None
