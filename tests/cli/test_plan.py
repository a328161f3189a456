"""`joulewise plan`: what it says, keeps and settles."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.grid.history import History
from joulewise.vocabulary.signal import Meaning, Signal

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = [400] * 8 + [100] * 4 + [300] * 12


@pytest.fixture
def history(home):
    """Write three weeks of one and the same day, and return the file's name."""
    rows = [f"{START + timedelta(hours=h):%Y-%m-%dT%H:%MZ},{DAY[h % 24]}" for h in range(24 * 21)]
    (home / "de.csv").write_text("datetime_utc,ci_lifecycle_g_per_kwh\n" + "\n".join(rows) + "\n")
    return "de.csv"


@pytest.fixture
def planned(joulewise, history, monkeypatch):
    """Plan a four-hour job from midnight of the eighteenth day on, in UTC."""
    monkeypatch.setenv("TZ", "UTC")

    def plan(*more):
        return joulewise(
            "plan", "--start", "2026-03-19T00:00Z", "--deadline", "2026-03-20T00:00Z", "--duration", "4h",
            "--zone", "DE", "--history", history, "--power", "1kW", *more,
        )  # fmt: skip

    return plan


def test_the_clean_hours_are_shown_with_saving_bound_and_source(planned):
    """A day that always looks the same is planned into its valley, and the card says what that saves and how it is known."""
    done = planned("--chart")

    assert (done.returncode, done.stderr) == (0, "")
    assert "2026-03-19 08:00 to 12:00" in done.stdout
    assert (
        "saves 75.0% of the carbon of running now; the best any plan could on this forecast is 75.0%"
        in done.stdout
    )
    assert "file de.csv" in done.stdout
    assert "^^^^" in done.stdout


def test_json_holds_the_whole_decision(planned):
    """JSON has the schema's version, the stretches in UTC, tolls, bound and gap."""
    fields = json.loads(planned("--json").stdout)
    placement = fields["plan"]["placements"][0]

    assert fields["schema_version"] == 1
    assert placement["stretches"][0]["start_utc"] == "2026-03-19T08:00:00+00:00"
    assert placement["predicted"]["carbon_g"] == pytest.approx(400)
    assert placement["run_now"]["carbon_g"] == pytest.approx(1600)
    assert placement["gap"] == pytest.approx(0.0)


def test_a_plan_is_kept_and_settled(planned, joulewise, history):
    """What was promised is compared with what the actual hours gave."""
    assert planned("--save", "plan.json").returncode == 0
    done = joulewise("plan", "--settle", "plan.json", "--history", history, "--json")
    fields = json.loads(done.stdout)

    assert fields["saved_g"] == pytest.approx(1200)
    assert fields["promised_g"] == pytest.approx(1200)
    assert fields["share_of_oracle"] == pytest.approx(1.0)
    assert fields["jobs"][0]["estimated_consequence_g"] is None
    assert "no marginal signal" in joulewise("plan", "--settle", "plan.json", "--history", history).stdout


def test_money_and_the_front(planned, monkeypatch):
    """With a tariff the cost is known, and the front lies between the clean and the cheap hours."""
    monkeypatch.setenv("JOULEWISE_TARIFF", "0.30EUR/kWh 20:00-24:00=0.10EUR")
    cheap = planned("--objective", "cost", "--front")

    assert "2026-03-19 20:00" in cheap.stdout
    assert "0.4 EUR" in cheap.stdout
    assert "The front" in cheap.stdout


def test_kept_day_ahead_prices_stand_in_for_a_tariff(planned, home, monkeypatch):
    """For money the kept prices are used and named; a tariff goes before them; for carbon they are not needed."""
    start = datetime(2026, 3, 19, tzinfo=UTC)
    values = [0.3] * 20 + [0.05] * 4
    kept = Signal.of(
        "DE", values, start, meaning=Meaning.price("EUR"), issued_utc=start, source="Energy-Charts"
    )
    History(home / "grid").add(kept)
    cheap = planned("--objective", "cost")
    monkeypatch.setenv("JOULEWISE_TARIFF", "0.30EUR/kWh 12:00-16:00=0.10EUR")
    by_tariff = planned("--objective", "cost")

    assert "2026-03-19 20:00" in cheap.stdout
    assert "0.2 EUR" in cheap.stdout
    assert "prices: day-ahead of Energy-Charts" in cheap.stdout
    assert "2026-03-19 12:00" in by_tariff.stdout
    assert "prices: tariff 0.3EUR/kWh" in by_tariff.stdout
    monkeypatch.delenv("JOULEWISE_TARIFF")
    assert "unknown" in planned().stdout


def test_money_without_any_price_says_what_to_do(planned):
    """No tariff and no kept price: one line that names both ways."""
    done = planned("--objective", "weighted")

    assert done.returncode == 2
    assert "set a tariff (joulewise config), fetch day-ahead prices (--online)" in done.stderr


def test_power_caps_are_a_pace(planned):
    """The slack of a deadline buys a slower, leaner plan."""
    done = planned("--objective", "joules", "--cap", "500W=0.8")

    assert "capped at 500W" in done.stdout


def test_without_history_the_yearly_mean_is_said(joulewise):
    """A yearly mean knows no hours: the job runs now, and the card says why."""
    done = joulewise("plan", "--deadline", "+12h", "--duration", "2h", "--zone", "DE")

    assert done.returncode == 0
    assert "run now" in done.stdout
    assert "the yearly mean tells no hour from another" in done.stdout


def test_what_cannot_be_done_says_why(joulewise):
    """A deadline too near ends with 1 and the time that would do."""
    done = joulewise("plan", "--deadline", "+1h", "--duration", "2h", "--zone", "DE")

    assert done.returncode == 1
    assert "its deadline is only 1h 00m away; give it until" in done.stdout


def test_a_duration_is_learnt_from_like_runs(joulewise, recorded):
    """Duration and power come from the ledger's finished runs of that name."""
    recorded("train", "sum(range(3_000_000))")
    recorded("train", "sum(range(3_000_000))")
    done = joulewise("plan", "--deadline", "+12h", "--like", "train", "--zone", "DE", "--json")
    job = json.loads(done.stdout)["plan"]["placements"][0]["job"]

    assert len(job["duration"]["samples_s"]) == 2
    assert job["duration"]["source"] == "2 runs like train"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say by when it must be done"),
        (("--deadline", "soon", "--duration", "1h", "--zone", "DE"), "cannot read 'soon' as a time"),
        (("--deadline", "+3h", "--duration", "1h"), "say where it runs"),
        (("--deadline", "+3h", "--duration", "1h", "--zone", "XX"), "unknown zone 'XX'"),
        (("--deadline", "+3h", "--duration", "1h", "--zone", "DE", "--power", "3kg"), "--power is '3kg'"),
        (("--deadline", "+3h", "--duration", "1h", "--zone", "DE", "--cap", "200W"), "cannot read --cap"),
        (("--settle", "none.json"), "there is no plan none.json"),
    ],
)
def test_wrong_use_is_one_line(joulewise, arguments, said):
    """Wrong use ends with 2 and one line that says what to write."""
    done = joulewise("plan", *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
