"""The online store in Redis, which several hosts share: a hash for each view, so that many rows are one call.

A full materialisation fills a new hash beside the old one and renames it, so nobody sees half of one; rows of an
incremental one are whole, each by itself. One view is one key, and lives on one node of a cluster.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

from joulewise.features.extras import need
from joulewise.features.online import ReadTally, StoreAway, ViewState, Writer
from joulewise.features.rows import HEADER, Key
from joulewise.vocabulary.errors import FeatureError

_PREFIX = "joulewise:features"
_STATES = f"{_PREFIX}:states"
_READS = f"{_PREFIX}:reads"
_HELD_S = 600.0  # a killed writer's hold on a view ends by itself
_UNFINISHED_S = 86_400
_BATCH = 5000
_REST = 10.0  # reads leave a Redis that is away alone for this many times what it took to find out
_LONGEST_REST_S = 5.0


@final
class RedisOnline:
    """The online store in the Redis at `url` (`redis://host:port/0`)."""

    def __init__(self, url: str, *, wait_s: float = 5.0) -> None:
        need("redis", "redis")
        import redis

        self.where = _public(url)
        self._redis: Any = redis.Redis.from_url(url, socket_timeout=wait_s, socket_connect_timeout=wait_s)

    def states(self) -> dict[str, ViewState]:
        """Return what it holds, by the name of the view."""
        with plainly(self.where):
            found = self._redis.hgetall(_STATES)
        return {name.decode(): ViewState.from_json(found[name]) for name in sorted(found)}

    @contextmanager
    def alone(self, view: str) -> Iterator[None]:
        """Return a context that one process at a time is in for a view; a killed one leaves it after ten minutes."""
        with plainly(self.where):
            lock = self._redis.lock(f"{_PREFIX}:lock:{view}", timeout=_HELD_S, blocking_timeout=_HELD_S)
            if not lock.acquire():
                raise FeatureError(f"view {view} is being materialised by another process; try again later")
        try:
            yield
        finally:
            with plainly(self.where):
                if lock.owned():
                    lock.release()

    @contextmanager
    def writing(self, view: str, *, fresh: bool, whole_keys: bool) -> Iterator[Writer]:
        """Return a context to write a view in. `fresh` replaces all rows that are there, at once."""
        del whole_keys  # Redis keeps every key as text
        with plainly(self.where):
            writer = _Writer(self._redis, view, fresh=fresh)
            try:
                yield writer
            finally:
                writer.clear()

    def lookup(self, views: Sequence[str]) -> _Lookup:
        """Return how to get rows of these views."""
        return _Lookup(self._redis, _Patience(self.where), views)

    def tally(self, tallies: Iterable[ReadTally]) -> bool:
        """Add to what is known of the readers; False if the store is away and should be told again later."""
        try:
            with plainly(self.where), self._redis.pipeline() as calls:
                for t in tallies:
                    who = f"{t.view}\x1f{t.reader}"
                    for name in ("reads", "missing", "stale"):
                        calls.hincrby(_READS, f"{who}\x1f{name}", getattr(t, name))
                    calls.hincrbyfloat(_READS, f"{who}\x1fage_sum_s", t.age_sum_s)
                    calls.hsetnx(_READS, f"{who}\x1ffirst_utc", t.first_utc)
                    calls.hset(_READS, f"{who}\x1flast_utc", t.last_utc)
                    calls.hset(_READS, f"{who}\x1ftolerates_s", t.tolerates_s)
                calls.execute()
        except StoreAway:
            return False
        return True

    def tallies(self) -> list[ReadTally]:
        """Return who reads what."""
        with plainly(self.where):
            found = self._redis.hgetall(_READS)
        readers: dict[tuple[str, str], dict[str, str]] = {}
        for field, value in found.items():
            view, reader, name = field.decode().split("\x1f")
            readers.setdefault((view, reader), {})[name] = value.decode()
        return [
            ReadTally(view, reader, int(t["reads"]), int(t["missing"]), int(t["stale"]), float(t["age_sum_s"]),
                      float(t["tolerates_s"]), t["first_utc"], t["last_utc"])
            for (view, reader), t in sorted(readers.items())
        ]  # fmt: skip

    def forget(self, view: str) -> None:
        """Delete a view's rows, state and tallies."""
        with plainly(self.where):
            fields = [f for f in self._redis.hkeys(_READS) if f.decode().startswith(f"{view}\x1f")]
            with self._redis.pipeline() as calls:
                calls.unlink(_rows(view))
                calls.hdel(_STATES, view)
                if fields:
                    calls.hdel(_READS, *fields)
                calls.execute()

    def close(self) -> None:
        """Give back the connection; closing twice is fine."""
        self._redis.close()


@final
class _Writer:
    def __init__(self, client: Any, view: str, *, fresh: bool) -> None:
        self._redis, self._view, self._fresh = client, view, fresh
        self._target = f"{_rows(view)}:new:{secrets.token_hex(4)}" if fresh else _rows(view)

    def put(self, keys: Sequence[Key], at_us: Sequence[int], rows: Sequence[bytes]) -> int:
        written = 0
        for start in range(0, len(keys), _BATCH):
            part = slice(start, start + _BATCH)
            given = dict(zip(map(str, keys[part]), zip(at_us[part], rows[part], strict=True), strict=True))
            if not self._fresh:
                known = zip(given, self._redis.hmget(self._target, list(given)), strict=True)
                given = {k: given[k] for k, old in known if old is None or _newer(given[k], old)}
            if given:
                flat: list[Any] = [self._target]
                for key, (_, row) in given.items():
                    flat += (key, row)
                self._redis.execute_command("HSET", *flat)
                written += len(given)
                if self._fresh and start == 0:
                    self._redis.expire(self._target, _UNFINISHED_S)
        return written

    def finish(self, state: ViewState) -> ViewState:
        with self._redis.pipeline(transaction=True) as calls:
            if self._fresh and self._redis.exists(self._target):
                calls.persist(self._target)
                calls.rename(self._target, _rows(self._view))
            elif self._fresh:
                calls.unlink(_rows(self._view))
            calls.execute()
        count = self._redis.hlen(_rows(self._view))
        state = replace(state, rows=count)
        self._redis.hset(_STATES, state.name, state.to_json())
        return state

    def clear(self) -> None:
        """Take away what was not finished; nothing is left to do after `finish`."""
        if self._fresh:
            self._redis.unlink(self._target)


@final
class _Lookup:
    def __init__(self, client: Any, patience: _Patience, views: Sequence[str]) -> None:
        self._redis, self._patience = client, patience
        self._names = [_rows(v) for v in views]

    def one(self, key: Key) -> Sequence[bytes | None]:
        with self._patience.asking():
            if len(self._names) == 1:
                return [self._redis.hget(self._names[0], key)]
            with self._redis.pipeline(transaction=False) as calls:
                for name in self._names:
                    calls.hget(name, key)
                found: list[bytes | None] = calls.execute()
                return found

    def many(self, keys: Sequence[Key]) -> Sequence[Sequence[bytes | None]]:
        with self._patience.asking():
            if len(self._names) == 1:
                return [self._redis.execute_command("HMGET", self._names[0], *keys)]
            with self._redis.pipeline(transaction=False) as calls:
                for name in self._names:
                    calls.execute_command("HMGET", name, *keys)
                found: list[list[bytes | None]] = calls.execute()
                return found


@final
class _Patience:
    """Asks a Redis, and leaves one that was away alone for a while: no request waits for what the last one found out."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._until_s = 0.0
        self._why = ""

    @contextmanager
    def asking(self) -> Iterator[None]:
        began_s = time.monotonic()
        if began_s < self._until_s:
            raise StoreAway(self._why)
        try:
            with plainly(self._where):
                yield
        except StoreAway as away:
            ended_s = time.monotonic()
            self._until_s = ended_s + min(_REST * (ended_s - began_s), _LONGEST_REST_S)
            self._why = str(away)
            raise


@contextmanager
def plainly(where: str) -> Iterator[None]:
    """Turn what the client raises into one line: StoreAway where there is no answer, FeatureError for a refusal."""
    import redis

    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        line = (str(error).splitlines() or ["no answer"])[0].rstrip(".")
        raise StoreAway(
            f"the online store {where} is away: {line}; start it, or name another with --store"
        ) from None
    except redis.RedisError as error:
        raise FeatureError(
            f"the online store {where} refuses: {(str(error).splitlines() or ['?'])[0]}"
        ) from None


def _newer(given: tuple[int, bytes], old: bytes) -> bool:
    at_us = HEADER.unpack_from(old)[1] if len(old) >= HEADER.size else -(2**63)
    return given[0] > at_us or (given[0] == at_us and given[1] != old)


def _rows(view: str) -> str:
    return f"{_PREFIX}:rows:{view}"


def _public(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//", url)
