from dataclasses import replace
from itertools import product

import pytest

np = pytest.importorskip("numpy", reason="the fleet needs the extra `schedule`")

from joulewise.scheduling.fleet import Fleet, _multipliers, lp_bound, pack  # noqa: E402


def fleet(seed, jobs=5, zones=2, steps=8, *, capacity=2, pausable=None, migrates=None) -> Fleet:
    random = np.random.default_rng(seed)
    length = random.integers(1, 4, jobs)
    release = random.integers(0, steps - 4, jobs)
    deadline = np.minimum(steps, release + length + random.integers(0, 4, jobs))
    none = np.zeros(jobs, dtype=bool)
    return Fleet(
        random.uniform(1, 10, (zones, steps)),
        np.full((zones, steps), capacity),
        length,
        release,
        deadline,
        random.uniform(1, 3, jobs),
        random.integers(1, 3, jobs),
        np.ones((jobs, zones), dtype=bool),
        none if pausable is None else none | pausable,
        none if migrates is None else none | migrates,
    )


def use_of(made, packing):
    use = np.zeros_like(made.capacity)
    for j, (steps, zones) in enumerate(zip(packing.steps, packing.zones, strict=True)):
        for step, zone in zip(steps, zones, strict=True):
            use[zone, step] += made.units[j]
    return use


def brute_force(made):
    """Return the least cost of all ways to start every job, one start each; inf where there is none."""
    options = [
        [
            (z, s)
            for z in range(len(made.rates))
            for s in range(made.release[j], made.deadline[j] - made.length[j] + 1)
        ]
        for j in range(made.count)
    ]
    best = float("inf")
    for choice in product(*options):
        use = np.zeros_like(made.capacity)
        cost = 0.0
        for j, (z, s) in enumerate(choice):
            use[z, s : s + made.length[j]] += made.units[j]
            cost += made.weight[j] * made.rates[z, s : s + made.length[j]].sum()
        if (use <= made.capacity).all():
            best = min(best, cost)
    return best


@pytest.mark.parametrize("seed", range(8))
def test_small_fleets_against_the_exact_optimum(seed):
    """On five jobs, eight steps: the bound lies below the optimum of all choices, and the packing close above it."""
    made = fleet(seed)
    optimum = brute_force(made)
    packing = pack(made)

    if not np.isfinite(optimum):
        assert packing.unplaced
        return
    assert not packing.unplaced
    assert packing.bound <= optimum + 1e-6
    assert packing.cost >= optimum - 1e-6
    assert packing.cost <= optimum * 1.1


@pytest.mark.parametrize("kind", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("seed", range(3))
def test_capacity_windows_and_lengths_hold(kind, seed):
    """Whatever is packed holds the capacity, its window and its length, and stays in one zone unless it migrates."""
    pausable, migrates = kind
    made = fleet(seed, jobs=60, zones=3, steps=24, capacity=8, pausable=pausable, migrates=migrates)
    packing = pack(made, iterations=30, passes=3)

    assert (use_of(made, packing) <= made.capacity).all()
    for j in set(range(made.count)) - set(packing.unplaced):
        steps = packing.steps[j]
        assert len(set(steps)) == made.length[j]
        assert min(steps) >= made.release[j]
        assert max(steps) < made.deadline[j]
        assert migrates or len(set(packing.zones[j])) == 1
        assert pausable or max(steps) - min(steps) + 1 == made.length[j]


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_never_exceeds_the_linear_program(seed):
    """For jobs that pause and migrate, proven bound <= linear program <= packing, and both lie close."""
    made = fleet(seed, jobs=60, zones=3, steps=24, capacity=9, pausable=True, migrates=True)
    exact = lp_bound(made)
    packing = pack(made, iterations=300)

    assert not packing.unplaced
    assert packing.bound <= exact + 1e-6
    assert exact <= packing.cost + 1e-6
    assert packing.bound >= 0.95 * exact
    assert packing.cost <= 1.05 * exact


def test_without_contention_everybody_gets_the_best():
    """With capacity to spare, cost and bound are the sum of what each job would choose alone."""
    packing = pack(fleet(1, jobs=20, capacity=100))

    assert packing.gap == pytest.approx(0.0, abs=1e-9)


def test_what_fits_nowhere_is_left_out():
    """A job larger than every zone is left out, and the others are placed."""
    made = fleet(0)
    made.units[0] = 3
    packing = pack(made)

    assert 0 in packing.unplaced
    assert packing.steps[0] == ()


def test_packing_is_deterministic():
    """The same fleet gives the same packing."""
    assert pack(fleet(3, jobs=30, capacity=6)) == pack(fleet(3, jobs=30, capacity=6))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_fits_is_left_out(seed):
    """Pausable jobs that fill every hour exactly are all placed: by chains of moves, where greed leaves some out."""
    random = np.random.default_rng(seed)
    steps, capacity = 24, 3
    slots = [(t, c) for t in range(steps) for c in range(capacity)]
    random.shuffle(slots)
    jobs = []  # cut a full schedule into jobs: each has the steps of some slots, all different
    while slots:
        taken: list[int] = []
        for slot in list(slots):
            if slot[0] not in taken and len(taken) < 4 and (not taken or abs(slot[0] - taken[0]) < 12):
                taken.append(slot[0])
                slots.remove(slot)
        jobs.append(taken)
    count = len(jobs)
    made = Fleet(
        random.uniform(1, 10, (1, steps)),
        np.full((1, steps), capacity),
        np.array([len(t) for t in jobs]),
        np.array([min(t) for t in jobs]),
        np.array([max(t) + 1 for t in jobs]),
        np.ones(count),
        np.ones(count, dtype=int),
        np.ones((count, 1), dtype=bool),
        np.ones(count, dtype=bool),
        np.zeros(count, dtype=bool),
    )
    packing = pack(made, iterations=20, passes=3)

    assert packing.unplaced == ()
    assert (use_of(made, packing) <= made.capacity).all()
    assert [len(s) for s in packing.steps] == [len(t) for t in jobs]


def test_a_step_that_undoes_the_last():
    """Where half of the last step and this one cancel out exactly, the search for prices goes on by this one alone."""

    class Swinging:
        """A group that wants two units too many, then one too few, and so on."""

        def __init__(self) -> None:
            self.calls = 0

        def choose(self, _price):
            self.calls += 1
            return 1.0, np.array([[3 if self.calls % 2 else 0]])

    swinging = Swinging()
    one = replace(fleet(1), rates=np.array([[1.0]]), capacity=np.array([[1]]))
    bound, price = _multipliers(one, [swinging], 10, 10.0)  # type: ignore[list-item]

    assert swinging.calls == 10
    assert np.isfinite(price).all()
    assert bound <= 10.0
