"""Tables of facts: each says where its rows come from."""

from __future__ import annotations

from importlib.resources import files

import pytest

from joulewise.catalogue.tables import read_facts

TABLES = ("zones.csv", "us_states.csv", "pue.csv", "embodied.csv", "cloud_regions.csv")


@pytest.mark.parametrize("name", TABLES)
def test_provenance(name):
    """A table begins with its source, date and licence, and every row fills its first column and no more than the head names."""
    head = (files("joulewise.catalogue") / "data" / name).read_text(encoding="utf-8").splitlines()[:3]

    assert [line.partition(":")[0] for line in head] == ["# source", "# date", "# licence"]
    for row in read_facts(name):
        assert None not in row
        assert next(iter(row.values()))
