"""One thread for torch: on a busy machine a second one spins in vain."""

import importlib.util
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
_KEPT: list[object] = []  # torch forgets a library's operators with the library


@pytest.fixture
def timm():
    """Return timm, on a torchvision that loads.

    The wheel of torchvision on PyPI holds operators for CUDA, which a torch without it cannot load; it then fails to be
    imported for two of them that no backbone calls. They are declared, without a body, where that is so.
    """
    torch = pytest.importorskip("torch")
    for module in ("torchvision", "timm"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
    return pytest.importorskip("timm")
