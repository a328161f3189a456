"""A double of `nvidia-smi` and `nvidia-cuda-mps-control` for machines without a GPU: programs that print what those print.

Formats are those of drivers 535 to 570: `--query-gpu=... --format=csv,noheader,nounits` and `-L`, with `[N/A]` for what a GPU
does not tell. Faults are those that are met: the driver is not loaded, a GPU fell off the bus, the tool hangs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running."
)
LOST = "Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU"


def nvidia_smi(
    folder: Path,
    rows: Sequence[str] = (),
    listed: str = "",
    *,
    says: str = "",
    code: int = 0,
    hangs: bool = False,
) -> Mapping[str, str]:
    """Put an `nvidia-smi` into `folder` and return the environment in which it is found.

    `rows` are `index, uuid, memory.total, compute_mode, mig.mode.current` of each GPU, `listed` what `-L` prints. With `says`
    and `code` it fails as the driver does; with `hangs` it never answers.
    """
    answer = "\n".join(rows)
    body = f'case "$1" in -L) cat <<"END"\n{listed}\nEND\n;; *) cat <<"END"\n{answer}\nEND\n;; esac\nexit 0'
    if says:
        body = f'cat <<"END"\n{says}\nEND\nexit {code}'
    if hangs:
        body = "exec sleep 60"
    _program(folder / "nvidia-smi", body)
    return {
        "PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}",
        "CUDA_MPS_PIPE_DIRECTORY": str(folder / "mps"),
    }


def mps(folder: Path, *, answers: bool = True) -> None:
    """Put an MPS daemon's pipes and its control program into `folder`; without `answers` its daemon has died."""
    (folder / "mps").mkdir()
    (folder / "mps" / "control").touch()
    dead = 'echo "Cannot find MPS control daemon process"; exit 1'
    _program(folder / "nvidia-cuda-mps-control", 'read -r asked; echo "31337"' if answers else dead)


def _program(file: Path, body: str) -> None:
    file.write_text(f"#!/bin/sh\n{body}\n", encoding="ascii")
    file.chmod(0o755)
