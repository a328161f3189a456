"""PUE: chosen by the kind of place, at a desk exactly one."""

from __future__ import annotations

import pytest

from joulewise.catalogue.pue import PlaceKind, pue
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary


@pytest.mark.parametrize(
    ("kind", "value"), [("desk", 1.0), ("on-premises", 1.58), ("aws", 1.135), ("gcp", 1.1), ("azure", 1.185)]
)
def test_by_kind(kind, value):
    """Each kind of place has its published value, with a source and an interval that starts at one or above."""
    figure = pue(PlaceKind(kind))

    assert figure.value == value
    assert 1 <= figure.low <= value <= figure.high
    assert figure.boundary is Boundary.FACILITY
    assert figure.source.startswith(f"PUE {kind}: ")


def test_every_kind_has_a_value():
    """No kind of place is without a PUE; all but the desk's are assumed."""
    assert {kind: pue(kind).basis for kind in PlaceKind} == {
        kind: Basis.MEASURED if kind is PlaceKind.DESK else Basis.ASSUMED for kind in PlaceKind
    }


def test_own_value():
    """What the user states is taken as it is; below one it is refused."""
    assert (pue(PlaceKind.AWS, 1.08).low, pue(PlaceKind.AWS, 1.08).high) == (1.08, 1.08)
    with pytest.raises(UsageError, match=r"PUE is 0.9, but .* 1 or more"):
        pue(PlaceKind.AWS, 0.9)
