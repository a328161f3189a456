"""GPU energy from NVIDIA's management library (NVML).

Volta and later count millijoules since the driver was loaded (moving about every 100 ms): `NvmlMeter` takes the
difference, one library call a read. A driver that is loaded again starts from zero; that is seen and said.

Where there is no counter (Pascal and older, many vGPUs) the power is integrated between reads. What a power value
means depends on the board: from Ampere on, except GA100 (A100, A30), it is the mean of the last second; on GA100 and
older it is the moment, and work that pulses faster than the reading is caught badly. `Device.note` says which.

The counter is the whole board's. Under MIG all instances are in it; a virtual GPU sees a share of a board or
nothing; boards with several GPUs may show one sensor twice: all said in `Device.note`.

The library is initialised once per process, again after a fork (handles do not outlive it) and when the driver
came back, and given back by the last meter. Looking for it costs a few file lookups where there is no driver.
The 5 % is NVIDIA's for the boards' sensors; A100 and H100 sample their sensor a quarter of the time (Yang et al.,
SC'24, arXiv 2312.02741), so below ten seconds it is wider.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, final

from joulewise.measuring.meters.counter import GrowingCounter, IntegratedPower
from joulewise.measuring.meters.nvml_gpm import SmActivity
from joulewise.measuring.meters.port import Found, Meter
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device, GpuUsage, Missing, Reading

LIBRARY = "libnvidia-ml.so.1"

_COUNTER_ERROR = 0.05
_MEAN_ERROR = 0.10
_MOMENT_ERROR = (
    0.30  # once a second up to 80 % wrong on pulsed work (arXiv 2206.10377), and no sign which way
)
_IMPOSSIBLE_W = 5_000.0  # the hungriest boards draw 1.4 kW

_AVERAGE_FIELD = 185  # mean of 1 s, Ampere and later except GA100
_INSTANT_FIELD = 186
_AMPERE = 7  # nvmlDeviceGetArchitecture
_VIRTUAL_GPU = 2  # nvmlDeviceGetVirtualizationMode
_ARCHITECTURE_UNKNOWN = 0xFFFFFFFF
_GA100 = ("A100", "A800", "A30 ", "A30X", "170HX")
_VALUE_NAMES = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}

_UNINITIALISED, _NOT_SUPPORTED, _NO_PERMISSION, _NOT_LOADED = 1, 3, 4, 9
_LIBRARY_NOT_FOUND, _FUNCTION_NOT_FOUND, _MISMATCH = 12, 13, 18
_NOT_TOLD = frozenset({_NOT_SUPPORTED, _NO_PERMISSION, _FUNCTION_NOT_FOUND})

_FIRST_RETRY_S = 5.0
_LAST_RETRY_S = 300.0  # initialising may take seconds where a board is broken
_HOST_PID_NAMESPACE = 0xEFFFFFFC  # the kernel's fixed number (PROC_PID_INIT_INO)

_REMEDIES = {
    _LIBRARY_NOT_FOUND: "in a container: start it with --gpus all and NVIDIA_DRIVER_CAPABILITIES=compute,utility; "
    "on a host: install the driver's own libraries (Debian: libnvidia-ml1, Ubuntu: libnvidia-compute-<version>)",
    _NOT_LOADED: "load the driver: sudo modprobe nvidia",
    _MISMATCH: "the driver was updated while it was loaded: reboot, or unload and load the nvidia modules",
    _NO_PERMISSION: "give this user read and write access to /dev/nvidia* (often: the group video or render)",
}
_REMEDY = "run nvidia-smi: it shows what the driver itself says"


@final
class NvmlLibrary:
    """NVML in this process: `nvml` is the module of nvidia-ml-py, or a double with its functions.

    `generation` grows whenever handles of boards must be asked for anew.
    """

    def __init__(self, nvml: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.nvml = nvml
        self.error: type[Exception] = nvml.NVMLError
        self.generation = 0
        self.pid = 0
        self._monotonic = monotonic
        self._users = 0
        self._up = False
        self._retry_s = _FIRST_RETRY_S
        self._last_renewal_s = float("-inf")

    def open(self) -> None:
        """Count one more user, and initialise for the first. Raises NVMLError where that fails."""
        if not self._users:
            self._initialise()
        self._users += 1

    def close(self) -> None:
        """Count one user less, and shut NVML down after the last."""
        self._users = max(0, self._users - 1)
        if not self._users:
            self._shut_down()

    def renew(self, fault: Exception) -> bool:
        """Initialise anew after a fault that may come from a driver that went away; return whether it is worth a try.

        Tried after 5 s, then after twice as long each time, because a broken board makes it slow.
        """
        now_s = self._monotonic()
        if _code(fault) in _NOT_TOLD or now_s - self._last_renewal_s < self._retry_s:
            return False
        if self._last_renewal_s > float("-inf"):
            self._retry_s = min(_LAST_RETRY_S, self._retry_s * 2)
        self._last_renewal_s = now_s
        self._shut_down()
        try:
            self._initialise()
        except self.error:
            return False
        return True

    def after_fork(self) -> None:
        """Initialise in a forked child: handles and descriptors belong to the parent. Raises NVMLError."""
        self.pid = os.getpid()  # once, whether it works or not: `renew` goes on from there
        self._initialise()

    def _initialise(self) -> None:
        self.nvml.nvmlInit()
        self._up = True
        self.pid = os.getpid()
        self.generation += 1

    def _shut_down(self) -> None:
        if self._up:
            self._up = False
            try:
                self.nvml.nvmlShutdown()
            except self.error:
                return  # the driver is gone: there is nothing to give back


@final
class NvmlMeter:
    """One GPU. `library` must be open; `handle` is NVML's. Raises NVMLError where neither energy nor power is told."""

    def __init__(
        self, library: NvmlLibrary, handle: Any, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        nvml = library.nvml
        self._library, self._nvml, self._handle = library, nvml, handle
        self._generation = library.generation
        self._monotonic = monotonic
        self._uuid: str = nvml.nvmlDeviceGetUUID(handle)
        self._sampled_us = 0
        self._closed = False
        self._name: str = nvml.nvmlDeviceGetName(handle)
        self._energy: GrowingCounter | None = None
        self._power: IntegratedPower | None = None
        self._field = 0  # where the power is read from; 0: nvmlDeviceGetPowerUsage
        counter = self._told(nvml.nvmlDeviceGetTotalEnergyConsumption)
        if counter is not None:
            self._energy = GrowingCounter(counter, monotonic(), unit_j=1e-3, limit_w=_IMPOSSIBLE_W)
            error, kind, notes = _COUNTER_ERROR, "energy counter", []
        else:
            window_s = self._find_power()
            error = _MEAN_ERROR if window_s else _MOMENT_ERROR
            kind = "power, integrated"
            notes = ["no energy counter: " + _power_note(window_s)]
        self.device = Device(
            f"nvml:{self._uuid}",
            Component.GPU,
            "nvml",
            Basis.MEASURED,
            Boundary.DEVICE,
            error,
            error,
            f"NVML {kind}, {self._name}",
            self._uuid,
            note="; ".join(notes + self._board_notes()),
            model={"name": self._name, **self._limit()},
        )
        self._id = self.device.id
        self._read = self._counter if self._energy else self._watts
        self._activity = SmActivity(library)
        library.open()

    def read(self) -> Reading:
        """Return joules since opening and the raw value (mJ counted, or mW now); None and why where it cannot be."""
        if self._closed:
            return Reading(self._id, None, Basis.MEASURED, why=f"the meter of {self._id} was closed")
        try:
            self._follow()
            raw = self._read()
        except self._library.error as fault:
            if not self._library.renew(fault):
                return Reading(self._id, None, Basis.MEASURED, why=_say(fault))
            try:
                self._follow()
                raw = self._read()
            except self._library.error as again:
                return Reading(self._id, None, Basis.MEASURED, why=_say(again))
        now_s = self._monotonic()
        if self._energy is not None:
            why = self._energy.add(raw, now_s)
            return Reading(self._id, self._energy.used_j, Basis.MEASURED, raw, why)
        assert self._power is not None  # noqa: S101 - one of the two is
        self._power.add(raw / 1e3, now_s)
        return Reading(self._id, self._power.used_j, Basis.MEASURED, raw)

    def usage(self) -> GpuUsage:
        """Return utilisation and SM activity (0 to 1), memory in bytes (the driver's reserve included) and who holds the board."""
        nvml = self._nvml
        try:
            self._follow()
            rates = self._told(nvml.nvmlDeviceGetUtilizationRates)
            memory = self._told(nvml.nvmlDeviceGetMemoryInfo)
            ids = self._process_ids()
        except self._library.error:
            return GpuUsage(None, None, None)
        return GpuUsage(
            None if rates is None else rates.gpu / 100,
            None if memory is None else memory.used,
            None if memory is None else memory.total,
            ids,
            self._activity.since_last(self._handle),
        )

    def work_share(self, own_ids: Collection[int]) -> float | None:
        """Return the share (0 to 1) of the board's use by these processes: by busy time, else in equal parts."""
        try:
            self._follow()
            process_ids = self._process_ids()
        except self._library.error:
            return None
        several = process_ids is not None and any(p not in own_ids for p in process_ids)
        return work_share(process_ids, own_ids, self.process_utilisation() if several else None)

    def process_utilisation(self) -> dict[int, float] | None:
        """Return for each process id how much of the board's time it used since the last call; None: not told."""
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(self._handle, self._sampled_us)
        except self._library.error:
            return None
        busy: dict[int, list[float]] = {}
        for sample in samples:
            if sample.timeStamp > self._sampled_us:
                busy.setdefault(sample.pid, []).append(sample.smUtil / 100)
        self._sampled_us = max((s.timeStamp for s in samples), default=self._sampled_us)
        return {pid: sum(shares) / len(shares) for pid, shares in busy.items()}

    def close(self) -> None:
        """Give the library back; the last meter shuts it down."""
        if not self._closed:
            self._closed = True
            self._activity.close()
            self._library.close()

    def _counter(self) -> int:
        value: int = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        return value

    def _watts(self) -> float:
        """Return the power in milliwatts."""
        nvml = self._nvml
        if not self._field:
            value: float = nvml.nvmlDeviceGetPowerUsage(self._handle)
            return value
        (told,) = nvml.nvmlDeviceGetFieldValues(self._handle, [self._field])
        if told.nvmlReturn:
            raise self._library.error(told.nvmlReturn)
        return float(getattr(told.value, _VALUE_NAMES[told.valueType]))

    def _find_power(self) -> float:
        """Choose where the power is read from, and return the seconds whose mean it is (0: the moment)."""
        power_mw: float | None = None
        window_s = 0.0
        for field, seconds in ((_AVERAGE_FIELD, 1.0), (_INSTANT_FIELD, 0.0), (0, self._usage_window_s())):
            self._field, window_s = field, seconds
            try:
                power_mw = self._watts()
                break
            except self._library.error:
                if not field:
                    raise
        self._power = IntegratedPower((power_mw or 0.0) / 1e3, self._monotonic(), window_s=window_s)
        return window_s

    def _usage_window_s(self) -> float:
        """Return what nvmlDeviceGetPowerUsage is the mean of: 1 s from Ampere on except GA100, else the moment."""
        architecture = self._told(self._nvml.nvmlDeviceGetArchitecture)
        if architecture in (None, _ARCHITECTURE_UNKNOWN) or architecture < _AMPERE:
            return 0.0
        return 0.0 if any(name in f"{self._name} " for name in _GA100) else 1.0

    def _board_notes(self) -> list[str]:
        nvml, notes = self._nvml, []
        mig = self._told(nvml.nvmlDeviceGetMigMode)
        if mig and mig[0]:
            notes.append("MIG: the whole board's energy, all instances and their users included")
        if self._told(nvml.nvmlDeviceGetVirtualizationMode) == _VIRTUAL_GPU:
            notes.append("a virtual GPU: what the host tells about a shared board")
        if self._told(nvml.nvmlDeviceGetMultiGpuBoard):
            notes.append("one of several GPUs on a board: the sensor may be the board's")
        return notes

    def _process_ids(self) -> tuple[int, ...] | None:
        compute = self._told(self._nvml.nvmlDeviceGetComputeRunningProcesses)
        if compute is None:
            return None
        graphics = self._told(self._nvml.nvmlDeviceGetGraphicsRunningProcesses) or []
        return _visible(sorted({process.pid for process in (*compute, *graphics)}))

    def _follow(self) -> None:
        """Ask for the board's handle anew where the library was initialised since. Raises NVMLError."""
        library = self._library
        if library.pid != os.getpid():
            library.after_fork()
        if self._generation != library.generation:
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(self._uuid)
            self._generation = library.generation

    def _limit(self) -> dict[str, float]:
        """Return the most that the board may draw now (`limit_w`): whoever diagnoses tells a fed board from a waiting one by it."""
        milliwatts = self._told(self._nvml.nvmlDeviceGetEnforcedPowerLimit)
        return {"limit_w": milliwatts / 1000} if milliwatts else {}

    def _told(self, ask: Callable[[Any], Any]) -> Any:
        """Return what the library says of this board, or None where it does not tell that."""
        try:
            return ask(self._handle)
        except self._library.error as fault:
            if _code(fault) in _NOT_TOLD:
                return None
            raise


def find_nvml(
    nvml: Any = None, *, root: Path = Path("/"), monotonic: Callable[[], float] = time.monotonic
) -> Found:
    """Return one meter per NVIDIA GPU; nothing at all where there is no sign of one.

    `nvml` is the module to use instead of nvidia-ml-py's pynvml; `root` stands for / in tests.
    """
    if nvml is None:
        if not _sign_of_a_driver(root):
            return Found()
        try:
            import pynvml
        except ImportError as fault:
            return Found(missing=(Missing("nvml", str(fault), "pip install nvidia-ml-py"),))
        nvml = pynvml
    library = NvmlLibrary(nvml, monotonic)
    try:
        library.open()
    except library.error as fault:
        return Found(missing=(Missing("nvml", _say(fault), _REMEDIES.get(_code(fault), _REMEDY)),))
    try:
        return _boards(library, monotonic)
    finally:
        library.close()  # the meters hold it, or nobody does


def _boards(library: NvmlLibrary, monotonic: Callable[[], float]) -> Found:
    meters: list[Meter] = []
    missing: list[Missing] = []
    nvml = library.nvml
    try:
        count = nvml.nvmlDeviceGetCount()
    except library.error as fault:
        return Found(missing=(Missing("nvml", _say(fault), _REMEDY),))
    for index in range(count):
        try:
            meters.append(NvmlMeter(library, nvml.nvmlDeviceGetHandleByIndex(index), monotonic))
        except library.error as fault:
            untold = _code(fault) == _NOT_SUPPORTED
            why = "tells neither energy nor power (a virtual GPU?)" if untold else _say(fault)
            missing.append(
                Missing(f"nvml:{index}", f"GPU {index}: {why}", _REMEDIES.get(_code(fault), _REMEDY))
            )
    return Found(tuple(meters), tuple(missing))


def work_share(
    process_ids: Collection[int] | None, own_ids: Collection[int], busy: Mapping[int, float] | None = None
) -> float | None:
    """Return the share (0 to 1) of a GPU's busy time that belongs to the processes `own_ids`; None: not known.

    `busy` is each process's utilisation (`NvmlMeter.process_utilisation`). Without it, or where nobody was busy,
    those who hold the board share it in equal parts.
    """
    everybody = sum(busy.values()) if busy else 0.0
    if busy and everybody > 0:
        return sum(share for pid, share in busy.items() if pid in own_ids) / everybody
    if process_ids is None:
        return None
    return sum(pid in own_ids for pid in process_ids) / len(process_ids) if process_ids else 0.0


def _visible(ids: list[int]) -> tuple[int, ...] | None:
    """Return process ids as this process sees them; None where they are hidden from it.

    In a container the driver tells no process, or numbers that mean nothing here: an empty list is no proof then.
    """
    try:
        if os.stat("/proc/self/ns/pid").st_ino == _HOST_PID_NAMESPACE:
            return tuple(ids)
    except OSError:
        return tuple(ids)  # no namespaces: not Linux
    return tuple(pid for pid in ids if os.path.exists(f"/proc/{pid}")) or None


def _sign_of_a_driver(root: Path) -> bool:
    """Return whether it is worth while to load the library at all."""
    signs = ("proc/driver/nvidia/version", "dev/nvidiactl", f"usr/lib/wsl/lib/{LIBRARY}")
    if any(os.path.exists(root / sign) for sign in signs):
        return True
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return any(folder and os.path.exists(os.path.join(folder, LIBRARY)) for folder in folders)


def _power_note(window_s: float) -> str:
    if window_s:
        return f"power, each value the mean of {window_s:g} s, integrated between reads"
    return "power of the moment, integrated between reads; work that pulses faster than they come is caught badly"


def _code(fault: Exception) -> int:
    return int(getattr(fault, "value", 0))


def _say(fault: Exception) -> str:
    """Return NVML's own words on one line."""
    return f"NVML: {' '.join(str(fault).split())} (error {_code(fault)})"
