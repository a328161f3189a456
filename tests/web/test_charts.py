"""Charts: down-sampling keeps joules and peaks, axes are round and hold their data, paths are short."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.web import charts

RATES = st.lists(st.one_of(st.none(), st.floats(0, 1e4)), min_size=1, max_size=300)
STEPS = st.lists(st.floats(0.01, 100), min_size=300, max_size=300)


def times(steps: list[float], count: int) -> list[float]:
    """Return count + 1 growing moments."""
    moments = [0.0]
    for step in steps[:count]:
        moments.append(moments[-1] + step)
    return moments


class TestDownsample:
    @given(RATES, STEPS, st.integers(1, 50))
    def test_the_integral_is_kept(self, rates, steps, most):
        """Means times their known time, summed, are the joules that went in."""
        t_s = times(steps, len(rates))
        bins = charts.downsample(t_s, rates, charts.bin_edges(t_s, most))
        true = math.fsum(r * (b - a) for r, a, b in zip(rates, t_s, t_s[1:], strict=False) if r is not None)

        assert math.fsum(b.mean * b.known_s for b in bins if b.mean is not None) == pytest.approx(true)

    @given(RATES, STEPS, st.integers(1, 50))
    def test_no_extreme_is_lost(self, rates, steps, most):
        """The least and the largest rate are in some bin, and every mean lies between its bin's two."""
        t_s = times(steps, len(rates))
        bins = charts.downsample(t_s, rates, charts.bin_edges(t_s, most))
        known = [r for r in rates if r is not None]

        assert max((b.high for b in bins if b.high is not None), default=None) == max(known, default=None)
        assert min((b.low for b in bins if b.low is not None), default=None) == min(known, default=None)
        assert all(b.low <= b.mean <= b.high for b in bins if b.mean is not None)

    @given(STEPS, st.integers(2, 300), st.integers(1, 50))
    def test_bins_cover_the_time(self, steps, count, most):
        """Bins follow each other without a gap from the first to the last moment, and are at most as many as asked."""
        t_s = times(steps, count)
        edges = charts.bin_edges(t_s, most)

        assert (edges[0], edges[-1]) == (0, count)
        assert edges == sorted(set(edges))
        assert len(edges) - 1 <= most

    def test_least_time(self):
        """Eight ticks a second are taken together to whole seconds, in which joules are split by tenant."""
        t_s = [n / 8 for n in range(81)]

        assert charts.bin_edges(t_s, 240, 1.0) == [*range(0, 81, 8)]
        assert charts.bin_edges(t_s, 4, 1.0) == [0, 24, 48, 72, 80]

    def test_unknown_is_not_zero(self):
        """A stretch of which nothing is known has no mean, least or largest value."""
        assert charts.downsample([0, 1, 2], [None, 3.0], [0, 1, 2])[0] == charts.Bin(
            0, 1, None, None, None, 0.0
        )


class TestThin:
    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500), st.integers(4, 60))
    def test_ends_and_extremes_stay(self, values, most):
        """However many points there were, first, last, least and largest stay, in order, in few enough points."""
        points = [(float(n), v) for n, v in enumerate(values)]
        kept = charts.thin(points, most)

        assert len(kept) <= most
        assert kept == sorted(kept)
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert {min(values), max(values)} <= {v for _, v in kept}


class TestAxes:
    @given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
    def test_values_fit(self, low, span):
        """The axis holds its data, has two to seven ticks, and no two of them read the same."""
        axis = charts.value_axis(low, low + span, lambda v, _s: repr(v))

        assert axis.low <= low + span * 1e-6
        assert axis.high >= low + span * (1 - 1e-6)
        assert 2 <= len(axis.ticks) <= 7
        assert len(set(axis.labels)) == len(axis.labels)

    @pytest.mark.parametrize("values", [(0.0, 0.0), (5.0, 5.0), (math.nan, math.nan), (0.0, math.inf)])
    def test_no_span(self, values):
        """An axis of nothing, of one value or of what is no number is still an axis."""
        low, high = values
        axis = charts.value_axis(low, high, charts.watt_label)

        assert axis.high > axis.low

    @pytest.mark.parametrize("end_s", [0.0, 1e-3, 0.5, 1.0, 7.0, 59.0, 600.0, 4000.0, 90000.0, 259200.0, 4e6])
    def test_time(self, end_s):
        """A run of any length has a readable time axis: at most ten ticks, from 0, all different, none after the end."""
        axis = charts.time_axis(end_s)

        assert axis.ticks[0] == 0
        assert len(axis.ticks) <= 10
        assert len(set(axis.labels)) == len(axis.labels)
        assert axis.ticks[-1] <= max(end_s, 0)

    def test_labels(self):
        """Ticks are written as round numbers with their unit."""
        assert charts.time_axis(259200.0).labels == ("0", "12 h", "1 d", "1d 12h", "2 d", "2d 12h", "3 d")
        assert charts.value_axis(0, 17, charts.watt_label).labels == ("0 W", "5 W", "10 W", "15 W", "20 W")
        assert charts.value_axis(0.9, 1.0, charts.number_label).labels[:2] == ("0.900", "0.925")


class TestPaths:
    def test_steps(self):
        """Steps stand on the ground, and a gap between two of them is a gap in the path."""
        assert charts.steps([(0, 0.25, 0.5), (0.25, 0.5, 1), (0.75, 1, 0.5)]) == (
            "M0 1000V500H250V0H500V1000ZM750 1000V500H1000V1000Z"
        )

    def test_equal_heights_are_one_step(self):
        """A thousand equal steps cost no more than one."""
        many = [(n / 1000, (n + 1) / 1000, 0.5) for n in range(1000)]

        assert charts.steps(many) == charts.steps([(0, 1, 0.5)]) == "M0 1000V500H1000V1000Z"

    def test_nothing(self):
        """No steps, no path."""
        assert charts.steps([]) == charts.line([]) == charts.band([]) == ""

    def test_line(self):
        """Upwards on the page is more."""
        assert charts.line([(0, 0), (1, 1)]) == "M0 1000L1000 0"

    def test_flat_bands_are_not_drawn(self):
        """Where least and largest are the same there is no band."""
        assert charts.band([(0, 0.5, 0.1, 0.1), (0.5, 1, 0, 1)]) == "M500 1000V0H1000V1000Z"

    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=400))
    def test_stretches(self, spans):
        """However many spans a phase has, they become at most as many stretches as can be told apart."""
        cut = charts.stretches([(s, s + d) for s, d in spans], 110.0, 50)

        assert len(cut) <= 100
        assert bool(cut) == bool(spans)
        assert all(0 <= left <= 1 and width > 0 for left, width in cut)

    def test_no_scientific_numbers(self):
        """Paths are plain decimal numbers with at most one place."""
        path = charts.line([(n / 7, 1e-9 * n) for n in range(7)])

        assert re.fullmatch(r"[ML0-9. ]+", path)
        assert not re.search(r"\.\d\d", path)
