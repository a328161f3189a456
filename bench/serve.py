"""CPU seconds of the server per 1,000 requests, `joulewise serve` with everything on beside a bare server, in one run.

    serve.py [--beside SRV_LEAN.PY] [--minilm MINILM.ONNX] [--rounds N] [--kinds cnn,minilm]

A small convolutional network (random weights: the answers mean nothing, the work is real), and with --minilm a sentence encoder
that takes `input_ids` and `attention_mask`. Beside: `bare_server.py`, or with --beside the reference's srv_lean.py (BENCH_BATCH=32). The
servers run side by side and are asked in turn; the median of each is printed, and the median and the quartiles of the rounds' ratios: what else
the machine does falls on turns next to each other alike. `unrecorded` is our server
with a recorder that does nothing, for the ledger's own cost. CPU time is the server processes' own, from the kernel's nanosecond counters; the
program that asks is not in it; the parent that holds our connections is.
"""

import argparse
import asyncio
import itertools
import json
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
import uvloop
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
CONNECTIONS = 32
KEYS, EXPONENT = 1000, 1.1
IDLE_S = 30
KINDS = {"cnn": {"requests": 2500, "rate_per_s": 40}, "minilm": {"requests": 400, "rate_per_s": 12}}
RATE_S = 6


def network(path, *, pixels):
    """Write 1 x 28 x 28 -> conv 32 -> conv 64 -> dense 128 -> 10; with `pixels` it takes 784 bytes and scales them itself."""
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
        helper.make_node("Conv", ["image", "w1"], ["a"], pads=[1, 1, 1, 1]),
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
    if pixels:
        weights += [
            numpy_helper.from_array(np.float32(1 / 255), "scale"),
            numpy_helper.from_array(np.array([-1, 1, 28, 28]), "square"),
        ]
        nodes = [
            helper.make_node("Cast", ["x"], ["x1"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x1", "scale"], ["x2"]),
            helper.make_node("Reshape", ["x2", "square"], ["image"]),
            *nodes,
        ]
        x = helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 784])
    else:
        nodes[0].input[0] = "x"
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "cnn", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def tensors(kind, number):
    """Return the inputs of the request with a number: unlike for each number."""
    draw = np.random.default_rng(number)
    if kind == "cnn":
        return {"x": draw.integers(0, 256, 784).tolist()}
    words = int(draw.integers(6, 20))
    ids = [101, *draw.integers(1000, 20_000, words).tolist(), 102]
    return {
        "input_ids": ids + [0] * (32 - len(ids)),
        "attention_mask": [1] * len(ids) + [0] * (32 - len(ids)),
    }


def request(kind, number, plain):
    """Return the bytes of a request: flat fields as srv_lean.py takes them, or ours."""
    told = tensors(kind, number)
    body = told if plain else {"inputs": {name: [values] for name, values in told.items()}}
    text = json.dumps(body, separators=(",", ":")).encode()
    return (
        b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nx-deadline-ms: 60000\r\ncontent-length: %d\r\n\r\n"
        % len(text)
        + text
    )


def cpu_s(pid):
    """Return the CPU seconds of a process's threads, and of its children's."""
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    children = [int(child) for t in threads for child in (t / "children").read_text().split()]
    return sum(int((t / "schedstat").read_text().split()[0]) for t in threads) / 1e9 + sum(
        map(cpu_s, children)
    )


class Client(asyncio.Protocol):
    """A kept connection that asks one request after the other."""

    def __init__(self):
        self.got, self.answered, self.closed = b"", None, False

    def connection_made(self, transport):
        """Keep the way to the server."""
        self.transport = transport

    def connection_lost(self, _error):
        """Tell who waits that no answer will come."""
        self.closed = True
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data):
        """Take in a part of an answer; what is no 200 is an error."""
        self.got += data
        end = self.got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.got[:end].lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self.got) < end + 4 + length:
            return
        if not head.startswith(b"http/1.1 200"):
            self.answered.set_exception(RuntimeError(self.got.decode()))
        else:
            self.answered.set_result(None)
        self.got = b""

    def ask(self, asked):
        """Send a request and return the future of its answer."""
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(asked)
        return self.answered


async def connected(port):
    return (await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port))[1]


async def saturate(port, requests):
    waiting = iter(requests)

    async def one():
        client = await connected(port)
        for asked in waiting:
            await client.ask(asked)
        client.transport.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


async def steady(port, requests, rate_per_s, seed):
    """Ask at Poisson arrivals over kept connections."""
    draw = np.random.default_rng(seed)
    free, tasks = [], []

    async def one(asked):
        while free and free[-1].closed:
            free.pop()
        client = free.pop() if free else await connected(port)
        await client.ask(asked)
        free.append(client)

    for asked in requests:
        await asyncio.sleep(draw.exponential(1 / rate_per_s))
        tasks.append(asyncio.create_task(one(asked)))
    await asyncio.gather(*tasks)
    for client in free:
        client.transport.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server did not start")


def servers(kind, folder, options):
    """Yield (name, command, environment, whether it takes plain bodies) of the servers for a kind of model."""
    if kind == "cnn":
        ours, theirs = os.path.join(folder, "cnn.onnx"), os.path.join(folder, "images.onnx")
        network(ours, pixels=True)
        network(theirs, pixels=False)
    else:
        ours = theirs = str(Path(options.minilm).absolute())
    if options.beside or kind != "cnn":
        bare = [sys.executable, str(Path(options.beside).absolute())]
        told = {"BENCH_MODEL": theirs, "BENCH_KIND": kind, "BENCH_BATCH": "32", "OMP_NUM_THREADS": "1"}
        yield "bare", bare, told, True
    else:
        yield "bare", [sys.executable, str(HERE / "bare_server.py"), ours], {}, False
    serve = ["serve", ours, "--zone", "DE", "--sleep", "never", "--port"]
    yield "joulewise", [sys.executable, "-m", "joulewise", *serve], {}, False
    yield "unrecorded", [sys.executable, str(HERE / "unrecorded_server.py"), *serve], {}, False


def main():
    reader = argparse.ArgumentParser()
    reader.add_argument("--beside", default="")
    reader.add_argument("--minilm", default="")
    reader.add_argument("--rounds", type=int, default=5)
    reader.add_argument(
        "--kinds", default="", help="cnn, minilm or both; without it, whatever there is a model for"
    )
    options = reader.parse_args()
    if options.minilm and not options.beside:
        reader.error("--minilm needs --beside: the bare server here knows the small network only")
    for kind in options.kinds.split(",") if options.kinds else KINDS if options.minilm else ["cnn"]:
        with tempfile.TemporaryDirectory() as folder:
            run(kind, folder, options)


def run(kind, folder, options):
    ports, processes, plain = {}, {}, {}
    for name, command, told, is_plain in servers(kind, folder, options):
        ports[name], plain[name] = free_port(), is_plain
        environment = {**os.environ, "JOULEWISE_HOME": folder, "BENCH_PORT": str(ports[name]), **told}
        processes[name] = subprocess.Popen(
            [*command, str(ports[name])],
            env=environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        measure(kind, ports, processes, plain, options.rounds)
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(40)


def quartiles(values):
    """Return the lower quartile, the median and the upper quartile."""
    kept = sorted(values)
    return [kept[round(share * (len(kept) - 1))] for share in (0.25, 0.5, 0.75)]


def measure(kind, ports, processes, plain, rounds):
    size, rate_per_s = KINDS[kind]["requests"], KINDS[kind]["rate_per_s"]
    numbers = itertools.count(1000)
    zipf = np.arange(1, KEYS + 1) ** -EXPONENT
    seen = np.random.default_rng(3).choice(KEYS, size, p=zipf / zipf.sum()) + 100_000_000

    def fresh(name, count):
        return [request(kind, next(numbers), plain[name]) for _ in range(count)]

    loads = {
        f"{kind}: saturation, {CONNECTIONS} connections": (
            size,
            lambda name, _k: fresh(name, size),
            lambda port, asked, _k: saturate(port, asked),
        ),
        f"{kind}: {rate_per_s} requests/s": (
            rate_per_s * RATE_S,
            lambda name, _k: fresh(name, rate_per_s * RATE_S),
            lambda port, asked, k: steady(port, asked, rate_per_s, k),
        ),
        f"{kind}: saturation, Zipf {EXPONENT} over {KEYS:,}": (
            size,
            lambda name, k: [request(kind, n + k * 1_000_000, plain[name]) for n in seen],
            lambda port, asked, _k: saturate(port, asked),
        ),
    }
    for name, port in ports.items():
        wait_for(port)
        uvloop.run(saturate(port, fresh(name, 300)))
        print(f"{name}: {cpu_s(processes[name].pid):.2f} CPU-s to start and answer 300 requests")
    print(
        f"{'CPU-s per 1,000 requests':38} {'bare':>8} {'joulewise':>10}  {'ratio':19} {'without the ledger':>20}  the ledger's own cost"
    )
    for load, (count, make, go) in loads.items():
        each = {name: [] for name in ports}
        for k in range(rounds):
            for name in sorted(ports, reverse=k % 2 == 1):  # neither of our two always follows the other
                asked = make(name, k)
                before = cpu_s(processes[name].pid)
                uvloop.run(go(ports[name], asked, k))
                each[name].append((cpu_s(processes[name].pid) - before) / count * 1000)
        bare, ours, without = (median(each[name]) for name in ("bare", "joulewise", "unrecorded"))
        ratio, ledger = (
            quartiles(a / b for a, b in zip(each["joulewise"], each[other], strict=True))
            for other in ("bare", "unrecorded")
        )
        print(
            f"{load:38} {bare:8.3f} {ours:10.3f}  {ratio[1]:4.2f} ({ratio[0]:.2f} to {ratio[2]:.2f}) {without:20.3f}  "
            f"{ledger[1] - 1:+.1%} ({ledger[0] - 1:+.1%} to {ledger[2] - 1:+.1%})",
            flush=True,
        )
    time.sleep(5)
    before = {name: cpu_s(one.pid) for name, one in processes.items()}
    time.sleep(IDLE_S)
    idle = {name: (cpu_s(one.pid) - before[name]) / IDLE_S * 30 for name, one in processes.items()}
    print(
        f"{kind + ': idle, CPU-s in 30 s':38} {idle['bare']:8.4f} {idle['joulewise']:10.4f} {'':20} {idle['unrecorded']:20.4f}"
    )


if __name__ == "__main__":
    main()
