"""A Ray cluster of one's own for tests: several nodes on this machine, with the dashboard that serves its Jobs API.

It lives in a process of its own (`python -m joulewise.testing.ray NODES CPUS`), so that a test neither imports Ray nor shares
its state, and ends with that process. Ray gives its start 30 s, which a loaded machine misses: it is tried again.
Needs `ray[default]`; `ray stop` is never used, since it ends every Ray on the machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

_TRIES = 4


def ray_missing() -> str:
    """Return why no Ray can be started here ("" where it can)."""
    if find_spec("ray") is None or find_spec("aiohttp") is None:
        return "Ray is not installed (pip install 'joulewise[ray]')"
    return ""


@contextmanager
def private_ray(nodes: int = 2, *, cpus: int = 4) -> Iterator[str]:
    """Start a cluster of `nodes` with `cpus` each and yield the URL of its dashboard; end it afterwards.

    Raises FileNotFoundError where it cannot be had, RuntimeError where it does not start after four tries.
    """
    if why := ray_missing():
        raise FileNotFoundError(why)
    with tempfile.TemporaryFile() as log:
        for _attempt in range(_TRIES):
            process = subprocess.Popen(
                [sys.executable, "-m", "joulewise.testing.ray", str(nodes), str(cpus)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env={
                    **os.environ,
                    "RAY_USAGE_STATS_ENABLED": "0",
                    "RAY_AUTH_MODE": "disabled",
                    "RAY_DEDUP_LOGS": "0",
                },
            )
            with process:
                assert process.stdout is not None  # noqa: S101 - it was asked for
                address = process.stdout.readline().strip()
                try:
                    if address:
                        yield address
                        return
                finally:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGTERM)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(5)
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        log.seek(0)
        raise RuntimeError(f"Ray did not start: {log.read()[-1500:].decode(errors='replace')}")


def _serve(nodes: int, cpus: int) -> None:
    """Start the cluster, say where its dashboard is, and stay until the input ends or SIGTERM."""
    from ray.cluster_utils import Cluster

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings: dict[str, Any] = {"num_cpus": cpus, "object_store_memory": 100 << 20, "num_gpus": 0}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **settings,
            "include_dashboard": True,
            "dashboard_host": "127.0.0.1",
            "dashboard_port": 0,
        },
    )
    try:
        for _node in range(nodes - 1):
            cluster.add_node(**settings)
        cluster.wait_for_nodes()
        head: Any = cluster.head_node
        print(f"http://{head.webui_url}", flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call,unused-ignore]


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
