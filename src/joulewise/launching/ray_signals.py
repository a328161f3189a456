"""The small program that carries a signal to a Ray job's processes on one node.

    python -c SIGNAL MARK WORKERS NUMBER root|all

MARK is a line in the environment of the driver and its children, WORKERS one in that of the job's Ray workers, which the job's
supervisor has, too: it is left out, since Ray takes a supervisor that does not answer for dead. `root` is the driver alone. It looks
again until nobody new appears; what is asked to end is let go first.
"""

from __future__ import annotations

SIGNAL = r"""
import os, signal, sys
mark, workers, number, whom = sys.argv[1].encode(), sys.argv[2].encode(), int(sys.argv[3]), sys.argv[4]
def look(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            lines = f.read().split(b"\0")
        with open(f"/proc/{pid}/stat", "rb") as f:
            parent = int(f.read().rpartition(b")")[2].split()[1])
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return lines, parent, f.read()
    except OSError:
        return [], 0, b""
seen = set()
for round in range(20):
    told = {int(p): look(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()}
    ours = {p for p, (lines, _, _) in told.items() if mark in lines}
    if whom == "root":
        ours = {p for p in ours if told[p][1] not in ours}
    else:
        ours |= {p for p, (lines, _, line) in told.items() if workers in lines and b"JobSupervisor" not in line}
    for pid in ours - seen:
        try:
            os.kill(pid, number)
            if number not in (signal.SIGSTOP, signal.SIGCONT):
                os.kill(pid, signal.SIGCONT)
        except OSError:
            pass
    if ours <= seen or whom == "root":
        break
    seen |= ours
"""
