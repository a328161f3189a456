"""Hygiene: what is derived for nobody, as plain values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from joulewise.features.hygiene import Query, derived_twice, request_joins, told_of, too_fresh, unused
from joulewise.features.online import Materialisation, ReadTally, ViewState
from joulewise.features.views import Column

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def state(name, every=timedelta(hours=1), runs=5, last=NOW, **changes):
    """Return a view that was materialised `runs` times until `last`, 2 CPU seconds each."""
    history = tuple(
        Materialisation((last - every * n).isoformat(), False, 10, 10, 0, 400, 2.0, 2.0)
        for n in reversed(range(runs))
    )
    columns = (Column("a"), Column("b"))
    return ViewState(**{
        "name": name, "keys": ("user",), "columns": columns, "stamp": "", "recipe": "", "mark_us": 0, "ttl_s": 86_400.0,
        "refresh_s": 3600.0, "owner": "me", "row_bytes": 40, "rows": 10, "runs": history, **changes,
    })  # fmt: skip


def tally(view, first, last, reads=10, tolerates_s=86_400.0, reader="model"):
    return ReadTally(view, reader, reads, 0, 0, 0.0, tolerates_s, first.isoformat(), last.isoformat())


def by_name(*states):
    return {s.name: s for s in states}


class TestUnused:
    OLD = timedelta(days=40)

    def test_never_read(self):
        """A view that nobody has read for long is named, with what it takes and costs a day."""
        (found,) = unused(by_name(state("a", runs=1000)), [], NOW)

        assert (found.view, found.owner, found.rows, found.bytes, found.last_read_utc) == (
            "a",
            "me",
            10,
            400,
            "",
        )
        assert found.cpu_s_per_day == pytest.approx(48.0)

    def test_read_once_upon_a_time(self):
        """One that was read long ago is named with when; one that was read of late is not."""
        tallies = [
            tally("a", NOW - self.OLD, NOW - self.OLD),
            tally("b", NOW - self.OLD, NOW - timedelta(days=2)),
        ]

        assert [(u.view, u.last_read_utc) for u in unused(by_name(state("a"), state("b")), tallies, NOW)] == [
            ("a", (NOW - self.OLD).isoformat())
        ]

    def test_new_views_are_given_time(self):
        """A view that is younger than the time without reads is left alone."""
        assert unused(by_name(state("a", runs=2)), [], NOW) == []
        assert len(unused(by_name(state("a", runs=2)), [], NOW, days=0)) == 1
        assert len(unused(by_name(state("a", runs=2, since_utc=(NOW - self.OLD).isoformat())), [], NOW)) == 1

    def test_needed_by_another(self):
        """A view that another one is made from is used."""
        states = by_name(state("a", runs=1000), state("b", runs=1000, made_from=("a",)))

        assert [u.view for u in unused(states, [], NOW)] == ["b"]

    def test_dearest_first(self):
        """The one that costs most comes first."""
        states = by_name(state("a", runs=1000), state("b", timedelta(minutes=10), runs=9000))

        assert [u.view for u in unused(states, [], NOW)] == ["b", "a"]


class TestTooFresh:
    def test_tolerated(self):
        """Made every hour where every reader is content with a day: every half day would do."""
        tallies = [
            tally("a", NOW - timedelta(hours=1), NOW, 1000),
            tally("a", NOW, NOW, 5, 2 * 86_400.0, "other"),
        ]
        (found,) = too_fresh(by_name(state("a")), tallies)

        assert (found.made_every_s, found.needed_every_s, found.why) == (3600.0, 43_200.0, "tolerated")
        assert found.cpu_s_saved_per_day == pytest.approx(48 * 11 / 12)

    def test_the_least_patient_reader_decides(self):
        """One reader that wants fresh values is enough."""
        tallies = [tally("a", NOW - timedelta(hours=1), NOW, 1000), tally("a", NOW, NOW, 1, 3600.0, "strict")]

        assert too_fresh(by_name(state("a")), tallies) == []

    def test_read_less_often_than_made(self):
        """Read once a day and made every hour: most runs are read by nobody."""
        (found,) = too_fresh(by_name(state("a")), [tally("a", NOW - timedelta(days=9), NOW, 10, 600.0)])

        assert (found.needed_every_s, found.why) == (86_400.0, "reads")

    def test_not_enough_known(self):
        """Fewer than three runs, or no reader, say nothing."""
        assert too_fresh(by_name(state("a", runs=2)), [tally("a", NOW, NOW)]) == []
        assert too_fresh(by_name(state("a")), []) == []


def test_derived_twice():
    """Equal derivations in two views are named with what one of them costs; within one view, too."""
    states = by_name(
        state("a", derivations={"a": "x", "b": "y"}),
        state("b", derivations={"a": "x", "b": "z"}),
        state("c", derivations={"a": "w"}),
    )
    (found,) = derived_twice(states)

    assert found.columns == ("a.a", "b.a")
    assert found.cpu_s_per_run == pytest.approx(1.0)


def test_request_joins():
    """Joins, windows and aggregates in the request path are found, the dearest first; a plain row is none."""
    queries = [
        Query("SELECT v FROM rows WHERE key = ?", 1000, 1.0),
        Query("SELECT count(*) FROM events WHERE user = ?", 10, 2.0),
        Query("select * from a join b using (k) group by k", 10, 5.0),
        Query("SELECT sum(x) OVER (ORDER BY t) FROM e", 1, 0.5),
        Query("SELECT 'join me' FROM rows -- sum(x)", 1, 9.0),
        Query("SELECT joined, counted FROM rows", 1, 9.0),
    ]

    assert [(r.what, r.calls) for r in request_joins(queries)] == [
        ("JOIN, GROUP BY", 10),
        ("COUNT", 10),
        ("SUM, OVER", 1),
    ]


def test_told_of_a_view():
    """What is wasted on one view, as facts for its run; of those that derive the same the first keeps it."""
    same = {"a": "f1", "b": "f2"}
    states = by_name(
        state("basket", derivations=same),
        state("spend", runs=1000, derivations={**same, "b": "f3"}),
        state("read"),
    )
    tallies = [tally("read", NOW - timedelta(days=1), NOW, 100, 4 * 86_400.0), tally("basket", NOW, NOW)]

    assert told_of("spend", states, tallies, NOW) == {
        "unread_since": "",
        "derived_also": "basket.a",
        "derived_share": 0.5,
    }
    assert "derived_also" not in told_of("basket", states, tallies, NOW)
    assert told_of("read", states, tallies, NOW) == {
        "made_every_s": 3600.0,
        "needed_every_s": 2 * 86_400.0,
        "fresh_why": "tolerated",
    }
