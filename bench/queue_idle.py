"""What a worker costs that has nothing to do: `python bench/queue_idle.py [SECONDS]`: milliseconds of processor per second, and MB.

A real `joulewise worker` beside an empty queue, on a file and on a private PostgreSQL; its start and ten seconds are left out.
Goals: 1 ms per second, 60 MB (resident, shared pages included). Exit code 1 where one is missed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from joulewise.ledger.store import open_store
from joulewise.testing.postgres import private_postgres


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    missed = 0
    for name in ("file", "server"):
        with tempfile.TemporaryDirectory(prefix="joulewise-idle-") as folder, _server(name, folder) as place:
            open_store(place).close()  # made before: making one needs more than using it
            per_s, resident_mb = idle(folder, place, seconds)
        missed += per_s > 1.0 or resident_mb > 60.0
        print(
            f"{name:<7} {per_s:.2f} ms of processor per second (goal 1), {resident_mb:.0f} MB resident (goal 60)"
        )
    return int(bool(missed))


def _server(name: str, folder: str) -> AbstractContextManager[str]:
    return nullcontext(f"{folder}/ledger.db") if name == "file" else private_postgres()


def idle(folder: str, place: str, seconds: float) -> tuple[float, float]:
    """Return the milliseconds of processor that a worker takes per second, and its resident megabytes."""
    environment = {**os.environ, "JOULEWISE_HOME": folder, "JOULEWISE_LEDGER": place}
    worker = subprocess.Popen([sys.executable, "-m", "joulewise", "worker", "--quiet"], env=environment)
    store = open_store(place)
    while not store.query("SELECT name FROM workers"):
        time.sleep(0.5)
    store.close()
    time.sleep(10.0)
    before_s, begun_s = _processor_s(worker.pid), time.monotonic()
    time.sleep(seconds)
    used_s, passed_s = _processor_s(worker.pid) - before_s, time.monotonic() - begun_s
    status = Path(f"/proc/{worker.pid}/status").read_text()
    resident_mb = int(status.split("VmRSS:")[1].split()[0]) / 1e3
    worker.send_signal(signal.SIGTERM)
    worker.wait()
    return 1e3 * used_s / passed_s, resident_mb


def _processor_s(pid: int) -> float:
    """Return the seconds that a process has had of a processor, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


if __name__ == "__main__":
    sys.exit(main())
