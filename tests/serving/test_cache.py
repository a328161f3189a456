"""The cache holds no more than it may, nothing that is too old, and nothing of another model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from joulewise.serving.cache import Flights, Keys, PredictionCache
from joulewise.serving.exchange import Answer


def test_key():
    """The key depends on version, dialect and body, and parts cannot be moved from one to the other."""
    keys = {
        Keys(version, dialect).of(body)
        for version, dialect, body in (
            ("1", "plain", b"x"),
            ("2", "plain", b"x"),
            ("1", "v2", b"x"),
            ("1", "plain", b"y"),
            ("1p", "lain", b"x"),
        )
    }
    assert len(keys) == 5
    one = Keys("1", "plain")
    assert len({one.of(b"x"), one.of(b"x", b"1"), one.of(b"x", b"2"), one.of(b"1x"), one.of(b"", b"1x")}) == 5
    assert one.of(b"x") == one.of(b"x") == Keys("1", "plain").of(b"x")


def test_ttl():
    """An answer is given again until it is as old as the cache may keep it, and then its room is free."""
    cache = PredictionCache(1000, ttl_s=10)
    cache.put(b"k", Answer(b"body"), 100.0)

    assert cache.get(b"k", 109.9) == Answer(b"body")
    assert cache.get(b"k", 110.0) is None
    assert (len(cache), cache.held_bytes) == (0, 0)


def test_least_recently_used_goes():
    """A full cache forgets what was used longest ago, not what came first."""
    cache = PredictionCache(2 * 310, ttl_s=10)
    cache.put(b"a", Answer(b"0123456789"), 0.0)
    cache.put(b"b", Answer(b"0123456789"), 0.0)
    cache.get(b"a", 1.0)
    cache.put(b"c", Answer(b"0123456789"), 2.0)

    assert cache.get(b"b", 3.0) is None
    assert cache.get(b"a", 3.0) is not None
    assert cache.get(b"c", 3.0) is not None


def test_nothing_kept():
    """No room keeps nothing, and a body larger than the cache drops nobody."""
    off = PredictionCache(0, 10)
    off.put(b"k", Answer(b""), 0.0)
    assert not off.on
    assert off.get(b"k", 0.0) is None
    small = PredictionCache(600, 10)
    small.put(b"k", Answer(b"x"), 0.0)
    small.put(b"large", Answer(b"x" * 600), 0.0)
    assert small.get(b"k", 0.0) == Answer(b"x")


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=300), st.floats(0, 20)), max_size=60))
def test_bounded(puts):
    """Whatever is put in and asked, the cache holds at most its size, and never a body under another's key."""
    cache, now_s = PredictionCache(1200, ttl_s=15), 0.0
    last: dict[bytes, Answer] = {}
    for number, body, later_s in puts:
        now_s += later_s
        key = bytes([number])
        kept = cache.get(key, now_s)
        assert kept is None or kept == last[key]
        cache.put(key, Answer(body), now_s)
        last[key] = Answer(body)
        assert cache.held_bytes <= 1200
        assert cache.held_bytes == sum(len(b.body) + 300 for _s, b in cache._entries.values())


def test_flights():
    """A flight can be joined until it ends; ending an older one leaves a newer one alone."""
    flights: Flights[object] = Flights()
    first, second = object(), object()
    flights.begin(b"k", first)
    assert flights.under_way(b"k") is first
    flights.begin(b"k", second)
    flights.end(b"k", first)
    assert flights.under_way(b"k") is second
    flights.end(b"k", second)
    assert flights.under_way(b"k") is None
    assert len(flights) == 0
