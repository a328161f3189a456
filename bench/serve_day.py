"""A compressed day with a night at zero: CPU seconds of whole servers, `joulewise serve` beside others, in one run.

    serve_day.py NAME=COMMAND...     each a server that takes {"x": [784 integers]} at /predict on the port $BENCH_PORT

24 hours in so many seconds: nobody until 6, a curve with its peak at 15 h, keys by Zipf 1.1. All servers run at once and have the same
day; ours (`serve` with its cache, asleep if it comes to that) takes the same images as bytes.
"""

import asyncio
import math
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time

import serve as bench
import uvloop

DAY_S, PEAK_PER_S, KEYS = 36, 80, 1000


def day(seed=1):
    """Return (second, key) of a day's requests."""
    draw, now, asked = random.Random(seed), 0.0, []
    weights = [1 / (k + 1) ** bench.EXPONENT for k in range(KEYS)]
    while True:
        now += draw.expovariate(PEAK_PER_S)
        if now >= DAY_S:
            return asked
        hour = 24 * now / DAY_S
        share = 0 if hour < 6 else math.sin(math.pi * (hour - 6) / 18) ** 2
        if draw.random() < share:
            asked.append((now, draw.choices(range(KEYS), weights)[0]))


async def live(port, asked, requests):
    free, tasks, began = [], [], time.perf_counter()
    late = []

    async def one(key, due):
        while free and free[-1].closed:
            free.pop()
        client = free.pop() if free else await bench.connected(port)
        await client.ask(requests[key])
        late.append(time.perf_counter() - due)
        free.append(client)

    for at, key in asked:
        await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
        tasks.append(asyncio.create_task(one(key, began + at)))
    await asyncio.gather(*tasks)
    for client in free:
        client.transport.close()
    return sorted(late)


async def all_days(ports, plain):
    asked = day()
    made = {name: {k: bench.request("cnn", k, plain[name]) for k in range(KEYS)} for name in ports}
    return await asyncio.gather(*(live(port, asked, made[name]) for name, port in ports.items()))


def main():
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = f"{folder}/cnn.onnx", f"{folder}/images.onnx"
        bench.network(ours, pixels=True)
        bench.network(theirs, pixels=False)
        commands = {"joulewise": [sys.executable, "-m", "joulewise", "serve", ours, "--zone", "DE", "--port"]}
        for told in sys.argv[1:]:
            name, _, command = told.partition("=")
            commands[name] = shlex.split(command)
        ports, processes = {}, {}
        for name, command in commands.items():
            ports[name] = bench.free_port()
            environment = {
                **os.environ, "JOULEWISE_HOME": folder, "BENCH_MODEL": theirs, "BENCH_KIND": "cnn", "BENCH_PORT": str(ports[name]),
            }  # fmt: skip
            last = [str(ports[name])] if name == "joulewise" else []
            processes[name] = subprocess.Popen(
                [*command, *last], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        try:
            for name, port in ports.items():
                bench.wait_for(port)
                uvloop.run(bench.saturate(port, [bench.request("cnn", 10**6, name != "joulewise")] * 50))
            before = {name: bench.cpu_s(process.pid) for name, process in processes.items()}
            late = uvloop.run(all_days(ports, {name: name != "joulewise" for name in ports}))
            print(f"{len(late[0])} requests in a day of {DAY_S} s with a night of {DAY_S // 4} s")
            used = {name: bench.cpu_s(process.pid) - before[name] for name, process in processes.items()}
            best = min((used[name] for name in used if name != "joulewise"), default=0.0)
            for (name, seconds), times in zip(used.items(), late, strict=True):
                told = f"{name:12} {seconds:7.3f} CPU-s, p50 {1e3 * times[len(times) // 2]:.1f} ms"
                print(
                    told
                    + (f", {seconds / best:.2f} of the best other" if name == "joulewise" and best else "")
                )
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.wait(40)


if __name__ == "__main__":
    main()
