from __future__ import annotations

import pytest

from tests.diagnosing.views import causes, found, phases, view


def test_more_than_anybody_reads():
    """Of 10,000 log calls those beyond ten an epoch are saved."""
    seen = view(steps=10_000, epochs=4, phases=phases(forward=60.0, logging=(10_000, 30.0)))
    finding = found(seen)[0]

    assert finding.cause == "logging_overhead"
    assert finding.saving.cpu_s.value == pytest.approx(30.0 * (1 - 40 / 10_000))


def test_healthy():
    """A few hundred calls are left alone, whatever they take."""
    assert causes(view(steps=10_000, epochs=4, phases=phases(forward=60.0, logging=(300, 30.0)))) == []
