from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing.overhead import item_arithmetic
from tests.diagnosing.test_slow_transforms import LOADER
from tests.diagnosing.views import evaluations, view

SEEN = evaluations([1, 2], items=1000, batch=100, seconds=0.05)  # 50 µs an item


def test_cheapest():
    """The cheapest evaluation with a large enough batch tells an item's arithmetic."""
    item = item_arithmetic(view(evaluations=SEEN), 100)
    assert item is not None
    assert item.cpu_s == pytest.approx(50e-6)
    assert item.batch == 100
    assert item_arithmetic(view(evaluations=SEEN), 101) is None
    assert item_arithmetic(view(), 1) is None


@pytest.mark.parametrize(("load_us", "left_us"), [(20, 30), (49, 10), (90, 10)])
def test_without_loading(load_us, left_us):
    """What its loader took is not arithmetic, but a fifth of the item is left at least."""
    loader = replace(LOADER, evaluates=True, fetched=1000, fetch_s=load_us / 1000, fetch_cpu_s=load_us / 1000)
    item = item_arithmetic(view(evaluations=SEEN, loaders=(loader,)), 100)
    assert item is not None
    assert item.cpu_s == pytest.approx(left_us * 1e-6)
