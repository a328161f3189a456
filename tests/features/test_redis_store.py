"""The online store in a real Redis."""

from __future__ import annotations

import pytest

from joulewise.features.online import ReadTally, StoreAway, open_online
from joulewise.testing.online_contract import OnlineStoreContract, put, row

pytestmark = pytest.mark.service


@pytest.fixture
def online(redis_url):
    store = open_online(redis_url)
    yield store
    store.close()


class TestRedisOnline(OnlineStoreContract):
    def test_unfinished_rows_are_taken_away(self, online, redis_url):
        """A full run that fails leaves no half-filled hash in the server's memory."""
        import redis

        def fail():
            with online.writing("spend", fresh=True, whole_keys=True) as writer:
                writer.put([1], [1], [row(1, b"x")])
                raise KeyError("stop")

        with pytest.raises(KeyError):
            fail()
        with redis.Redis.from_url(redis_url) as client:
            assert client.keys("*rows*") == []

    def test_finished_rows_stay(self, online, redis_url):
        """A view's rows have no time to live in Redis: the view's own TTL is counted, not enforced by deletion."""
        import redis

        put(online, {1: row(1, b"x")}, fresh=True)
        with redis.Redis.from_url(redis_url) as client:
            assert client.ttl(client.keys("*rows*")[0]) == -1

    def test_many_rows(self, online):
        """More rows than one command takes are written and counted."""
        rows = {n: row(1, b"%d" % n) for n in range(12_345)}

        assert put(online, rows, fresh=True) == 12_345
        assert put(online, rows) == 0
        assert online.states()["spend"].rows == 12_345

    def test_held_view(self, online, redis_url):
        """While one process is at a view, its lock is in Redis and ends by itself."""
        import redis

        with online.alone("spend"), redis.Redis.from_url(redis_url) as client:
            assert 0 < client.ttl("joulewise:features:lock:spend") <= 600


def test_away():
    """A Redis that is not there is said in one line; a tally waits for later."""
    pytest.importorskip("redis")
    store = open_online("redis://:secret@127.0.0.1:1/0")
    with pytest.raises(StoreAway, match=r"redis://127.0.0.1:1/0 is away: .*refused") as refused:
        store.states()
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)
    assert not store.tally([ReadTally("spend", "m", 1, 0, 0, 1.0, 60.0, "a", "b")])
    store.close()
