"""What sleep costs and how fast the server wakes: memory and CPU time asleep, then seconds from the first byte to the answer.

    serve_sleep.py [MODEL.onnx BODIES]    a body a line, as /predict takes them; without it the small network of serve.py

Cold starts a Python; a zygote has its libraries in memory and forks. Seconds are the wall's, on whatever else the machine
does: the CPU seconds beside them are what waking takes.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import serve as bench

WAKES = 5


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def pss_mb(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    return 0.0


def rss_mb(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def ask(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/predict", body)
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(told)


def asleep(pid):
    for _ in range(600):
        if not children(pid):
            return
        time.sleep(0.1)
    raise RuntimeError("it does not sleep")


def measure(how, model, body, folder):
    port = bench.free_port()
    command = [
        sys.executable,
        "-m",
        "joulewise",
        "serve",
        model,
        "--zone",
        "DE",
        "--sleep",
        "1s",
        "--port",
        str(port),
        *how,
    ]
    environment = {**os.environ, "JOULEWISE_HOME": folder}
    server = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        bench.wait_for(port)
        ask(port, body)
        seconds, cpu_seconds = [], []
        for _ in range(WAKES):
            asleep(server.pid)
            began = time.perf_counter()
            ask(port, body)
            seconds.append(time.perf_counter() - began)
            cpu_seconds.append(sum(map(bench.cpu_s, children(server.pid))))
        asleep(server.pid)
        before = bench.cpu_s(server.pid)
        time.sleep(10)
        print(
            f"{' '.join(how) or 'cold':10} asleep {pss_mb(server.pid):5.1f} MB (resident {rss_mb(server.pid):5.1f}), "
            f"{bench.cpu_s(server.pid) - before:.6f} CPU-s in 10 s; wakes in {median(seconds):.2f} s "
            f"({min(seconds):.2f} to {max(seconds):.2f}), {median(cpu_seconds):.2f} CPU-s",
            flush=True,
        )
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(40)


def main():
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 2:
            model, body = str(Path(sys.argv[1]).absolute()), Path(sys.argv[2]).read_text().splitlines()[0]
        else:
            model = os.path.join(folder, "cnn.onnx")
            bench.network(model, pixels=True)
            body = json.dumps({"inputs": {"x": [bench.tensors("cnn", 1)["x"]]}})
        for how in ([], ["--zygote"]):
            measure(how, model, body, folder)


if __name__ == "__main__":
    main()
