"""SM activity: from one look to the next, and never at the price of a reading. On a library in memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from joulewise.measuring.meters.nvml_gpm import SmActivity


class Fault(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value


class Boards:
    """What NVML has of performance monitoring. `percent` is what the board's multiprocessors did since the last sample."""

    def __init__(self) -> None:
        self.percent = 40.0
        self.supported = 1
        self.fault = 0
        self.answer = 0
        self.samples: list[str] = []
        self.calls = 0

    def nvmlGpmQueryDeviceSupport(self, handle: Any) -> Any:
        self.calls += 1
        return SimpleNamespace(isSupportedDevice=self.supported)

    def nvmlGpmSampleAlloc(self) -> Any:
        self.samples.append("open")
        return len(self.samples) - 1

    def nvmlGpmSampleFree(self, sample: Any) -> None:
        assert self.samples[sample] == "open"
        self.samples[sample] = "free"

    def nvmlGpmSampleGet(self, handle: Any, sample: Any) -> Any:
        self.calls += 1
        if self.fault:
            raise Fault(self.fault)
        return sample

    def c_nvmlGpmMetricsGet_t(self) -> Any:
        return SimpleNamespace(metrics=[SimpleNamespace(metricId=0, nvmlReturn=0, value=0.0)])

    def nvmlGpmMetricsGet(self, asked: Any) -> Any:
        assert (asked.version, asked.numMetrics, asked.metrics[0].metricId) == (1, 1, 2)
        assert asked.sample1 != asked.sample2
        asked.metrics[0].nvmlReturn, asked.metrics[0].value = self.answer, self.percent
        return asked


@pytest.fixture
def boards() -> Boards:
    return Boards()


@pytest.fixture
def library(boards: Boards) -> Any:
    return SimpleNamespace(nvml=boards, error=Fault, generation=1)


def test_from_look_to_look(boards: Boards, library: Any):
    """The first look tells nothing, each later one the share since the one before; two samples serve them all."""
    activity = SmActivity(library)

    assert [activity.since_last("board") for _ in range(4)] == [None, 0.4, 0.4, 0.4]
    assert boards.samples == ["open", "open"]


@pytest.mark.parametrize(("percent", "share"), [(0.0, 0.0), (100.4, 1.0), (-1.0, 0.0), (float("nan"), None)])
def test_what_is_no_share(boards: Boards, library: Any, percent: float, share: float | None):
    """Rounding beyond the ends is cut off; what is no number is not told."""
    boards.percent = percent
    activity = SmActivity(library)
    activity.since_last("board")

    assert activity.since_last("board") == share


def test_metric_that_is_not_told(boards: Boards, library: Any):
    """A board that has samples and does not tell this metric says None."""
    boards.answer = 3
    activity = SmActivity(library)

    assert [activity.since_last("board") for _ in range(2)] == [None, None]


@pytest.mark.parametrize("fault", [3, 4, 13])
def test_never(boards: Boards, library: Any, fault: int):
    """Under MIG, without permission or with an old driver it is asked for once and never again."""
    boards.fault = fault
    activity = SmActivity(library)
    activity.since_last("board")
    asked = boards.calls

    assert [activity.since_last("board") for _ in range(5)] == [None] * 5
    assert boards.calls == asked


def test_before_hopper(boards: Boards, library: Any):
    """A board without the counters is asked once what it can."""
    boards.supported = 0
    activity = SmActivity(library)

    assert [activity.since_last("board") for _ in range(3)] == [None] * 3
    assert (boards.calls, boards.samples) == (1, [])


def test_lost_board_comes_back(boards: Boards, library: Any):
    """After a fault that may pass, the next look begins anew: no share spans the gap."""
    activity = SmActivity(library)
    activity.since_last("board")
    boards.fault = 15
    lost = activity.since_last("board")
    boards.fault = 0

    assert [lost, activity.since_last("board"), activity.since_last("board")] == [None, None, 0.4]


def test_library_that_came_back(boards: Boards, library: Any):
    """Samples of a library that was initialised again are not used, and not given back."""
    activity = SmActivity(library)
    activity.since_last("board")
    library.generation = 2

    assert activity.since_last("board") is None
    assert activity.since_last("board") == 0.4
    activity.close()
    assert boards.samples.count("free") == 2


def test_closed(boards: Boards, library: Any):
    """A closed one gives its samples back and tells nothing more."""
    activity = SmActivity(library)
    activity.since_last("board")
    activity.since_last("board")
    activity.close()

    assert boards.samples == ["free", "free"]
    assert activity.since_last("board") is None


def test_old_bindings():
    """A module without these functions tells nothing."""
    library: Any = SimpleNamespace(nvml=SimpleNamespace(), error=Fault, generation=1)

    assert SmActivity(library).since_last("board") is None
