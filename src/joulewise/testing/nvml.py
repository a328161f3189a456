"""A double of NVIDIA's library with an exactly known truth: GPUs where there are none.

`build` compiles fakenvml.c (beside this file) into a folder; any program that is started with that folder in
LD_LIBRARY_PATH, ours or not, sees its GPUs. `environment` gives the variables. Every GPU draws 100 W, and 300 W
more in the first 0.2 s of each second of CLOCK_MONOTONIC (160 W on average): `true_energy_j` gives the joules
between two moments of `time.monotonic()`. All its multiprocessors
work in those 0.2 s and none else, so SM activity is 0.2 over whole seconds.

Knobs, all JOULEWISE_FAKE_NVML_...; they are read at every call, so a program may turn them while it runs:

    GPUS            how many boards there are (1)                  NAME           what they are called
    NO_COUNTER      no energy counter, as before Volta             ARCHITECTURE   9 Hopper, 8 Ada, 7 Ampere, 4 Pascal
    NO_FIELDS       a driver without field values                  NO_POWER       no power either, as on a virtual GPU
    MIG, VIRTUAL, SHARED_BOARD   what the board says of itself     REFRESH_S      values move only so often (really 0.1)
    LOSE_AFTER_S    calls fail so long after loading the library   FAULT          with this error (15, GPU is lost)
    LOSE_FOR_S      and work again after so long                   LOSE_GPU       only on the board with this number
    RESET_AT_S      the counters restart at this monotonic time    DRIVER_FAULT   everything fails with this error
    NO_GPM          no performance monitoring (as before Hopper)   NO_GPM_PERMISSION   it is root's
    PROCESS         process ids that hold the boards, "12,34"      UTILISATION    0 to 1 (0.7)
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from math import floor
from pathlib import Path

from joulewise.vocabulary.errors import UsageError

LIBRARY = "libnvidia-ml.so.1"
KNOB = "JOULEWISE_FAKE_NVML_"
SOURCE = Path(__file__).with_name("fakenvml.c")


def compiler() -> str | None:
    """Return the path of a C compiler (the variable CC, else cc, gcc or clang), or None."""
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def build(folder: Path) -> Path:
    """Compile the double into `folder` and return the library's path."""
    command = compiler()
    if command is None:
        raise UsageError(
            "no C compiler was found to build the double of NVML; install gcc or clang, or set CC to yours"
        )
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / LIBRARY
    done = subprocess.run(
        [
            command,
            "-shared",
            "-fPIC",
            "-O2",
            f"-Wl,-soname,{LIBRARY}",
            "-o",
            str(library),
            str(SOURCE),
            "-lm",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UsageError(f"{command} could not build the double of NVML: {done.stderr.strip()[:500]}")
    return library


def environment(library: Path, base: Mapping[str, str] = os.environ, **knobs: object) -> dict[str, str]:
    """Return `base` with the double found first and the knobs set: `environment(library, GPUS=4, MIG=1)`."""
    folders = [str(library.parent), *base.get("LD_LIBRARY_PATH", "").split(":")]
    told = {f"{KNOB}{name}": str(value) for name, value in knobs.items()}
    return {**base, "LD_LIBRARY_PATH": ":".join(f for f in folders if f), **told}


def true_energy_j(start: float, end: float) -> float:
    """Return the joules that one board used between two moments of `time.monotonic()`, exactly."""
    return _joules(end) - _joules(start)


def _joules(moment: float) -> float:
    whole = floor(moment)
    return 100 * moment + 300 * (0.2 * whole + min(moment - whole, 0.2))
