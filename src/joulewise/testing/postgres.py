"""A PostgreSQL of one's own for tests: a fresh server on loopback from the system's binaries, gone afterwards.

The server refuses to run as root, so under root it runs as the user `postgres`; its data lie in a folder below the
system's temporary folder that this user can reach. Nothing of an installed server is touched.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_READY_WITHIN_S = 60.0
_USER = "joulewise"


def postgres_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL server binaries (Debian's place, then the PATH); None if there are none."""
    versions = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if versions:
        return max(versions, key=lambda p: int(p.parent.name) if p.parent.name.isdigit() else 0)
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def private_postgres() -> Iterator[str]:
    """Start a server on loopback and yield the URL of its empty database; stop it and delete its data afterwards.

    Raises FileNotFoundError if no server binaries are installed.
    """
    binaries = postgres_binaries()
    if binaries is None:
        raise FileNotFoundError("no PostgreSQL server is installed; on Debian: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="joulewise-postgres-"))
    account = _account(folder)
    data, port = folder / "data", _free_port()
    log = folder / "log"
    try:
        subprocess.run(
            [
                binaries / "initdb",
                "--no-sync",
                "-A",
                "trust",
                "-U",
                _USER,
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-D",
                data,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **account,
        )
        command = [f"{binaries}/postgres", "-D", f"{data}", "-p", f"{port}", "-k", f"{folder}"]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=300"]
        with log.open("wb") as file:
            server: subprocess.Popen[bytes] = subprocess.Popen(command, stdout=file, stderr=file, **account)
        try:
            _wait(binaries, port, server, log)
            yield f"postgresql://{_USER}@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(5)
            server.kill()
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account(folder: Path) -> dict[str, Any]:
    """Return how to start the server's processes: as `postgres` where we are root, as ourselves elsewhere."""
    if os.geteuid() != 0:
        return {"cwd": "/"}
    import pwd

    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"cwd": "/", "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(binaries: Path, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    question = [f"{binaries}/pg_isready", "-q", "-h", "127.0.0.1", "-p", f"{port}"]
    end_s = time.monotonic() + _READY_WITHIN_S
    while subprocess.run(question, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.05)
