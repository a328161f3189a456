"""Merged adapters answer as before, from a plain module."""

from __future__ import annotations

import pytest

from joulewise.vocabulary.errors import UsageError

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from joulewise.compressing import merge  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def adapted():
    """Return a small module, and the same with trained adapters."""
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["0", "2"]))
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights)
    return model.eval()


def test_merge(adapted):
    """The merged module gives the adapted answers, has no adapter and no extra weight; the adapted one is left as it was."""
    x = torch.rand(5, 8)
    with torch.no_grad():
        before, merged = adapted(x), merge(adapted)
        again = merged(x)

        assert torch.allclose(again, before, atol=1e-5)
        assert torch.equal(adapted(x), before)
    assert sum(p.numel() for p in merged.parameters()) == 8 * 16 + 16 + 16 * 3 + 3
    assert not any("lora" in name for name, _ in merged.named_modules())


def test_merge_from_a_folder(adapted, tmp_path):
    """An adapter's folder is read from safetensors and merged into the module that it is for."""
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    adapted.save_pretrained(tmp_path / "adapter")
    x = torch.rand(5, 8)

    with torch.no_grad():
        assert torch.allclose(merge(base.eval(), tmp_path / "adapter")(x), adapted(x), atol=1e-5)


def test_refused(tmp_path):
    """A pickled adapter is refused, and so is a module without one."""
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    base = torch.nn.Linear(3, 2)
    with pytest.raises(UsageError, match="nothing is unpickled"):
        merge(base, tmp_path)
    with pytest.raises(UsageError, match="has no adapters to merge"):
        merge(base)
