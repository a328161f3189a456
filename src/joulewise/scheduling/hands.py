"""The jobs in a worker's hands: how they do, and what the engine is told of them.

Every step is written to the ledger when the engine has agreed to it, under the attempt's key and fence. So whatever dies
between the two, the next look finds out which of them knows more, and goes on from there (worker.py says how).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import final

from joulewise.launching.port import (
    BEGIN,
    PLACE,
    REQUEUE,
    SUSPEND,
    Engine,
    Refused,
    State,
    Status,
    Unreachable,
)
from joulewise.ledger import jobs as queue
from joulewise.ledger.leases import Held, Leases
from joulewise.ledger.store import Store
from joulewise.scheduling.floor import Floor
from joulewise.scheduling.going import rests_until
from joulewise.scheduling.hand import Hand
from joulewise.scheduling.handing import BOUND, Wrap, order_of
from joulewise.scheduling.outcome import Outcome, outcome
from joulewise.scheduling.saved import placement_from_json
from joulewise.vocabulary.clock import Clock
from joulewise.vocabulary.errors import EngineError
from joulewise.vocabulary.job import Placement
from joulewise.vocabulary.ticket import Stage

REQUEUE_FROM_S = 600.0  # a shorter pause is not worth saving the state for
PLACED_S = 600.0  # a job that its nodes do not take for so long may run on any


@final
class Hands:
    """What one worker has of an engine's jobs, by id: `jobs`. `wrap` makes the command that is recorded."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        leases: Leases,
        floor: Floor,
        clock: Clock,
        wrap: Wrap,
        say: Callable[[str], None],
    ) -> None:
        self.jobs: dict[str, Hand] = {}
        self.unsure = True  # whether a claim may have been written whose answer was lost
        self._store, self._engine, self._leases = store, engine, leases
        self._floor, self._clock, self._wrap, self._say = floor, clock, wrap, say

    def take_stock(self) -> None:
        """Bring what this worker has up to date with the ledger; let go of what is no longer its own."""
        if not self.jobs:
            return
        mine = {held.line.id: held for held in self._leases.held()}
        for job_id, hand in list(self.jobs.items()):
            held = mine.get(job_id)
            if held is None or held.line.fence != hand.held.line.fence:
                self._let_go(hand)
                continue
            if held.line.planned_utc != hand.held.line.planned_utc:
                hand.placement = self._placement(job_id)
            hand.held = held

    def _let_go(self, hand: Hand) -> None:
        """Another has this job, or it is over; if a newer attempt exists, the copy that this one started must end."""
        line = queue.find(self._store, hand.held.line.id)
        if line.fence != hand.held.line.fence and hand.handle:
            self._ask(hand, lambda: self._engine.cancel(hand.handle))
        self.jobs.pop(line.id, None)
        self._say(f"{line.id} is no longer this worker's")

    def adopt(self, now: datetime) -> None:
        """Take what this worker has by the ledger, and what is of a worker that is gone; end copies that were given up."""
        if self.unsure:
            for held in self._leases.held():
                if held.line.id not in self.jobs:
                    self.take(held)
            self.unsure = False
        bound = self._engine.name in BOUND
        for held in self._leases.orphans(self._engine.name, bound=bound):
            if self._leases.adopt(held, now):
                self.take(replace(held, worker=self._leases.worker))
                self._say(f"{held.line.id} ({held.line.name}) adopted from {held.worker}")
        for job_id, fence in self._leases.strays(self._engine.name, bound=bound):
            self._stop(job_id, fence)

    def _stop(self, job_id: str, fence: int) -> None:
        """End the copy of a job that was given up, if it is found alive here after all."""
        try:
            handle = self._engine.find(f"{job_id}-{fence}")
            if handle is not None and self._engine.status(handle).live:
                self._engine.cancel(handle)
                self._say(f"{job_id} was given up, but runs here: asked to end")
                return
        except EngineError as error:
            self._say(f"{job_id} was given up: {error}")
            return
        self._leases.bury(job_id, fence)

    def take(self, held: Held) -> Hand:
        """Take a job into hand and return it."""
        ticket = queue.ticket(self._store, held.line.id)
        hand = Hand(held, ticket, self._placement(held.line.id), held.attempt.handle, list(held.attempt.ran))
        self.jobs[held.line.id] = hand
        return hand

    def _placement(self, job_id: str) -> Placement | None:
        told = queue.placement(self._store, job_id)
        return None if told is None else placement_from_json(told)

    def look(self, hand: Hand, now: datetime) -> None:
        """See how a job does: start it where that was not done, write how it ended, ask for its end if that is wanted."""
        if not hand.handle and not self.start(hand, now):
            return
        try:
            status = self._engine.status(hand.handle)
        except Unreachable as error:
            self._tell(hand, f"{hand.held.line.id}: {error}")
            return
        except EngineError as error:
            self._end(hand, Outcome(Stage.FAILED, f"nobody can say how it does: {error}"), now)
            return
        if not status.live:
            self._ended(hand, status, now)
        elif hand.held.line.wanted and not hand.asked:
            hand.asked = self._ask(hand, lambda: self._engine.cancel(hand.handle))
        else:
            hand.requeued = status.state is State.HELD
            hand.nodes = status.nodes
            began = (
                hand.paused and not hand.ran and status.state is State.RUNNING
            )  # its engine began it by itself
            if not hand.sure or began:
                self._agree(hand, status, now)
            self._await(hand, status, now)

    def _await(self, hand: Hand, status: Status, now: datetime) -> None:
        """Let a stretch begin when the engine says that it runs: waiting for a cluster's room is no running."""
        if hand.paused or not hand.ran or hand.ran[-1][1] is not None:
            return
        if status.state is State.QUEUED:
            hand.ran[-1], hand.awaited_utc = (now, None), hand.awaited_utc or now
            waited_s = (now - hand.awaited_utc).total_seconds()
            may = hand.placed and PLACE in self._engine.abilities and waited_s >= PLACED_S
            if may and self._ask(hand, lambda: self._engine.place(hand.handle, ())):  # others are there, too
                hand.placed, hand.away = False, ()
        elif status.state is State.RUNNING and hand.awaited:
            line = hand.held.line
            hand.awaited_utc = None
            self._leases.mark(line.id, line.fence, Stage.RUNNING, hand.handle, hand.ran, now)

    def _agree(self, hand: Hand, status: Status, now: datetime) -> None:
        """Write what a worker told the engine and did not live, or had no ledger, to write: a pause, or its end."""
        rests = status.state in (State.SUSPENDED, State.HELD)
        if rests and not hand.paused:
            begin = hand.ran[-1][0] if hand.ran else now
            planned = [s.end_utc for s in hand.placement.stretches] if hand.placement else []
            hand.close(max((end for end in planned if begin <= end <= now), default=now))
            self._mark(hand, Stage.PAUSED, "paused", "found standing still", now)
        elif status.state is State.RUNNING and hand.paused:
            if not hand.ran or hand.ran[-1][1] is not None:
                hand.ran.append((now, None))
            self._mark(hand, Stage.RUNNING, "resumed", "found running", now)
        hand.sure = True

    def start(self, hand: Hand, now: datetime) -> bool:
        """Have the engine start it, or find that it did; False where it is not to be had now."""
        line = hand.held.line
        try:
            devices = hand.held.attempt.devices
            order = order_of(self._engine, hand.ticket, hand.key, self._wrap, devices, away=hand.away)
            if self._engine.name in BOUND:
                own = self._floor.environment(hand.ticket, devices)
                order = replace(order, env={**order.env, **own})
            handle = self._engine.start(order)
        except Unreachable as error:
            self._tell(hand, f"{line.id}: {error}; asked again with the same key")
            return False
        except EngineError as error:
            self._end(hand, Outcome(Stage.FAILED, f"it could not be started: {error}"), now)
            return False
        now = self._clock.now_utc()  # a cluster's commands take their time: it did not run meanwhile
        ran = hand.ran or [(now, None)]
        said = ("started", line.reason)
        if not self._leases.mark(line.id, line.fence, Stage.RUNNING, handle, ran, now, said):
            hand.handle = handle
            self._let_go(hand)
            return False
        hand.handle, hand.ran = handle, ran
        self._say(f"{line.id} ({line.name}) started: {line.reason}")
        return True

    def _ended(self, hand: Hand, status: Status, now: datetime) -> None:
        if not hand.ran and status.began_utc and status.ended_utc:  # nobody looked while it ran
            hand.ran = [(status.began_utc, status.ended_utc)]
        self._end(hand, outcome(hand.held.line, hand.ticket, status, hand.ran_s(now)), now)

    def _end(self, hand: Hand, end: Outcome, now: datetime) -> None:
        line = hand.held.line
        hand.close(now)
        self._leases.finish(
            line.id,
            line.fence,
            end.stage,
            end.reason,
            hand.ran,
            now,
            exit_code=end.exit_code,
            failed=end.failed,
        )
        self.jobs.pop(line.id, None)
        self._say(f"{line.id} ({line.name}) {end.stage}: {end.reason}")

    def pause(self, hand: Hand, reason: str, now: datetime) -> None:
        """Let it stand still: suspended, or its state saved where that is worth it and it can."""
        abilities = self._engine.abilities
        until = rests_until(hand.stretches(now), now)
        long = until is None or (until - now).total_seconds() >= REQUEUE_FROM_S
        requeue = bool(hand.ticket.checkpoint) and REQUEUE in abilities and (long or SUSPEND not in abilities)
        act = self._engine.requeue if requeue else self._engine.suspend
        if hand.awaited:  # nothing of it runs yet: the cluster lets it wait for room
            requeue, act = True, self._engine.hold
        hand.sure = False
        if self._ask(hand, lambda: act(hand.handle)):
            hand.close(now)
            hand.requeued = requeue
            keeps = "keeps its memory and its allocation" if self._engine.keeps else "keeps its memory"
            how = "saves its state and ends for now" if requeue else keeps
            if hand.awaited:
                hand.ran.pop()
                hand.awaited_utc, how = None, "it had not begun"
            self._mark(hand, Stage.PAUSED, "paused", f"{reason}; {how}", now)
        hand.sure = True

    def resume(self, hand: Hand, reason: str, now: datetime, away: tuple[str, ...] = ()) -> None:
        """Let it go on, off the nodes `away` where it gave its own back, unless its GPU is another's now."""
        act = self._release(hand, away) if hand.requeued else self._engine.resume
        others = (h for h in self.jobs.values() if h is not hand)
        if hand.requeued and not self._floor.holds(hand.ticket, hand.held.attempt.devices, others):
            return  # its GPU is another's now
        if (
            not hand.ran and not hand.requeued and BEGIN in self._engine.abilities
        ):  # handed over ahead, and not begun
            act = partial(self._engine.begin, when_utc=now)
        hand.sure = False
        if self._ask(hand, lambda: act(hand.handle)):
            now = self._clock.now_utc()  # as for a start
            hand.ran.append((now, None))
            hand.requeued = False
            self._mark(hand, Stage.RUNNING, "resumed", reason, now)
        hand.sure = True

    def _release(self, hand: Hand, away: tuple[str, ...]) -> Callable[[str], None]:
        def act(handle: str) -> None:
            if PLACE in self._engine.abilities:
                self._engine.place(handle, away)
                hand.away, hand.placed = away, bool(away)
            self._engine.release(handle)

        return act

    def _mark(self, hand: Hand, stage: Stage, what: str, reason: str, now: datetime) -> None:
        line = hand.held.line
        if self._leases.mark(line.id, line.fence, stage, hand.handle, hand.ran, now, (what, reason)):
            hand.held = replace(hand.held, line=replace(line, stage=stage))
            self._say(f"{line.id} ({line.name}) {what}: {reason}")

    def _ask(self, hand: Hand, act: Callable[[], None]) -> bool:
        """Ask the engine for something; False where it refused or did not answer, which is said once."""
        try:
            act()
        except (Refused, EngineError) as error:
            self._tell(hand, f"{hand.held.line.id}: {error}")
            return False
        return True

    def _tell(self, hand: Hand, text: str) -> None:
        if text not in hand.told:
            hand.told.add(text)
            self._say(text)
