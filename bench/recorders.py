"""Many machines at 1 Hz into one PostgreSQL ledger, through an outage: is every byte there, and once.

    python bench/recorders.py [RECORDERS] [SECONDS] [EVERY]        200 recorders for 120 s, each pushing every 10 s

A recorder here is one machine's: a host name and a folder of its own, lines as the real recorder writes them (32 columns at a
tick, 1 Hz), and its own `push` through its own connection. They live in eight processes, since 200 Pythons with a connection
each would measure this machine's memory. Half-way the server is killed with SIGKILL and stays away for ten seconds, and two of
the eight processes are killed and started again. At the end every recording is read from the ledger and compared, byte by
byte, with the file that its recorder wrote. CPU seconds are those of the
senders, with the writing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from joulewise.ledger import refreshing
from joulewise.ledger.bodies import contents
from joulewise.ledger.files import RecordingFile, boot_id, process_start, run_folder
from joulewise.ledger.index import count_runs
from joulewise.ledger.pushing import push
from joulewise.ledger.store import open_store
from joulewise.measuring.summarising import summary
from joulewise.testing.postgres import postgres_binaries, private_postgres
from joulewise.vocabulary.errors import LedgerError

PROCESSES = 8
AWAY_S = 10.0
COUNTERS = [f"counter_{n}" for n in range(18)]
GAUGES = [f"gauge_{n}" for n in range(6)]
DEVICES = [
    {"id": f"rapl:{n}", "component": "cpu", "meter": "rapl", "basis": 0, "boundary": "device", "error_low": 0.05,
     "error_high": 0.05, "source": "bench"}
    for n in range(4)
]  # fmt: skip


class Recorder:
    """One simulated machine: it writes a tick a second into its own folder, and pushes that folder."""

    def __init__(self, home: Path, number: int, seconds: int) -> None:
        self.host, self.runs, self.seconds = f"node{number:03d}", home / f"node{number:03d}", seconds
        self.store = None
        run_id = f"20260301T120000-train-{number:010x}"
        self.path = run_folder(self.runs, run_id) / f"run-{self.host}-1.jsonl"
        self.chance = random.Random(number)
        self.file: RecordingFile | None = None
        self.joules = [0.0] * len(DEVICES)
        self.tick = 0
        if (
            self.path.exists()
        ):  # its process was killed: what was written stands, as if it had been silent for long
            os.utime(self.path, (1e9, 1e9))
            return
        self.file = RecordingFile(self.path.parent, self.path.name)
        self.file.append("head", format=1, run=run_id, name="train", role="run", host=self.host, boot=boot_id(), pid=os.getpid(),
                         pid_start=process_start(os.getpid()), utc="2026-03-01T12:00:00+00:00", mono=0.0, interval_s=1.0, command=["train"])  # fmt: skip
        self.file.append("machine", machine={"host": self.host, "cpus": 8, "owned_cpus": 8.0, "memory_bytes": 1, "owned_memory_bytes": None})  # fmt: skip
        self.file.append("devices", devices=DEVICES)
        self.file.append("columns", devices=[d["id"] for d in DEVICES], counters=["work_cpu_s", "busy_cpu_s", *COUNTERS], gauges=GAUGES)  # fmt: skip

    def write(self) -> None:
        """Write the next tick, and the end after the last."""
        if self.file is None:
            return
        self.joules = [j + self.chance.uniform(20, 90) for j in self.joules]
        counters = [self.tick * 0.9, self.tick * 1.2, *(round(self.chance.uniform(0, 1e6), 4) for _ in COUNTERS)]  # fmt: skip
        self.file.append("tick", t=float(self.tick), j=[round(j, 4) for j in self.joules], r=[int(j * 1e6) for j in self.joules],
                         c=counters, g=[round(self.chance.uniform(0, 1e9)) for _ in GAUGES])  # fmt: skip
        self.tick += 1
        if self.tick == self.seconds:
            self.file.append("end", state="finished", t=float(self.tick), exit_code=0)
            self.file.close()
            self.file = None

    def push(self, url: str) -> tuple[int, int]:
        """Send what waits; return bytes sent and whether the server was away."""
        refreshing.os.uname = lambda: os.uname_result(
            ("Linux", self.host, "6", "1", "x86_64")
        )  # this machine's name
        try:
            self.store = self.store or open_store(url, wait_s=10.0)
            return push(self.store, self.runs, summary).sent_bytes, 0
        except LedgerError:
            if self.store is not None:
                self.store.close()
            self.store = None
            return 0, 1


def write_all(machines: list[Recorder], start: float, late: list[float]) -> None:
    """Write a tick of every machine each second; `late` tells by how much the latest was."""
    next_tick = start
    while any(m.file for m in machines):
        time.sleep(max(0.0, next_tick - time.time()))
        late[0] = max(late[0], time.time() - next_tick)
        for machine in machines:
            machine.write()
        next_tick += 1.0


def work(url: str, home: Path, first: int, count: int, seconds: int, every: float, start: float) -> None:
    """Be `count` machines: write at 1 Hz, push each every so often, spread over that time; then until all is sent."""
    machines = [Recorder(home, first + n, seconds) for n in range(count)]
    late: list[float] = [0.0]
    writer = threading.Thread(target=write_all, args=(machines, start, late))
    writer.start()
    due = [start + every * n / count for n in range(count)]
    away = 0
    while writer.is_alive():
        for n, machine in enumerate(machines):
            if time.time() >= due[n]:
                away += machine.push(url)[1]
                due[n] = time.time() + every
        time.sleep(0.02)
    waiting = machines
    while waiting:
        waiting = [m for m in waiting if m.push(url)[1]]
        time.sleep(0.5 if waiting else 0.0)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{used.ru_utime + used.ru_stime:.3f} {away} {late[0]:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("recorders", nargs="?", type=int, default=200)
    parser.add_argument("seconds", nargs="?", type=int, default=120)
    parser.add_argument("every", nargs="?", type=float, default=10.0)
    asked = parser.parse_args()
    with private_postgres() as url, tempfile.TemporaryDirectory() as folder:
        run(url, Path(folder), asked.recorders, asked.seconds, asked.every)


def run(url: str, home: Path, recorders: int, seconds: int, every: float) -> None:
    store = open_store(url)
    (data,) = store.query("SELECT current_setting('data_directory') AS place")
    store.close()
    share = [len(range(n, recorders, PROCESSES)) for n in range(PROCESSES)]
    begins = [sum(share[:n]) for n in range(PROCESSES)]
    start = time.time() + 8
    commands = [
        [
            sys.executable,
            __file__,
            "--work",
            url,
            f"{home}",
            f"{b}",
            f"{c}",
            f"{seconds}",
            f"{every}",
            f"{start}",
        ]
        for b, c in zip(begins, share, strict=True)
    ]
    senders = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True) for c in commands]
    time.sleep(max(0.0, start + seconds / 2 - time.time()))
    crash(data["place"])
    for n in (0, 1):
        senders[n].kill()
        senders[n].wait()
        senders[n] = subprocess.Popen(commands[n], stdout=subprocess.PIPE, text=True)
    time.sleep(AWAY_S)
    server = restart(data["place"], url)
    told = [sender.communicate()[0].split() for sender in senders]
    report(url, home, recorders, seconds, every, told)
    server.terminate()
    server.wait()


def crash(place: str) -> None:
    """Kill the server and all its processes, as a power cut would."""
    postmaster = int((Path(place) / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)
    os.waitpid(postmaster, 0)  # a zombie would look alive to its successor


def restart(place: str, url: str) -> subprocess.Popen[bytes]:
    """Start the server on its data again: it recovers."""
    binaries, data = postgres_binaries(), Path(place)
    port = url.rsplit(":", 1)[1].partition("/")[0]
    account = {"user": data.stat().st_uid, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [f"{binaries}/postgres", "-D", place, "-p", port, "-k", f"{data.parent}", "-c", "listen_addresses=127.0.0.1"]  # fmt: skip
    for _ in range(100):  # until the last of the killed server's processes has gone
        server = subprocess.Popen([*command, "-c", "max_connections=300"], stderr=subprocess.DEVNULL, cwd="/", **account)  # type: ignore[call-overload]  # fmt: skip
        time.sleep(1.0)
        if server.poll() is None:
            return server
    raise RuntimeError("PostgreSQL did not start again")


def report(url: str, home: Path, recorders: int, seconds: int, every: float, told: list[list[str]]) -> None:
    store = open_store(url)
    lost = doubled = ticks = written = 0
    for path in home.glob("*/*/*/*.jsonl"):
        text = path.read_bytes()
        written += len(text)
        ticks += text.count(b'"k":"tick"')
        kept = contents(store, path.parent.name).get(path.name, b"")
        if kept != text:
            lost += len(kept) < len(text) or hashlib.sha256(kept).digest() != hashlib.sha256(text).digest()
            doubled += len(kept) > len(text)
    rows = store.query("SELECT COUNT(*) AS n, SUM(kept_bytes) AS kept, SUM(parts) AS parts FROM bodies")[0]
    (size,) = store.query("SELECT pg_database_size(current_database()) AS bytes")
    left = store.query("SELECT COUNT(*) AS n FROM unsent")[0]["n"]
    cpu_s = sum(float(t[0]) for t in told if t)
    print(f"{recorders} recorders at 1 Hz for {seconds} s, each pushing every {every:g} s")
    print(
        f"recordings in the ledger      {count_runs(store)} of {recorders}, bodies {rows['n']}, unsent {left}"
    )
    print(f"ticks written                 {ticks} ({written / 1e6:.1f} MB)")
    print(f"recordings that differ        {lost} (lost or changed), {doubled} with more than was written")
    print(f"kept, compressed              {int(rows['kept']) / 1e6:.2f} MB in {rows['parts']} parts: {int(rows['kept']) / max(1, ticks):.0f} B a tick; database {size['bytes'] / 1e6:.1f} MB")  # fmt: skip
    print(f"pushes that met no server     {sum(int(t[1]) for t in told if t)}; a tick was late by at most {max(float(t[2]) for t in told if t):.2f} s")  # fmt: skip
    print(f"CPU of the senders            {cpu_s:.1f} s, with the writing: {1000 * cpu_s / max(1, ticks):.2f} ms a tick; the killed two counted since their restart")  # fmt: skip
    store.close()
    sys.exit(1 if lost or doubled or left else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        url, home, *numbers = sys.argv[2:]
        work(url, Path(home), int(numbers[0]), int(numbers[1]), int(numbers[2]), float(numbers[3]), float(numbers[4]))  # fmt: skip
    else:
        main()
