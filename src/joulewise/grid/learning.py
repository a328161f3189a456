"""Weights of the forecast blend, learnt from the regret of the decisions that it would have led to (needs numpy).

Five members forecast every hour ahead; each is a plain series that somebody could act on:

    published   the service's own forecast, newest issue of the time
    untuned     (2 published + yesterday + mean of the last seven days at that hour) / 4, half of its last error carried on
    week        mean of the last seven days at that hour, the last hour's departure from it carried on
    learnt      a regression per hour ahead on all of these and on the recent errors of the published forecast
    learnt fast the same, forgetting within a month and held closer to `untuned`

The regressions start as the untuned blend and leave it only as far as the past allows (ridge towards that blend). The
members are then mixed: a member's weight is `exp(-ETA * (its regret - the least) / mean regret)`, where regret is what
jobs started in the past weeks, re-planned every hour on that member, emitted above the best they could have. A forecast
is judged by what it is for: the reference found a service with 3.3 % error that kept 24 % of the possible saving and one
with 10.8 % that kept 81 %. Averages of errors appear nowhere but inside the regressions.

A service of which fewer than eight days of forecasts were kept cannot be judged yet: `published` then has 0.3, `untuned` 0.4,
the regression on history 0.25 and `week` 0.05.

Row `t` of every array is computed from values before hour `t` and from forecasts issued by then, in one pass forwards:
the row that plans tomorrow is made by the code that was replayed over last year. Deterministic: no random number, and
the same input gives the same output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY = 24
WEEK = 168
ETA = 5.0  # measured: the share of the oracle's saving changes by less than half a point from 2 to 10
_REGRET_MEMORY_H = 30 * DAY
_REGRESSIONS = (
    ("learnt", 0.02, 90 * DAY),
    ("learnt fast", 0.3, 30 * DAY),
)  # pull to the untuned blend, memory
_TASKS = ((6, 24), (24, 72))  # hours of work within hours of window: the jobs that regret is counted over
# measured: a service that is asked for the first time is worth most so (82 % of the oracle's saving in the median)
_UNSEEN = {"published": 0.3, "untuned": 0.4, "learnt": 0.25, "week": 0.05}
_SETTLED_H = 8 * DAY  # a week of history and a day of errors: from here on members are compared


@dataclass(frozen=True)
class Blended:
    """Forecasts made at every hour: `values[t, h]` for hour `t + h`, and the members' weights at `t`."""

    values: Floats
    weights: Floats
    members: Mapping[str, Floats]

    def weights_at(self, t: int) -> dict[str, float]:
        """Return the weight of each member at hour `t` (they add up to 1)."""
        return {name: float(w) for name, w in zip(self.members, self.weights[t], strict=True)}


def blend(actual: Floats, published: Floats | None, horizon_h: int) -> Blended:
    """Return the blended forecasts for every hour from 0 to `len(actual)`; the last row is the forecast for now.

    `actual` holds hourly values (NaN: not known); `published[t, h]` what the newest forecast issued by hour `t` says
    about hour `t + h` (NaN: nothing), or None where there is no published forecast at all.
    """
    filled = _filled(actual)
    members = _members(filled, np.isfinite(actual), published, horizon_h)
    seen = np.isfinite(published[:, 0]) if "published" in members and published is not None else None
    weights = _weights(filled, members, seen)
    stack = np.stack(list(members.values()))
    known = np.isfinite(stack)
    shares = weights.T[:, :, None] * known
    total = shares.sum(0)
    values = np.where(
        total > 0, (shares * np.where(known, stack, 0.0)).sum(0) / np.where(total > 0, total, 1.0), np.nan
    )
    return Blended(values, weights, members)


def replay(actual: Floats, forecasts: Floats, starts: NDArray[np.int64], work_h: int, slack_h: int) -> Floats:
    """Return what each job pays that is re-planned every hour: it runs when this hour is among its cheapest left.

    A job starts at an hour of `starts`, has `work_h` hours of work and must end `work_h + slack_h` hours later; it
    looks at row `t` of `forecasts` at hour `t` and pays `actual`.
    """
    window = work_h + slack_h
    left = np.full(len(starts), work_h)
    paid = np.zeros(len(starts))
    for offset in range(window):
        t = starts + offset
        row = np.nan_to_num(forecasts[t, : window - offset], nan=np.inf)
        cheaper = (row[:, 1:] < row[:, :1]).sum(1)
        runs = cheaper < left
        paid[runs] += actual[t[runs]]
        left = left - runs
    return paid


def oracle(actual: Floats, starts: NDArray[np.int64], work_h: int, slack_h: int) -> Floats:
    """Return the least that each job can pay: the cheapest `work_h` hours of its window."""
    window = np.lib.stride_tricks.sliding_window_view(actual, work_h + slack_h)[starts]
    best: Floats = np.partition(window, work_h - 1, axis=1)[:, :work_h].sum(1)
    return best


def run_now(actual: Floats, starts: NDArray[np.int64], work_h: int) -> Floats:
    """Return what each job pays that starts at once and runs through."""
    paid: Floats = np.lib.stride_tricks.sliding_window_view(actual, work_h)[starts].sum(1)
    return paid


def kept(actual: Floats, forecasts: Floats, memory_h: int = 30 * DAY) -> float:
    """Return which share of the saving that forecasts of the last `memory_h` promised came true; from 0 to 1.

    The cheapest hour of a forecast is cheap also because its error happens to be low, so plans promise more than they keep.
    Counted over jobs of 2 hours that may wait for 12, one begun every hour, as if five more days had kept all of it; 1 where
    less than a day of them can be counted.
    """
    work_h, wait_h = 2, 12
    last = len(actual) - work_h - wait_h
    starts = np.arange(max(_SETTLED_H, len(actual) - memory_h), last + 1)
    if forecasts.shape[1] < work_h + wait_h or len(starts) < DAY:
        return 1.0
    looked = np.lib.stride_tricks.sliding_window_view(
        forecasts[starts, : work_h + wait_h], work_h, axis=1
    ).sum(2)
    came = np.lib.stride_tricks.sliding_window_view(
        np.lib.stride_tricks.sliding_window_view(actual, work_h + wait_h)[starts], work_h, axis=1
    ).sum(2)
    usable = np.isfinite(looked).all(1) & np.isfinite(came).all(1)
    rows, chosen = np.flatnonzero(usable), looked[usable].argmin(1)
    promised = looked[rows, 0] - looked[rows, chosen]
    realised = came[rows, 0] - came[rows, chosen]
    usual = float(promised.mean()) * 5 * DAY if len(rows) else 0.0
    total = float(promised.sum()) + usual
    return min(1.0, max(0.0, (float(realised.sum()) + usual) / total)) if total > 0 else 1.0


def intervals(actual: Floats, forecasts: Floats, memory_h: int = 30 * DAY) -> tuple[Floats, Floats]:
    """Return how far below and above the last row of `forecasts` the truth lies in nine of ten cases, by hour ahead.

    From the errors of the last `memory_h` hours, neighbouring hours ahead together, with the correction of split
    conformal prediction for few errors; where fewer than 20 are known, NaN.
    """
    now, horizon = len(actual), forecasts.shape[1]
    first = max(0, now - memory_h)
    errors = np.full((now - first, horizon), np.nan)
    for h in range(horizon):
        made = np.arange(first, max(first, now - h))
        errors[: len(made), h] = actual[made + h] - forecasts[made, h]
    low, high = np.full(horizon, np.nan), np.full(horizon, np.nan)
    for h in range(horizon):
        near = errors[:, max(0, h - 1) : h + 2]
        near = near[np.isfinite(near)]
        if len(near) >= 20:
            tail = max(0.0, 0.05 - 1 / (len(near) + 1))
            low[h], high[h] = np.quantile(near, (tail, 1 - tail))
    return np.minimum(low, 0.0), np.maximum(high, 0.0)


def _filled(actual: Floats) -> Floats:
    """Return the values with each gap filled by the value a day before, or else by the last one."""
    filled = actual.copy()
    for t in np.flatnonzero(~np.isfinite(actual)):
        earlier = filled[t - DAY] if t >= DAY else np.nan
        filled[t] = earlier if np.isfinite(earlier) else (filled[t - 1] if t else np.nan)
    return filled


def _members(
    actual: Floats, known: NDArray[np.bool_], published: Floats | None, horizon: int
) -> dict[str, Floats]:
    past = _Past(actual, horizon)
    ahead = np.arange(1, horizon + 1)
    departure = past.lagged(actual - past.week[:-1, 0], 1)
    members = {"week": past.week + np.nan_to_num(departure)[:, None] * 0.9**ahead}
    alone = {
        name: _regress(actual, known, past, *past.features(), pull, memory)
        for name, pull, memory in _REGRESSIONS
    }
    if published is None or not np.isfinite(published).any():
        return {**members, **alone}
    error = past.lagged(actual - published[:-1, 0], 1)
    untuned = (2 * published + past.yesterday + past.week) / 4
    untuned = untuned + np.nan_to_num(error)[:, None] * 0.5 * 0.85**ahead
    members = {"published": published, "untuned": untuned, **members}
    for name, pull, memory in _REGRESSIONS:
        made = _regress(actual, known, past, *past.features(published), pull, memory)
        members[name] = np.where(np.isfinite(made), made, alone[name])
    return members


class _Past:
    """What the values before each hour say about the hours ahead; `[t, h]` is about hour `t + h`."""

    def __init__(self, actual: Floats, horizon: int) -> None:
        self.actual = actual
        rows = len(actual) + 1
        target = np.arange(rows)[:, None] + np.arange(horizon)[None, :]
        self._newest = target - DAY * (
            np.arange(horizon)[None, :] // DAY + 1
        )  # the newest known at that hour of day
        days = np.stack([self._look(actual, self._newest - DAY * n) for n in range(7)])
        self.yesterday = days[0]
        count = np.isfinite(days).sum(0)
        self.week = np.where(count > 0, np.nansum(days, 0) / np.maximum(count, 1), np.nan)
        last_week = self._look(actual, target - WEEK * (np.arange(horizon)[None, :] // WEEK + 1))
        self.last_week = np.where(np.isfinite(last_week), last_week, self.week)

    def lagged(self, series: Floats, hours: int) -> Floats:
        """Return the series as it was `hours` before each row."""
        out = np.full(len(self.actual) + 1, np.nan)
        out[hours : len(series) + 1] = series[: len(out) - hours]
        return out

    def features(self, published: Floats | None = None) -> tuple[Floats, Floats]:
        """Return the regressions' inputs as departures from `week`, and the weights of the untuned blend."""
        horizon = self.week.shape[1]

        def wide(column: Floats) -> Floats:
            return np.repeat(column[:, None], horizon, axis=1)

        departure = self.actual - self.week[:-1, 0]
        last = self.lagged(departure, 1)
        columns = [
            self.yesterday - self.week,
            self.last_week - self.week,
            wide(last),
            wide(last - self.lagged(departure, 2)),
            wide(_trailing_mean(last, 6)),
            wide(_trailing_mean(last, DAY)),
        ]
        start = [0.25, 0.0, 0.0, 0.0, 0.0, 0.0]
        if published is not None:
            error = self.actual - published[:-1, 0]
            by_hour = np.stack([self._look(error, self._newest - DAY * n) for n in range(7)])
            seen = np.isfinite(by_hour).sum(0)
            columns += [
                published - self.week,
                wide(self.lagged(error, 1)),
                wide(_trailing_mean(self.lagged(error, 1), 3)),
                wide(_trailing_mean(self.lagged(error, 1), DAY)),
                np.nan_to_num(by_hour[0]),
                np.nansum(by_hour, 0) / np.maximum(seen, 1),
            ]
            start += [0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
        return np.stack(columns, -1), np.array(start)

    def _look(self, series: Floats, index: NDArray[np.int64]) -> Floats:
        inside = (index >= 0) & (index < len(series))
        return np.where(inside, series[np.clip(index, 0, len(series) - 1)], np.nan)


def _trailing_mean(series: Floats, hours: int) -> Floats:
    """Return the mean of the last `hours` values at each row; what is not known counts as no departure."""
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(series))])
    rows = np.arange(len(series))
    mean: Floats = (sums[rows + 1] - sums[np.maximum(0, rows + 1 - hours)]) / hours
    return mean


def _regress(
    actual: Floats,
    known: NDArray[np.bool_],
    past: _Past,
    features: Floats,
    start: Floats,
    pull: float,
    memory_h: int,
) -> Floats:
    """Return forecasts of a regression for each hour ahead, fitted anew every day to what was known then.

    Ridge towards `start` with strength `pull` on inputs of unit size; errors fade with `memory_h`.
    """
    rows, horizon, width = features.shape
    usable = np.isfinite(features).all(-1) & np.isfinite(past.week)
    squares, products = np.zeros((horizon, width, width)), np.zeros((horizon, width))
    weights = np.tile(start, (horizon, 1))
    fade, ahead = np.exp(-1 / memory_h), np.arange(horizon)
    made = np.full((rows, horizon), np.nan)
    for t in range(rows):
        # hour t - 1 has become known: it is the target of the forecasts made up to `horizon` hours before
        squares *= fade
        products *= fade
        origin = t - 1 - ahead
        now_known = origin >= 0
        if t and known[t - 1]:
            now_known[now_known] &= usable[origin[now_known], ahead[now_known]]
            x = features[origin[now_known], ahead[now_known]]
            residual = actual[t - 1] - past.week[origin[now_known], ahead[now_known]] - x @ start
            squares[now_known] += x[:, :, None] * x[:, None, :]
            products[now_known] += x * residual[:, None]
        if t >= _SETTLED_H and (t % DAY == 0 or t == rows - 1):
            size = np.sqrt(np.maximum(np.einsum("hdd->hd", squares), 1e-9))
            system = squares / (size[:, :, None] * size[:, None, :]) + pull * np.eye(width)
            weights = start + np.linalg.solve(system, (products / size)[..., None])[..., 0] / size
        row = past.week[t] + (np.where(usable[t][:, None], features[t], 0.0) * weights).sum(-1)
        made[t] = np.where(usable[t], row, np.nan)
    return made


def _weights(actual: Floats, members: Mapping[str, Floats], seen: NDArray[np.bool_] | None) -> Floats:
    """Return the members' weights at every hour, from the regret of jobs whose window had passed by then.

    `seen` tells the hours at which a published forecast was there (None: there is none at all); only jobs that began in
    these are compared, and until there were eight days of them `_UNSEEN` holds.
    """
    rows = len(actual) + 1
    horizon = next(iter(members.values())).shape[1]
    regrets = []
    for work_h, window_h in _TASKS:
        if window_h > horizon or rows - 1 - window_h < _SETTLED_H:
            continue
        starts = np.arange(_SETTLED_H, rows - window_h)
        best = oracle(actual, starts, work_h, window_h - work_h)
        # a member that knows nothing is judged as what it then is: the week's mean
        paid = [
            replay(actual, np.where(np.isfinite(m), m, members["week"]), starts, work_h, window_h - work_h)
            - best
            for m in members.values()
        ]
        regret = np.stack(paid, -1) / work_h
        regrets.append((window_h, regret if seen is None else regret * seen[starts][:, None]))
    fade = np.exp(-1 / _REGRET_MEMORY_H)
    weights = np.full((rows, len(members)), 1 / len(members))
    enough = np.ones(rows, dtype=bool)
    if seen is not None:
        weights[:] = [_UNSEEN.get(name, 0.0) for name in members]
        enough = np.cumsum(seen[:rows]) > _SETTLED_H
    summed = np.zeros(len(members))
    for t in range(1, rows):
        summed *= fade
        for window_h, regret in regrets:
            begun = t - window_h - _SETTLED_H
            if begun >= 0:
                summed += regret[begun]
        mean = summed.mean()
        if t % DAY and t != rows - 1:
            weights[t] = weights[t - 1]
        elif mean > 0 and enough[t]:
            share = np.exp(-ETA * (summed - summed.min()) / mean)
            weights[t] = share / share.sum()
    return weights
