"""Answers that were given before: a bounded cache of whole response bodies, and one flight for equal requests.

The key is a digest of the model's version, the dialect and the request's bytes, so a new model never answers with an
old model's prediction. An entry is forgotten after `ttl_s`, or when the cache is full and it was used longest ago.
Nothing here looks at a clock: the caller says what time it is.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Generic, TypeVar, final

from joulewise.serving.exchange import Answer

Flight = TypeVar("Flight")

_ENTRY_BYTES = 300  # what Python's own objects around an entry take


@final
class Keys:
    """Keys of the requests of one dialect to one version of a model: 16 bytes that depend on both and on every byte."""

    def __init__(self, version: str, dialect: str) -> None:
        self._begun = blake2b(digest_size=16)
        for part in (version.encode(), dialect.encode()):
            self._begun.update(len(part).to_bytes(4, "big") + part)
        self._begun_also = blake2b(self._begun.digest(), digest_size=16)

    def of(self, body: bytes, also: bytes = b"") -> bytes:
        """Return the key of a request's body, and of whatever else decides how it is read."""
        if also:
            digest = self._begun_also.copy()
            digest.update(len(also).to_bytes(4, "big") + also)
        else:
            digest = self._begun.copy()
        digest.update(body)
        return digest.digest()


@final
class PredictionCache:
    """At most `most_bytes` of answers, each at most `ttl_s` old; 0 bytes means no cache."""

    def __init__(self, most_bytes: int, ttl_s: float) -> None:
        self._most_bytes = most_bytes
        self._ttl_s = ttl_s
        self._entries: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def on(self) -> bool:
        """Whether anything can be kept at all."""
        return self._most_bytes > 0

    def get(self, key: bytes, now_s: float) -> Answer | None:
        """Return the answer kept under `key`, or None if there is none or it is too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now_s - entry[0] >= self._ttl_s:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: bytes, answer: Answer, now_s: float) -> None:
        """Keep an answer; whatever was used longest ago makes room. One larger than the cache is not kept."""
        if key in self._entries:
            self._drop(key)
        size = len(answer.body) + _ENTRY_BYTES
        if size > self._most_bytes:
            return
        while self.held_bytes + size > self._most_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[key] = (now_s, answer)
        self.held_bytes += size

    def _drop(self, key: bytes) -> None:
        _since, answer = self._entries.pop(key)
        self.held_bytes -= len(answer.body) + _ENTRY_BYTES


@final
class Flights(Generic[Flight]):
    """What is being computed now, by key: whoever asks for the same joins instead of asking the model again."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def under_way(self, key: bytes) -> Flight | None:
        """Return the flight to join, or None."""
        return self._flights.get(key)

    def begin(self, key: bytes, flight: Flight) -> None:
        """Let others join a flight from now on."""
        self._flights[key] = flight

    def end(self, key: bytes, flight: Flight) -> None:
        """Let nobody join this flight any more; one that began under the same key meanwhile is left alone."""
        if self._flights.get(key) is flight:
            del self._flights[key]
