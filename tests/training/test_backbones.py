"""Backbones of timm."""

import builtins
import sys

import pytest

from joulewise.training.backbones import backbones
from joulewise.vocabulary.errors import UsageError


class TestMissing:
    def test_not_installed(self, monkeypatch):
        """Without timm one line says what to install."""
        real = builtins.__import__

        def refuse(name, *arguments, **named):
            if name == "timm":
                raise ModuleNotFoundError("No module named 'timm'", name="timm")
            return real(name, *arguments, **named)

        monkeypatch.delitem(sys.modules, "timm", raising=False)
        monkeypatch.setattr(builtins, "__import__", refuse)

        with pytest.raises(
            UsageError, match=r"backbones need the package timm; pip install joulewise\[timm\]"
        ):
            backbones(["resnet18"], classes=10)

    def test_built_for_another_torch(self, monkeypatch):
        """A torchvision whose operators cannot be loaded is one line, not torch's traceback."""
        real = builtins.__import__

        def refuse(name, *arguments, **named):
            if name == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")
            return real(name, *arguments, **named)

        monkeypatch.setattr(builtins, "__import__", refuse)

        with pytest.raises(UsageError, match=r"nms does not exist.*builds of one kind"):
            backbones(["resnet18"], classes=10)


class TestBackbones:
    def test_makes_them(self, timm):
        """Each is a new model with random weights, for so many classes and channels."""
        torch = pytest.importorskip("torch")
        made = backbones(["test_efficientnet", "test_byobnet"], classes=7, channels=1)
        one, other = made["test_byobnet"](), made["test_byobnet"]()

        assert list(made) == ["test_efficientnet", "test_byobnet"]
        assert one.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
        assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    def test_climbs(self, timm):
        """A ladder of timm's backbones: each trained, cut and asked; the smaller is beside the larger."""
        torch = pytest.importorskip("torch")
        pytest.importorskip("torch_pruning")
        from joulewise.training.choices import Choice, Recipe
        from joulewise.training.ladder import climb, judge

        knobs = {
            "threads": 1,
            "memory_format": "channels_last",
            "precision": "fp32",
            "compile": False,
            "batch_size": 16,
            "optimiser": "wsd",
            "learning_rate": 0.002,
            "transform": "always",
            "workers": 0,
        }
        recipe = Recipe(tuple(Choice(k, v, "") for k, v in knobs.items()), "cpu", None, 0, 0, 0, "")
        draw = torch.Generator().manual_seed(0)
        x, y = torch.randn(96, 1, 32, 32, generator=draw), torch.arange(96) % 2
        x[:, 0, :16] += y[:, None, None].float()
        rungs = climb(
            backbones(["test_resnet", "test_efficientnet"], classes=2, channels=1),
            recipe,
            (x[:64], y[:64]),
            (x[64:], y[64:]),
            loss=torch.nn.functional.cross_entropy,
            epochs=9,
            ratio=0.5,
        )

        assert [r.name for r in rungs] == ["test_resnet", "test_efficientnet"]
        assert all(r.cut.fewer_macs > 1.4 for r in rungs)
        assert "test_efficientnet: error" in str(judge(rungs, 0.1, 0.05))

    def test_refuses(self, timm):
        """A name that timm does not know suggests the nearest; no classes are none."""
        with pytest.raises(UsageError, match="unknown backbone 'resnet81'; did you mean resnet"):
            backbones(["resnet81"], classes=10)
        with pytest.raises(UsageError, match="classes is 0 and channels 3"):
            backbones(["resnet18"], classes=0)
