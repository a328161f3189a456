from __future__ import annotations

import os

import pytest

from joulewise.launching.port import Refused
from joulewise.launching.slurm_cap import SlurmCap
from joulewise.testing.slurm import private_slurm, slurm_missing

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def cluster():
    if why := slurm_missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}; in CI that is a failure", pytrace=False)
        pytest.skip(why)
    with private_slurm(4, cpus=1) as started:
        yield started


def states(cluster):
    told = cluster.command("sinfo", "-h", "-N", "-o", "%N %t").replace(
        "*", ""
    )  # *: has not answered for a moment
    return dict(line.split() for line in told.splitlines())


def test_cap(cluster):
    """Idle nodes are held back first, what runs runs on, and a node that somebody else drained is left alone."""
    cluster.command("scontrol", "update", "NodeName=n4", "State=DRAIN", "Reason=broken fan")
    job = cluster.command("sbatch", "--parsable", "-w", "n1", "-o", "/dev/null", "--wrap", "sleep 60").strip()
    while states(cluster)["n1"] != "alloc":
        pass
    cap = SlurmCap(environment=cluster.environment)

    assert cap.hold_to(2, "DE").drained == ("n2",)
    assert states(cluster) == {"n1": "alloc", "n2": "drain", "n3": "idle", "n4": "drain"}
    assert cap.hold_to(2).drained == ()
    assert cap.hold_to(0).drained == ("n3", "n1")
    assert states(cluster)["n1"] == "drng"
    assert cluster.command("squeue", "-h", "-j", job, "-o", "%T").strip() == "RUNNING"
    assert sorted(cap.hold_to(3).resumed) == ["n1", "n2", "n3"]
    assert states(cluster) == {"n1": "alloc", "n2": "idle", "n3": "idle", "n4": "drain"}
    assert cap.hold_to(99).resumed == ()
    cluster.command("scancel", job)


def test_partition(cluster):
    """A partition that does not exist has no nodes."""
    assert SlurmCap("nosuch", environment=cluster.environment).nodes() == ([], [])


def test_no_rights(cluster, tmp_path):
    """Who may not drain is told so in one line."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    file = tmp_path / "scontrol"
    file.write_text('#!/bin/sh\nexec setpriv --reuid=33 --regid=33 --clear-groups /usr/bin/scontrol "$@"\n')
    file.chmod(0o755)
    cap = SlurmCap(environment={**cluster.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"})

    with pytest.raises(Refused, match=r"(?i)permission|denied|invalid user") as refused:
        cap.hold_to(1)
    assert "\n" not in str(refused.value)
