"""Quantities: what people write is read, what is printed reads back, and no digit is invented."""

from __future__ import annotations

import re
from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Figure, exact, relative
from joulewise.vocabulary.quantities import (
    ENERGY_UNITS,
    JOULES_PER_KWH,
    figure_digits,
    format_bytes,
    format_duration,
    format_figure,
    format_money,
    format_si,
    parse_duration,
    round_significant,
    split_quantity,
)


@given(st.floats(1e-6, 1e14), st.integers(1, 6))
def test_energy_reads_back(value, digits):
    """What is printed with a prefix reads back to the same value within its digits."""
    number, unit = split_quantity(format_si(value, "J", digits))

    assert number * ENERGY_UNITS[unit] == pytest.approx(value, rel=0.5001 * 10 ** (1 - digits))


@given(st.floats(1, 1e14))
def test_a_prefix_keeps_the_number_short(value):
    """The number before a prefix is at least 1 and below 1000."""
    number, _ = split_quantity(format_si(value, "J"))

    assert 1 <= number < 1000 or value >= 1e15


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 J"),
        (4213, "4.21 kJ"),
        (999.96, "1.00 kJ"),
        (0.5, "500 mJ"),
        (-4213, "-4.21 kJ"),
        (inf, "inf J"),
        (3e-6, "3.00 µJ"),
    ],
)
def test_si(value, text):
    """Prefixes are chosen after rounding."""
    assert format_si(value, "J") == text


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(4200, 3100, 5600, Basis.MODELLED), "4.2 kJ (3.1–5.6)"),
        (Figure(4213, 4200, 4226, Basis.MEASURED), "4.213 kJ (4.200–4.226)"),
        (Figure(4213, 400, 9000, Basis.ASSUMED), "4 kJ (0–9)"),
        (Figure(123456, 100000, 150000, Basis.ASSUMED), "123 kJ (100–150)"),
        (exact(1500), "1.500 kJ"),
        (exact(0), "0 J"),
        (Figure(0, 0, 5, Basis.ASSUMED), "0 J (0–5)"),
        (Figure(5, 1, inf, Basis.ASSUMED), "5 J (1–inf)"),
    ],
)
def test_figure(figure, text):
    """A figure shows as many digits as its interval carries."""
    assert format_figure(figure, "J") == text


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(0.0541, 0.036, 0.083, Basis.ASSUMED), "0.054 EUR (0.036–0.083)"),
        (Figure(1234.5, 1200, 1280, Basis.ASSUMED), "1234 EUR (1200–1280)"),
        (exact(0.54), "0.5400 EUR"),
        (exact(0), "0 EUR"),
        (Figure(0, 0, 0.02, Basis.ASSUMED), "0.00 EUR (0.00–0.02)"),
    ],
)
def test_money(figure, text):
    """Money is printed without a prefix, with the digits that its interval carries."""
    assert format_money(figure, "EUR") == text


@given(st.floats(1e-3, 1e12), st.floats(0.0005, 0.99), st.floats(0.0005, 3))
def test_rounding_hides_nothing(value, below, above):
    """Rounding a printed value moves it by at most a sixth of its interval's half width (four digits at most)."""
    figure = relative(value, below, above, Basis.MODELLED)
    half = (figure.high - figure.low) / 2
    digits = figure_digits(figure)

    moved = abs(round_significant(value, digits) - value)

    assert 1 <= digits <= 4
    assume(digits < 4)
    first_digit_alone = digits == 1  # an interval as wide as the value leaves one digit whatever it is
    assert (
        moved <= (0.5 if first_digit_alone else 1 / 6) * max(half, value if first_digit_alone else 0) * 1.001
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15min", 900),
        ("15m", 900),
        ("1h30m", 5400),
        ("2d", 172800),
        ("250ms", 0.25),
        ("12.5", 12.5),
        (" 3 h ", 10800),
    ],
)
def test_duration_is_read(text, seconds):
    """Durations are read as people write them."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "h", "3 apples", "1h-30m", "-3h", "1h30", "3H", "nan"])
def test_a_bad_duration_is_refused(text):
    """What is no duration is refused with the value seen and an example."""
    with pytest.raises(UsageError, match=re.escape(repr(text))):
        parse_duration(text)


@given(st.integers(60, 10**6))
def test_duration_reads_back(seconds):
    """A printed duration reads back to the same within what it shows."""
    assert parse_duration(format_duration(seconds)) == pytest.approx(
        seconds, abs=0.51 if seconds < 3600 else 31 if seconds < 86400 else 1801
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.85, "850 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (59.97, "1m 00s"),
        (245, "4m 05s"),
        (3599.7, "1h 00m"),
        (12000, "3h 20m"),
        (86399, "1d 00h"),
        (187200, "2d 04h"),
    ],
)
def test_duration_is_printed(seconds, text):
    """A duration rounds up into the next unit and never prints sixty of one."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (5, "5 B"), (999, "999 B"), (1.5e9, "1.50 GB")])
def test_bytes(count, text):
    """Bytes come in powers of 1000, and single bytes without decimals."""
    assert format_bytes(count) == text


@pytest.mark.parametrize("text", ["", "J", "2..3J", "2 MJ x", "-2MJ", "1,5kg", "٣J"])
def test_a_bad_quantity_is_refused(text):
    """What is not a number and a unit is refused with the value seen."""
    with pytest.raises(UsageError, match="cannot read"):
        split_quantity(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("2MJ", (2.0, "MJ")),
        (" 1.50 EUR", (1.5, "EUR")),
        ("0.1%", (0.1, "%")),
        (".5kWh", (0.5, "kWh")),
        ("1e3J", (1000.0, "J")),
        ("20", (20.0, "")),
    ],
)
def test_a_quantity_is_split(text, parts):
    """A number and its unit are told apart."""
    assert split_quantity(text) == parts


def test_kilowatt_hours():
    """A kilowatt-hour is 3.6 million joules."""
    assert ENERGY_UNITS["kWh"] == JOULES_PER_KWH == 3.6e6


def test_ends_keep_their_digits():
    """An interval whose value rounds up to the next power of ten keeps the digits of its ends."""
    figure = Figure(9.6, 4.8, 14.4, Basis.MODELLED)

    assert format_figure(figure, "W") == "10 W (5–14)"
    assert format_money(Figure(0.097, 0.05, 0.15, Basis.MODELLED), "EUR") == "0.10 EUR (0.05–0.15)"
