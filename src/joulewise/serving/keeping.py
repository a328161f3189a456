"""What outlives a worker that is killed: its connections, held by the parent, and what they had asked, in a journal.

    slot   state (1 byte), length (4 bytes), the bytes that were read of the request and are not answered

    EMPTY     between two requests                       the next worker goes on with the connection
    ASKED     read, or being read; not computed yet      ... and reads these bytes as if they had just come
    INSIDE    in the batch that runs                     its client gets an error: this request may be what killed the worker
    ANSWERED  its answer is being written                the connection ends: how much of it went out nobody knows
    LOST      pipelined, or larger than a slot           the same

The journal is shared memory: writing it costs a copy of the request. Without a parent (systemd, `--sleep never`) there is
no keeper, and connections end with their worker.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, final

from joulewise.serving.parent import BOARD_BYTES, JOURNAL_BYTES, KEEPING, MOST_WORKERS

if TYPE_CHECKING:
    from joulewise.serving.engine import Job

SLOT_BYTES = 256 << 10
_HEAD_BYTES = 8
_SLOTS = JOURNAL_BYTES // SLOT_BYTES
_LINE = struct.Struct(
    "<dddd"
)  # of the board: requests so far, waiting now, requests a second that it can answer, 1 if it lives
_LENGTH = struct.Struct("<I")
NO_SLOT = -1
_PATIENCE_S = 0.1


class State(IntEnum):
    """What is known of a connection's request."""

    EMPTY = 0
    ASKED = 1
    INSIDE = 2
    ANSWERED = 3
    LOST = 4


_ASKED, _INSIDE, _LOST = (
    int(State.ASKED),
    int(State.INSIDE),
    int(State.LOST),
)  # each request compares with them


@dataclass(frozen=True, slots=True)
class Orphan:
    """A connection whose worker is gone, what became of its request, and the bytes of it."""

    connection: socket.socket
    state: State
    data: bytes


@final
class Journal:
    """The slots in shared memory."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, JOURNAL_BYTES)

    def close(self) -> None:
        """Let go of the memory."""
        self._map.close()

    def came(self, slot: int, data: bytes) -> None:
        """Write down what was read: the length last, so that a kill between leaves a shorter request, never another's."""
        place, told = slot * SLOT_BYTES, self._map
        state = told[place]
        length = _LENGTH.unpack_from(told, place + 4)[0] if state == _ASKED else 0
        first = place + _HEAD_BYTES + length
        if (
            state > State.ASKED or first + len(data) > place + SLOT_BYTES
        ):  # more than one request, or too large a one
            told[place] = _LOST
            return
        told[first : first + len(data)] = data
        _LENGTH.pack_into(told, place + 4, length + len(data))
        told[place] = _ASKED

    def mark(self, slot: int, state: State) -> None:
        """Set what becomes of a slot's request."""
        self._map[slot * SLOT_BYTES] = state

    def inside(self, slot: int) -> None:
        """Mark a request as in the batch that runs, unless it is lost anyway."""
        if self._map[slot * SLOT_BYTES] == _ASKED:
            self._map[slot * SLOT_BYTES] = _INSIDE

    def read(self, slot: int) -> tuple[State, bytes]:
        """Return what becomes of a slot's request, and its bytes."""
        place = slot * SLOT_BYTES
        length = min(_LENGTH.unpack_from(self._map, place + 4)[0], SLOT_BYTES - _HEAD_BYTES)
        return State(self._map[place]), bytes(self._map[place + _HEAD_BYTES : place + _HEAD_BYTES + length])


@dataclass(frozen=True, slots=True)
class Line:
    """What a worker tells the others of itself."""

    requests: float
    waiting: float
    per_s: float


@final
class Keeper:
    """A worker's end of the channel to its parent, its journal, and its line on the board of all workers."""

    def __init__(self, channel: int, journal: int, board: int, number: int) -> None:
        self.number = number
        self.giving = False  # this worker ends, and others go on with its connections
        self.journal = Journal(journal)
        self._channel = socket.socket(fileno=channel)
        self._channel.setblocking(False)
        self._board = mmap.mmap(board, BOARD_BYTES)
        self._free = list(range(_SLOTS))[::-1]
        os.close(journal)
        os.close(board)

    def fileno(self) -> int:
        """Return the channel's number, to be watched."""
        return self._channel.fileno()

    def keep(self, connection: Any) -> int:
        """Have the parent hold a connection; returns its slot, NO_SLOT if there is none left."""
        if not self._free:
            return NO_SLOT
        slot = self._free[-1]
        try:
            socket.send_fds(self._channel, [b"k%d" % slot], [connection.fileno()])
        except (BlockingIOError, ConnectionError):  # the parent is behind: this connection does without
            return NO_SLOT
        self._free.pop()
        self.journal.mark(slot, State.EMPTY)
        return slot

    def drop(self, slot: int) -> None:
        """Let the parent let go of a connection that is closed."""
        self._free.append(slot)
        self._say(b"d%d" % slot)

    def give(self, slot: int) -> None:
        """Let the parent give a connection to another worker; its slot is used no more: who takes it reads there."""
        self._say(b"r%d" % slot)

    def want(self, workers: int) -> None:
        """Ask for so many workers."""
        self._say(b"n%d" % workers)

    def up(self) -> None:
        """Say that this worker answers."""
        self._say(b"u")

    def taken(self, batch: Iterable[Job]) -> None:
        """Mark the requests of a batch that begins."""
        for job in batch:
            for exchange in job.exchanges:
                if exchange.slot != NO_SLOT and not exchange.done:
                    self.journal.inside(exchange.slot)

    def tell(self, line: Line) -> None:
        """Write this worker's line on the board."""
        _LINE.pack_into(self._board, self.number * _LINE.size, line.requests, line.waiting, line.per_s, 1.0)

    def lines(self) -> dict[int, Line]:
        """Return the lines of all workers by their number."""
        told = (_LINE.unpack_from(self._board, number * _LINE.size) for number in range(MOST_WORKERS))
        return {number: Line(*line[:3]) for number, line in enumerate(told) if line[3]}

    def heard(self, orphan: Callable[[Orphan], None], told: Callable[[bytes], None]) -> bool:
        """Take what the parent says: connections for `orphan`, words for `told`; returns False when the parent has gone."""
        while True:
            try:
                text, fds, _flags, _from = socket.recv_fds(self._channel, 64, 2)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not text:
                return False
            if text[:1] == b"t" and len(fds) == 2:
                orphan(self._orphan(int(text[1:]), *fds))
            else:
                told(text)

    def _orphan(self, slot: int, connection: int, journal: int) -> Orphan:
        past = Journal(journal)
        os.close(journal)
        state, data = past.read(slot)
        past.close()
        return Orphan(socket.socket(fileno=connection), state, data)

    def _say(self, text: bytes) -> None:
        """Say something that must not get lost: the parent does little else than listen."""
        while True:
            try:
                self._channel.send(text)
                return
            except BlockingIOError:
                select.select([], [self._channel], [], _PATIENCE_S)
            except ConnectionError:  # no parent any more: nobody holds anything
                return


def keeper() -> Keeper | None:
    """Return the keeper of this worker, as its parent has put it into the environment; None without a parent."""
    place = os.environ.pop(KEEPING, "")
    if not place:
        return None
    channel, journal, board, number = map(int, place.split(","))
    for fd in (channel, journal, board):
        os.set_inheritable(fd, False)
    return Keeper(channel, journal, board, number)
