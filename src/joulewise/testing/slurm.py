"""A Slurm of one's own for tests: slurmctld and one slurmd a node, from the system's packages, gone afterwards.

It runs as root and without systemd: daemons in a private folder below the system's temporary folder, on free ports of
loopback, several nodes on one host told apart by their port. No accounting unless asked for, as on many clusters. The key of munge is
the machine's own where munged runs, else a new one.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from joulewise.testing.slurm_accounting import NEEDED, start_accounting, which

_READY_WITHIN_S = 60.0
_NO_ACCOUNTING = "JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n"
_NEEDED = ("slurmctld", "slurmd", "munged", "sbatch")


@dataclass(frozen=True)
class PrivateSlurm:
    """A running cluster: `environment` is what its commands need, `folder` is seen by its nodes."""

    folder: Path
    environment: Mapping[str, str]
    nodes: tuple[str, ...]

    def command(self, *argv: str) -> str:
        """Run one of Slurm's commands and return what it prints."""
        done = subprocess.run(
            argv, check=True, capture_output=True, text=True, env={**os.environ, **self.environment}
        )
        return done.stdout


def slurm_missing(*, accounting: bool = False) -> str:
    """Return why no Slurm (with accounting) can be started here ("" where it can)."""
    if os.geteuid() != 0:
        return "a private Slurm needs root"
    missing = [name for name in (*_NEEDED, *(NEEDED if accounting else ())) if which(name) is None]
    return (
        f"{', '.join(missing)} not installed (sh scripts/services.sh installs it on Debian)"
        if missing
        else ""
    )


@contextmanager
def private_slurm(
    nodes: int = 1, *, cpus: int = 4, settings: str = "", accounting: bool = False
) -> Iterator[PrivateSlurm]:
    """Start a cluster of `nodes` with `cpus` each and yield it; stop and delete it afterwards.

    With `accounting` slurmdbd keeps what jobs used, for sacct. `settings` are further lines of slurm.conf. Raises FileNotFoundError where it cannot be had.
    """
    if why := slurm_missing(accounting=accounting):
        raise FileNotFoundError(why)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="joulewise-slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        names = tuple(f"n{i + 1}" for i in range(nodes))
        socket_path = _munge(stack, folder)
        configuration = folder / "slurm.conf"
        text = _configuration(folder, names, cpus, socket_path)
        configuration.write_text(text + _NO_ACCOUNTING + settings)
        if accounting:
            lines = start_accounting(stack, folder, socket_path)
            configuration.write_text(text + lines + settings)
        environment = {"SLURM_CONF": str(configuration)}
        cluster = PrivateSlurm(folder, environment, names)
        _daemon(stack, cluster, "slurmctld", "-D")
        for name in names:
            _daemon(stack, cluster, "slurmd", "-D", "-N", name)
        _await_nodes(cluster)
        yield cluster


def _configuration(folder: Path, names: tuple[str, ...], cpus: int, munge: Path) -> str:
    host = socket.gethostname()
    ports = _free_ports(len(names) + 1)
    for name in ("state", "spool", "log"):
        (folder / name).mkdir()
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=4000 State=UNKNOWN"
        for name, port in zip(names, ports[1:], strict=True)
    )
    return f"""\
ClusterName=joulewise
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd-%n
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=2
MinJobAge=300
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes={",".join(names)} Default=YES MaxTime=INFINITE State=UP
"""


def _munge(stack: ExitStack, folder: Path) -> Path:
    """Start a munged of our own and return its socket."""
    own = folder / "munge"
    own.mkdir(mode=0o755)
    key = own / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    user = pwd.getpwnam("munge")
    for path in (own, key):
        os.chown(path, user.pw_uid, user.pw_gid)
    place = own / "socket"
    command = [str(which("munged")), "--foreground", "--force", f"--key-file={key}", f"--socket={place}"]
    command += [
        f"--pid-file={own}/pid",
        f"--log-file={own}/log",
        f"--seed-file={own}/seed",
        "--num-threads=2",
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
    )
    stack.callback(_stop, process)
    end_s = time.monotonic() + _READY_WITHIN_S
    while not place.exists():
        if process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError("munged did not start")
        time.sleep(0.05)
    return place


def _daemon(stack: ExitStack, cluster: PrivateSlurm, name: str, *arguments: str) -> None:
    process = subprocess.Popen(
        [str(which(name)), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, **cluster.environment},
        start_new_session=True,
    )
    stack.callback(_stop, process)


def _await_nodes(cluster: PrivateSlurm) -> None:
    end_s = time.monotonic() + _READY_WITHIN_S
    while True:
        with suppress(subprocess.CalledProcessError):
            if cluster.command("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * len(cluster.nodes):
                return
        if time.monotonic() > end_s:
            logs = "\n".join(p.read_text()[-1500:] for p in (cluster.folder / "log").iterdir())
            raise RuntimeError(f"Slurm did not start: {logs}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
