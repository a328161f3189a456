"""What every online store of features must do, as a test class to inherit: give it a fixture `online`."""

# ruff: noqa: S101 - assertions are what a contract is made of

from __future__ import annotations

import pytest

from joulewise.features.online import Materialisation, OnlineStore, ReadTally, ViewState
from joulewise.features.rows import HEADER
from joulewise.features.views import Column

_RUN = Materialisation("2026-11-24T10:00:00+00:00", True, 3, 3, 0, 60, 0.01, 0.02, "run")


def state(name: str = "spend", **changes: object) -> ViewState:
    """Return a view's state, with changes."""
    fields: dict[str, object] = {
        "name": name, "keys": ("user",), "columns": (Column("n", "int32", 0),), "stamp": "00" * 8, "recipe": "r",
        "mark_us": 5, "ttl_s": 60.0, "refresh_s": 30.0, "row_bytes": 20, "runs": (_RUN,),
    }  # fmt: skip
    return ViewState(**{**fields, **changes})  # type: ignore[arg-type]


def row(at_us: int, text: bytes) -> bytes:
    """Return something with a row's header."""
    return HEADER.pack(b"\0" * 8, at_us) + text


def put(online: OnlineStore, rows: dict[int, bytes], *, fresh: bool = False, view: str = "spend") -> int:
    """Write rows as one materialisation does; return how many were written."""
    with online.writing(view, fresh=fresh, whole_keys=True) as writer:
        times = [HEADER.unpack_from(r)[1] for r in rows.values()]
        written = writer.put(list(rows), times, list(rows.values()))
        writer.finish(state(view))
    return written


class OnlineStoreContract:
    """Inherit and provide a fixture `online`: a fresh, empty store."""

    def test_read_back(self, online: OnlineStore) -> None:
        """Rows come back byte for byte, in the order asked for, and None where there is none."""
        put(online, {1: row(1, b"a"), 2: row(1, b"\0\xff")}, fresh=True)
        lookup = online.lookup(["spend"])

        assert list(lookup.one(2)) == [row(1, b"\0\xff")]
        assert list(lookup.one(9)) == [None]
        assert [list(r) for r in lookup.many([2, 9, 1, 2])] == [
            [row(1, b"\0\xff"), None, row(1, b"a"), row(1, b"\0\xff")]
        ]

    def test_several_views(self, online: OnlineStore) -> None:
        """One look-up gives the rows of several views, in their order."""
        put(online, {1: row(1, b"a")}, fresh=True)
        put(online, {1: row(1, b"b"), 2: row(2, b"c")}, fresh=True, view="other")
        lookup = online.lookup(["other", "spend"])

        assert list(lookup.one(1)) == [row(1, b"b"), row(1, b"a")]
        assert [list(r) for r in lookup.many([2, 1])] == [[row(2, b"c"), row(1, b"b")], [None, row(1, b"a")]]

    def test_newer_wins(self, online: OnlineStore) -> None:
        """A late row never overwrites a newer one; the same again is not written; a correction of one time is."""
        put(online, {1: row(10, b"a"), 2: row(10, b"b")}, fresh=True)

        assert put(online, {1: row(9, b"late"), 2: row(10, b"b"), 3: row(1, b"new")}) == 1
        assert put(online, {1: row(10, b"corrected"), 2: row(11, b"newer")}) == 2
        found = online.lookup(["spend"]).many([1, 2, 3])
        assert [list(r) for r in found] == [[row(10, b"corrected"), row(11, b"newer"), row(1, b"new")]]

    def test_fresh_replaces(self, online: OnlineStore) -> None:
        """A full run leaves nothing of what was there, not even newer rows."""
        put(online, {1: row(10, b"a"), 2: row(10, b"b")}, fresh=True)
        put(online, {2: row(5, b"c")}, fresh=True)

        assert [list(r) for r in online.lookup(["spend"]).many([1, 2])] == [[None, row(5, b"c")]]
        assert online.states()["spend"].rows == 1

    def test_unfinished_full_run(self, online: OnlineStore) -> None:
        """A full run that fails in the middle leaves the old rows and the old state."""
        put(online, {1: row(10, b"a")}, fresh=True)

        def fail() -> None:
            with online.writing("spend", fresh=True, whole_keys=True) as writer:
                writer.put([1, 2], [11, 11], [row(11, b"x"), row(11, b"y")])
                raise KeyError("stop")

        with pytest.raises(KeyError):
            fail()

        assert [list(r) for r in online.lookup(["spend"]).many([1, 2])] == [[row(10, b"a"), None]]
        assert online.states()["spend"] == state(rows=1)

    def test_empty_view(self, online: OnlineStore) -> None:
        """A view without rows is known, and empties what was there."""
        put(online, {1: row(10, b"a")}, fresh=True)
        put(online, {}, fresh=True)

        assert online.states()["spend"].rows == 0
        assert list(online.lookup(["spend"]).one(1)) == [None]

    def test_state(self, online: OnlineStore) -> None:
        """A state comes back as it was written, with the number of rows."""
        put(online, {1: row(1, b"a")}, fresh=True)

        assert online.states() == {"spend": state(rows=1)}

    def test_tallies(self, online: OnlineStore) -> None:
        """Reads add up by view and reader; the first time stays, the last one moves."""
        first = ReadTally("spend", "model", 3, 1, 0, 30.0, 60.0, "2026-11-24T10:00", "2026-11-24T10:01")
        later = ReadTally("spend", "model", 2, 0, 2, 12.5, 30.0, "2026-11-24T11:00", "2026-11-24T11:01")
        assert online.tally([first])
        assert online.tally([later, ReadTally("spend", "other", 1, 0, 0, 1.0, 60.0, "a", "b")])

        assert online.tallies() == [
            ReadTally("spend", "model", 5, 1, 2, 42.5, 30.0, "2026-11-24T10:00", "2026-11-24T11:01"),
            ReadTally("spend", "other", 1, 0, 0, 1.0, 60.0, "a", "b"),
        ]

    def test_forget(self, online: OnlineStore) -> None:
        """A forgotten view leaves nothing behind; others stay."""
        put(online, {1: row(1, b"a")}, fresh=True)
        put(online, {1: row(1, b"a")}, fresh=True, view="other")
        online.tally([ReadTally("spend", "m", 1, 0, 0, 1.0, 60.0, "a", "b")])
        online.forget("spend")

        assert list(online.states()) == ["other"]
        assert online.tallies() == []

    def test_alone(self, online: OnlineStore) -> None:
        """The hold on a view is given back when its block ends, also by an exception."""
        with pytest.raises(KeyError), online.alone("spend"):
            raise KeyError("stop")
        with online.alone("spend"), online.alone("other"):
            pass

    def test_close_twice(self, online: OnlineStore) -> None:
        """Closing a closed store is fine."""
        online.close()
        online.close()
