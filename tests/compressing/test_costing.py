"""What a request costs is told by rounds in turn."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.compressing.costing import Unmetered, cold_starts, measure
from joulewise.compressing.data import Data
from joulewise.vocabulary.errors import UsageError
from tests.compressing.models import Bench, dense

ROWS = Data({"x": np.zeros((10, 8), np.float32)})


def test_cpu_time():
    """A call that costs one and one for each row is 2 for a request alone and 1.25 in a batch of four."""
    bench = Bench()
    costs = measure(bench.runs({"fp32": 0.002, "int8": 0.001}), ROWS, (1, 4), bench, rounds=3)

    assert costs["int8"].cpu_s[1] == pytest.approx([0.002] * 3)
    assert costs["int8"].cpu_s[4] == pytest.approx([0.00125] * 3)
    assert costs["int8"].seconds[4] == pytest.approx([0.005] * 3)
    assert costs["int8"].ratios(costs["fp32"])[4] == pytest.approx([0.5] * 3)
    assert costs["int8"].request_j(1, 10.0, counted=False) == pytest.approx(0.02)
    assert costs["int8"].request_j(1, None, counted=False) is None


def test_counters_are_believed_before_cpu_time():
    """Where joules are counted they decide, even against the CPU time."""
    bench = Bench({"fp32": 1.0, "int8": 3.0})
    costs = measure(bench.runs({"fp32": 0.002, "int8": 0.001}), ROWS, (2,), bench, rounds=2)

    assert costs["int8"].ratios(costs["fp32"])[2] == pytest.approx([3.0] * 2)
    assert costs["int8"].request_j(2, 10.0, counted=True) == pytest.approx(3.0)


def test_forms_take_turns():
    """No form is always the first of its round."""
    bench = Bench()
    order: list[str] = []

    def noted(name, run):
        def both(feed) -> None:
            order.append(name)
            run(feed)

        return both

    runs = bench.runs({"a": 0.02, "b": 0.02, "c": 0.02})
    measure({name: noted(name, run) for name, run in runs.items()}, ROWS, (1,), bench, rounds=3)

    assert [order[place] for place in (6, 9, 12)] == ["a", "b", "c"]  # six calls to warm up, one call a block


def test_cold_start(tmp_path):
    """A cold start is a fresh process with its CPU time; one that cannot answer says why."""
    cold = cold_starts({"fp32": dense(tmp_path / "a.onnx")}, ROWS, "cpu", 1, rounds=1)["fp32"]

    assert 0.01 < cold.cpu_s < 30
    with pytest.raises(UsageError, match="does not answer in a fresh process"):
        cold_starts({"fp32": tmp_path / "none.onnx"}, ROWS, "cpu", 1, rounds=1)


def test_unmetered_knows_no_joules():
    """Without meters joules are unknown, never 0."""
    assert (Unmetered().counted_j(), Unmetered().j_per_cpu_s()) == (None, None)
