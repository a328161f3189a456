"""Ten thousand hostile requests, and workers killed under load: `joulewise serve` must neither crash, lie, lose nor swell.

    serve_hostile.py [--count N] [--kills N] [--seed N]

Malformed, mutated, oversized, truncated, of wrong shape, not finite, no HTTP at all, dripping byte by byte, pipelined, and good ones
among them, over forty connections at a time. A good request must have its own right answer, a hostile one an error that
fits (or an end of the connection where it broke HTTP or left). Then workers are killed by `kill -9` while clients ask: each
request has the right answer or, if it was in the batch that was killed, an error, never a wrong one; at most the one whose answer was being
written sees its connection end. Exit code 1 if anything else was seen.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import onnx
from onnx import TensorProto, helper

AT_ONCE, CLIENTS = 40, 16
MOST_GROWTH_MB = 150
REFUSED = {400, 404, 405, 408, 413, 431}


def network(path):
    """Write y = 2 x for rows of three numbers."""
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "double", [x], [y], [two])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def post(body, path="/predict", more=b""):
    head = b"POST %b HTTP/1.1\r\nhost: a\r\n%bcontent-length: %d\r\n\r\n" % (path.encode(), more, len(body))
    return head + body


def rows(draw):
    return [[draw.randint(-1000, 1000) / 4 for _ in range(3)] for _ in range(draw.randint(1, 4))]


def good(draw):
    asked = rows(draw)
    return post(json.dumps({"inputs": {"x": asked}}).encode()), asked


def malformed(draw):
    body = good(draw)[0].split(b"\r\n\r\n", 1)[1]
    return post(body[: draw.randrange(len(body))])


def mutated(draw):
    """Change bytes of the body: what comes out may be a good request after all."""
    body = bytearray(good(draw)[0].split(b"\r\n\r\n", 1)[1])
    for _ in range(draw.randint(1, 5)):
        body[draw.randrange(len(body))] = draw.randrange(256)
    return post(bytes(body))


def wrong(draw):
    wide = [[1.0] * draw.choice([1, 2, 4, 50])]
    value = draw.choice([wide, [], [[]], [[1, 2, "3"]], [[1, 2, None]], [[1, 2, True]], [[[1, 2, 3]]], [[1, 2], [1, 2, 3]], 7, {}])  # fmt: skip
    return post(json.dumps({"inputs": {draw.choice(["x", "x", "z"]): value}}).encode())


def not_finite(draw):
    word = draw.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1e39", b"-4e38"])
    return post(b'{"inputs":{"x":[[1,2,%b]]}}' % word)


def binary(draw):
    """Tensors as bytes, with lengths that lie."""
    one = {"name": "x", "shape": [1, draw.choice([3, 4, 10**9])], "datatype": "FP32"}
    one["parameters"] = {"binary_data_size": draw.choice([12, 11, 0, -1, 10**12, "12"])}
    head = json.dumps({"inputs": [one]}).encode()
    raw = draw.choice([b"\0" * 11, b"\xff" * 12, b""])
    told = draw.choice([len(head), len(head) + 1, 10**9, 0])
    return post(head + raw, "/v2/models/m/infer", b"inference-header-content-length: %d\r\n" % told)


def oversized(draw):
    if draw.random() < 0.5:
        return b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % draw.choice(
            [16_000_001, 10**12, 10**30]
        )
    return b"GET /%b HTTP/1.1\r\nx: %b\r\n\r\n" % (b"a" * draw.choice([9, 70_000]), b"b" * 70_000)


def no_http(draw):
    return draw.choice(
        [
            draw.randbytes(draw.randint(1, 300)) + b"\r\n\r\n",
            b"\x16\x03\x01\x02\x00" + draw.randbytes(100),
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /predict HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            b"POST /predict HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        ]
    )


KINDS = {
    "good": (good, 30), "malformed": (malformed, 12), "mutated": (mutated, 12), "wrong": (wrong, 14), "not finite": (not_finite, 8),
    "binary": (binary, 6), "oversized": (oversized, 4), "no HTTP": (no_http, 6), "truncated": (malformed, 4), "dripping": (good, 2),
    "pipelined": (good, 2),
}  # fmt: skip


async def answer(reader, within_s=40.0):
    """Return a response's status and body; None where the connection ends."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), within_s)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split(b" ", 2)[1]), await asyncio.wait_for(reader.readexactly(length), within_s)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def right(told, asked):
    return (
        told is not None
        and told[0] == 200
        and json.loads(told[1]) == {"outputs": {"y": [[2 * v for v in row] for row in asked]}}
    )


async def attack(kind, draw, port):
    """Send one request of a kind; returns what was seen, or "" followed by why it is wrong."""
    made = KINDS[kind][0](draw)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if kind == "truncated":
            writer.write(made[: draw.randrange(1, len(made))])
            return "left"
        if kind == "pipelined":
            many = [good(draw) for _ in range(8)]
            writer.write(b"".join(request for request, _ in many))
            seen = [right(await answer(reader), asked) for _, asked in many]
            return "right" if all(seen) else f"!pipelined answers {seen}"
        if kind in ("good", "dripping"):
            request, asked = made
            for piece in (
                [request] if kind == "good" else [request[k : k + 9] for k in range(0, len(request), 9)]
            ):
                writer.write(piece)
                if kind == "dripping":
                    await asyncio.sleep(0.01)
            told = await answer(reader)
            return "right" if right(told, asked) else f"!{kind}: {told}"
        writer.write(made)
        told = await answer(reader)
        if told is None:
            return "connection ended" if kind in ("no HTTP", "oversized") else f"!{kind}: no answer"
        if kind in ("mutated", "malformed", "binary") and told[0] == 200:
            json.loads(told[1].split(b"}]}")[0] + b"}]}" if kind == "binary" else told[1])
            return "200"
        return str(told[0]) if told[0] in REFUSED else f"!{kind}: {told} for {made[:200]}"
    except (ConnectionError, BrokenPipeError):
        return "connection ended" if kind in ("no HTTP", "oversized") else f"!{kind}: connection broke"
    finally:
        writer.close()


async def loris(port, ended):
    """Drip a header for as long as the server lets us."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /predict HTTP/1.1\r\n")
    began = time.monotonic()
    try:
        while time.monotonic() - began < 60:
            writer.write(b"x-a: b\r\n")
            await writer.drain()
            if reader.at_eof():
                break
            await asyncio.sleep(0.5)
        told = await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        told = b"408 (reset)"
    ended.append((time.monotonic() - began, told[:12]))
    writer.close()


def worker_of(parent):
    told = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(told[0]) if told else 0


def resident_mb(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def campaign(port, parent, count, seed):
    """Return the faults of so many requests."""
    draw, seen, faults, ended = random.Random(seed), {kind: Counter() for kind in KINDS}, [], []
    names, weights = list(KINDS), [weight for _, weight in KINDS.values()]
    kinds = iter(draw.choices(names, weights, k=count))
    draws = iter(range(count))
    worker, most_mb = worker_of(parent), 0.0
    before_mb = resident_mb(worker)
    slow = [asyncio.create_task(loris(port, ended)) for _ in range(max(3, count // 200))]

    async def one():
        nonlocal most_mb
        for kind in kinds:
            told = await attack(kind, random.Random(seed * 1_000_003 + next(draws)), port)
            seen[kind][told.lstrip("!")[:40]] += 1
            if told.startswith("!"):
                faults.append(told)
            most_mb = max(most_mb, resident_mb(worker))

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    await asyncio.gather(*slow)
    for kind, told in seen.items():
        print(f"{kind:12} {sum(told.values()):6}  {dict(told.most_common(8))}")
    held = [seconds for seconds, _ in ended]
    print(f"slow-loris   {len(ended):6}  ended after {min(held):.0f} to {max(held):.0f} s")
    print(f"memory       {before_mb:.0f} MB before, at most {most_mb:.0f} MB")
    if max(held) > 30:
        faults.append(f"a slow-loris was held for {max(held):.0f} s")
    if worker_of(parent) != worker:
        faults.append("the worker was replaced: it had crashed")
    if most_mb - before_mb > MOST_GROWTH_MB:
        faults.append(f"memory grew by {most_mb - before_mb:.0f} MB")
    return faults


async def kill(port, parent, kills, seed):
    """Return the faults of killing workers while clients ask."""
    seen, faults, over = Counter(), [], asyncio.Event()

    async def client(number):
        draw = random.Random(seed + number)
        while not over.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while not over.is_set():
                    request, asked = good(draw)
                    writer.write(request)
                    told = await answer(reader)
                    if told is None:
                        seen["broken"] += 1
                        break
                    if told[0] == 500 and b"killed" in told[1]:
                        seen["told"] += 1  # it was in the batch that was killed
                        break
                    seen["right" if right(told, asked) else "wrong"] += 1
                writer.close()
            except ConnectionError:
                seen["broken"] += 1

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    for _ in range(kills):
        await asyncio.sleep(0.5)
        before, worker = seen["right"], worker_of(parent)
        os.kill(worker, signal.SIGKILL)
        for _ in range(600):
            await asyncio.sleep(0.05)
            if seen["right"] > before + 200:
                break
        else:
            faults.append("nobody answers after a worker was killed")
    over.set()
    await asyncio.wait_for(asyncio.gather(*clients), 60)
    print(f"kill -9      {kills:6}  {dict(seen)}, {CLIENTS} clients")
    if seen["wrong"]:
        faults.append(f"{seen['wrong']} wrong answers")
    if seen["told"] + seen["broken"] > CLIENTS * kills:
        faults.append(
            f"{seen['told'] + seen['broken']} requests were lost, but at most {CLIENTS * kills} were inside"
        )
    if seen["broken"] > kills:  # a kill while an answer is being written
        faults.append(f"{seen['broken']} requests got neither an answer nor an error")
    return faults


def main():
    reader = argparse.ArgumentParser()
    reader.add_argument("--count", type=int, default=10_000)
    reader.add_argument("--kills", type=int, default=3)
    reader.add_argument("--seed", type=int, default=1)
    options = reader.parse_args()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        network(f"{folder}/m.onnx")
        command = [
            sys.executable,
            "-m",
            "joulewise",
            "serve",
            f"{folder}/m.onnx",
            "--port",
            str(port),
            "--sleep",
            "1h",
        ]
        environment = {**os.environ, "JOULEWISE_HOME": folder}
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            for _ in range(400):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            faults = asyncio.run(first(port))
            faults += asyncio.run(campaign(port, server.pid, options.count, options.seed))
            faults += (
                asyncio.run(kill(port, server.pid, options.kills, options.seed)) if options.kills else []
            )
        finally:
            server.terminate()
            code = server.wait(60)
    if code:
        faults.append(f"the server ended with {code}")
    for fault in faults[:20]:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


async def first(port):
    """Wait until the worker answers."""
    told = await attack("good", random.Random(0), port)
    return [] if told == "right" else [told]


if __name__ == "__main__":
    main()
