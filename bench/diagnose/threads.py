"""What surplus threads burn: CPU seconds of the same training with ever more threads than CPUs, beside what they waited.

    python bench/diagnose/threads.py [--rounds 2]

Each line is one run in a process of its own: the width of its layers, threads, CPU seconds, and the seconds that its
runnable threads waited for a CPU (schedstat). `burnt` is the CPU time beyond that of a single thread in the same round; `per delay` is its share of the waiting, which is what `thread_oversubscription` claims.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

_PROGRAM = """
import json, os, sys, time
import torch
from torch import nn
width, threads, steps = map(int, sys.argv[1:])
torch.set_num_threads(threads)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
opt = torch.optim.SGD(net.parameters(), lr=1e-3)
x, y = torch.randn(256, 64), torch.randint(0, 10, (256,))
def delay():
    return sum(int(open(f"/proc/self/task/{t}/schedstat").read().split()[1]) for t in os.listdir("/proc/self/task")) / 1e9
def step():
    opt.zero_grad(); nn.functional.cross_entropy(net(x), y).backward(); opt.step()
for _ in range(3): step()
cpu, waited, wall = time.process_time(), delay(), time.monotonic()
for _ in range(steps): step()
print(json.dumps([time.process_time() - cpu, delay() - waited, time.monotonic() - wall]))
"""


def main() -> None:
    """Measure in rounds, print as it goes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    print("width threads  cpu_s  delay_s  wall_s  burnt  per_delay")
    for _ in range(options.rounds):
        for width, steps in ((128, 600), (1024, 60)):
            base = None
            for threads in (1, cpus, 2 * cpus, 4 * cpus, 8 * cpus):
                done = subprocess.run(
                    [sys.executable, "-c", _PROGRAM, str(width), str(threads), str(steps)],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=environment,
                )
                cpu_s, delay_s, wall_s = json.loads(done.stdout)
                base = cpu_s if base is None else base
                burnt = cpu_s - base
                print(
                    f"{width:5} {threads:7} {cpu_s:6.2f} {delay_s:8.2f} {wall_s:7.2f} {burnt:6.2f} {burnt / max(delay_s, 1e-9):9.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
