from __future__ import annotations

from joulewise.scheduling.foresight import Wish, foresee
from joulewise.scheduling.timetable import Amount, Timetable
from joulewise.vocabulary.ticket import Needs

# One look at a crowded evening on two nodes of six processors: name, processors, seconds, latest start, its node if it has one
EVENING = [
    ("4", 4, 15455, 1163, None), ("34", 2, 8038, 6492, None), ("36", 2, 6813, 8045, None), ("25", 4, 13449, 8058, None),
    ("0", 2, 5843, 13266, None), ("10", 2, 2419, 20436, None), ("39", 2, 7536, 21074, None), ("32", 4, 6014, 23443, None),
    ("30", 1, 17804, 25428, None), ("3", 4, 9870, 25859, None), ("37", 1, 14476, 31268, None), ("15", 1, 11272, 44846, None),
    ("11", 1, 4498, 48782, None), ("33", 1, 19726, 14509, 0), ("8", 1, 1228, 11989, 1), ("27", 1, 2516, 17029, 1),
    ("24", 1, 2000, 19670, 0), ("5", 2, 7012, 4146, 0),
]  # fmt: skip


def evening(*, without: str = "") -> tuple[Timetable, list[Wish]]:
    """Return the room of that evening, and what is wished for."""
    table = Timetable((Needs(6), Needs(6)))
    table.take(Amount.of(Needs(1)), 0.0, 4181.0, (1,))
    return table, [
        Wish(name, Needs(cpus), length_s, latest_s, nodes=None if node is None else (node,))
        for name, cpus, length_s, latest_s, node in EVENING
        if name != without
    ]


def test_another_order():
    """The earliest deadline first makes one late, who has to go on where it is; another order makes nobody late."""
    table, wishes = evening()
    found = foresee(table, wishes)

    assert found.late == {}
    slots, by_id = found.slots, {w.id: w for w in wishes}
    for node in (0, 1):  # nobody has another's room
        there = [(slots[job].begin_s, by_id[job]) for job in slots if slots[job].nodes == (node,)]
        for at, _wish in there:
            taken = sum(w.needs.cpus for begin_s, w in there if begin_s <= at < begin_s + w.length_s)
            assert taken + (node == 1 and at < 4181.0) <= 6


def test_as_few_as_are_found():
    """Where not all can be met, few are late, each by what is told; the table stays as it was."""
    table, wishes = evening()
    wishes = [*wishes, *(Wish(f"more {n}", Needs(6), 3600.0, 60.0) for n in range(2))]
    found = foresee(table, wishes)

    assert 1 <= len(found.late) <= 3
    for job, late_s in found.late.items():
        latest_s = next(w.latest_s for w in wishes if w.id == job)
        assert late_s == found.slots[job].begin_s - latest_s
    assert table.first(Amount.of(Needs(6)), 60.0).nodes == (0,)


def test_in_the_same_order():
    """With another schedule's order the two can be compared: one job more, and somebody is later."""
    table, wishes = evening(without="0")
    before = foresee(table, wishes)
    after = foresee(table, evening()[1], like=before)

    assert list(after.slots)[:-1] == list(before.slots)
    assert list(after.slots)[-1] == "0"
    assert not before.worse_than(before)
