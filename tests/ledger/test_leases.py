"""The queue in every store: one claim, one fence, no second copy by any clock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from joulewise.ledger.files import boot_id
from joulewise.ledger.leases import Leases, lease_clock
from joulewise.ledger.memory import open_memory
from joulewise.ledger.store import Store, open_store
from joulewise.testing.queue_contract import NOW, QueueContract, add

CLAIMER = """
import sys
from datetime import UTC, datetime
from joulewise.ledger.leases import Leases, due
from joulewise.ledger.store import open_store
store = open_store(sys.argv[1])
mine = Leases(store, sys.argv[2], "here/1")
now = datetime(2026, 3, 1, 12, tzinfo=UTC)
while lines := due(store, "local", "", "", now):
    for line in lines:
        if mine.claim(line.id, line.fence, "due", now):
            print(line.id, flush=True)
"""


class TestFile(QueueContract):
    @pytest.fixture
    def store(self, tmp_path) -> Iterator[Store]:
        store = open_store(tmp_path / "ledger.db")
        yield store
        store.close()


class TestMemory(QueueContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = open_memory()
        yield store
        store.close()


@pytest.mark.service
class TestServer(QueueContract):
    @pytest.fixture
    def store(self, postgres_url) -> Iterator[Store]:
        store = open_store(postgres_url)
        yield store
        store.close()

    def test_processes(self, postgres_url):
        """Four processes that claim from one server never get the same job."""
        check_processes(postgres_url)


def check_processes(place: str) -> None:
    store = open_store(place)
    wanted = {add(store, f"j{n}") for n in range(60)}
    store.close()
    workers = [
        subprocess.Popen([sys.executable, "-c", CLAIMER, place, f"w{n}"], stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    claimed = [line for worker in workers for line in worker.communicate()[0].split()]

    assert sorted(claimed) == sorted(wanted)


def test_processes(tmp_path):
    """Four processes that claim from one file never get the same job."""
    check_processes(str(tmp_path / "ledger.db"))


def test_clock_of_a_host(tmp_path):
    """On one host leases count the seconds since boot, which nobody can set, and belong to that boot."""
    store = open_memory()

    assert lease_clock(store)[0] == boot_id()
    assert lease_clock(store)[1] <= lease_clock(store)[1]
    store.close()


def test_dead_process(tmp_path):
    """A worker on this host whose process is gone needs no waiting: its jobs are adopted at once."""
    place = str(tmp_path / "ledger.db")
    store = open_store(place)
    job_id = add(store)
    done = subprocess.run(
        [sys.executable, "-c", CLAIMER, place, "gone"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [job_id]
    mine = Leases(store, "here", "here/1")

    assert [h.line.id for h in mine.orphans("local", bound=True)] == [job_id]
    assert mine.adopt(mine.orphans("local", bound=True)[0], datetime.now(UTC))
    store.close()


def test_backup_holds_the_queue(tmp_path):
    """A backup of the ledger holds the queue's jobs, attempts and stories."""
    from joulewise.ledger import jobs
    from joulewise.ledger.backup import backup

    store = open_store(tmp_path / "ledger.db")
    job_id = add(store)
    Leases(store, "a", "here/1").claim(job_id, 0, "due", NOW)
    copy = open_store(backup(store, tmp_path / "copy.db"))

    assert jobs.story(copy, job_id) == jobs.story(store, job_id)
    assert jobs.attempts(copy, job_id) == jobs.attempts(store, job_id)
    copy.close()
    store.close()
