"""Kill -9 at random: `python bench/queue_kills.py [KILLS] [--file]`: workers, the planner, connections to the database.

A private PostgreSQL (or, with `--file`, one SQLite file), three workers, and jobs that each take a lock while they live and
write down when they begin and end. Every two seconds or so something is killed: a worker (another is started), the planner's
process, or a connection of a worker to the database. At the end every job must be done, under its first fence, begun once and
ended once, and none may ever have found its lock taken. Prints the counts; exit code 1 where one is not 0.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from joulewise.ledger import jobs
from joulewise.ledger.jobs import Planned
from joulewise.ledger.store import Store, open_store
from joulewise.testing.postgres import private_postgres
from joulewise.vocabulary.errors import LedgerError
from joulewise.vocabulary.job import Duration, Job, Pace
from joulewise.vocabulary.ticket import OPEN, Stage, Ticket

EVERY_S = 2.0
JOB = """
import fcntl, os, sys, time
log = open(sys.argv[1], "a")
try:
    fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open(sys.argv[1], "a").write("second copy\\n")
log.write(f"begin {time.time()}\\n"); log.flush()
time.sleep(float(sys.argv[2]))
log.write(f"end {time.time()}\\n"); log.flush()
"""


def main() -> int:
    kills = int(next((a for a in sys.argv[1:] if a.isdigit()), "200"))
    with tempfile.TemporaryDirectory(prefix="joulewise-kills-") as folder:
        home = Path(folder)
        server = nullcontext(str(home / "ledger.db")) if "--file" in sys.argv else private_postgres()
        with server as place:
            return campaign(home, str(place), kills)


def campaign(home: Path, place: str, kills: int, seed: int = 1) -> int:
    """Run one campaign and print what came of it."""
    chance = random.Random(seed)
    environment = {
        **os.environ,
        "JOULEWISE_HOME": str(home),
        "JOULEWISE_LEDGER": place,
        "JOULEWISE_ZONE": "DE",
    }
    store = open_store(place)
    workers = [_worker(environment) for _ in range(3)]
    asked: list[str] = []
    killed: Counter[str] = Counter()
    begun_s = time.monotonic()
    while sum(killed.values()) < kills:
        while _open(store) < 6:
            asked.append(_submit(store, home, chance))
        time.sleep(EVERY_S * chance.uniform(0.2, 1.8))
        what = chance.choice(["worker", "worker", "planner", "connection"])
        if what == "worker":
            victim = chance.randrange(len(workers))
            workers[victim].kill()
            workers[victim].wait()
            workers[victim] = _worker(environment)
        elif what == "planner":
            subprocess.Popen([sys.executable, "-m", "joulewise", "queue", "--plan"], env=environment,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            time.sleep(chance.uniform(0.1, 1.0))
            if not _kill_planner(home):
                continue
        elif not _cut(store):
            continue
        killed[what] += 1
    end_s = time.monotonic() + 120
    while _open(store) and time.monotonic() < end_s:
        time.sleep(0.5)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    lines = [jobs.find(store, job_id) for job_id in asked]
    logs = [
        (home / f"{line.name}.log").read_text() if (home / f"{line.name}.log").exists() else ""
        for line in lines
    ]
    adopted = sum(d.what == "adopted" for job_id in asked for d in jobs.story(store, job_id))
    result = {
        "kills": dict(killed),
        "jobs": len(asked),
        "adoptions": adopted,
        "lost": sum(line.stage is not Stage.DONE for line in lines),
        "second copies": sum("second copy" in log for log in logs),
        "begun not once": sum(log.count("begin") != 1 for log in logs),
        "ended not once": sum(log.count("end ") != 1 for log in logs),
        "beyond the first fence": sum(line.fence != 1 for line in lines),
        "seconds": round(time.monotonic() - begun_s),
    }
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = resource.getrusage(resource.RUSAGE_SELF)
    result["cpu seconds"] = round(used.ru_utime + used.ru_stime + own.ru_utime + own.ru_stime)
    print(json.dumps(result, indent=2))
    for line, log in zip(lines, logs, strict=True):
        if line.stage is not Stage.DONE or log.count("begin") != 1:
            print(
                line.id,
                line.stage,
                line.reason,
                repr(log),
                [(d.what, d.reason) for d in jobs.story(store, line.id)],
            )
    store.close()
    wrong = ("lost", "second copies", "begun not once", "ended not once", "beyond the first fence")
    return int(any(result[name] for name in wrong))


def _worker(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "joulewise", "worker", "--capacity", "4cpu", "--quiet"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _submit(store: Store, home: Path, chance: random.Random) -> str:
    now = datetime.now(UTC)
    name = f"{len(list(home.glob('*.py')))}-{chance.randrange(10**9)}"
    program = home / "job.py"
    if not program.exists():
        program.write_text(JOB)
    length_s = chance.uniform(0.5, 6.0)
    job = Job(
        name,
        Duration.of(length_s),
        now,
        now + timedelta(hours=1),
        (Pace("1 worker", 1.0, 10.0),),
        None,
        ("DE",),
    )
    ticket = Ticket(
        job,
        (sys.executable, "-S", str(program), str(home / f"{name}.log"), f"{length_s:.2f}"),
        str(home),
        _user(),
        {"PATH": os.environ.get("PATH", "")},
    )
    while True:
        try:
            return jobs.add(
                store, ticket, Planned("", "DE", now, now + timedelta(minutes=59), "at once"), now
            )
        except LedgerError:  # our own connection was cut
            if any(line.name == name for line in jobs.lines(store, tuple(Stage))):
                return jobs.find(store, name).id


def _open(store: Store) -> int:
    while True:
        try:
            return len(jobs.lines(store, OPEN))
        except LedgerError:
            continue


def _user() -> str:
    import getpass

    return getpass.getuser()


def _kill_planner(home: Path) -> bool:
    """Kill one process that plans for this campaign; False where none is found."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            plans = entry.name.isdigit() and b"queue\0--plan" in (entry / "cmdline").read_bytes()
            if plans and f"JOULEWISE_HOME={home}".encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
                return True
    return False


def _cut(store: Store) -> bool:
    """End one connection to the server that is not ours; False on a file, and where there is none."""
    if not store.shared:
        return False
    try:
        rows = store.query(
            "SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY random() LIMIT 1"
        )
    except LedgerError:
        return False
    return bool(rows and rows[0]["done"])


if __name__ == "__main__":
    sys.exit(main())
