"""Learning the blend: never from the future, and by what decisions cost."""

from __future__ import annotations

from itertools import combinations

import pytest

np = pytest.importorskip("numpy", reason="learning needs the extra 'schedule'")

from joulewise.grid.learning import blend, intervals, kept, oracle, replay, run_now  # noqa: E402
from tests.grid.worlds import weather as weather_list  # noqa: E402

TRAP = 1e6


def weather(days):
    """Return made-up weather as an array."""
    return np.array(weather_list(days))


def issues_of(actual, error, horizon, seed=1):
    """Return a published forecast for every hour: the truth with an error that stays through an issue."""
    draw = np.random.default_rng(seed)
    rows = np.full((len(actual) + 1, horizon), np.nan)
    for t in range(len(actual) + 1):
        ahead = actual[t : t + horizon]
        rows[t, : len(ahead)] = ahead + draw.normal(0, error, len(ahead))
    return rows


@pytest.mark.parametrize("with_published", [False, True])
def test_no_future(with_published):
    """Whatever comes later, the forecast made at an hour stays the same to the last bit."""
    actual = weather(20)
    rows = issues_of(actual, 30, 72) if with_published else None
    for now in (9 * 24, 12 * 24 + 7):
        poisoned = actual.copy()
        poisoned[now:] = TRAP
        later = None
        if rows is not None:
            later = rows.copy()
            later[now + 1 :] = -TRAP
        made, trapped = blend(actual, rows, 72), blend(poisoned, later, 72)

        np.testing.assert_array_equal(made.values[: now + 1], trapped.values[: now + 1])
        np.testing.assert_array_equal(made.weights[: now + 1], trapped.weights[: now + 1])


def test_the_last_row_is_the_forecast_for_now():
    """The forecast for now is made as the replayed ones were: cutting the series leaves the row as it is."""
    actual = weather(15)

    whole, cut = blend(actual, None, 24), blend(actual[: 14 * 24], None, 24)

    np.testing.assert_array_equal(whole.values[14 * 24], cut.values[-1])


def test_deterministic():
    """The same input gives the same forecast."""
    actual = weather(12)

    np.testing.assert_array_equal(blend(actual, None, 24).values, blend(actual, None, 24).values)


def test_weights_follow_regret():
    """A published forecast that knows the truth is trusted most; one that is noise is not."""
    actual = weather(40)
    horizon = 72

    good = blend(actual, issues_of(actual, 0.5, horizon), horizon).weights_at(len(actual))
    bad = blend(actual, issues_of(actual, 400, horizon), horizon).weights_at(len(actual))

    assert good["published"] > 3 * bad["published"]
    assert bad["published"] < 0.05
    assert sum(good.values()) == pytest.approx(1)


def test_regret_counts_and_not_error():
    """A forecast too high by half at every hour orders them rightly and is trusted; its mean error does not matter."""
    actual = weather(40)
    rows = issues_of(actual, 0.0, 72) * 1.5

    weights = blend(actual, rows, 72).weights_at(len(actual))

    assert weights["published"] == max(weights.values())


def test_the_blend_is_worth_more_than_its_members_of_the_bar():
    """In weather of wind and sun the blend keeps more of the oracle's saving than yesterday and last week do."""
    actual = weather(90)
    made = blend(actual, None, 24)
    starts = np.arange(20 * 24, len(actual) - 24, 3)
    best, now = oracle(actual, starts, 6, 18).sum(), run_now(actual, starts, 6).sum()

    def share(rows):
        return (now - replay(actual, rows, starts, 6, 18).sum()) / (now - best)

    yesterday = np.stack(
        [
            np.resize(actual[t - 24 : t], 24) if t >= 24 else np.full(24, np.nan)
            for t in range(len(actual) + 1)
        ]
    )
    assert share(made.values) > share(yesterday) + 0.05


def test_gaps():
    """Hours without a value neither stop the forecast nor teach it anything: it stays near the one without gaps."""
    actual = weather(30)
    holes = actual.copy()
    holes[[100, 101, 400, 401, 402, 700]] = np.nan

    whole, gapped = blend(actual, None, 24).values[-1], blend(holes, None, 24).values[-1]

    assert np.isfinite(gapped).all()
    assert np.abs(whole - gapped).max() < 30


def test_a_published_forecast_that_stops():
    """Where the service published nothing, the forecast goes on from history."""
    actual = weather(30)
    rows = issues_of(actual, 10, 72)
    rows[25 * 24 :] = np.nan
    rows[:, 48:] = np.nan

    assert np.isfinite(blend(actual, rows, 72).values[9 * 24 :]).all()


def test_a_service_asked_for_the_first_time():
    """A service that is new has its measured share, also beside long history; beyond its horizon there is no gap."""
    actual = weather(30)
    rows = np.full((len(actual) + 1, 72), np.nan)
    rows[-1, :48] = 10.0

    made = blend(actual, rows, 72)

    weights = made.weights_at(len(actual))
    assert (weights["published"], weights["untuned"]) == (0.3, 0.4)
    assert np.isfinite(made.values[-1]).all()
    assert made.values[-1, :48].max() < made.values[-1, 48:].min()


def test_a_service_is_judged_only_while_it_was_asked():
    """A perfect service that was asked for the last fortnight only is soon trusted: hours without it do not count."""
    actual = weather(40)
    rows = issues_of(actual, 0.5, 72)
    rows[: 26 * 24] = np.nan

    weights = blend(actual, rows, 72).weights_at(len(actual))

    assert weights["published"] == max(weights.values())


def test_one_day_of_history():
    """With a single day known, tomorrow is as today."""
    actual = weather(1)

    made = blend(actual, None, 48).values[-1]

    assert np.isfinite(made).all()
    assert np.abs(np.resize(actual, 48) - made).max() < 100


def test_replay_with_the_truth_is_the_oracle():
    """A replay that sees the truth pays what the oracle pays; both never more than running now."""
    actual = weather(10)
    truth = np.stack(
        [
            np.pad(actual[t : t + 24], (0, 24 - len(actual[t : t + 24])), constant_values=np.inf)
            for t in range(len(actual) + 1)
        ]
    )
    starts = np.arange(0, len(actual) - 24)

    paid = replay(actual, truth, starts, 6, 18)

    np.testing.assert_allclose(paid, oracle(actual, starts, 6, 18))
    assert (paid <= run_now(actual, starts, 6) + 1e-9).all()


def test_oracle_against_brute_force():
    """The least that a job can pay is that of the best choice of hours."""
    actual = weather(1)[:8]

    (best,) = oracle(actual, np.array([0]), 3, 5)

    assert best == pytest.approx(min(sum(c) for c in combinations(actual, 3)))


def test_replay_meets_every_deadline():
    """However wrong the forecast, each job does all its work within its window."""
    draw = np.random.default_rng(3)
    ones = np.ones(200)
    starts = np.arange(0, 200 - 24)

    paid = replay(ones, draw.normal(0, 1, (201, 24)), starts, 6, 18)

    assert (paid == 6).all()


def test_intervals_hold():
    """About nine of ten later hours lie inside the interval."""
    actual = weather(80)
    made = blend(actual, None, 24).values
    inside = []
    for now in range(40 * 24, 79 * 24, 24):
        low, high = intervals(actual[:now], made[: now + 1])
        error = actual[now : now + 24] - made[now]
        inside += ((error >= low) & (error <= high)).tolist()

    assert 0.82 <= np.mean(inside) <= 0.97


def test_too_few_errors_give_no_interval():
    """Where hardly any error is known there is no interval."""
    low, high = intervals(weather(1)[:4], np.ones((5, 24)))

    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_kept():
    """A forecast that is always right keeps all it promises; one that is noise keeps little; the future plays no part."""
    actual = weather(40)
    right = np.full((len(actual) + 1, 48), np.nan)
    for t in range(len(actual)):
        right[t, : len(actual[t : t + 48])] = actual[t : t + 48]
    noise = np.random.default_rng(1).normal(actual.mean(), actual.std(), right.shape)

    assert kept(actual, right) == pytest.approx(1.0)
    assert kept(actual, noise) < 0.4
    assert kept(actual[: 9 * 24], right[: 9 * 24 + 1]) == 1.0  # too little to count
    poisoned = actual.copy()
    poisoned[30 * 24 :] = TRAP
    made = blend(poisoned, None, 48).values[: 30 * 24 + 1]
    assert kept(actual[: 30 * 24], made) == kept(poisoned[: 30 * 24], made)
