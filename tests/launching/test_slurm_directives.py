from __future__ import annotations

import pytest

from joulewise.launching.port import Refused
from joulewise.launching.slurm_directives import Directives, directives, is_sbatch


def script(tmp_path, *lines):
    (tmp_path / "job.sh").write_text("\n".join(("#!/bin/bash", *lines, "srun train", "#SBATCH --time=9")))
    return str(tmp_path)


def test_script(tmp_path):
    """Directives are read up to the first command, quotes and comments as Slurm reads them."""
    cwd = script(
        tmp_path,
        "#SBATCH --time=1-06:30:00  # a day",
        "#SBATCH -N 2 --ntasks-per-node=4 -c8",
        '#SBATCH --job-name="my training"',
        "#SBATCH --gpus-per-node=a100:4",
        "#SBATCH --mem=64G --hold",
        "# a comment",
        "#SBATCH --array=0-9%2",
    )

    assert directives(("sbatch", "job.sh"), cwd) == Directives(
        limit_s=109800.0, cpus=64, gpus=8, memory_bytes=128 << 30, nodes=2, name="my training", array=True
    )


def test_line_before_script(tmp_path):
    """Options on the line win over the script's, and the script's own arguments are not options."""
    cwd = script(tmp_path, "#SBATCH --time=60 --cpus-per-task=2")
    line = ("/usr/bin/sbatch", "-t", "10", "--exclusive", "-p", "gpu", "job.sh", "--time=5")

    assert directives(line, cwd) == Directives(limit_s=600.0, cpus=2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("30:15", 1815),
        ("2:00:00", 7200),
        ("1-12", 129600),
        ("1-0:30", 88200),
        ("UNLIMITED", None),
    ],
)
def test_times(tmp_path, text, seconds):
    """Every form of a Slurm time is read."""
    assert directives(("sbatch", f"--time={text}", "--wrap=true"), str(tmp_path)).limit_s == seconds


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--gres=gpu:2",), Directives(gpus=2)),
        (("--gres=gpu:v100:2", "-N3"), Directives(cpus=3, gpus=6, nodes=3)),
        (("-G", "4"), Directives(gpus=4)),
        (("--mem-per-cpu=2G", "-n", "4"), Directives(cpus=4, memory_bytes=8 << 30)),
        (("--mem=0",), Directives()),
        (("-N", "2-4"), Directives(cpus=2, nodes=2)),
    ],
)
def test_needs(tmp_path, options, told):
    """Processors, GPUs and memory are counted in all, not per node."""
    assert directives(("sbatch", *options, "--wrap", "true"), str(tmp_path)) == told


def test_no_script(tmp_path):
    """A script that is not there is one line."""
    with pytest.raises(Refused, match=r"cannot read the script nosuch.sh: No such file"):
        directives(("sbatch", "nosuch.sh"), str(tmp_path))


def test_is_sbatch():
    """Only sbatch itself is meant, wherever it lies."""
    assert is_sbatch(("/opt/slurm/bin/sbatch", "x"))
    assert not is_sbatch(("bash", "sbatch"))
    assert not is_sbatch(())
