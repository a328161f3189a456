"""Whatever the plans say: what was admitted is never late while it takes no longer than its reserve, and nobody is paused by turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from joulewise.ledger.jobs import Line
from joulewise.scheduling.admission import Booked, admit
from joulewise.scheduling.going import Going, margin_s
from joulewise.scheduling.queue import Act, decide
from joulewise.vocabulary.job import Stretch
from joulewise.vocabulary.ticket import Needs, Stage

NOW = datetime(2026, 3, 1, tzinfo=UTC)
STEP_S, DEAD_S = 120.0, 60.0


@dataclass
class Work:
    """A job in simulated time: what was asked for, and how it does."""

    name: str
    cpus: int
    release_s: float
    reserve_s: float
    true_s: float
    deadline_s: float
    start_s: float
    priority: int
    pausable: bool
    stretches: tuple[Stretch, ...] = ()
    ran_s: float = 0.0
    done_s: float = 0.0
    resumptions: int = 0
    since_s: float = 0.0
    node: int | None = None
    runs: bool = False
    end_s: float | None = None
    paused_at: list[float] = field(default_factory=list)

    @property
    def latest_s(self) -> float:
        return max(self.release_s, self.deadline_s - self.reserve_s - margin_s(self.reserve_s))

    def line(self, *, soonest: bool = False) -> Line:
        def at(seconds: float) -> datetime:
            return NOW + timedelta(seconds=seconds)

        start_s = self.release_s if soonest else self.start_s
        return Line(
            self.name, self.name, "ada", "local", "DE", Stage.QUEUED, self.priority, Needs(self.cpus), NOW, at(self.deadline_s),
            at(start_s), at(self.latest_s), 0, 0, "", "", None, None, None,
        )  # fmt: skip

    def going(self) -> Going:
        reserve_s = self.reserve_s + DEAD_S * self.resumptions
        return Going(
            self.line(), not self.runs, self.ran_s, reserve_s, self.stretches, self.pausable, Needs(0), DEAD_S,
            () if self.node is None else (self.node,), self.since_s,
        )  # fmt: skip


JOB = st.tuples(
    st.integers(1, 4), st.integers(0, 20), st.floats(0.3, 5.0), st.floats(0.2, 1.0), st.floats(0.0, 10.0), st.floats(0.0, 1.0),
    st.booleans(), st.sampled_from([0, 0, 0, 1]), st.floats(0.2, 4.0),
)  # fmt: skip


def simulate(nodes: Sequence[int], drawn: Sequence[tuple[float, ...]]) -> list[Work]:
    """Let jobs come, be admitted or not, and run as `decide` says; return those that were admitted."""
    coming = []
    for n, (cpus, release_h, hours, share, slack_h, when, pausable, priority, gap_h) in enumerate(drawn):
        release_s, reserve_s = release_h * 1800.0, hours * 3600.0
        deadline_s = release_s + reserve_s + margin_s(reserve_s) + STEP_S + slack_h * 3600.0
        one = Work(f"j{n}", int(cpus), release_s, reserve_s, reserve_s * share, deadline_s, 0.0, int(priority), bool(pausable))  # fmt: skip
        one.start_s = release_s + when * (one.latest_s - release_s)
        if one.pausable:
            begin, half = NOW + timedelta(seconds=one.start_s), timedelta(seconds=reserve_s / 2)
            again = begin + half + timedelta(hours=gap_h)
            one.stretches = (Stretch(begin, begin + half), Stretch(again, again + half))
        coming.append(one)
    coming.sort(key=lambda w: w.release_s)
    there: list[Work] = []
    now_s = 0.0
    while coming or any(w.end_s is None for w in there):
        _run(there, now_s)
        while coming and coming[0].release_s <= now_s:
            fresh = coming.pop(0)
            if admit(
                _booked(fresh, now_s), [_booked(w, now_s) for w in there if w.end_s is None], nodes
            ).admitted:
                there.append(fresh)
        _act(there, nodes, now_s)
        now_s += STEP_S
    return there


def _booked(one: Work, now_s: float) -> Booked:
    if not one.ran_s and not one.runs:
        return Booked(one.cpus, one.deadline_s - one.latest_s, one.deadline_s - now_s)
    going = one.going()
    now = NOW + timedelta(seconds=now_s)
    left_s = going.left_s(now) + (0.0 if one.runs else DEAD_S + margin_s(going.reserve_s))
    return Booked(
        one.cpus,
        left_s,
        one.deadline_s - now_s,
        one.runs,
        one.node if one.runs and one.node is not None else -1,
    )


def _run(there: Sequence[Work], now_s: float) -> None:
    for one in there:
        if one.runs:
            one.ran_s += STEP_S
            one.done_s += STEP_S
            one.since_s += STEP_S
            if one.done_s >= one.true_s + DEAD_S * one.resumptions:
                one.runs, one.end_s = False, now_s - (one.done_s - one.true_s - DEAD_S * one.resumptions)


def _act(there: Sequence[Work], nodes: Sequence[int], now_s: float) -> None:
    now = NOW + timedelta(seconds=now_s)
    live = [w for w in there if w.end_s is None]
    queued = [w for w in live if not w.ran_s and not w.runs]
    due = [w.line() for w in queued if min(w.start_s, w.latest_s) <= now_s]
    soon = [w.line(soonest=True) for w in queued if min(w.start_s, w.latest_s) > now_s]
    going = [w.going() for w in live if w.ran_s or w.runs]
    by_name = {w.name: w for w in live}
    for action in decide(due, going, [Needs(n) for n in nodes], now, soon=soon):
        one = by_name[action.job]
        if action.act is Act.PAUSE:
            one.runs, one.since_s = False, 0.0
            one.paused_at.append(now_s)
            continue
        one.resumptions += action.act is Act.RESUME
        one.runs = True
        if one.node is None:
            free = [n - sum(w.cpus for w in live if w.runs and w.node == at) for at, n in enumerate(nodes)]
            fits = [at for at, n in enumerate(free) if n >= one.cpus and at not in action.away]
            one.node = fits[-1]  # a cluster fills its nodes in an order of its own
    for at, has in enumerate(nodes):
        assert sum(w.cpus for w in live if w.runs and w.node == at) <= has


@settings(max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.sampled_from([(4,), (6,), (4, 4), (6, 6)]), st.lists(JOB, min_size=2, max_size=14))
def test_admitted_is_met(nodes, drawn):
    """Jobs with plans that know nothing of each other: all that was admitted is done in time, and paused no more than it is worth."""
    done = simulate(nodes, drawn)
    late = {w.name: (w.end_s - w.deadline_s) for w in done if w.end_s and w.end_s > w.deadline_s}
    assert not late
    for one in done:  # nobody is paused and resumed by turns
        assert len(one.paused_at) <= 5
        assert all(b - a >= 600 for a, b in zip(one.paused_at, one.paused_at[1:], strict=False))
