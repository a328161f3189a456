from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.vocabulary.observed import Preparation
from tests.diagnosing.views import causes, found, view

SCALED = Preparation("StandardScaler", "fit_transform", "f1", "s1", 3000, 6, 0.6, 0.6, 60.0, 60.0, 10.0)


def test_all_but_the_first():
    """Five of six calls are saved, and what came before them."""
    finding = found(view(preparations=(SCALED,)))[0]

    assert finding.cause == "repeated_preprocessing"
    assert finding.saving.cpu_s.value == pytest.approx(50.0 + 0.5)
    assert "the same 3000 rows 6 times" in finding.evidence


@pytest.mark.parametrize(
    "change",
    [
        {"calls": 1, "first_before_s": None},
        {"method": "predict"},  # looking at one prediction again and again
        {"method": "fit"},  # a sweep over settings
        {"first_before_s": 1.0},  # what came before the others was something else: training by hand
        {"first_before_s": 40.0},
        {"first_before_s": None},
    ],
)
def test_not_claimed(change):
    """Single calls, other methods, and time before that is not like the first's are not claimed."""
    assert causes(view(preparations=(replace(SCALED, **change),))) == []


def test_already_handed_out():
    """Calls that `run --with cache` handed out are no waste any more; what was made before each of them still is."""
    handed = (
        "cache: StandardScaler.fit_transform of equal input and settings came out the same twice: from then on it is handed out",
    )
    dear = replace(SCALED, wall_s=60.0, cpu_s=60.0)
    finding = found(view(preparations=(dear,), changed=handed))[0]
    assert finding.saving.cpu_s.value == pytest.approx(50.0)

    alone = replace(dear, before_s=0.0, before_cpu_s=0.0, first_before_s=0.0)
    assert causes(view(preparations=(alone,))) == ["repeated_preprocessing"]
    assert causes(view(preparations=(alone,), changed=handed)) == []
