"""Sharing: by what was measured, only where it fits, and undone where it slows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.scheduling.sharing import Device, Found, Seen, Usage, Watch, count, device
from joulewise.vocabulary.ticket import Needs

GB = 10**9


class TestCount:
    def test_unmeasured(self):
        """What was never measured counts as what it asks for."""
        assert count(Needs(4, 1, GB), None) == Needs(400, 100, GB)

    def test_measured(self):
        """What was measured counts as its use, with a tenth on top of it and a tenth of the machine left."""
        assert count(Needs(4, 1), Usage(0.9, 3 * GB, 0.27)) == Needs(110, 33, 3 * GB)

    def test_never_more_than_asked(self):
        """Nobody is counted as more than what it asks for; several GPUs are never shared."""
        assert count(Needs(1, 2, GB), Usage(7.0, 9 * GB, 0.2)) == Needs(100, 200, GB)

    @given(st.lists(st.floats(0.01, 4.0), min_size=1, max_size=40))
    def test_what_is_packed_fits(self, cores):
        """Jobs packed into a machine by what they count as never use more than the machine has."""
        free, used = 400, 0.0
        for one in cores:
            needs = count(Needs(4), Usage(one, 0.0))
            if needs.cpus <= free:
                free -= needs.cpus
                used += min(one, 4.0)
        assert used <= 4.0 + 1e-9


class TestDevice:
    TWO = (Device(0, 80 * GB, shared=True), Device(1, 80 * GB, shared=True))

    def test_the_fullest_that_holds_it(self):
        """Jobs that share are put together, so that whole GPUs stay empty."""
        assert device(30, 10 * GB, self.TWO, {1: (40, 10 * GB, False)}) == 1
        assert device(30, 10 * GB, self.TWO, {1: (80, 10 * GB, False)}) == 0

    def test_memory(self):
        """What does not fit into a GPU's memory is not put there: nothing protects the others from it."""
        assert device(10, 30 * GB, self.TWO, {0: (10, 50 * GB, False)}) == 1

    @pytest.mark.parametrize("taken", [(10, 0.0, True), (100, 0.0, False)])
    def test_whole(self, taken):
        """A GPU that somebody has for itself is nobody else's."""
        assert device(10, 0.0, self.TWO[:1], {0: taken}) is None

    def test_not_to_be_shared(self):
        """A GPU that may not be shared, or a job that fills one, goes alone."""
        assert device(10, 0.0, [Device(0, GB)], {0: (10, 0.0, False)}) is None
        assert device(100, 0.0, self.TWO, {0: (10, 0.0, False)}) == 1


class TestWatch:
    USAGE = Usage(1.0, GB, rates={"step": 10.0, "cpu": 1.0})

    def looks(self, watch, rate, unit="step", crowded=True, times=4):
        found = Found()
        for n in range(times):
            seen = Seen(30.0 * n, {unit: rate * 30.0 * n})
            found = watch.look("a-1", seen, self.USAGE, crowded=crowded)
        return found

    def test_slowed(self):
        """Beside others at 85 % of its own pace for two looks after another, a job is slowed; at 95 % it is not."""
        assert self.looks(Watch(), 8.5).slowed == pytest.approx(0.15)
        assert self.looks(Watch(), 8.5, times=2).slowed is None
        assert self.looks(Watch(), 9.5).slowed is None
        assert self.looks(Watch(), 5.0, crowded=False).slowed is None

    def test_by_processor_seconds(self):
        """A program that logs no steps is judged by the processor seconds that it gets."""
        assert self.looks(Watch(), 0.6, "cpu").slowed == pytest.approx(0.4)

    def test_unknown_pace(self):
        """Without a pace of its own nothing is said."""
        assert Watch().look("a-1", Seen(0.0, {}), None, crowded=True) == Found()

    def test_idle(self):
        """A GPU is idle for as long as nobody used it; one look of use begins anew."""
        watch, idle = Watch(), []
        for n, busy in enumerate([0.5, 0.0, 0.0, 0.3, 0.0, 0.0]):
            idle.append(watch.look("a-1", Seen(30.0 * n, {}, busy), None, crowded=False).idle_s)
        assert idle == [0.0, 30.0, 60.0, 0.0, 30.0, 60.0]
