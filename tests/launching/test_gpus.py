"""GPUs as jobs may have them, by a double of nvidia-smi, its faults included."""

from __future__ import annotations

import pytest

from joulewise.launching import gpus as module
from joulewise.launching.gpus import Gpu, gpus
from joulewise.testing.nvidia_smi import LOST, NO_DRIVER, mps, nvidia_smi

A = "0, GPU-5f1d, 81559, Default, Disabled"
B = "1, GPU-77aa, 81559, Default, Disabled"
BYTES = 81559 << 20
LISTED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5f1d)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111)
  MIG 1g.10gb+me  Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-77aa)
  MIG 2g.20gb     Device  0: (UUID: MIG-3333)"""


def test_none():
    """A machine without GPUs is asked nothing."""
    assert gpus(0).devices == ()


def test_time_slicing(tmp_path):
    """In compute mode Default jobs share by time-slicing: each is told which GPU, and nothing more."""
    found = gpus(2, nvidia_smi(tmp_path, [A, B]))

    assert found.devices == (Gpu("0", BYTES, "time-slicing"), Gpu("1", BYTES, "time-slicing"))
    assert found.environment(1, 0.3, 1 << 30) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert found.faults == ()


@pytest.mark.parametrize("mode", ["Default", "Exclusive_Process"])
def test_mps(tmp_path, mode):
    """With an MPS daemon each job has at most its share of compute and of memory."""
    mps(tmp_path)
    found = gpus(1, nvidia_smi(tmp_path, [A.replace("Default", mode)]))

    assert found.devices[0].sharing == "MPS"
    assert found.environment(0, 0.33, 10 << 30) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "mps"),
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "33",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=10240M",
    }
    assert found.environment(0, 1.0, 0) == {"CUDA_VISIBLE_DEVICES": "0"}


def test_a_daemon_that_died(tmp_path):
    """The pipes of an MPS daemon that is gone are no MPS."""
    mps(tmp_path, answers=False)
    assert gpus(1, nvidia_smi(tmp_path, [A])).devices[0].sharing == "time-slicing"


def test_slices(tmp_path):
    """Each slice of MIG is a device of its own, with its own memory, of the GPU that it lies on."""
    rows = [A.replace("Disabled", "Enabled"), B.replace("Disabled", "Enabled")]
    found = gpus(2, nvidia_smi(tmp_path, rows, LISTED))

    gb = 10**9
    assert found.devices == (Gpu("MIG-1111", 40 * gb), Gpu("MIG-2222", 10 * gb), Gpu("MIG-3333", 20 * gb))
    assert found.environment(2, 0.5, 1) == {"CUDA_VISIBLE_DEVICES": "MIG-3333"}


def test_mig_without_a_slice(tmp_path):
    """A GPU in MIG mode on which nobody made a slice is not used, and that is said."""
    rows = [A.replace("Disabled", "Enabled"), B]
    found = gpus(2, nvidia_smi(tmp_path, rows, "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5f1d)"))

    assert [d.name for d in found.devices] == ["1"]
    assert found.faults == ("GPU 0 is in MIG mode without a slice: it is not used",)


def test_exclusive(tmp_path):
    """A GPU whose mode gives it to one process is shared by nobody; a prohibited one is not used."""
    rows = [A.replace("Default", "Exclusive_Process"), B.replace("Default", "Prohibited")]
    found = gpus(2, nvidia_smi(tmp_path, rows))

    assert found.devices == (Gpu("0", BYTES, ""),)
    assert "Prohibited" in found.faults[0]


def test_untold(tmp_path):
    """A GPU that does not tell its memory is shared by nobody; one that has no MIG is as good as one without it."""
    found = gpus(
        2, nvidia_smi(tmp_path, ["0, GPU-5f1d, [N/A], Default, [N/A]", B.replace("Disabled", "[N/A]")])
    )

    assert [d.sharing for d in found.devices] == ["", "time-slicing"]
    assert "GPU 0 does not tell its memory" in found.faults[0]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ({"says": NO_DRIVER, "code": 9}, "couldn't communicate with the NVIDIA driver"),
        ({"says": LOST, "code": 15}, "GPU is lost"),
        ({"says": "\x00\x01 not csv", "code": 0}, "nvidia-smi printed"),
        ({"hangs": True}, "did not answer within 0.2 s"),
    ],
)
def test_faults(tmp_path, monkeypatch, fault, line):
    """Whatever is wrong with the driver, jobs get whole GPUs by number, and it is said in one line."""
    monkeypatch.setattr(module, "_WITHIN_S", 0.2 if "hangs" in fault else 10.0)
    found = gpus(2, nvidia_smi(tmp_path, **fault))

    assert found.devices == (Gpu("0"), Gpu("1"))
    assert line in found.faults[0]
    assert "\n" not in found.faults[0]


def test_not_installed(tmp_path):
    """Without nvidia-smi GPUs are given out whole."""
    found = gpus(1, {"PATH": str(tmp_path)})
    assert found.devices == (Gpu("0"),)
    assert "nvidia-smi is not installed" in found.faults[0]
