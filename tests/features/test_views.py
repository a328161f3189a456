"""Views: what is declared, and what is refused."""

from __future__ import annotations

import pytest

from joulewise.features.views import Column, Source, View, declared, missing_column, ordered, view
from joulewise.vocabulary.errors import UnknownName, UsageError


def make(name="spend", **changes) -> View:
    fields = {"keys": "user", "event_time": "ts", "ttl": "2d", "sql": "SELECT 1", **changes}
    return declared(name=name, **fields)


def test_decorator_with_sql():
    """A function without arguments gives the SQL; its docstring's first line says what the view is about."""

    @view(
        keys="user",
        event_time="ts",
        ttl="90s",
        columns={"n": "int32", "m": Column("m", "float32", 0.5)},
        sources={"ev": "e.parquet"},
    )
    def spend():
        """How much.

        More.
        """
        return "SELECT user, ts, n, m FROM ev"

    assert spend.name == "spend"
    assert spend.keys == ("user",)
    assert spend.ttl_s == 90.0
    assert spend.refresh_s == 45.0
    assert spend.sql == "SELECT user, ts, n, m FROM ev"
    assert spend.columns == (Column("n", "int32"), Column("m", "float32", 0.5))
    assert spend.sources == {"ev": Source("e.parquet")}
    assert spend.about == "How much."


def test_decorator_with_a_function():
    """A function of its sources is kept, with the fingerprint of its code in the recipe."""

    def once(factor):
        @view(keys="user", event_time="ts", ttl=60)
        def spend(ev):
            return {"user": ev, "n": factor}

        return spend

    assert once(1).function is not None
    assert once(1).recipe == once(1).recipe
    assert once(1).recipe != once(2).recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a-b"}, "a view is named 'a-b'"),
        ({"keys": ()}, "has no keys"),
        ({"event_time": ""}, "has no event_time"),
        ({"ttl": 0}, "ttl is 0, but must be more than 0"),
        ({"ttl": "soon"}, "cannot read 'soon' as a duration"),
        ({"ttl": None}, "ttl is None, but must be a duration"),
        ({"lateness": -1}, "lateness and every must be at least 0"),
        ({"sql": ""}, "needs either SQL or a function"),
        ({"columns": {"n": "text"}}, "column n has the type 'text'; features are numbers"),
        ({"columns": {"user": "int32"}}, "user is a key, the event time or the mark of deletion"),
        ({"columns": [Column("n"), Column("n")]}, "declares the column n twice"),
        ({"columns": {"n": 3}}, "column n is 3, but must be a type"),
        ({"incremental": "never"}, "incremental is 'never', but must be rows or entities"),
        ({"future": "keep"}, "future is 'keep'"),
        ({"away": "guess"}, "away is 'guess'"),
        ({"sources": {"ev": 3}}, "source ev is 3"),
    ],
)
def test_refused(changes, message):
    """What cannot be right is refused in one line with the value seen."""
    with pytest.raises(UsageError, match=message) as refused:
        make(**changes)
    assert "\n" not in str(refused.value)


def test_unknown_entry():
    """An entry that does not exist suggests the nearest."""
    with pytest.raises(UnknownName, match="did you mean owner"):
        make(ownr="me")


def test_function_that_gives_no_sql():
    """A function without arguments must give text."""
    with pytest.raises(UsageError, match="takes no source and gives int"):

        @view(keys="user", event_time="ts", ttl=60)
        def spend():
            return 3


def test_recipe():
    """The recipe is what changes rows: SQL, keys, times, sources; not the owner, the TTL or defaults."""
    base = make().recipe

    assert make(owner="x", ttl="3d", about="y").recipe == base
    for changes in (
        {"sql": "SELECT 2"},
        {"keys": "shop"},
        {"zone": "Europe/Berlin"},
        {"sources": {"ev": "b"}},
    ):
        assert make(**changes).recipe != base


def test_ordered():
    """A view comes after those that it is made from."""
    views = [make("c"), make("b"), make("a")]

    assert [v.name for v in ordered(views, {"c": ["b", "events"], "b": ["a"], "a": []})] == ["a", "b", "c"]


def test_circle():
    """A view that depends on itself is refused with the way round."""
    with pytest.raises(UsageError, match="view a depends on itself: a -> b -> c -> a"):
        ordered([make("a"), make("b"), make("c")], {"a": ["b"], "b": ["c"], "c": ["a"]})
    with pytest.raises(UsageError, match="view a depends on itself: a -> a"):
        ordered([make("a")], {"a": ["a"]})


def test_two_of_one_name():
    """Two views of one name are refused."""
    with pytest.raises(UsageError, match="two views are named a"):
        ordered([make("a"), make("a")], {})


def test_missing_column_suggests():
    """A missing column names what there is, and the nearest."""
    assert "did you mean total?" in str(missing_column("view v", "totl", ["user", "total"], "declared"))
