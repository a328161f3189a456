"""Quantities as people write them: `2MJ`, `200g`, `3h`, `1.50EUR`; and back, with no more digits than are known.

Inside the program there is one unit per quantity (joules, grams, seconds, bytes, watts); kilowatt-hours and
prefixes appear only here, at the edge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import floor, isfinite, log10
from types import MappingProxyType

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure

JOULES_PER_KWH = 3.6e6

ENERGY_UNITS: Mapping[str, float] = MappingProxyType(
    {
        "µJ": 1e-6,
        "mJ": 1e-3,
        "J": 1.0,
        "kJ": 1e3,
        "MJ": 1e6,
        "GJ": 1e9,
        "TJ": 1e12,
        "Wh": 3.6e3,
        "kWh": JOULES_PER_KWH,
        "MWh": 3.6e9,
    }
)
MASS_UNITS: Mapping[str, float] = MappingProxyType({"mg": 1e-3, "g": 1.0, "kg": 1e3, "t": 1e6})
TIME_UNITS: Mapping[str, float] = MappingProxyType(
    {"ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
)

_QUANTITY = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµ%€$£]*)\s*$")
_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))


def split_quantity(text: str) -> tuple[float, str]:
    """Return the number and the unit of `text` ("2MJ" is 2.0 and "MJ"); refuse what is neither."""
    match = _QUANTITY.match(text)
    if not match:
        raise UsageError(
            f"cannot read {text!r} as a quantity; write a number and a unit, for instance 2MJ, 200g or 3h"
        )
    return float(match[1]), match[2]


def parse_duration(text: str) -> float:
    """Return seconds from `90s`, `15min`, `1h30m` or a bare number of seconds."""
    if re.fullmatch(r"\s*[0-9]*\.?[0-9]+\s*", text):
        return float(text)
    parts = re.findall(r"([0-9]*\.?[0-9]+)\s*([a-z]+)", text)
    if (
        not parts
        or "".join(n + u for n, u in parts) != re.sub(r"\s", "", text)
        or any(u not in TIME_UNITS for _, u in parts)
    ):
        raise UsageError(f"cannot read {text!r} as a duration; write for instance 90s, 15min, 3h or 1h30m")
    return sum(float(n) * TIME_UNITS[u] for n, u in parts)


def parse_share(text: str, what: str) -> float:
    """Return the share that a percentage names: "10%" is 0.1, "-5 %" is -0.05; refuse a number without its sign."""
    match = re.fullmatch(r"\s*([+-]?[0-9]*\.?[0-9]+)\s*%\s*", text)
    if not match:
        raise UsageError(f"{what} is {text!r}, but must be a percentage, for instance 10%")
    return float(match[1]) / 100


def format_si(value: float, unit: str, digits: int = 3) -> str:
    """Return `value` with an SI prefix and `digits` significant digits: `format_si(4213, "J")` is "4.21 kJ"."""
    if not isfinite(value):
        return f"{value} {unit}"
    size = abs(value)
    if size == 0:
        return f"0 {unit}"
    scale, prefix = next(((s, p) for s, p in _SCALES if round_significant(size, digits) >= s), _SCALES[-1])
    return f"{_plain(value / scale, digits)} {prefix}{unit}"


def format_figure(figure: Figure, unit: str) -> str:
    """Return value and interval with no more digits than the interval carries: "4.2 kJ (3.1–5.6)"."""
    digits = figure_digits(figure)
    size = max(abs(figure.value), abs(figure.high)) if figure.value == 0 else abs(figure.value)
    if size == 0:
        return f"0 {unit}"
    scale, prefix = next(((s, p) for s, p in _SCALES if round_significant(size, digits) >= s), _SCALES[-1])
    value = _plain(figure.value / scale, digits)
    if figure.low == figure.high:
        return f"{value} {prefix}{unit}"
    places = _own_places(figure.value / scale, digits)
    low, high = (_fixed(v / scale, places) for v in (figure.low, figure.high))
    return f"{value} {prefix}{unit} ({low}–{high})"


def format_money(figure: Figure, currency: str) -> str:
    """Return an amount with its interval and no prefix: "0.054 EUR (0.036–0.083)"."""
    if figure.value == figure.high == 0:
        return f"0 {currency}"
    places = max(0, _own_places(figure.value or figure.high, figure_digits(figure)))
    value, low, high = (_fixed(v, places) for v in (figure.value, figure.low, figure.high))
    return f"{value} {currency}" if figure.low == figure.high else f"{value} {currency} ({low}–{high})"


def figure_digits(figure: Figure) -> int:
    """Return how many significant digits of the value its 90 % interval carries (1 to 4).

    The last digit kept is that of the interval's half width: its first one, or its second where the first
    is small (below 3.55: the rounding rule of the Particle Data Group), so that rounding costs at most 15 %.
    """
    half = (figure.high - figure.low) / 2
    if figure.value == 0 or not isfinite(half):
        return 1
    if half == 0:
        return 4
    return min(4, max(1, floor(log10(abs(figure.value))) - floor(log10(half / 3.55)) + 1))


def format_duration(seconds: float) -> str:
    """Return "850 ms", "12.3 s", "4m 05s", "3h 20m" or "2d 04h"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = round(seconds / 60)
    if minutes < 1440:
        return f"{minutes // 60}h {minutes % 60:02d}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d {hours % 24:02d}h"


def format_bytes(count: float) -> str:
    """Return a size in powers of 1000: "1.50 GB"."""
    return format_si(count, "B") if count >= 1000 else f"{count:.0f} B"


def round_significant(value: float, digits: int) -> float:
    """Return `value` rounded to `digits` significant digits."""
    if value == 0:
        return 0.0
    return round(value, digits - 1 - floor(log10(abs(value))))


def _plain(value: float, digits: int) -> str:
    return _fixed(round_significant(value, digits), _places(value, digits))


def _places(value: float, digits: int) -> int:
    rounded = round_significant(value, digits)
    return digits - 1 - floor(log10(abs(rounded))) if rounded else 0


def _own_places(value: float, digits: int) -> int:
    """Return the decimal places of `value` before rounding: the ends of 9.6 (4.8–14.4) are not told in tens."""
    return digits - 1 - floor(log10(abs(value))) if value else 0


def _fixed(value: float, places: int) -> str:
    return f"{round(value, places):.{max(0, places)}f}"
