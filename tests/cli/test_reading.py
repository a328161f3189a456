"""Quantities, files by zone, and rows: what verbs read."""

from __future__ import annotations

import pytest

from joulewise.cli.reading import BYTES, WATTS, by_zone, quantity, read_rows
from joulewise.vocabulary.errors import UsageError


def test_quantities_have_units():
    """A number counts in its unit; a foreign unit is refused with those that are known."""
    assert quantity("1.5kW", WATTS, "--power") == 1500
    assert quantity("2GB", BYTES, "--data") == 2e9
    with pytest.raises(UsageError, match="--power is '3kg'; give it in W, kW"):
        quantity("3kg", WATTS, "--power")


def test_files_by_zone():
    """A bare file is of the first zone, others name theirs."""
    assert by_zone(["a.csv", "NO=b.csv"], ["DE", "NO"]) == {"DE": "a.csv", "NO": "b.csv"}


def test_rows_are_given_without_their_empty_cells(tmp_path):
    """Quoted commas, a byte order mark and spaces are read; empty cells are left out."""
    (tmp_path / "a.csv").write_text('\ufeffname , x\n"a, b", \nc, 1 \n', encoding="utf-8")
    rows: list[dict[str, str]] = []
    read_rows(tmp_path / "a.csv", ("name", "x"), rows.append)

    assert rows == [{"name": "a, b"}, {"name": "c", "x": "1"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name,x\n\xff\xfe,1\n", "cannot read"),
        (b"name,name\na,b\n", "line 1 has the column 'name'"),
        (b'name,x\n"a,1\n', "cannot read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, said):
    """Bytes that are no text, doubled columns and a quote that never ends are one line with the file."""
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_rows(tmp_path / "a.csv", ("name", "x"), lambda _: None)
    assert said in str(caught.value)
    assert "a.csv" in str(caught.value)
