"""Settling a kept plan: `plan --settle` and `settle PLAN` are one, and the ledger shows how good plans have been."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_plan import history, planned

__all__ = ["history", "planned"]


def test_days_that_went_wrong_stand_in_the_ledger(planned, joulewise, history, home):
    """A plan that saved and a plan whose day turned out the other way round are both listed, with regret and sums."""
    planned("--save", "good.json")
    planned("--save", "bad.json", "--power", "2kW")
    worse = (home / history).read_text().replace(",100\n", ",900\n")
    (home / "worse.csv").write_text(worse)
    assert joulewise("settle", "good.json", "--history", history).returncode == 0
    done = joulewise("plan", "--settle", "bad.json", "--history", "worse.csv", "--json")
    assert json.loads(done.stdout)["wrong"] == 1

    told = json.loads(joulewise("runs", "--savings", "--json").stdout)
    assert told["savings"] == []
    plans = told["plans"]
    assert (plans["settled"], plans["wrong"]) == (2, 1)
    assert plans["promised_g"] == pytest.approx(1200 + 2400)
    assert plans["saved_g"] == pytest.approx(1200 + (3200 - 7200))
    assert plans["regret_g"] == pytest.approx(4000 + 800)
    assert len({j["plan"] for j in plans["jobs"]}) == 2
    text = joulewise("runs", "--savings").stdout
    assert "worse than running now" in text
    assert "1 of 2 went wrong" in text


def test_settling_again_keeps_one(planned, joulewise, history):
    """The same plan settled by either verb is one line of the ledger."""
    planned("--save", "plan.json")
    first = joulewise("plan", "--settle", "plan.json", "--history", history, "--json").stdout
    second = joulewise("settle", "plan.json", "--history", history, "--json").stdout

    assert json.loads(first) == json.loads(second)
    assert json.loads(joulewise("runs", "--savings", "--json").stdout)["plans"]["settled"] == 1


def test_wrong_use(planned, joulewise, history):
    """No plan, no actual hours, and options of the other kind are one line and exit code 2."""
    planned("--save", "plan.json")
    for arguments, said in (
        (("plan.json",), "settling needs what the grid really did"),
        (("none.json",), "give two runs, BEFORE and AFTER, or a plan"),
        ((history, "--history", history), "is no plan"),
        (("plan.json", "--cause", "small_batch"), "a plan has none"),
        (("one", "two", "--history", history), "belong to a plan"),
    ):
        done = joulewise("settle", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_money_is_settled_by_the_tariff(planned, joulewise, history, monkeypatch):
    """A plan made for money says what money it saved, beside its grams; without a tariff money is unknown."""
    monkeypatch.setenv("JOULEWISE_TARIFF", "0.30EUR/kWh 20:00-24:00=0.10EUR")
    planned("--objective", "cost", "--save", "plan.json")
    told = json.loads(joulewise("settle", "plan.json", "--history", history, "--json").stdout)

    assert told["jobs"][0]["saved_cost"] == pytest.approx(4 * 0.20)
    assert told["saved_g"] == pytest.approx(400)
    text = joulewise("settle", "plan.json", "--history", history).stdout
    assert "0.8 EUR saved by the tariff" in text
    monkeypatch.delenv("JOULEWISE_TARIFF")
    told = json.loads(joulewise("settle", "plan.json", "--history", history, "--json").stdout)
    assert told["jobs"][0]["saved_cost"] is None
