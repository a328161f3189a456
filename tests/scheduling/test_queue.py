"""Who runs now: pressing work first, then priority, then fair shares; nothing that cannot pause is ever paused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from joulewise.ledger.jobs import Line
from joulewise.scheduling.foresight import NOTHING
from joulewise.scheduling.going import Going
from joulewise.scheduling.queue import Act, decide
from joulewise.vocabulary.job import Stretch
from joulewise.vocabulary.ticket import Needs, Stage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def line(name: str = "a", **given: Any) -> Line:
    values: dict[str, Any] = {
        "id": name, "name": name, "owner": "ada", "engine": "local", "zone": "DE", "stage": Stage.QUEUED, "priority": 0,
        "needs": Needs(1), "submitted_utc": NOW - HOUR, "deadline_utc": NOW + 24 * HOUR, "start_utc": NOW - HOUR,
        "latest_utc": NOW + 20 * HOUR, "fence": 0, "failures": 0, "wanted": "", "reason": "", "exit_code": None,
        "ended_utc": None, "planned_utc": None,
    }  # fmt: skip
    return Line(**{**values, **given})


def going(
    name: str = "a", *, paused: bool = False, ran_h: float = 0.0, reserve_h: float = 2.0, **given: Any
) -> Going:
    stretches = given.pop("stretches", ())
    pausable = given.pop("pausable", False)
    nodes, later = given.pop("nodes", ()), given.pop("later", False)
    one = line(name, stage=Stage.PAUSED if paused else Stage.RUNNING, **given)
    return Going(
        one, paused, ran_h * 3600, reserve_h * 3600, stretches, pausable, one.needs.at_rest, 0.0, nodes, later=later
    )  # fmt: skip


def acts(*args: Any, **options: Any) -> list[tuple[str, str]]:
    return [(a.act.value, a.job) for a in decide(*args, **options)]


def stretch(begin_h: float, end_h: float) -> Stretch:
    return Stretch(NOW + begin_h * HOUR, NOW + end_h * HOUR)


class TestStarting:
    def test_as_many_as_fit(self):
        """Due jobs start until the room is full."""
        assert acts([line("a"), line("b"), line("c")], [], Needs(2), NOW) == [("start", "a"), ("start", "b")]

    def test_too_large_waits_alone(self):
        """A job that does not fit now does not keep a smaller one from starting, as long as it has time."""
        assert acts(
            [line("big", needs=Needs(4)), line("small")], [going("r", needs=Needs(3))], Needs(4), NOW
        ) == [("start", "small")]

    def test_pressing_is_not_overtaken(self):
        """While a job whose latest start has come does not fit, nothing smaller starts in the room it waits for."""
        big = line("big", needs=Needs(4), latest_utc=NOW)

        assert acts([big, line("small")], [going("r", needs=Needs(3))], Needs(4), NOW) == []

    def test_larger_than_the_machine(self):
        """A pressing job that no room here could ever hold keeps nobody waiting."""
        big = line("big", needs=Needs(8), latest_utc=NOW)

        assert acts([big, line("small")], [], Needs(4), NOW) == [("start", "small")]

    def test_priority(self):
        """The higher priority comes first."""
        assert acts([line("a"), line("b", priority=1)], [], Needs(1), NOW) == [("start", "b")]

    def test_fair(self):
        """Of equal priority, the owner who has had least comes first, and what starts now counts at once."""
        waiting = [line(f"{who}{n}", owner=who) for who in ("ada", "bob") for n in (1, 2)]

        assert acts(waiting, [], Needs(2), NOW, used={"ada": 100.0}) == [("start", "bob1"), ("start", "bob2")]
        assert acts(waiting, [], Needs(2), NOW) == [("start", "ada1"), ("start", "bob1")]

    def test_gpus_and_memory(self):
        """GPUs and memory are room as processors are; where a machine's memory is not known it is not counted."""
        jobs = [line("a", needs=Needs(1, 1, 8)), line("b", needs=Needs(1, 1, 8))]

        assert acts(jobs, [], Needs(8, 1, 99), NOW) == [("start", "a")]
        assert acts(jobs, [], Needs(8, 2, 10), NOW) == [("start", "a")]
        assert len(acts(jobs, [], Needs(8, 2, 0), NOW)) == 2


class TestPausing:
    def test_by_plan(self):
        """A job stands still between two stretches of its plan and goes on with the next one."""
        plan = (stretch(-1, 0), stretch(2, 3))
        running = going("a", pausable=True, stretches=plan, ran_h=1)
        paused = going("a", paused=True, pausable=True, stretches=plan, ran_h=1)

        assert acts([], [running], Needs(1), NOW) == [("pause", "a")]
        assert acts([], [paused], Needs(1), NOW) == []
        assert acts([], [paused], Needs(1), NOW + 2 * HOUR) == [("resume", "a")]

    def test_never_what_cannot(self):
        """A job that cannot pause runs through the gaps of its plan."""
        assert acts([], [going("a", stretches=(stretch(-1, 0), stretch(2, 3)))], Needs(1), NOW) == []

    def test_not_for_a_minute(self):
        """A gap shorter than a minute is no pause."""
        plan = (stretch(-1, 0), stretch(0.01, 3))

        assert acts([], [going("a", pausable=True, stretches=plan)], Needs(1), NOW) == []

    def test_deadline_before_plan(self):
        """Where the reserve needs all the time that is left, a job runs whatever its plan says."""
        plan = (stretch(-1, 0), stretch(2, 3))
        paused = going(
            "a", paused=True, pausable=True, stretches=plan, deadline_utc=NOW + HOUR, reserve_h=2, ran_h=1
        )

        assert acts([], [paused], Needs(1), NOW) == [("resume", "a")]

    def test_overrun_goes_on(self):
        """A job that is not done when its plan ends goes on."""
        assert acts([], [going("a", pausable=True, stretches=(stretch(-2, -1),))], Needs(1), NOW) == []

    def test_makes_room(self):
        """A pressing job, and one of higher priority, let a pausable one stand still; one of equal priority does not."""
        running = going("r", pausable=True)

        pressing = line("p", latest_utc=NOW, deadline_utc=NOW + 4 * HOUR)

        assert acts([pressing], [running], Needs(1), NOW) == [("pause", "r"), ("start", "p")]
        assert acts([line("p", priority=1)], [running], Needs(1), NOW) == [("pause", "r"), ("start", "p")]
        assert acts([line("p")], [running], Needs(1), NOW) == []

    def test_not_at_its_own_deadline(self):
        """Nobody stands still for another, pressing or not, where that other may take longer than its own time allows."""
        running = going("r", pausable=True, deadline_utc=NOW + 5 * HOUR)
        long = line("p", latest_utc=NOW, deadline_utc=NOW + 3 * HOUR)

        assert acts([long], [running], Needs(1), NOW) == []
        assert acts([long], [going("r", pausable=True, deadline_utc=NOW + 6 * HOUR)], Needs(1), NOW) == [
            ("pause", "r"),
            ("start", "p"),
        ]

    def test_pressed_stays_pressed(self):
        """What was started at its latest start is not displaced later on, however long it ran."""
        for ran_h in (0.0, 0.5, 1.9):
            left = timedelta(hours=2 - ran_h, seconds=60 + 0.05 * 7200)
            running = going("r", pausable=True, ran_h=ran_h, deadline_utc=NOW + left)

            assert acts([line("p", priority=9, deadline_utc=NOW + 21 * HOUR)], [running], Needs(1), NOW) == []

    def test_only_where_it_helps(self):
        """Nobody stands still for a job that cannot run in that room all the same."""
        stays = going("s", needs=Needs(3))
        running = going("r", pausable=True)
        wide = line("p", needs=Needs(4), latest_utc=NOW, deadline_utc=NOW + 3 * HOUR)

        assert acts([wide], [stays, running], Needs(4), NOW) == []

    def test_no_more_than_needed(self):
        """Of those that may stand still, as few as make the room do."""
        small = [going(f"s{n}", pausable=True) for n in range(3)]
        large = going("l", pausable=True, needs=Needs(3))
        wide = line("p", needs=Needs(3), latest_utc=NOW, deadline_utc=NOW + 3 * HOUR)

        assert acts([wide], [*small, large], Needs(6), NOW) == [("pause", "l"), ("start", "p")]

    def test_suspended_keeps_its_memory(self):
        """What stands still keeps its memory and its GPUs: they are no room for another."""
        paused = going("a", paused=True, pausable=True, stretches=(stretch(2, 3),), needs=Needs(1, 1, 60))

        assert acts([line("b", needs=Needs(1, 0, 50))], [paused], Needs(2, 1, 100), NOW) == []
        assert acts([line("b", needs=Needs(1, 0, 40))], [paused], Needs(2, 1, 100), NOW) == [("start", "b")]


class TestNodes:
    def test_one_node_holds_it(self):
        """Room on two nodes is none for a job that needs it on one; a node that has it is found."""
        here = [going("a", needs=Needs(4), nodes=(0,)), going("b", needs=Needs(3), nodes=(1,))]
        four = line("c", needs=Needs(4))

        assert acts([four], here, (Needs(6), Needs(6)), NOW) == []
        assert acts([four], here[:1], (Needs(6), Needs(6)), NOW) == [("start", "c")]

    def test_larger_than_a_node(self):
        """A job that no node holds takes several."""
        wide = line("w", needs=Needs(10))

        assert acts([wide], [], (Needs(6), Needs(6)), NOW) == [("start", "w")]
        assert acts([wide], [going("a", needs=Needs(2), nodes=(0,))], (Needs(6), Needs(6)), NOW) == []

    def test_suspended_goes_on_where_it_is(self):
        """What stands still goes on on its own node, when that has room."""
        rests = going("r", paused=True, pausable=True, needs=Needs(4), nodes=(0,))
        there = going("a", needs=Needs(4), nodes=(0,))

        assert acts([], [rests, there], (Needs(6), Needs(6)), NOW) == []
        assert acts([], [rests], (Needs(6), Needs(6)), NOW) == [("resume", "r")]


class TestLookingAhead:
    def test_room_is_kept(self):
        """What would still run when a job must start is not started in its room; what is over by then is."""
        wide = line(
            "w", needs=Needs(4), start_utc=NOW, latest_utc=NOW + 2 * HOUR, deadline_utc=NOW + 4 * HOUR
        )
        runs = going("r", needs=Needs(2), reserve_h=1.5)

        def small(length_h: float) -> Line:
            return line("s", deadline_utc=NOW + (20 + length_h) * HOUR)

        assert acts([small(1)], [runs], Needs(4), NOW, soon=[wide]) == [("start", "s")]
        assert acts([small(3)], [runs], Needs(4), NOW, soon=[wide]) == []
        assert acts([small(3)], [runs], Needs(4), NOW) == [("start", "s")]

    def test_early_where_others_follow(self):
        """Of two that share a latest start and no room, one starts before its hour has come."""
        two = [
            line(n, needs=Needs(3), start_utc=NOW, latest_utc=NOW + HOUR, deadline_utc=NOW + 2 * HOUR)
            for n in "ab"
        ]

        assert acts([], [], Needs(4), NOW, soon=two) == [("start", "a")]
        assert acts([], [], Needs(6), NOW, soon=two) == []

    def test_no_room_idles_where_not_all_can_be_met(self):
        """Of jobs that cannot all be met as many start as fit, though none is due."""
        three = [
            line(n, needs=Needs(2), start_utc=NOW, latest_utc=NOW + HOUR, deadline_utc=NOW + 3 * HOUR)
            for n in "abc"
        ]

        assert acts([], [], Needs(2), NOW, soon=three) == [("start", "a")]

    def test_held_before_it_began(self):
        """A job that an engine has and has not begun keeps its room, too: nothing is started that would make it late."""
        held = going("h", paused=True, later=True, deadline_utc=NOW + 4 * HOUR)
        long = line("s", deadline_utc=NOW + 23 * HOUR)

        assert acts([long], [held], Needs(1), NOW) == []
        assert acts([long], [held], Needs(2), NOW) == [("start", "s")]
        assert acts(
            [], [going("h", paused=True, later=True, deadline_utc=NOW + 2 * HOUR)], Needs(1), NOW
        ) == [("resume", "h")]

    def test_slow_looks(self):
        """Where the next look may come late, a job that must start before it starts now."""
        soon = line("a", start_utc=NOW, latest_utc=NOW + HOUR / 4, deadline_utc=NOW + HOUR)

        assert acts([], [], Needs(1), NOW, soon=[soon]) == []
        assert acts([], [], Needs(1), NOW, soon=[soon], patience_s=1000.0) == [("start", "a")]

    def test_not_before_it_may(self):
        """A job that may start later only keeps its room and does not start."""
        later = line("l", start_utc=NOW + HOUR, latest_utc=NOW + HOUR, deadline_utc=NOW + 2 * HOUR)

        assert acts([], [], Needs(1), NOW, soon=[later]) == []
        assert acts([line("s", deadline_utc=NOW + 22 * HOUR)], [], Needs(1), NOW, soon=[later]) == []


JOBS = st.lists(
    st.tuples(
        st.integers(1, 4), st.integers(0, 2), st.booleans(), st.sampled_from(["new", "runs", "rests"]),
        st.booleans(), st.integers(-2, 30),
    ),
    max_size=8,
)  # fmt: skip


@given(JOBS)
def test_room_is_held(jobs):
    """Whatever is decided: more than the room runs only where it ran so before, and what cannot pause is not paused."""
    waiting, held = [], []
    for n, (cpus, priority, pausable, how, planned, latest_h) in enumerate(jobs):
        told: dict[str, Any] = {
            "needs": Needs(cpus),
            "priority": priority,
            "latest_utc": NOW + latest_h * HOUR,
        }
        if how == "new":
            waiting.append(line(f"j{n}", **told))
        else:
            plan = (stretch(-1, 1),) if planned else (stretch(1, 2),)
            rests = how == "rests" and pausable
            held.append(going(f"j{n}", paused=rests, pausable=pausable, stretches=plan, **told))
    room = Needs(4)
    actions = decide(waiting, held, room, NOW)
    before = {g.line.id: g for g in held}
    runs = {g.line.id for g in held if not g.paused}
    for action in actions:
        if action.act is Act.PAUSE:
            assert before[action.job].pausable
            runs.discard(action.job)
        else:
            runs.add(action.job)
    cpus = {x.id: x.needs.cpus for x in (*waiting, *(g.line for g in held))}
    stuck = sum(cpus[g.line.id] for g in held if not g.paused and not g.pausable)

    assert len({a.job for a in actions}) == len(actions)
    assert sum(cpus[j] for j in runs) <= max(room.cpus, stuck)


def test_nothing_to_do():
    """Without jobs nothing is decided, and a job at rest keeps nothing where it was requeued."""
    assert decide([], [], Needs(4), NOW) == ()
    assert NOTHING.within(NOTHING)
