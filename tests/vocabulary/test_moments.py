from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.moments import parse_moment

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)  # 13:00 in Berlin


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-12-01T08:00+01:00", "2026-12-01T07:00"),
        ("2026-12-01T08:00Z", "2026-12-01T08:00"),
        ("2026-12-01T08:00", "2026-12-01T07:00"),
        ("2026-12-01 08:00", "2026-12-01T07:00"),
        ("18:30", "2026-11-24T17:30"),
        ("08:00", "2026-11-25T07:00"),
        ("today 22:15", "2026-11-24T21:15"),
        ("Tomorrow 08:00", "2026-11-25T07:00"),
        ("tomorrow", "2026-11-25T12:00"),
        ("+6h", "2026-11-24T18:00"),
        ("+1h30m", "2026-11-24T13:30"),
    ],
)
def test_what_people_write(text, meant):
    """Each way of writing a time means one moment in UTC."""
    assert parse_moment(text, NOON, BERLIN).replace(tzinfo=None) == datetime.fromisoformat(meant)


def test_an_hour_that_does_not_exist_is_refused():
    """On the night when clocks jump ahead 02:30 is refused, and the line says what to write."""
    with pytest.raises(UsageError, match="skips that night; write 03:30"):
        parse_moment("2026-03-29T02:30", NOON, BERLIN)


def test_a_doubled_hour_means_the_first():
    """On the night when clocks go back 02:30 is the one in summer time."""
    assert parse_moment("2026-10-25T02:30", NOON, BERLIN) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00", "tomorrow noon", "+soon", "08:00 tomorrow", "2026-13-01"]
)
def test_what_is_no_time_is_refused(text):
    """Anything else is refused with an example."""
    with pytest.raises(UsageError, match="write for instance"):
        parse_moment(text, NOON, BERLIN)


def test_the_machine_zone_is_the_default():
    """Without a zone the machine's own wall clock is meant, and the answer is UTC."""
    local = NOON.astimezone().strftime("%Y-%m-%dT%H:%M")

    assert parse_moment(local, NOON) == NOON
