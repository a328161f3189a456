"""LitServe and `joulewise serve` with one small network, side by side: CPU seconds per 1,000 requests, and idle.

Every server holds the network of ../serve.py (random weights, real work) on one thread of ONNX Runtime, and is asked in turn
by the same client over 32 kept connections; answers are compared with the network's own before anything is counted. LitServe
runs as its documentation shows (lit_server.py), with and without batching, access log off.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
REQUESTS, WARM, IDLE_S = 1500, 200, 30


def differs(port: int, network: str) -> float:
    """Return how far a server's answer is from the network's own, at most."""
    import numpy as np
    import onnxruntime
    from serve import tensors

    asked = tensors("cnn", 7)
    right = onnxruntime.InferenceSession(network).run(None, {"x": np.asarray([asked["x"]], np.uint8)})[0]
    body = json.dumps({"inputs": {"x": [asked["x"]]}}).encode()
    with urlopen(
        Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"}), timeout=60
    ) as got:
        return float(np.abs(np.asarray(json.load(got)["outputs"]["y"]).reshape(right.shape) - right).max())


def commands(litserve: Path, network: str) -> dict[str, list[str]]:
    """Return how each server is started; the port follows."""
    ours = [sys.executable, "-m", "joulewise", "serve", network, "--zone", "DE", "--sleep", "never", "--port"]
    theirs = [str(litserve), str(HERE / "lit_server.py"), network]
    return {"joulewise": ours, "litserve, batching": [*theirs, "32"], "litserve": [*theirs, "1"]}


def main(litserve: Path, rounds: int) -> None:
    """Start the servers, ask them in turn, and print the medians."""
    import uvloop
    from serve import cpu_s, free_port, network, request, saturate, wait_for

    numbers = itertools.count(1000)

    def fresh(count: int) -> list[bytes]:
        return [request("cnn", next(numbers), plain=False) for _ in range(count)]

    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/cnn.onnx"
        network(model, pixels=True)
        environment = {**os.environ, "JOULEWISE_HOME": folder, "OMP_NUM_THREADS": "1"}
        ports, processes = {}, {}
        for name, command in commands(litserve, model).items():
            ports[name] = free_port()
            processes[name] = subprocess.Popen(
                [*command, str(ports[name])], cwd=folder, env=environment,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        try:
            seen: dict[str, list[float]] = {name: [] for name in ports}
            for name, port in ports.items():
                wait_for(port)
                ready(port)
                print(f"{name}: answers differ by {differs(port, model):.1e} at most", flush=True)
                uvloop.run(saturate(port, fresh(WARM)))
            for _round, (name, port) in itertools.product(range(rounds), ports.items()):
                asked, before_s = fresh(REQUESTS), cpu_s(processes[name].pid)
                uvloop.run(saturate(port, asked))
                seen[name].append((cpu_s(processes[name].pid) - before_s) / REQUESTS * 1000)
            time.sleep(5)
            before = {name: cpu_s(one.pid) for name, one in processes.items()}
            time.sleep(IDLE_S)
            print(f"{'server':<22}{'CPU s for 1,000':>17}{'(least to most)':>20}{'idle, CPU s in 30 s':>21}")
            for name, each in seen.items():
                idle = cpu_s(processes[name].pid) - before[name]
                print(
                    f"{name:<22}{median(each):>17.3f}{f'({min(each):.3f} to {max(each):.3f})':>20}{idle:>21.4f}"
                )
        finally:
            for process in processes.values():
                end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server and whatever it has started: LitServe's processes outlive a terminated parent."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def ready(port: int) -> None:
    """Wait until a server whose port is open also answers."""
    for _ in range(600):
        try:
            asyncio.run(_once(port))
            return
        except (OSError, RuntimeError):
            time.sleep(0.1)
    raise RuntimeError("the server does not answer")


async def _once(port: int) -> None:
    from serve import connected, request

    client = await connected(port)
    await client.ask(request("cnn", 1, plain=False))
    client.transport.close()
