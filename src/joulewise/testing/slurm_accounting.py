"""The accounting of a private Slurm: slurmdbd on a MariaDB of its own, on loopback, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

_READY_WITHIN_S = 120.0
NEEDED = ("slurmdbd", "mariadbd", "mariadb-install-db")


def start_accounting(stack: ExitStack, folder: Path, munge: Path) -> str:
    """Start both below `folder` and return the lines of slurm.conf that use them; `stack` stops them."""
    database, daemon = _free_port(), _free_port()
    _start_mariadb(stack, folder / "mariadb", database)
    conf = folder / "slurmdbd.conf"
    conf.write_text(
        f"AuthType=auth/munge\nAuthInfo=socket={munge}\nDbdHost=localhost\nDbdPort={daemon}\nSlurmUser=root\n"
        f"LogFile={folder}/log/slurmdbd\nPidFile={folder}/slurmdbd.pid\nStorageType=accounting_storage/mysql\n"
        f"StorageHost=127.0.0.1\nStoragePort={database}\nStorageUser=slurm\nStoragePass=slurm\nStorageLoc=slurm\n"
    )
    conf.chmod(0o600)
    slurmdbd = subprocess.Popen(
        [str(which("slurmdbd")), "-D"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, "SLURM_CONF": str(folder / "slurm.conf")},
    )
    stack.callback(_stop, slurmdbd)
    _await_port(slurmdbd, daemon, "slurmdbd")
    return (
        f"AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=localhost\n"
        f"AccountingStoragePort={daemon}\nAccountingStoragePass={munge}\nJobAcctGatherType=jobacct_gather/linux\nJobAcctGatherFrequency=1\n"
    )


def which(name: str) -> str | None:
    """Return where a daemon is."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _start_mariadb(stack: ExitStack, folder: Path, port: int) -> None:
    account = pwd.getpwnam("nobody")
    folder.mkdir()
    os.chown(folder, account.pw_uid, account.pw_gid)
    data = folder / "data"
    subprocess.run(
        [str(which("mariadb-install-db")), "--no-defaults", f"--datadir={data}", f"--tmpdir={folder}", "--user=nobody",
         "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    start = folder / "start.sql"
    hosts = ("'127.0.0.1'", "localhost")
    lines = ["CREATE DATABASE slurm"]
    lines += [f"CREATE USER slurm@{host} IDENTIFIED BY 'slurm'" for host in hosts]
    lines += [f"GRANT ALL ON slurm.* TO slurm@{host}" for host in hosts]
    start.write_text("".join(f"{line};\n" for line in lines))  # a statement a line
    process = subprocess.Popen(
        [str(which("mariadbd")), "--no-defaults", f"--datadir={data}", f"--tmpdir={folder}", "--user=nobody", f"--port={port}",
         "--bind-address=127.0.0.1", f"--socket={folder}/socket", f"--pid-file={folder}/pid",
         f"--init-file={start}", "--innodb-buffer-pool-size=64M"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    stack.callback(_stop, process)
    _await_port(process, port, "MariaDB")


def _await_port(process: subprocess.Popen[bytes], port: int, name: str) -> None:
    end_s = time.monotonic() + _READY_WITHIN_S
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"{name} did not start")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
