"""A worker: claims jobs when their hour comes, has an engine run them, and writes down what happened.

`round` is one look at everything; it never waits. Whatever dies between two of its steps, the next round of this worker
or of another goes on from the ledger and the engine, which agree on the key of every attempt:

    claimed, not started    `start` under the same key: starts it, or finds that it was started
    started, not written    the same
    ended, not written      the engine still says how it ended
    ledger out of reach     what runs, runs on; what there is to write is written when the ledger answers again
    lease lost              another has adopted the job under the same fence: this worker lets go of it

Deciding is queue.py's, planning queue_plan.py's (in a process of its own, so that a worker stays small).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import final

from joulewise.launching.port import (
    REQUEUE,
    SUSPEND,
    Engine,
)
from joulewise.ledger import jobs as queue
from joulewise.ledger.leases import LEASE_S, Leases, due, pending, workers
from joulewise.ledger.store import Store
from joulewise.scheduling.floor import Floor, Sharing
from joulewise.scheduling.foresight import NOTHING
from joulewise.scheduling.going import Going
from joulewise.scheduling.hand import Hand
from joulewise.scheduling.handing import BOUND, Wrap
from joulewise.scheduling.hands import Hands
from joulewise.scheduling.queue import PATIENCE_S, SOON, Act, Action, decide
from joulewise.scheduling.sharing import WHOLE, room_of
from joulewise.vocabulary.clock import Clock
from joulewise.vocabulary.errors import LedgerError
from joulewise.vocabulary.ticket import Needs, Ticket

IDLE_REST_S = 3600.0  # how long a job whose GPU idled stands still
PLAN_EVERY_S = 15.0  # new jobs are planned within this time
PLAN_WITHIN_S = 60.0  # how long jobs that need not start yet wait for a planning that is due
GAPS = 64  # so many looks, the last, tell how long the next may take
MOST_PATIENCE_S = 1800.0
LOOK_AHEAD_S = 15.0  # how often the jobs that must start before long are looked up
FAIR_S = 7 * 86400.0  # how far back fair shares look


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker is: its name, the place whose jobs it may judge, whose jobs of which zone it takes, and its room.

    `nodes` are a cluster's by name, in the order in which its scheduler fills them: a job has to fit on one of them.
    """

    name: str
    place: str
    room: Needs
    zone: str = ""
    owners: str = ""
    lease_s: float = LEASE_S
    poll_s: float = 1.0
    idle_s: float = 2.0
    nodes: Mapping[str, Needs] = field(default_factory=dict)


@final
class Worker:
    """One worker over a ledger and an engine. `wrap` makes the command that is recorded; `plan` starts a planning."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        post: Post,
        clock: Clock,
        *,
        wrap: Wrap = lambda ticket, _key: ticket.argv,
        plan: Callable[[], None] | None = None,
        say: Callable[[str], None] = lambda _line: None,
        leases: Leases | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self._store, self._engine, self._post, self._clock = store, engine, post, clock
        self._plan, self._say = plan, say
        self._leases = leases or Leases(store, post.name, post.place, post.lease_s)
        self._floor = Floor(post.room, sharing)
        self._nodes = tuple(post.nodes)
        self._rooms = tuple(map(room_of, post.nodes.values())) or (self._floor.room,)
        self._soon: list[queue.Line] = []
        self._soon_at = float("-inf")
        self._tickets: dict[str, Ticket] = {}
        self._hands = Hands(store, engine, self._leases, self._floor, clock, wrap, say)
        self._renew_at = self._adopt_at = self._plan_at = self._used_at = float("-inf")
        self._used: dict[str, float] = {}
        self._lag_s = 0.0  # what 19 of 20 starts here stay below: a resumption may take as long
        self._turned_s: float | None = None
        self._looked_s: float | None = None
        self._gaps_s = deque([0.0], GAPS)  # between two looks: a slow cluster's commands, a crowded machine
        self._silent = ""

    @property
    def busy(self) -> int:
        """How many jobs it has."""
        return len(self._hands.jobs)

    def round(self) -> float:
        """Look at everything once; return the seconds after which the next look should come."""
        try:
            self._round()
            if self._silent:
                self._say("the ledger answers again")
            self._silent = ""
        except LedgerError as error:
            if str(error) != self._silent:
                self._say(f"{error}; what runs, runs on")
            self._silent, self._hands.unsure = str(error), True
            return max(self._post.poll_s, 5.0)
        return self._post.poll_s if self._hands.jobs else self._post.idle_s

    def catch_up(self) -> None:
        """Write down how jobs without a worker do, end those that are to be ended, and leave; nothing is started or paused."""
        now = self._clock.now_utc()
        for held in self._leases.orphans(self._engine.name, bound=self._engine.name in BOUND):
            if self._leases.adopt(held, now, said=False):
                self._hands.take(replace(held, worker=self._post.name))
        for hand in list(self._hands.jobs.values()):
            self._hands.look(hand, now)
        self.leave()

    def leave(self) -> None:
        """Go: what runs, runs on, and the next worker here adopts it."""
        self._leases.leave()

    def _round(self) -> None:
        now, now_s = self._clock.now_utc(), self._clock.monotonic_s()
        if self._looked_s is not None and self._hands.jobs:  # without jobs it looks less often on purpose
            self._gaps_s.append(now_s - self._looked_s)
        self._looked_s = now_s
        if now_s >= self._renew_at:
            post = self._post
            self._leases.enrol(post.zone, self._engine.name, post.owners, post.room, now)
            if self._hands.jobs:
                self._leases.renew()
            self._renew_at = now_s + post.lease_s / 3
        if now_s >= self._adopt_at or self._hands.unsure:
            self._hands.adopt(now)
            self._adopt_at = now_s + self._post.lease_s / 6
        self._hands.take_stock()
        for hand in list(self._hands.jobs.values()):
            self._hands.look(hand, now)
        self._watch(now, now_s)
        fresh = self._planned(now, now_s)
        waiting = due(self._store, self._engine.name, self._post.zone, self._post.owners, now)
        looked_s = self._soon_at
        soon = self._look_ahead(now_s, waiting)
        if waiting or self._hands.jobs or (soon and self._soon_at > looked_s):
            going = [self._going(h, now) for h in self._hands.jobs.values()]
            lines = {line.id: line for line in (*soon, *waiting)}
            counted, ahead = self._counted(waiting, soon)
            patience_s = min(MOST_PATIENCE_S, max(PATIENCE_S, *self._gaps_s))
            for action in decide(
                counted, going, self._rooms, now, self._shares(now, now_s), ahead, patience_s
            ):
                unplanned = action.act is Act.START and lines[action.job].planned_utc is None
                if fresh or action.act is Act.PAUSE or action.pressing or unplanned:
                    self._act(action, lines, now)

    def _look_ahead(self, now_s: float, waiting: Sequence[queue.Line]) -> list[queue.Line]:
        """Return the jobs that must start before long, with the earliest time at which they may; looked up now and then.

        Where several workers share the jobs of an engine nobody knows whose room they will need: then there are none.
        """
        if now_s >= self._soon_at:
            self._soon_at = now_s + LOOK_AHEAD_S
            engine, post = self._engine.name, self._post
            alone = sum(w.alive and w.engine == engine for w in workers(self._store)) <= 1
            found = pending(self._store, engine, post.zone, post.owners, SOON) if alone else []
            self._know(found)
            opens = {line.id: self._tickets[line.id].job.release_utc for line in found}
            self._soon = [replace(line, start_utc=opens[line.id]) for line in found]
        there = {line.id for line in waiting} | self._hands.jobs.keys()
        return [line for line in self._soon if line.id not in there]

    def _know(self, lines: Sequence[queue.Line]) -> None:
        """Read the tickets of jobs that wait, of those that are not known yet."""
        fresh = [line.id for line in lines if line.id not in self._tickets]
        self._tickets |= queue.tickets(self._store, fresh) if fresh else {}

    def _counted(self, *waiting: Sequence[queue.Line]) -> list[list[queue.Line]]:
        """Return the lines of jobs that wait with what they count as here."""
        if self._floor.measures:
            self._know([line for lines in waiting for line in lines])
        wait = {line.id for lines in waiting for line in lines}
        self._tickets = {job: ticket for job, ticket in self._tickets.items() if job in wait}
        return [
            [self._floor.counted(line, self._tickets.get(line.id)) for line in lines] for lines in waiting
        ]

    def _watch(self, now: datetime, now_s: float) -> None:
        """Write down who is slowed by whom, and take an idle GPU back where its job can save its state."""
        begun = {job: hand for job, hand in self._hands.jobs.items() if hand.handle and hand.ran}
        for word in self._floor.look(begun, now_s):
            hand = self._hands.jobs[word.job]
            can = word.idle and bool(hand.ticket.checkpoint) and REQUEUE in self._engine.abilities
            told = (
                word.reason
                if can or not word.idle
                else f"{word.reason}; it cannot save its state, so it keeps it"
            )
            queue.decide(self._store, now, (word.job, word.what, told), who=self._post.name)
            self._say(f"{word.job} ({hand.held.line.name}) {word.what}: {told}")
            if can:
                hand.idle_until = now + timedelta(seconds=IDLE_REST_S)

    def _planned(self, now: datetime, now_s: float) -> bool:
        """See to it that what waits is planned; return whether plans are new enough to start and to resume jobs by them.

        Where the hour has turned, the old plan's next stretch may be what the new one puts off: a minute is worth waiting.
        """
        if self._plan is None:
            return True
        unplanned, turned = self._stale(now)
        if (unplanned or turned) and now_s >= self._plan_at:
            self._plan_at = now_s + PLAN_EVERY_S
            if self._leases.take_planner():
                self._plan()
                turned = self._stale(now)[1]
        if not turned:
            self._turned_s = None
        elif self._turned_s is None:
            self._turned_s = now_s
        return self._turned_s is None or now_s - self._turned_s >= PLAN_WITHIN_S

    def _going(self, hand: Hand, now: datetime) -> Going:
        ticket, abilities = hand.ticket, self._engine.abilities
        duration = ticket.job.duration
        may_rest = SUSPEND in abilities or (bool(ticket.checkpoint) and REQUEUE in abilities)
        ready = bool(hand.handle) and not hand.held.line.wanted
        needs = self._floor.counts(ticket)
        reserve_s = max(duration.reserve_s or 0.0, duration.expected_s or 0.0)
        pause_s = ticket.job.interruptible.dead_s if ticket.job.interruptible else 0.0
        resumed = max(0, len(hand.ran) - 1)
        begun = hand.ran and hand.ran[-1][1] is None and not hand.awaited
        return Going(
            replace(hand.held.line, needs=needs),
            hand.paused,
            hand.ran_s(now),
            reserve_s + self._lag_s + resumed * pause_s if duration.known else 0.0,
            hand.stretches(now),
            ticket.pausable and duration.known and may_rest and ready,
            self._at_rest(hand, needs),
            pause_s + self._lag_s,
            tuple(map(self._nodes.index, self._places(hand))),
            (now - hand.ran[-1][0]).total_seconds() if begun else inf,
            hand.begins_later(now),
        )

    def _at_rest(self, hand: Hand, needs: Needs) -> Needs:
        """Return what a job holds while it stands still."""
        if hand.requeued:
            return NOTHING
        return needs if self._engine.keeps else needs.at_rest

    def _places(self, hand: Hand) -> list[str]:
        """Return the nodes on which a job is, or is to begin; none where that is not known."""
        if hand.requeued:
            return []
        if hand.awaited and hand.away:
            return [n for n in self._nodes if n not in hand.away]
        return [n for n in hand.nodes if n in self._nodes]

    def _act(self, action: Action, waiting: dict[str, queue.Line], now: datetime) -> None:
        away = tuple(self._nodes[n] for n in action.away)
        if action.act is Act.START:
            line = waiting[action.job]
            devices = self._devices(line)
            if devices is None:
                return
            fence = self._leases.claim(line.id, line.fence, action.reason, now, devices)
            if fence is not None:
                for held in self._leases.held():
                    if held.line.id == line.id:
                        hand = self._hands.take(held)
                        hand.away = away
                        self._hands.start(hand, now)
        elif action.act is Act.PAUSE:
            self._hands.pause(self._hands.jobs[action.job], action.reason, now)
        else:
            self._hands.resume(self._hands.jobs[action.job], action.reason, now, away)

    def _devices(self, line: queue.Line) -> tuple[int, ...] | None:
        """Return the GPUs for a job that is to start; None where none has room for it."""
        if not line.needs.gpus or self._engine.name not in BOUND:  # a cluster hands out its own
            return ()
        ticket = self._tickets.get(line.id) or queue.ticket(self._store, line.id)
        return self._floor.devices(ticket, self._hands.jobs.values())

    def _shares(self, now: datetime, now_s: float) -> dict[str, float]:
        if now_s >= self._used_at:
            told = queue.start_delays(self._store, self._engine.name)
            self._lag_s = told[int(0.95 * len(told))] if told else 0.0
            used = queue.used(self._store, now - timedelta(seconds=FAIR_S), now)
            self._used = {owner: seconds * WHOLE for owner, seconds in used.items()}
            self._used_at = now_s + 60.0
        return self._used

    def _stale(self, now: datetime) -> tuple[bool, bool]:
        """Whether something waits that was never planned, and something whose plan is older than the hour."""
        rows = self._store.query(
            "SELECT COUNT(*) AS count, MIN(planned_utc) AS oldest, MIN(NULLIF(planned_utc, '')) AS planned "
            "FROM jobs WHERE stage = 'queued'"
        )
        hour = queue.iso(now.astimezone(UTC).replace(minute=0, second=0, microsecond=0))
        planned = rows[0]["planned"]
        return bool(rows[0]["count"]) and rows[0]["oldest"] == "", planned is not None and planned < hour
