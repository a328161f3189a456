"""A double of the processor's energy counters in the Linux kernel's powercap layout, with an exactly known truth.

`PowercapTree` builds the folders below a root that stands for /sys and moves the counters when a test says so.

The truth process moves them by itself, every 2 ms, while a program runs:

    python -m joulewise.testing.powercap --root DIR [--truth FILE] [options] -- COMMAND...
    python -m joulewise.testing.powercap --namespace [--truth FILE] [options] -- COMMAND...

With `--namespace` (root, Linux) it covers /sys/class and /sys/devices/virtual in a mount namespace of its own, so
that COMMAND and its children, unmodified, find the counters where a real machine has them; nobody else sees them.
`--deny` makes `energy_uj` unreadable as it is for ordinary users since Linux 5.10, for root too.

The load is pulsed, because that is what catches a sampler: each package draws 40 W and 160 W more during the first
0.2 s of each second (72 W on average), 60 % of it in its cores; memory 8 W; the platform (psys) 15 W more than all
that. `read_truth` gives the joules since the start exactly, to the microjoule, and `settled` says how to read a
meter and the truth at one moment.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar, final

RANGE_UJ = 262_143_328_850  # what most Intel servers have
TICK_S = 0.002

_WIDTH = 20  # digits: written in place, a reader never sees half a number
_TRUTH_WIDTH = 1024
_DIE_APART_UJ = 7_000_000  # dies with counters of their own do not stand at the same energy

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which zones a tree has.

    `mmio` shows every package a second time as intel-rapl-mmio; `mirrored` lets all dies of a package show one
    counter (AMD Zen 1 and 2). Counters start at `start_uj` and wrap at `range_uj`. `deny` closes `energy_uj`.
    """

    packages: int = 1
    dies: int = 1
    core: bool = True
    dram: bool = True
    psys: bool = True
    mmio: bool = False
    mirrored: bool = False
    range_uj: int = RANGE_UJ
    start_uj: int = 0
    deny: bool = False


@final
class PowercapTree:
    """The kernel's powercap folders below `root`, which stands for /sys; `folder` is what a reader takes.

    Counters go by label: `package-0` (or `package-0-die-1`), `core-0`, `dram-0`, `psys`. A label that several
    zones show (mmio, mirrored dies) moves them all.
    """

    def __init__(self, root: Path, layout: Layout = Layout()) -> None:
        self.folder = root / "class" / "powercap"
        self.layout = layout
        self._real = root / "devices" / "virtual" / "powercap"
        self._zones: dict[str, list[Path]] = {}
        self._uj: dict[str, int] = {}
        self._fds: dict[Path, int] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._control("intel-rapl")
        self._fill("intel-rapl")
        if layout.mmio:
            self._control("intel-rapl-mmio")
            self._fill("intel-rapl-mmio")

    @property
    def labels(self) -> tuple[str, ...]:
        """The counters that exist."""
        return tuple(self._zones)

    def advance(self, label: str, joules: float) -> None:
        """Move a counter on by `joules`, over its end where need be."""
        self.set(label, (self._uj[label] + round(joules * 1e6)) % self.layout.range_uj)

    def set(self, label: str, energy_uj: int) -> None:
        """Put a counter at `energy_uj` microjoules, as a reset would."""
        self._uj[label] = energy_uj
        for zone in self._zones[label]:
            fd = self._fds.get(zone)
            if fd is not None:
                os.pwrite(fd, b"%0*d\n" % (_WIDTH, energy_uj), 0)

    def lose(self, label: str) -> None:
        """Take a counter away, as unloading the driver does: open descriptors read nothing, the file is gone."""
        for zone in self._zones[label]:
            fd = self._fds.pop(zone)
            os.ftruncate(fd, 0)
            os.close(fd)
            (zone / "energy_uj").unlink()

    def restore(self, label: str) -> None:
        """Bring a lost counter back; meanwhile it went on counting whatever `advance` said."""
        for zone in self._zones[label]:
            self._open(zone, self._uj[label])

    def close(self) -> None:
        """Give the files back; the folders stay."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def _fill(self, control: str) -> None:
        layout = self.layout
        number = 0
        for package in range(layout.packages):
            for die in range(layout.dies):
                own = f"{package}-die-{die}" if layout.dies > 1 else str(package)
                shown = f"{package}-die-0" if layout.mirrored and layout.dies > 1 else own
                zone = self._zone(f"{control}:{number}", "", f"package-{own}", f"package-{shown}", die)
                children = [noun for noun in ("core", "dram") if getattr(layout, noun)]
                for index, noun in enumerate(children):
                    self._zone(f"{control}:{number}:{index}", zone, noun, f"{noun}-{shown}", die)
                number += 1
        if layout.psys and control == "intel-rapl":
            self._zone(f"{control}:{number}", "", "psys", "psys", 0)

    def _control(self, name: str) -> None:
        folder = self._real / name
        folder.mkdir(parents=True)
        (folder / "enabled").write_text("1\n")
        self._link(folder)

    def _zone(self, name: str, above: str, noun: str, label: str, die: int) -> str:
        control = name.partition(":")[0]
        folder = self._real / control / above / name
        folder.mkdir()
        files = {
            "name": noun,
            "max_energy_range_uj": self.layout.range_uj,
            "enabled": 1,
            "constraint_0_name": "long_term",
            "constraint_0_power_limit_uw": 225_000_000,
            "constraint_0_time_window_us": 999_424,
        }
        for file, value in files.items():
            (folder / file).write_text(f"{value}\n")
        start = (self.layout.start_uj + die * _DIE_APART_UJ) % self.layout.range_uj
        self._zones.setdefault(label, []).append(folder)
        self._open(folder, self._uj.setdefault(label, start))
        self._link(folder)
        return name

    def _open(self, zone: Path, energy_uj: int) -> None:
        path = zone / "energy_uj"
        fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.pwrite(fd, b"%0*d\n" % (_WIDTH, energy_uj), 0)
        if self.layout.deny and os.geteuid() == 0:
            os.chown(path, 65534, 65534)  # nobody: only a capability lets root in
            os.fchmod(fd, 0o400)
        else:
            os.fchmod(fd, 0o000 if self.layout.deny else 0o444)
        self._fds[zone] = fd

    def _link(self, folder: Path) -> None:
        (self.folder / folder.name).symlink_to(os.path.relpath(folder, self.folder))
        (folder / "subsystem").symlink_to(os.path.relpath(self.folder, folder))


def pulsed_uj(elapsed_s: float) -> int:
    """Return the microjoules of one package since the start: 40 W, and 160 W more in each second's first 0.2 s."""
    whole = int(elapsed_s)
    return round(40e6 * elapsed_s + 160e6 * (0.2 * whole + min(elapsed_s - whole, 0.2)))


def true_joules(layout: Layout, elapsed_s: float) -> dict[str, float]:
    """Return what each zone of `layout` has used after `elapsed_s` seconds of the pulsed load, in joules."""
    return {label: energy_uj / 1e6 for label, energy_uj in _true_uj(layout, elapsed_s).items()}


def _true_uj(layout: Layout, elapsed_s: float) -> dict[str, int]:
    package, memory = pulsed_uj(elapsed_s), round(8e6 * elapsed_s)
    counters = layout.packages * (1 if layout.mirrored else layout.dies)
    used: dict[str, int] = {}
    for number in range(layout.packages):
        for die in range(1 if layout.mirrored else layout.dies):
            own = f"{number}-die-{die}" if layout.dies > 1 else str(number)
            used[f"package-{own}"] = package
            if layout.core:
                used[f"core-{own}"] = package * 6 // 10
            if layout.dram:
                used[f"dram-{own}"] = memory
    if layout.psys:
        used["psys"] = counters * (package + (memory if layout.dram else 0)) + round(15e6 * elapsed_s)
    return used


@dataclass(frozen=True, slots=True)
class Truth:
    """What was really used since the truth process started: joules by label, at `t_s` seconds.

    `sequence` is even while counters and truth agree, and odd while they are being moved.
    """

    sequence: int
    t_s: float
    joules: Mapping[str, float]


def read_truth(path: Path) -> Truth:
    """Return the truth as it stands in the file `path` (see `settled`)."""
    return _truth(path.read_bytes())


def _truth(text: bytes) -> Truth:
    """Return the truth written in `text`."""
    document = json.loads(text)
    return Truth(document["sequence"], document["t_s"], document["joules"])


def settled(path: Path, read: Callable[[], Answer]) -> tuple[Answer, Truth]:
    """Return what `read` answers and the truth of the very same moment: no counter moved in between."""
    while True:
        text = path.read_bytes()
        answer = read()
        if path.read_bytes() == text:
            truth = _truth(text)
            if not truth.sequence % 2:
                return answer, truth


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command beside moving counters; return its exit code as a shell would give it."""
    options = _options(arguments)
    layout = Layout(
        packages=options.packages,
        dies=options.dies,
        dram=not options.no_dram,
        psys=not options.no_psys,
        mmio=options.mmio,
        mirrored=options.mirrored,
        range_uj=options.range,
        start_uj=options.start,
        deny=options.deny,
    )
    if options.namespace:
        _enter_namespace()
    tree = PowercapTree(Path("/sys") if options.namespace else options.root, layout)
    truth = os.open(options.truth, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644) if options.truth else None
    if layout.deny and os.geteuid() == 0:
        _give_up_reading_everything()
    mover = _Mover(tree, truth)
    child = _start(options.command)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda which, _frame: child.send_signal(which) if child else _leave(which))
    while child is None or child.poll() is None:
        mover.move()
        time.sleep(TICK_S)
    mover.move()
    tree.close()
    for number, handler in before.items():
        signal.signal(number, handler)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


@final
class _Mover:
    """Moves all counters of a tree by the pulsed load, and writes the truth between two sequence numbers."""

    def __init__(self, tree: PowercapTree, truth: int | None) -> None:
        self._tree = tree
        self._truth = truth
        self._sequence = 0
        self._at: dict[str, int] = {label: tree._uj[label] for label in tree.labels}  # noqa: SLF001 - its other half
        self._start_s = time.monotonic()
        self._write(0.0, dict.fromkeys(tree.labels, 0))

    def move(self) -> None:
        """Bring counters and truth to this moment."""
        elapsed_s = time.monotonic() - self._start_s
        used = _true_uj(self._tree.layout, elapsed_s)
        self._sequence += 1
        self._write(elapsed_s, used)
        for label, energy_uj in used.items():
            self._tree.set(label, (self._at[label] + energy_uj) % self._tree.layout.range_uj)
        self._sequence += 1
        self._write(elapsed_s, used)

    def _write(self, elapsed_s: float, used: Mapping[str, int]) -> None:
        if self._truth is None:
            return
        joules = {label: energy_uj / 1e6 for label, energy_uj in used.items()}
        line = json.dumps({"sequence": self._sequence, "t_s": elapsed_s, "joules": joules}).encode()
        os.pwrite(self._truth, line.ljust(max(_TRUTH_WIDTH, len(line))) + b"\n", 0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m joulewise.testing.powercap",
        description="Run COMMAND beside a double of the processor's energy counters whose truth is known.",
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--root", type=Path, help="build the tree below this folder, which stands for /sys")
    place.add_argument(
        "--namespace", action="store_true", help="show it in /sys to COMMAND only (root, Linux)"
    )
    parser.add_argument("--truth", type=Path, help="keep the true joules in this file (JSON)")
    parser.add_argument("--range", type=int, default=RANGE_UJ, help="counters wrap at this many microjoules")
    parser.add_argument("--start", type=int, default=0, help="counters start at this many microjoules")
    parser.add_argument("--packages", type=int, default=1)
    parser.add_argument("--dies", type=int, default=1, help="dies per package, each a zone")
    parser.add_argument("--no-dram", action="store_true")
    parser.add_argument("--no-psys", action="store_true")
    parser.add_argument(
        "--mmio", action="store_true", help="show each package a second time as intel-rapl-mmio"
    )
    parser.add_argument("--mirrored", action="store_true", help="all dies of a package show one counter")
    parser.add_argument("--deny", action="store_true", help="energy_uj is unreadable, for root too")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    options = parser.parse_args(arguments)
    if not 0 <= options.start < options.range:
        parser.error(
            f"--start is {options.start}, but must be at least 0 and below --range ({options.range})"
        )
    if options.namespace and (sys.platform != "linux" or os.geteuid() != 0):
        parser.error(
            "--namespace needs root on Linux; without, use --root DIR and hand the reader DIR/class/powercap"
        )
    return options


def _start(command: Sequence[str]) -> subprocess.Popen[bytes] | None:
    if not command:
        return None
    try:
        return subprocess.Popen(command)
    except FileNotFoundError:
        sys.exit(_complain(f"{command[0]}: not found", 127))
    except PermissionError:
        sys.exit(_complain(f"{command[0]}: not executable", 126))


def _complain(line: str, code: int) -> int:
    print(f"joulewise.testing.powercap: {line}", file=sys.stderr)
    return code


def _leave(number: int) -> NoReturn:
    sys.exit(128 + number)


# Linux only from here on: mounts and capabilities by the C library, since Python 3.11 has neither.

_NEW_NAMESPACE = 0x20000  # CLONE_NEWNS
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18  # MS_BIND, MS_REC, MS_PRIVATE
_DETACH = 2  # MNT_DETACH
_DROP_FROM_BOUNDING_SET = 24  # PR_CAPBSET_DROP
_READ_ANYTHING = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def _call(name: str, *arguments: object) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: bytes | None, flags: int) -> None:
    import ctypes

    _call("mount", source.encode(), target.encode(), kind, ctypes.c_ulong(flags), None)


def _enter_namespace() -> None:
    """Move this process into a mount namespace of its own, with room for our zones in /sys."""
    _call("unshare", _NEW_NAMESPACE)
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    _cover("/sys/class")
    _cover("/sys/devices/virtual")


def _cover(folder: str) -> None:
    """Lay a writable file system over `folder` that shows all it held but powercap, at the same paths.

    Each entry is bound, not linked: the relative links of sysfs then still lead where they did.
    """
    import tempfile

    entries = [entry for entry in os.scandir(folder) if entry.name != "powercap"]
    aside = tempfile.mkdtemp(prefix="joulewise-powercap-")
    _mount(folder, aside, None, _BIND | _RECURSIVE)
    _mount("joulewise", folder, b"tmpfs", 0)
    for entry in entries:
        if entry.is_symlink():
            os.symlink(os.readlink(f"{aside}/{entry.name}"), entry.path)
        elif entry.is_dir(follow_symlinks=False):
            os.mkdir(entry.path)
            _mount(f"{aside}/{entry.name}", entry.path, None, _BIND | _RECURSIVE)
        else:
            os.close(os.open(entry.path, os.O_CREAT, 0o444))
            _mount(f"{aside}/{entry.name}", entry.path, None, _BIND)
    _call("umount2", aside.encode(), _DETACH)
    os.rmdir(aside)


def _give_up_reading_everything() -> None:
    """Take from our children, root or not, the capabilities that open files against their mode."""
    import ctypes

    for capability in _READ_ANYTHING:
        _call("prctl", _DROP_FROM_BOUNDING_SET, ctypes.c_ulong(capability), *[ctypes.c_ulong(0)] * 3)


if __name__ == "__main__":
    sys.exit(main())
