"""The agent: see the phases of a Python program from inside, with no edit to it.

`injected` puts the folder `boot` first in PYTHONPATH, as ddtrace and OpenTelemetry do; its `sitecustomize` loads the
package `inside` into every Python process of the work, by its place on the disk and under a private name: the
program's own Python need not have joulewise installed. Nothing in `inside` imports a framework, or anything of
joulewise; it wraps what the program imports itself.

What the agent sees goes to two files in the recording's folder: a *page* of 4 kB, mapped into memory, whose numbers
are always up to date (also after `kill -9` and `os._exit`), and *facts*, a line when something new is seen. The
recorder reads both at every second and writes what is new into the recording (`pages.py`); when a process has ended,
its two files are removed. `vocabulary.observed` reads the recording.

Start reading at inside/timeline.py. This module is loaded before the program starts: it imports nothing slow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot")
PATH = "PYTHONPATH"


def injected(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which every Python (3.9 or later) loads the agent at its start."""
    before = (
        [p for p in environment.get(PATH, "").split(os.pathsep) if p != BOOT] if environment.get(PATH) else []
    )
    return {**environment, PATH: os.pathsep.join([BOOT, *before])}


def ejected(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the agent, as it was before."""
    kept = [p for p in environment.get(PATH, "").split(os.pathsep) if p != BOOT]
    without = {k: v for k, v in environment.items() if k != PATH}
    return {**without, PATH: os.pathsep.join(kept)} if any(kept) else without
