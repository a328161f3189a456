"""CPU seconds of the server per 1,000 requests, `joulewise serve` with everything on beside a bare server.

A small convolutional network (random weights: the answers mean nothing, the work is real) on the loopback. Both servers
run side by side and are asked in turn, three times each; the median of each and the ratio are printed. The CPU time is
the server processes' own, from the kernel's nanosecond counters; the program that asks is not in it.
"""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
CONNECTIONS, REQUESTS, ROUNDS = 32, 2500, 3
RATE_PER_S, RATE_S = 40, 5
KEYS, EXPONENT = 1000, 1.1
IDLE_S = 20


def network(path):
    """Write 1 x 28 x 28 -> conv 32 -> conv 64 -> dense 128 -> 10."""
    draw = np.random.default_rng(1)
    shapes = {"w1": (32, 1, 3, 3), "w2": (64, 32, 3, 3), "w3": (64 * 7 * 7, 128), "w4": (128, 10)}
    weights = [
        numpy_helper.from_array(
            (draw.normal(size=s) / np.sqrt(np.prod(s[1:]) or 1)).astype(np.float32), name=k
        )
        for k, s in shapes.items()
    ]
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], **pool),
        helper.make_node("Conv", ["c", "w2"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MaxPool", ["e"], ["f"], **pool),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("MatMul", ["g", "w3"], ["h"]),
        helper.make_node("Relu", ["h"], ["i"]),
        helper.make_node("MatMul", ["i", "w4"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "cnn", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def bodies():
    """Return a function that makes the request with a number: unlike for each number."""
    pixels = np.random.default_rng(2).integers(0, 256, (28, 28)).tolist()
    text = str([[pixels]]).replace(" ", "")
    first, rest = text.split(",", 1)
    head = first[: first.rindex("[") + 1]

    def make(number):
        body = f'{{"inputs":{{"x":{head}{number},{rest}}}}}'.encode()
        return b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    return make


def cpu_s(pid):
    """Return the CPU seconds of a process's threads."""
    return (
        sum(int((t / "schedstat").read_text().split()[0]) for t in Path(f"/proc/{pid}/task").iterdir()) / 1e9
    )


async def ask(reader, writer, request):
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def saturate(port, requests):
    waiting = iter(requests)

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            await ask(reader, writer, request)
        writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


async def steady(port, requests, seed):
    """Poisson arrivals at RATE_PER_S over kept connections; returns the latencies."""
    draw = np.random.default_rng(seed)
    free = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
    took, tasks = [], []

    async def one(request):
        began = time.perf_counter()
        pair = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        await ask(*pair, request)
        took.append(time.perf_counter() - began)
        free.append(pair)

    for request in requests:
        await asyncio.sleep(draw.exponential(1 / RATE_PER_S))
        tasks.append(asyncio.create_task(one(request)))
    await asyncio.gather(*tasks)
    for _reader, writer in free:
        writer.close()
    return took


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server did not start")


def main():
    make, numbers = bodies(), itertools.count(1000)
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "cnn.onnx")
        network(model)
        ports = {"bare": free_port(), "joulewise": free_port()}
        environment = {**os.environ, "JOULEWISE_HOME": folder}
        commands = {
            "bare": [sys.executable, str(HERE / "bare_server.py"), model, str(ports["bare"])],
            "joulewise": [
                sys.executable, "-m", "joulewise", "serve", model, "--port", str(ports["joulewise"]), "--zone", "DE",
            ],
        }  # fmt: skip
        servers = {
            who: subprocess.Popen(
                c, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for who, c in commands.items()
        }
        try:
            measure(make, numbers, ports, servers)
        finally:
            for server in servers.values():
                server.terminate()
            for server in servers.values():
                server.wait(40)


def measure(make, numbers, ports, servers):
    zipf = np.arange(1, KEYS + 1) ** -EXPONENT
    seen = np.random.default_rng(3).choice(KEYS, REQUESTS, p=zipf / zipf.sum()) + 100_000_000
    loads = {
        f"saturation, {CONNECTIONS} connections": lambda port, _k: saturate(
            port, [make(next(numbers)) for _ in range(REQUESTS)]
        ),
        f"{RATE_PER_S} requests/s": lambda port, k: steady(
            port, [make(next(numbers)) for _ in range(RATE_PER_S * RATE_S)], k
        ),
        f"saturation, Zipf {EXPONENT} over {KEYS:,}": lambda port, k: saturate(
            port, [make(n + k * 1_000_000) for n in seen]
        ),
    }
    for who, port in ports.items():
        wait_for(port)
        asyncio.run(saturate(port, [make(next(numbers)) for _ in range(300)]))
        print(f"{who}: {cpu_s(servers[who].pid):.2f} CPU-s to start and answer 300 requests")
    print(f"{'CPU-s per 1,000 requests':38} {'bare':>8} {'joulewise':>10} {'ratio':>6}")
    for load, run in loads.items():
        each = {who: [] for who in ports}
        for k in range(ROUNDS):
            for who, port in ports.items():
                before = cpu_s(servers[who].pid)
                asyncio.run(run(port, k))
                count = RATE_PER_S * RATE_S if load.endswith("/s") else REQUESTS
                each[who].append((cpu_s(servers[who].pid) - before) / count * 1000)
        bare, ours = median(each["bare"]), median(each["joulewise"])
        print(f"{load:38} {bare:8.3f} {ours:10.3f} {ours / bare:6.2f}", flush=True)
    before = {who: cpu_s(s.pid) for who, s in servers.items()}
    time.sleep(IDLE_S)
    idle = {who: (cpu_s(s.pid) - before[who]) / IDLE_S * 30 for who, s in servers.items()}
    print(f"{'idle, CPU-s in 30 s':38} {idle['bare']:8.3f} {idle['joulewise']:10.3f}")


if __name__ == "__main__":
    main()
