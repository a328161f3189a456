"""Pots: several processes spend from one budget, and none of them can lose what the others said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from joulewise.ledger.memory import open_memory
from joulewise.ledger.months import Filter
from joulewise.ledger.pots import Drawn, MemberState, Pot, Spending, drawn, list_pots
from joulewise.ledger.store import open_store
from joulewise.vocabulary.errors import LedgerError, UnknownName, UsageError

SPENDER = """
import sys
from joulewise.ledger.pots import Pot, Spending
from joulewise.ledger.store import open_store
store = open_store(sys.argv[1])
pot = Pot(store, "sweep")
pot.join({"energy_j": 1000.0})
for tick in range(1, int(sys.argv[3]) + 1):
    pot.spend(sys.argv[2], Spending(energy_j=10.0 * tick, time_s=float(tick), trials=1))
    print(tick, flush=True)
    if sys.argv[4] == "wait" and tick == int(sys.argv[3]):
        sys.stdin.read()
pot.spend(sys.argv[2], Spending(energy_j=10.0 * tick, time_s=float(tick), trials=1), ended=True)
"""


@pytest.fixture
def store():
    store = open_memory()
    yield store
    store.close()


def spender(place: str, run_id: str, ticks: int, then: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SPENDER, place, run_id, str(ticks), then]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def check_killed(place: str) -> None:
    """Let five processes spend at once, kill one without warning, and look at the pot."""
    workers = [spender(place, f"run{n}", 40, "end") for n in range(4)]
    victim = spender(place, "victim", 15, "wait")
    assert victim.stdout is not None
    said = [victim.stdout.readline() for _ in range(15)]
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    errors = [worker.communicate()[1] for worker in workers]
    store = open_store(place)
    pot = Pot(store, "sweep")

    assert said[-1] == b"15\n"
    assert errors == [b""] * 4
    assert pot.spent().spent == Spending(energy_j=4 * 400.0 + 150.0, time_s=175.0, trials=5)
    assert {m.run_id: m.state for m in pot.members()} == {
        **{f"run{n}": MemberState.ENDED for n in range(4)},
        "victim": MemberState.LOST,
    }
    store.close()


class TestManyProcesses:
    def test_killed_on_a_file(self, tmp_path):
        """On SQLite all that the killed process had said stands, and the others go on."""
        check_killed(str(tmp_path / "ledger.db"))

    @pytest.mark.service
    def test_killed_on_a_server(self, postgres_url):
        """On PostgreSQL the same holds."""
        check_killed(postgres_url)


class TestPot:
    def test_cumulative(self, store):
        """Saying the same thing twice, or starting to speak again after a crash, counts once."""
        pot = Pot(store, "p")
        pot.join({})
        for joules in (1.0, 5.0, 5.0, 7.0):
            pot.spend("a", Spending(energy_j=joules))

        assert pot.spent().spent.energy_j == 7.0

    def test_missing_is_said(self, store):
        """A sum never hides that some run does not know its part."""
        pot = Pot(store, "p")
        pot.join({})
        pot.spend("a", Spending(energy_j=1.0, carbon_g=2.0))
        pot.spend("b", Spending(energy_j=1.0, carbon_g=None, cost=float("nan")))
        total = pot.spent()

        assert total.spent == Spending(energy_j=2.0, carbon_g=2.0)
        assert (total.members, total.incomplete) == (2, ("carbon_g", "cost", "time_s", "trials"))

    def test_empty(self, store):
        """A pot that nobody has spent from has spent nothing known, by no members."""
        pot = Pot(store, "p")
        pot.join({"trials": 3})

        assert (pot.spent().members, pot.members(), list_pots(store)[0].limits) == (0, [], {"trials": 3.0})

    def test_unlike_limits(self, store):
        """Other limits are refused in one line that shows both, and the pot keeps its own."""
        Pot(store, "p").join({"energy_j": 2e6, "trials": None})
        with pytest.raises(UsageError) as refused:
            Pot(store, "p").join({"energy_j": 2e6, "time_s": 60})

        assert str(refused.value) == (
            "the pot 'p' has the limits energy_j 2e+06, not energy_j 2e+06, time_s 60; join it with its own limits, or "
            "choose another name"
        )
        assert Pot(store, "p").limits() == {"energy_j": 2e6}

    def test_unknown(self, store):
        """A pot that nobody made is unknown, with the nearest name."""
        Pot(store, "night-sweep").join({})
        with pytest.raises(UnknownName, match="unknown pot 'night-swep'; did you mean night-sweep"):
            Pot(store, "night-swep").limits()
        with pytest.raises(LedgerError):
            Pot(store, "night-swep").spend("a", Spending())
        with pytest.raises(UsageError, match="give it a name"):
            Pot(store, "")

    def test_members(self, store):
        """This process is spending; one of another host is elsewhere; one that said so has ended."""
        pot = Pot(store, "p")
        pot.join({})
        pot.spend("a", Spending())
        pot.spend("b", Spending(), ended=True)
        pot.spend("c", Spending())
        store.execute("UPDATE pot_spending SET host = 'another' WHERE run_id = 'c'")

        assert [m.state for m in pot.members()] == [
            MemberState.SPENDING,
            MemberState.ENDED,
            MemberState.ELSEWHERE,
        ]


def test_drawn_tells_what_some_run_does_not_know(store):
    """What a key has drawn is a least sum where one of its runs does not know the quantity, and None where none does."""
    pot = Pot(store, "night")
    pot.join({"energy_j": 1000.0})
    for run_id, joules in (("one", 10.0), ("two", None)):
        pot.spend(run_id, Spending(energy_j=joules, time_s=1.0, trials=1))
        store.execute(
            "INSERT INTO months (run_id, month, person, duration_s, boundary) VALUES (:run_id, '2026-11', 'ada', 1, '')",
            {"run_id": run_id},
        )

    (ada,) = drawn(store, "person", Filter("2026-11", "2026-11"))

    assert ada == Drawn(
        "night", "ada", 2, Spending(10.0, None, None, 2.0, 2), ("energy_j", "carbon_g", "cost")
    )
