"""Moments as people write them: `2026-12-01T08:00+01:00`, `08:00`, `today 22:30`, `tomorrow 08:00`, `+6h`.

Without an offset a time is the user's local one. On the night when clocks jump ahead an hour does not exist, and is
refused; when they go back an hour comes twice, and the first is meant. What is meant is echoed in UTC by the doors.

    08:00            the next time the clock shows it, today or tomorrow
    tomorrow         the same time of day as now, tomorrow
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import parse_duration

MONTH = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])")
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2})(?::(\d{2}))?$")
_EXAMPLE = "write for instance 08:00, 'tomorrow 08:00', +6h or 2026-12-01T08:00+01:00"


def parse_moment(text: str, now_utc: datetime, zone: tzinfo | None = None) -> datetime:
    """Return the moment in UTC that `text` means at `now_utc`, by the wall clock of `zone` (None: this machine's)."""
    words = text.strip().split()
    local = now_utc.astimezone(zone)
    if len(words) == 1 and words[0].startswith("+"):
        return now_utc.astimezone(UTC) + timedelta(seconds=parse_duration(words[0][1:]))
    if words and words[0].casefold() in ("today", "tomorrow") and len(words) <= 2:
        day = local.date() + timedelta(days=words[0].casefold() == "tomorrow")
        at = _clock(words[1], text) if len(words) == 2 else local.time().replace(microsecond=0)
        return _resolved(day, at, zone, text)
    if len(words) == 1 and _CLOCK.match(words[0]):
        at = _clock(words[0], text)
        moment = _resolved(local.date(), at, zone, text)
        return moment if moment > now_utc else _resolved(local.date() + timedelta(days=1), at, zone, text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"cannot read {text!r} as a time; {_EXAMPLE}") from None
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    return _resolved(moment.date(), moment.time(), zone, text)


def _clock(text: str, whole: str) -> time:
    match = _CLOCK.match(text)
    if not match:
        raise UsageError(f"cannot read {text!r} in {whole!r} as a time of day; {_EXAMPLE}")
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise UsageError(f"{text} in {whole!r} is no time of day; {_EXAMPLE}")
    return time(hour, minute, second)


def _resolved(day: date, at: time, zone: tzinfo | None, text: str) -> datetime:
    """Return the moment of a wall-clock time: the first of two, and a refusal of one that does not exist."""
    naive = datetime.combine(day, at.replace(fold=0))
    moment = (naive.replace(tzinfo=zone) if zone else naive.astimezone()).astimezone(UTC)
    back = moment.astimezone(zone).replace(tzinfo=None)
    if back != naive:
        raise UsageError(
            f"{text!r} means {naive:%Y-%m-%d %H:%M}, which the clock skips that night; write {back:%H:%M} instead"
        )
    return moment


def parse_month(text: str, what: str, now: datetime) -> str:
    """Return a month as "2026-11" from that, `this` or `last`; refuse anything else, naming `what`."""
    if text == "this":
        return f"{now:%Y-%m}"
    if text == "last":
        return f"{now.replace(day=1) - timedelta(days=1):%Y-%m}"
    if not MONTH.fullmatch(text):
        raise UsageError(f"{what} is {text!r}, but must be a month (2026-11), this or last")
    return text


def months_between(first: str, last: str) -> list[str]:
    """Return the months from the first to the last, both included: `2026-11`, `2026-12`, `2027-01`."""
    begin, end = (int(m[:4]) * 12 + int(m[5:]) - 1 for m in (first, last))
    return [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(begin, end + 1)]


def month_before(month: str, count: int) -> str:
    """Return the month that lies `count` months before: `month_before("2027-01", 2)` is 2026-11."""
    number = int(month[:4]) * 12 + int(month[5:]) - 1 - count
    return f"{number // 12:04}-{number % 12 + 1:02}"
