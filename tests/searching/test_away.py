"""A database that goes away while a study stands in it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from joulewise.ledger.store import open_store
from joulewise.searching.deciding import Rules
from joulewise.searching.journal import replay
from joulewise.searching.log import DatabaseLog, Overtaken
from joulewise.searching.ordering import search
from joulewise.searching.study import Study
from joulewise.vocabulary.errors import LedgerAway, LedgerError
from tests.searching.doubles import SPACE, Meter
from tests.services import postgres_server as postgres_server  # noqa: PLC0414 - a fixture of pytest
from tests.services import postgres_url as postgres_url  # noqa: PLC0414


class Flaky:
    """A store that goes away at a statement that begins so, before it holds or after (COMMIT)."""

    shared = True
    where = "flaky"

    def __init__(self, place) -> None:
        self._store = open_store(place)
        self.fails: list[str] = []
        self.between = lambda: None  # what others do while it is away

    def _away(self, word: str) -> None:
        if self.fails and word.startswith(self.fails[0]):
            self.fails.pop(0)
            raise LedgerAway("it is away")

    def query(self, sql, values=None):
        return self._store.query(sql, values)

    def execute(self, sql, *rows):
        self._away(sql)
        return self._store.execute(sql, *rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with self._store.transaction():
                yield
                self._away("BEFORE COMMIT")
            self._away("AFTER COMMIT")
        except LedgerAway:
            self.between()
            raise

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def flaky(tmp_path, monkeypatch):
    monkeypatch.setattr("joulewise.searching.log._RETRY_S", 0.0)
    return Flaky(tmp_path / "s.db")


def lines_in(place) -> list[str]:
    log = DatabaseLog(open_store(place), "s")
    with log.alone() as news:
        kinds = [line["kind"] for line in news]
    log.close()
    return kinds


@pytest.mark.parametrize(
    "fails", [["UPDATE searches SET lines = lines"] * 2, ["INSERT"], ["BEFORE COMMIT"], ["AFTER COMMIT"]]
)
def test_waits(flaky, tmp_path, capfd, fails):
    """Wherever the database goes away, what was added stands there once, and it is said once that it is waited for."""
    log = DatabaseLog(flaky, "s")
    with log.alone():
        log.add({"kind": "a"})
    flaky.fails = fails
    with log.alone() as news:
        log.add({"kind": "b"})
        log.add({"kind": "c"})
    with log.alone() as later:
        pass

    assert news == later == []
    assert lines_in(tmp_path / "s.db") == ["a", "b", "c"]
    assert capfd.readouterr().err.count("it is away; waiting for it") <= 1


def test_others_were_faster(flaky, tmp_path):
    """What was decided before others went on does not hold: nothing of it is written, and what they did is told."""
    log, other = DatabaseLog(flaky, "s"), DatabaseLog(open_store(tmp_path / "s.db"), "s")

    def go_on() -> None:
        with other.alone():
            other.add({"kind": "theirs"})

    flaky.fails, flaky.between = ["BEFORE COMMIT"], go_on
    with pytest.raises(Overtaken) as overtaken, log.alone():
        log.add({"kind": "ours"})

    assert overtaken.value.lines == [{"kind": "theirs"}]
    assert lines_in(tmp_path / "s.db") == ["theirs"]
    with log.alone() as news:
        assert news == []
    other.close()


def test_held_after_all(flaky, tmp_path):
    """Where only the server's answer was lost, nothing is added twice, and what others added behind it is read."""
    log, other = DatabaseLog(flaky, "s"), DatabaseLog(open_store(tmp_path / "s.db"), "s")

    def go_on() -> None:
        with other.alone():
            other.add({"kind": "theirs"})

    flaky.fails, flaky.between = ["AFTER COMMIT"], go_on
    with log.alone():
        log.add({"kind": "ours"})
    with log.alone() as news:
        assert news == [{"kind": "theirs"}]

    assert lines_in(tmp_path / "s.db") == ["ours", "theirs"]
    log.close()
    other.close()


def test_decides_anew(flaky, tmp_path):
    """A worker that was overtaken knows what the others did, in their order, and does what it does on top of that."""
    study = Study("s", SPACE, Rules(9), DatabaseLog(flaky, "s"))
    other = Study("s", SPACE, Rules(9), DatabaseLog(open_store(tmp_path / "s.db"), "s"))
    flaky.fails, flaky.between = (
        ["BEFORE COMMIT"],
        lambda: other.write({"kind": "end", "reason": "x", "whole": False}),
    )
    seen = []

    def act() -> int:
        seen.append(len(study.lines))
        study.write({"kind": "end", "reason": "y", "whole": False})
        return len(study.lines)

    assert study.agreed(act) == 3
    assert seen == [1, 2]
    other.look()
    assert (
        [line.get("reason") for line in study.lines]
        == [line.get("reason") for line in other.lines]
        == [None, "x", "y"]
    )
    study.close()
    other.close()


def test_patience_ends(flaky):
    """A database that does not come back ends the wait in one line that says how to go on."""
    log = DatabaseLog(flaky, "s", patience_s=0.0)
    flaky.fails = ["UPDATE searches SET lines = lines"] * 9

    with (
        pytest.raises(LedgerError, match=r"it is away; waited 0 s .* the same command goes on$"),
        log.alone(),
    ):
        pass


@pytest.mark.service
def test_server_restarts(postgres_url, monkeypatch):
    """PostgreSQL crashes and starts again three times under two workers: no epoch is lost, none counts twice."""
    import psycopg

    monkeypatch.setattr("joulewise.searching.log._RETRY_S", 0.01)

    def crash() -> None:  # a server that loses a process so starts again, and drops every connection
        with suppress(psycopg.OperationalError), psycopg.connect(postgres_url) as connection:
            os.kill(connection.info.backend_pid, signal.SIGKILL)

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += 1
            if meter.used_j in (4, 12):
                crash()
            time.sleep(0.005)
            yield trial["x"] - 1 / epoch

    meter = Meter()
    study = search(
        objective, SPACE, "40J", measure=meter, epochs=9, name="sweep", workers=2,
        opened=lambda: DatabaseLog(open_store(postgres_url), "sweep"),
    )  # fmt: skip

    assert study.notes == []
    assert 37 <= study.spent["energy_j"] <= 40
    assert sum(t.epoch for t in study.trials) == study.spent["energy_j"]
    keys = [study.space.key(study.space.configuration(t.point)) for t in study.trials]
    assert len(keys) == len(set(keys))
    assert replay(study.lines).differing == ()
