"""GPUs as jobs may have them: whole, shared by time-slicing or MPS, or as slices of MIG; by the driver's own tools.

`nvidia-smi` says what there is. Nothing is set: no mode is changed, no daemon started (both need an administrator); what is
found is used.

    MIG on              each slice is a device of its own, with its own memory: CUDA_VISIBLE_DEVICES=MIG-...
    MPS answers         jobs share a GPU at once, each with at most its share of compute and of memory
    compute mode        `Default` lets jobs share by time-slicing; anything else gives a GPU to one job alone
    faults              a driver that does not answer, hangs, or says [N/A]: whole GPUs by number, shared by nobody, and said

Tested against a double that behaves as nvidia-smi 535 to 570 does, faults included; on no GPU.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_WITHIN_S = 10.0
_QUERY = "index,uuid,memory.total,compute_mode,mig.mode.current"
_SLICE = re.compile(r"^\s+MIG\s+(\S+)\s+Device\s+\d+:\s+\(UUID:\s+(MIG-[^)]+)\)", re.MULTILINE)
_MEMORY = re.compile(r"\.(\d+)gb")
PIPES = "/tmp/nvidia-mps"  # noqa: S108 - where the driver's daemon listens unless it is told otherwise


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU or a slice of one: what CUDA calls it, its bytes (0: not told), and whether jobs may share it, by what."""

    name: str
    memory_bytes: int = 0
    sharing: str = ""  # "", "time-slicing" or "MPS"


@dataclass(frozen=True, slots=True)
class Gpus:
    """The devices of this machine, the pipes of an MPS daemon ("" : none answers), and what went wrong."""

    devices: tuple[Gpu, ...]
    pipes: str = ""
    faults: tuple[str, ...] = ()

    def environment(self, number: int, share: float, memory_bytes: float) -> dict[str, str]:
        """Return the variables that give a job its device; by MPS with at most its share of compute and of memory."""
        one = self.devices[number]
        told = {"CUDA_VISIBLE_DEVICES": one.name}
        if one.sharing == "MPS" and share < 1:
            told["CUDA_MPS_PIPE_DIRECTORY"] = self.pipes
            told["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = str(max(1, round(share * 100)))
            if memory_bytes:
                told["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={round(memory_bytes / (1 << 20))}M"
        return told


def gpus(count: int, environment: Mapping[str, str] | None = None) -> Gpus:
    """Return the GPUs of this machine, of which `count` are known to be there; `environment` is laid over ours."""
    if not count:
        return Gpus(())
    whole = tuple(Gpu(str(n)) for n in range(count))
    env = {**os.environ, **(environment or {})}
    try:
        told = _run(env, "nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits")
        rows = [[word.strip() for word in line.split(",")] for line in told.splitlines() if line.strip()]
        if not rows or any(len(row) != 5 or not row[0].isdigit() for row in rows):
            raise OSError(f"nvidia-smi printed {told.strip()[:80]!r}")
        sliced = any(row[4] == "Enabled" for row in rows)
        listed = _run(env, "nvidia-smi", "-L") if sliced else ""
    except (OSError, subprocess.SubprocessError) as error:
        return Gpus(whole, "", (f"{_line(error)}; GPUs are given out whole",))
    pipes, faults = _mps(env), []
    found: list[Gpu] = []
    for index, uuid, memory, mode, mig in rows:
        size = int(memory) << 20 if memory.isdigit() else 0
        if not size:
            faults.append(f"GPU {index} does not tell its memory ({memory}): it is shared by nobody")
        if mig == "Enabled":
            slices = _slices(listed, uuid)
            if not slices:
                faults.append(f"GPU {index} is in MIG mode without a slice: it is not used")
            found += slices
        elif mode == "Exclusive_Process" and pipes and size:
            found.append(Gpu(index, size, "MPS"))
        elif mode == "Prohibited":
            faults.append(f"GPU {index} is in compute mode Prohibited: it is not used")
        else:
            how = ("MPS" if pipes else "time-slicing") if mode == "Default" and size else ""
            found.append(Gpu(index, size, how))
    return Gpus(tuple(found), pipes, tuple(faults))


def _slices(listed: str, uuid: str) -> list[Gpu]:
    """Return the MIG slices of one GPU, as `nvidia-smi -L` lists them under it."""
    part = listed.partition(uuid)[2]
    part = re.split(r"^GPU ", part, maxsplit=1, flags=re.MULTILINE)[0]
    return [
        Gpu(name, int(size[1]) * 10**9 if (size := _MEMORY.search(profile)) else 0)
        for profile, name in _SLICE.findall(part)
    ]


def _mps(env: Mapping[str, str]) -> str:
    """Return where an MPS daemon listens; "" where none answers."""
    pipes = env.get("CUDA_MPS_PIPE_DIRECTORY", PIPES)
    if not Path(pipes, "control").exists():
        return ""
    try:
        _run({**env, "CUDA_MPS_PIPE_DIRECTORY": pipes}, "nvidia-cuda-mps-control", told="get_server_list\n")
    except (OSError, subprocess.SubprocessError):
        return ""
    return pipes


def _run(env: Mapping[str, str], *argv: str, told: str = "") -> str:
    done = subprocess.run(
        argv,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_WITHIN_S,
        env=dict(env),
        input=told,
    )
    if done.returncode:
        raise OSError(
            f"{argv[0]}: {(done.stdout or done.stderr).strip().splitlines()[:1] or done.returncode}"
        )
    return done.stdout


def _line(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{error.cmd[0]} did not answer within {_WITHIN_S:g} s"
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is not installed"
    return str(error)
