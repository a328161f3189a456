"""The least that can be called a model server, to compare with: no checks, no cache, no ledger, no headers.

ASGI on uvicorn, ONNX Runtime with one thread that does not spin, greedy batches: `bare_server.py MODEL PORT`.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import orjson
import uvicorn

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
pool = ThreadPoolExecutor(1)
queue = []
state = {"running": False}


def compute(bodies):
    x = np.concatenate([np.asarray(orjson.loads(body)["inputs"]["x"], dtype=np.float32) for body in bodies])
    answers = session.run(None, {"x": x})[0]
    return [
        orjson.dumps({"outputs": {"y": answers[i : i + 1]}}, option=orjson.OPT_SERIALIZE_NUMPY)
        for i in range(len(bodies))
    ]


async def pump():
    while queue:
        batch = queue[:64]
        del queue[:64]
        answers = await asyncio.get_running_loop().run_in_executor(pool, compute, [body for body, _ in batch])
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)
    state["running"] = False


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body")
    answer = b"{}"
    if scope["method"] == "POST":
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        queue.append((body, future))
        if not state["running"]:
            state["running"] = True
            task = loop.create_task(pump())  # noqa: F841, RUF006 - it lives as long as the queue
        answer = await future
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
