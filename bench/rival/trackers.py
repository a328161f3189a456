"""One probe of one energy tracker, run by that tool's own Python: `trackers.py TOOL PROBE FOLDER SECONDS`.

Started by ../rivals.py, which says what the probes mean. Prints one line `RESULT {...}`; joules and CPU seconds.
A tracker is (start, stop): `stop` returns {part: joules or None}.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

JOULES_PER_KWH = 3.6e6
HZ = os.sysconf("SC_CLK_TCK")

Tracker = tuple[Callable[[], object], Callable[[], dict[str, float | None]]]


def codecarbon(folder: Path, **options: object) -> Tracker:
    """Return CodeCarbon in its offline class, defaults otherwise."""
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code="DEU", output_dir=str(folder), log_level="critical", **options
    )

    def stop() -> dict[str, float | None]:
        tracker.stop()
        seen = tracker.final_emissions_data
        return {"package": seen.cpu_energy * JOULES_PER_KWH, "memory": seen.ram_energy * JOULES_PER_KWH}

    return tracker.start, stop


def codecarbon_online(folder: Path) -> Tracker:
    """Return CodeCarbon as its documentation shows it first."""
    from codecarbon import EmissionsTracker

    tracker = EmissionsTracker(output_dir=str(folder), log_level="critical")
    return tracker.start, lambda: {"grams": (tracker.stop() or 0) * 1000}


def codecarbon_dram(folder: Path) -> Tracker:
    """Return CodeCarbon asked to use the memory's counter."""
    return codecarbon(folder, rapl_include_dram=True)


def zeus(folder: Path) -> Tracker:
    """Return a Zeus monitor's window; its first processor is the package, what else it lists is named apart."""
    from zeus.monitor import ZeusMonitor

    monitor = ZeusMonitor(log_file=str(folder / "zeus.csv"))

    def stop() -> dict[str, float | None]:
        seen = monitor.end_window("work", sync_execution=False)
        parts = {("package" if i == 0 else f"cpu {i}"): j for i, j in (seen.cpu_energy or {}).items()}
        return {
            "package": None,
            **parts,
            "memory": sum(seen.dram_energy.values()) if seen.dram_energy else None,
        }

    return lambda: monitor.begin_window("work", sync_execution=False), stop


def joulewise(folder: Path) -> Tracker:
    """Return `joulewise.track`."""
    os.environ["JOULEWISE_HOME"] = str(folder)
    import joulewise

    run = joulewise.track("work")

    def stop() -> dict[str, float | None]:
        run.__exit__(None, None, None)
        from joulewise.ledger.files import read_recording

        recording = read_recording(next((folder / "runs").glob("*/*")))
        names = {"rapl:package-0": "package", "rapl:dram-0": "memory"}
        columns = {
            n: [v for v in recording.ticks.energy_j.get(d, ()) if v is not None] for d, n in names.items()
        }
        seen: dict[str, float | None] = {n: c[-1] - c[0] if c else None for n, c in columns.items()}
        for device in recording.devices:  # what stands in where no counter can be read, and says so
            column = [v for v in recording.ticks.energy_j.get(device.id, ()) if v is not None]
            if device.component == "cpu" and device.basis and column:
                seen[f"{device.id} ({device.basis.name.lower()})"] = column[-1] - column[0]
        return seen

    return run.__enter__, stop


def nothing(_folder: Path) -> Tracker:
    """Return the floor: no tracker."""
    return lambda: None, dict


TRACKERS = {
    "nothing": (nothing, "sys"),
    "joulewise": (joulewise, "joulewise"),
    "codecarbon": (codecarbon, "codecarbon"),
    "codecarbon-dram": (codecarbon_dram, "codecarbon"),
    "codecarbon-online": (codecarbon_online, "codecarbon"),
    "zeus": (zeus, "zeus.monitor"),
}


def tree_cpu_s() -> float:
    """Return the CPU seconds of every process of this session: a tracker's helpers are part of its price."""
    session, ticks = os.getsid(0), 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session:
                ticks += sum(map(int, fields[11:15]))
    return ticks / HZ


def peak_mb() -> float:
    """Return the most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Run the probe."""
    tool, probe, folder, seconds = sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
    asked: set[str] = set()
    if probe == "network":  # told from below: what a library opens, not what it says

        def hear(event: str, arguments: tuple[object, ...]) -> None:
            if event == "socket.getaddrinfo":
                asked.add(str(arguments[0]))
            elif event == "socket.connect" and isinstance(arguments[1], tuple):
                asked.add(str(arguments[1][0]))

        sys.addaudithook(hear)
    make, module = TRACKERS[tool]
    memory_mb, begun_s = peak_mb(), time.process_time()
    importlib.import_module(module)
    start, stop = make(folder)
    answer: dict[str, object] = {}
    if probe == "truth":
        from_powercap = Path(os.environ["RIVAL_TRUTH"])

        def truth() -> dict[str, float]:
            return json.loads(from_powercap.read_bytes())["joules"]

        outer = truth()
        start()
        inner = truth()
        time.sleep(seconds)
        inner_end = truth()
        answer["seen"] = stop()
        outer_end = truth()
        answer["least"] = {k: inner_end[k] - inner[k] for k in inner}
        answer["most"] = {k: outer_end[k] - outer[k] for k in outer}
    elif probe == "killed":
        start()
        print("STARTED", flush=True)
        time.sleep(3600)
    else:
        start()
        answer["start_cpu_s"] = time.process_time() - begun_s
        time.sleep(0.5)
        before_s, clock_s = tree_cpu_s(), time.monotonic()
        time.sleep(seconds)
        answer["cpu_ms_per_s"] = (tree_cpu_s() - before_s) * 1000 / (time.monotonic() - clock_s)
        stop()
        answer["memory_mb"] = peak_mb() - memory_mb
        answer["asked"] = sorted(asked - {"127.0.0.1", "::1", "localhost"})
    print("RESULT", json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
