"""Processors by the name that the kernel gives them."""

from __future__ import annotations

import pytest

from joulewise.catalogue.processors import find_processor
from joulewise.catalogue.tables import read_facts


@pytest.mark.parametrize(
    ("model", "tdp_w", "threads"),
    [
        ("Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz", 240, 48),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120, 28),
        ("Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", 15, 8),
        ("11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", 28, 8),
        ("AMD EPYC 7742 64-Core Processor", 225, 128),
        ("AMD Ryzen 9 5950X 16-Core Processor", 105, 32),
        ("AMD Ryzen 7 5800H with Radeon Graphics", 45, 16),
        ("Intel(R) Xeon(R) Platinum 8480+", 350, 112),
    ],
)
def test_names_of_the_kernel(model, tdp_w, threads):
    """The marks, clock and core count beside a name do not hide the processor."""
    found = find_processor(model)

    assert found is not None
    assert (found.tdp_w, found.threads) == (tdp_w, threads)


@pytest.mark.parametrize("model", ["AMD EPYC", "Intel Xeon Platinum 8275", "", "unknown", "AMD EPYC 77421"])
def test_near_names_are_no_answer(model):
    """A name that is only like a known one is not taken for it."""
    assert find_processor(model) is None


def test_every_row_is_found_and_possible():
    """Each row is found by its own name, once, with watts per thread that a processor can have."""
    rows = list(read_facts("processors.csv"))

    assert len({row["name"].casefold() for row in rows}) == len(rows)
    for row in rows:
        known = find_processor(row["name"])
        assert known is not None
        assert known.name == row["name"]
        assert 1.0 < known.tdp_w / known.threads < 12.5
