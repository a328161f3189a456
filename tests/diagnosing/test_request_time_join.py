"""Joins in the request path of a served model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing import request_time_join
from joulewise.vocabulary.observed import Preparation, Statement
from tests.diagnosing.views import case, causes, found, view

JOIN = Statement("SELECT sum(e.amt) FROM ev e JOIN u ON u.id = e.id WHERE u.id = ?", 1000, 40.0, 30.0, 400)
SERVED = view(
    server="uvicorn", statements=(JOIN, Statement("SELECT row FROM online WHERE key = ?", 9000, 9.0, 9.0, 10))
)


def test_saved_is_all_but_the_get():
    """What the join took is saved but for a get by key; a get by key itself is none of it."""
    (finding,) = found(SERVED)

    assert finding.cause == "request_time_join"
    assert finding.saving.cpu_s.value == pytest.approx(30.0 - 1000 * 1e-5)
    (estimated,) = request_time_join.estimate(case(SERVED))  # before the ranking adds its noise
    assert estimated.cpu_s.low == pytest.approx(30.0 - 1000 * 1e-4)
    assert 0 < finding.saving.cpu_s.low < estimated.cpu_s.low
    assert finding.saving.wall_s.value == 0
    assert "1000 requests each ran a statement with SUM, JOIN (30 CPU-ms)" in finding.evidence
    assert "600 of them with values that had been asked for before" in finding.evidence


@pytest.mark.parametrize(
    "change",
    [
        {"server": ""},  # a report, not a server
        {"steps": 5},  # a training that reads its data by SQL
        {"preparations": (Preparation("Ridge", "fit", "f", "s", 10, 1, 0.1, 0.1, 0.0, 0.0),)},
        {"statements": (replace(JOIN, calls=19),)},  # its start
        {"statements": (replace(JOIN, sql="SELECT 'JOIN' FROM t WHERE key = ?"),)},
        {"statements": (replace(JOIN, cpu_s=3.0),)},  # less than 5 % of the run
    ],
)
def test_not_claimed(change):
    """Programs that train or serve nothing, what runs a few times, and what is no join are not named."""
    assert causes(replace(SERVED, **change)) == []
