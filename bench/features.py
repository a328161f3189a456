"""What features cost: the table of issue 9, measured here, side by side with the bare thing in the same process.

    python bench/features.py            # all parts: some minutes on two cores
    python bench/features.py read cache # these parts only
    python bench/features.py --kills 10 # fewer kills

CPU seconds are user and system, of this process and, for Redis, of the server. "bare" is what the same work costs with
nothing of ours around it: a row by key from SQLite into numpy, an HMGET. Parts whose tools are missing say so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np

from joulewise.features.cache import cached, entries
from joulewise.features.materialising import materialise
from joulewise.features.online import open_online
from joulewise.features.reading import Reader
from joulewise.features.views import declared
from joulewise.serving.features import FedModel
from joulewise.serving.tensors import Spec
from joulewise.testing.redis import private_redis, redis_binary
from joulewise.vocabulary.errors import UsageError

NOW = datetime(2026, 11, 24, tzinfo=UTC)
WINDOWS = """
SELECT ent, $now AS ts, count(*) FILTER (e.ts >= $now - INTERVAL 7 DAYS)::DOUBLE AS n7,
    coalesce(sum(amt) FILTER (e.ts >= $now - INTERVAL 7 DAYS), 0) AS s7, coalesce(avg(amt) FILTER (e.ts >= $now - INTERVAL 7 DAYS), 0) AS m7,
    count(e.ts)::DOUBLE AS n30, coalesce(sum(amt), 0) AS s30, coalesce(max(amt), 0) AS mx30,
    any_value(age)::DOUBLE AS age, any_value(seg)::DOUBLE AS seg, any_value(score) AS score, any_value(tenure)::DOUBLE AS tenure
FROM pr LEFT JOIN (SELECT ent, ts, amt FROM ev WHERE ts >= $now - INTERVAL 30 DAYS) e USING (ent) GROUP BY ent"""
ROLLING = """
SELECT ent, ts, count(*) OVER w AS n, sum(amt) OVER w AS s, max(amt) OVER w AS m, avg(amt) OVER w AS a FROM ev
WINDOW w AS (PARTITION BY ent ORDER BY ts RANGE BETWEEN INTERVAL 30 DAYS PRECEDING AND CURRENT ROW)"""
TABLE: list[tuple[str, str, str, str]] = []
BUILDER = """
import sys, time, random
import numpy as np
from joulewise.features.cache import cached
def recipe(x):
    time.sleep(0.0002)
    return np.sqrt(x) + 1
data = np.arange(3000, dtype="float64").reshape(1000, 3)
print("begun", flush=True)
found = cached(data, recipe, folder=sys.argv[1])
wrong = sum(not np.array_equal(found[n], np.sqrt(data[n]) + 1) for n in range(1000))
print(wrong, found.hit, found.why_not, flush=True)
"""


def say(what: str, value: str, goal: str, holds: bool | None) -> None:
    """Print a line of the table and keep it."""
    TABLE.append((what, value, goal, "" if holds is None else "yes" if holds else "NO"))
    print(f"{what:<62} {value:<44} {goal:<22} {TABLE[-1][3]}", flush=True)


def cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


class Fed:
    """A model that takes ten numbers and gives nothing: what is left is reading its features."""

    name, version, batches, repeats, waits = "fed", "1", True, True, False
    inputs, outputs = (Spec("x", "FP32", (None, 10)),), ()

    def run(self, tensors):
        """Give nothing."""
        return tensors[:0]


def served(online, keys: list[int]) -> None:
    """Measure what a server pays for features: from the keys of a batch to the model's tensor, with ages and counts."""
    fed = FedModel(Fed(), {"x": ["user"]}, online)
    spent = []
    for rows in (1, 32):
        batches = [[np.array(keys[k : k + rows])] for k in range(0, 16_000, rows)]
        spent.append(min(cpu_s(lambda b=batches: [fed.run(one) for one in b]) for _ in range(5)) / 16)
    fed.feed.close()
    say(
        "a served model's features, alone; in batches of 32",
        f"{spent[0]:.4f}; {spent[1]:.4f} CPU-s per 1,000 entities",
        "",
        None,
    )


def write_events(folder: Path, entities: int, events: int, name: str = "ev", days: int = 60) -> str:
    path = folder / f"{name}.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SELECT setseed(0.5)")
        connection.execute(
            f"COPY (SELECT (random() * {entities})::INT % {entities} AS ent, TIMESTAMPTZ '2026-11-24' - to_microseconds((random() * {days} * 86400e6)::BIGINT) AS ts, "
            f"round(random() * 40, 2) AS amt FROM range({events}) ORDER BY ts) TO '{path}' (FORMAT parquet)"
        )
    return str(path)


def read(folder: Path) -> None:
    """Read online, and materialise 20,000 x 10: data of ../shared/bench/serve/features.py, in one view."""
    source = {"ev": write_events(folder, 20_000, 500_000), "pr": str(folder / "pr.parquet")}
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT i::INT AS ent, (random() * 70)::INT AS age, (random() * 8)::INT AS seg, random() AS score, (random() * 4000)::INT AS tenure "
            f"FROM range(20000) t(i)) TO '{source['pr']}' (FORMAT parquet)"
        )
    view = declared(name="user", keys="ent", event_time="ts", ttl="2d", sql=WINDOWS, sources=source)
    online = open_online(str(folder / "online.db"))
    materialise([view], online)  # imports
    spent = min(cpu_s(lambda: materialise([view], online, full=True)) for _ in range(5))
    say("20,000 x 10 materialised into SQLite", f"{spent:.3f} CPU-s", "<= 0.2 CPU-s", spent <= 0.2)
    keys = [int(k) for k in np.random.default_rng(1).integers(0, 20_000, 40_000)]
    bare = sqlite3.connect(online.where)
    bare.execute("PRAGMA mmap_size = 268435456")
    reader, into = Reader(online, [view], name="bench"), np.empty(10, "float32")
    get = bare.execute

    def one_bare() -> None:
        for key in keys:
            np.frombuffer(
                get("SELECT row FROM joulewise_view_user WHERE key = ?", (key,)).fetchone()[0], "f8", 10, 24
            )

    def one_ours() -> None:
        for key in keys:
            reader.read(key, into)

    pairs = [(cpu_s(one_ours) / 40, cpu_s(one_bare) / 40) for _ in range(5)]
    ours, alone = min(p[0] for p in pairs), min(p[1] for p in pairs)
    say(
        "online read, one entity, 10 features (SQLite)",
        f"{ours:.4f} CPU-s per 1,000 (bare row {alone:.4f})",
        "<= 0.01",
        ours <= 0.01,
    )
    reader.close()
    bare.close()
    served(online, keys)
    online.close()
    redis_part(view)


def redis_part(view) -> None:
    """50 rows in one call: CPU of the client and of the server, beside a bare HMGET of the same rows."""
    if redis_binary() is None:
        say("Redis, 50 rows in one call", "no redis-server here", "<= 0.35", None)
        return
    import redis

    with private_redis() as url:
        online = open_online(url)
        spent = cpu_s(lambda: materialise([view], online))
        client = redis.Redis.from_url(url)
        reader = Reader(online, [view], name="bench")
        into = np.empty((50, 10), "float32")
        chosen = [[int(k) for k in np.random.default_rng(n).integers(0, 20_000, 50)] for n in range(200)]

        def server_s() -> float:
            used = client.info("cpu")
            return used["used_cpu_user"] + used["used_cpu_sys"]

        def both(call: Callable[[list[int]], object]) -> tuple[float, float]:
            before, began = server_s(), time.process_time()
            for n in range(2000):
                call(chosen[n % 200])
            return (time.process_time() - began) / 2, (server_s() - before) / 2

        name = "joulewise:features:rows:user"
        ours, bare = [], []
        for _ in range(3):
            ours.append(both(lambda keys: reader.batch(keys, into)))
            bare.append(both(lambda keys: client.hmget(name, keys)))
        best, alone = min(ours, key=sum), min(bare, key=sum)
        say(
            "Redis, 50 rows in one call, client + server",
            f"{sum(best):.3f} CPU-s per 1,000 calls ({best[0]:.3f} + {best[1]:.3f}; bare {sum(alone):.3f})",
            "<= 0.35",
            sum(best) <= 0.35,
        )
        say("20,000 x 10 materialised into Redis", f"{spent:.3f} CPU-s (client)", "", None)
        reader.close()
        online.close()
        client.close()


def incremental(folder: Path) -> None:
    """1 % of the entities changed: full cost against incremental, and the store the same as computed at once."""
    source = write_events(folder, 100_000, 5_000_000, "ev-old", 50)
    view = declared(
        name="rolling",
        keys="ent",
        event_time="ts",
        ttl="60d",
        sql=ROLLING,
        sources={"ev": str(folder / "ev-*.parquet")},
        incremental="entities",
    )
    online = open_online(str(folder / "incremental.db"))
    assert source
    full = cpu_s(lambda: materialise([view], online))
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT (i * 100)::INT AS ent, now() - INTERVAL 1 HOUR + to_seconds(i % 60) AS ts, 5.0 AS amt FROM range(1000) t(i)) TO '{folder}/ev-new.parquet' (FORMAT parquet)"
        )
    part = cpu_s(lambda: materialise([view], online))
    other = open_online(str(folder / "whole.db"))
    materialise([view], other)
    keys = list(range(0, 100_000, 7))
    same = np.allclose(
        Reader(online, [view]).batch(keys)[0], Reader(other, [view]).batch(keys)[0], rtol=1e-6, equal_nan=True
    )
    say(
        "incremental, 1 % of 100,000 entities changed, 5 M events",
        f"{part / full:.1%} of the full cost ({part:.2f} of {full:.2f} CPU-s), same rows: {same}",
        "<= 5 %",
        part / full <= 0.05 and same,
    )
    online.close()
    other.close()


PIT = """
import json, resource, sys, time
from joulewise.features.training_sets import training_set
from joulewise.features.views import declared
folder = sys.argv[1]
view = declared(name="state", keys="ent", event_time="ts", ttl="5d", sql="SELECT ent, ts, amt, n FROM ev", sources={"ev": f"{folder}/states.parquet"})
wall, cpu = time.perf_counter(), time.process_time()
training_set(f"{folder}/labels.parquet", [view], at="at", into=f"{folder}/set.parquet")
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


def point_in_time(folder: Path) -> None:
    """1 M labels x 10 M events: in a process of its own, checked by brute force on a sample."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SELECT setseed(0.1)")
        for name, count, columns in (
            ("states", 10_000_000, "ts, random() AS amt, i::INT AS n"),
            ("labels", 1_000_000, "at, i::INT AS y"),
        ):
            when = columns.partition(",")[0]
            rest = columns.partition(",")[2]
            connection.execute(
                f"COPY (SELECT (random() * 100000)::INT AS ent, TIMESTAMPTZ '2026-11-24' - to_seconds((random() * 60 * 86400)::BIGINT) AS {when}, {rest} "
                f"FROM range({count}) t(i)) TO '{folder}/{name}.parquet' (FORMAT parquet)"
            )
    done = subprocess.run(
        [sys.executable, "-c", PIT, str(folder)], capture_output=True, text=True, check=True
    )
    wall_s, spent, peak = json.loads(done.stdout)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        states = connection.execute(
            f"SELECT ent, epoch_us(ts) AS us, amt, n FROM '{folder}/states.parquet'"
        ).fetchnumpy()
        labels = connection.execute(
            f'SELECT ent, epoch_us("at") AS us, y, "state.amt" AS amt, "state.n" AS n FROM \'{folder}/set.parquet\''
        ).fetchnumpy()
    order = np.argsort(states["ent"], kind="stable")
    ent = states["ent"][order]
    wrong = 0
    for row in np.random.default_rng(0).integers(0, 1_000_000, 2000):
        first, last = (
            np.searchsorted(ent, labels["ent"][row]),
            np.searchsorted(ent, labels["ent"][row], "right"),
        )
        mine = order[first:last]
        known = [
            (int(states["us"][i]), float(states["amt"][i]), int(states["n"][i]))
            for i in mine
            if states["us"][i] <= labels["us"][row]
        ]
        newest = max(known, default=None)
        if newest is not None and labels["us"][row] - newest[0] > 5 * 86_400e6:
            newest = None
        given = (
            None
            if np.ma.getmaskarray(labels["n"])[row]
            else (float(labels["amt"][row]), int(labels["n"][row]))
        )
        wrong += given != (newest and newest[1:])
    in_order = bool((labels["y"] == np.arange(1_000_000)).all())
    say(
        "point-in-time join, 1 M labels x 10 M events",
        f"{wall_s:.1f} s ({spent:.1f} CPU-s), {peak / 1e9:.2f} GB, {wrong} of 2,000 wrong, in order: {in_order}",
        "exact; < 60 s; < 2 GB",
        wall_s < 60 and peak < 2e9 and not wrong and in_order,
    )


class Images:
    """20,000 pictures of 28 x 28, each prepared as a per-item pipeline does: scaled up, normalised, smoothed."""

    def __init__(self) -> None:
        self.rows = np.random.default_rng(0).integers(0, 256, (20_000, 28, 28), dtype="uint8")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.rows[number]


def prepare(picture: np.ndarray) -> np.ndarray:
    """Return a picture of 56 x 56: repeated, smoothed in both directions, normalised."""
    large = picture.repeat(2, 0).repeat(2, 1).astype("float32") / 255
    for _ in range(2):
        padded = np.pad(large, 1, mode="edge")
        large = (
            padded[:-2, 1:-1]
            + padded[2:, 1:-1]
            + padded[1:-1, :-2]
            + padded[1:-1, 2:]
            + 4 * padded[1:-1, 1:-1]
        ) / 8
    return (large - large.mean()) / (large.std() + 1e-6)


def cache(folder: Path) -> None:
    """Compare the preparation of an epoch with per-item transforms, against the second epoch and the second experiment."""
    data, count = Images(), 20_000

    def epoch(items) -> None:
        for number in range(count):
            items(number)

    def second_experiment() -> None:
        epoch(cached(Images(), prepare, folder=folder / "cache").__getitem__)

    plain = min(cpu_s(lambda: epoch(lambda n: prepare(data[n]))) for _ in range(3))
    first = cpu_s(lambda: epoch(cached(data, prepare, folder=folder / "cache").__getitem__))
    kept = cached(data, prepare, folder=folder / "cache")
    again = min(cpu_s(lambda: epoch(kept.__getitem__)) for _ in range(3))
    other = min(cpu_s(second_experiment) for _ in range(3))
    batched = cpu_s(lambda: [kept.arrays[0][n : n + 128].copy() for n in range(0, count, 128)])
    say(
        "cached second epoch against per-item transforms",
        f"{plain / again:.0f}x less ({again:.2f} against {plain:.2f} CPU-s)",
        ">= 10x",
        plain / again >= 10,
    )
    say(
        "cached second experiment (fingerprint and check included)",
        f"{plain / other:.0f}x less ({other:.2f} CPU-s)",
        ">= 10x",
        plain / other >= 10,
    )
    say(
        "the first experiment, which builds it",
        f"{first / plain:.2f}x ({first:.2f} CPU-s); in batches of the mapped array {batched:.3f}",
        "",
        None,
    )


def crash(folder: Path, kills: int) -> None:
    """Kill a builder in the middle, with another beside it; fill the disk; change the source. Count wrong rows."""
    home, chance = folder / "crash", np.random.default_rng(0)
    wrong = built = hit = tries = torn = 0

    def start(**options) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            **options,
        )

    while hit < kills:
        tries += 1
        victim = start()
        second = start() if tries % 5 == 0 else None
        victim.stdout.readline()
        time.sleep(float(chance.uniform(0, 0.3)))
        alive = victim.poll() is None
        os.kill(victim.pid, signal.SIGKILL)
        hit += alive and not entries(home)  # nothing was finished: it died in the middle
        victim.communicate()
        if second is not None:
            said = second.communicate()[0].split("\n")[1].split()
            wrong += int(said[0])
            built += 1
        torn += sum(1 for e in entries(home) if e.items != 1000)
        for entry in entries(home):  # finished before its kill: begin anew
            with suppress(OSError):
                (home / entry.name / "meta.json").unlink()
    said = start().communicate()[0].split("\n")[1].split()
    wrong += int(said[0])
    left = len(list(home.glob(".building*")))
    say(
        f"cache: {hit} kills in the middle (of {tries}), {built} with a second writer",
        f"{wrong} wrong rows, {torn} torn entries, {left} leftovers",
        "none",
        wrong + torn + left == 0,
    )
    for path in home.glob("[0-9a-f]*/meta.json"):
        path.unlink()
    full = start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))).communicate()[0]
    after = start().communicate()[0]
    fine = full.split("\n")[1].startswith("0 False cannot write") and after.split("\n")[1].split()[:2] == [
        "0",
        "False",
    ]
    say(
        "cache: disk full, then room again",
        "computed on the fly, then cached" if fine else f"{full} {after}",
        "no wrong row",
        fine,
    )
    data = np.ones((500, 3))
    changed = 0
    for number in range(50):
        data[number % 500, 0] += 1
        found = cached(data, np.sqrt, folder=folder / "changing")
        changed += sum(not np.array_equal(found[n], np.sqrt(data[n])) for n in range(500))
    say("cache: source changed 50 times under it", f"{changed} wrong rows of 25,000", "none", changed == 0)
    try:
        cached(data, lambda x: x + np.random.rand(), folder=folder / "changing")  # noqa: NPY002
        say("cache: random recipe", "cached", "refused", False)
    except UsageError:
        say("cache: random recipe", "refused", "refused", True)


def same_model(folder: Path) -> None:
    """Train a small network on prepared pictures with and without the cache, and compare its weights byte for byte."""
    rows = Images().rows[:1000]

    def train(items) -> bytes:
        chance = np.random.default_rng(0)
        first, second = chance.normal(0, 0.05, (3136, 32)), chance.normal(0, 0.05, (32, 10))
        for _ in range(3):
            for batch in np.split(chance.permutation(1000), 20):
                x = np.stack([items(n) for n in batch]).reshape(len(batch), -1)
                y = np.eye(10)[batch % 10]
                hidden = np.maximum(x @ first, 0)
                error = hidden @ second - y
                first -= 1e-4 * x.T @ ((error @ second.T) * (hidden > 0))
                second -= 1e-4 * hidden.T @ error
        return first.tobytes() + second.tobytes()

    without = train(lambda n: prepare(rows[n]))
    runs = [train(cached(rows, prepare, folder=folder / "model").__getitem__) == without for _ in range(2)]
    say(
        "model trained with the cache (built, then found) against without",
        f"equal bit for bit: {all(runs)}",
        "yes",
        all(runs),
    )


def parts(kills: int) -> Iterator[tuple[str, Callable[[Path], None]]]:
    yield "read", read
    yield "cache", cache
    yield "incremental", incremental
    yield "model", same_model
    yield "point-in-time", point_in_time
    yield "crash", lambda folder: crash(folder, kills)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", help="read, cache, incremental, model, point-in-time, crash; default: all"
    )
    parser.add_argument("--kills", type=int, default=100)
    chosen = parser.parse_args()
    print(f"{'figure':<62} {'seen':<44} {'goal':<22} holds")
    for name, part in parts(chosen.kills):
        if not chosen.parts or name in chosen.parts:
            with tempfile.TemporaryDirectory(prefix="joulewise-bench-") as folder:
                part(Path(folder))
    return 1 if any(holds == "NO" for *_, holds in TABLE) else 0


if __name__ == "__main__":
    raise SystemExit(main())
