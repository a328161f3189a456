"""Remedies in loops of PyTorch, run as they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from joulewise.wiring import remedied
from tests.measuring.agent.running import Ran, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here"),
]

LOOP = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
torch.manual_seed(0)
X, Y = torch.randn(64, 8), torch.randint(0, 3, (64,))
import os
log = os.open("made", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
class Items(Dataset):
    def __len__(self): return len(X)
    def __getitem__(self, i): os.write(log, b'x'); return X[i] * 2, Y[i]
class Noisy(Items):
    def __getitem__(self, i): return X[i] + torch.randn(8), Y[i]
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
opt = torch.optim.SGD(net.parameters(), lr=0.1)
def train(loader, epochs=3):
    for epoch in range(epochs):
        for xb, yb in loader:
            opt.zero_grad(); out = net(xb); nn.functional.cross_entropy(out, yb).backward(); opt.step()
    return out
"""


def changed(code: str, folder: Path, remedies: str) -> Ran:
    ran = run(LOOP + code, folder, options=["--with", remedies])
    assert (ran.code, ran.err) == (0, "")
    return ran


def main(ran: Ran):
    view = next(v for v in ran.views if v.kind == "main")
    assert view.faults == ()
    return view


def test_workers(tmp_path: Path):
    """Loaders get the number that was asked for, and what depends on it; streams are not multiplied."""
    code = """
train(DataLoader(Items(), batch_size=16, num_workers=2, prefetch_factor=4, persistent_workers=True, timeout=60), 1)
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self): return iter(zip(X, Y))
print(DataLoader(Stream(), batch_size=16, num_workers=1).num_workers)
"""
    ran = changed(code, tmp_path, "workers=0")

    assert [v.kind for v in ran.views] == ["main"]
    assert main(ran).changed[0] == "workers: num_workers=0 instead of 2 for Items of 64"


def test_batch(tmp_path: Path):
    """Loaders that shuffle get the larger batch; those that evaluate, and samplers of the program's own, are left."""
    code = "train(DataLoader(Items(), batch_size=8, shuffle=True)); print(len(DataLoader(Items(), 8)))"
    ran = changed(code, tmp_path, "batch=x4")

    assert main(ran).batch_sizes == {32: 6}
    assert ran.out == "8\n"
    assert main(ran).left == ("batch: Items of 64 is not shuffled, so it is taken for an evaluation",)


def test_cache(tmp_path: Path):
    """Items are made once, whatever the epochs; random ones are made anew; the losses are the same as without."""
    code = "out = train(DataLoader(Items(), batch_size=16)); train(DataLoader(Noisy(), batch_size=16), 2); print(os.path.getsize('made'), out.sum().item())"
    ran = changed(code, tmp_path, "cache")
    alone = run(LOOP + code, tmp_path)
    made, total = ran.out.split()

    assert int(made) < 3 * 64
    assert total == alone.out.split()[1]
    assert main(ran).changed == ("cache: Items: 64 items kept in memory (0 MB)",)
    assert main(ran).left == (
        "cache: Noisy: its items draw random numbers (augmentation), so they are made anew",
    )


def test_cache_in_memory(tmp_path: Path):
    """A data set that changes while it is read is kept in memory, and not built three times for the disk."""
    code = """
class Counting(Items):
    def __init__(self): self.seen = 0
    def __getitem__(self, i): self.seen += 1; return super().__getitem__(i)
train(DataLoader(Counting(), batch_size=16)); print(os.path.getsize("made"))
"""
    ran = changed(code, tmp_path, "cache")

    assert int(ran.out) < 2 * 64
    assert main(ran).changed == ("cache: Counting: 64 items kept in memory (0 MB)",)


def test_cache_on_the_disk(tmp_path: Path):
    """Items that are dear to make are left on the disk, and found there by the next run."""
    code = """
import time
class Dear(Items):
    def __getitem__(self, i): time.sleep(0.04); return super().__getitem__(i)
out = train(DataLoader(Dear(), batch_size=16)); print(os.path.getsize("made"), out.sum().item())
"""
    ran = changed(code, tmp_path, "cache")
    again = changed(code, tmp_path, "cache")

    assert int(ran.out.split()[0]) < 2 * 64
    assert int(again.out.split()[0]) < 64
    assert ran.out.split()[1] == again.out.split()[1]
    assert main(ran).changed == (
        "cache: Dear: 64 items kept in memory (0 MB)", "cache: Dear: 64 items written to the disk for later runs",
    )  # fmt: skip
    assert main(again).changed == ("cache: Dear: 64 items kept on the disk (found)",)


def test_cache_with_workers(tmp_path: Path):
    """Workers that fork have what was made before; those that are started otherwise share nothing, and that is said."""
    code = """
if __name__ == "__main__":
    train(DataLoader(Items(), batch_size=16, num_workers=2))
    print(os.path.getsize("made"))
    for x, y in DataLoader(Items(), batch_size=16, num_workers=1, multiprocessing_context="spawn"): pass
    for x, y in DataLoader(Items(), batch_size=16, num_workers=1, sampler=range(8)): pass
"""
    ran = changed(code, tmp_path, "cache")

    assert int(ran.out) < 2 * 64
    assert main(ran).changed == ("cache: Items: 64 items kept in memory (0 MB), made before 2 workers fork",)
    assert main(ran).left == (
        "cache: Items: 1 workers share no memory: they are started by spawn",
        "cache: Items: 1 workers share no memory: a pass fetches some of the items only",
    )


def test_cache_leaves_what_it_does_not_know(tmp_path: Path):
    """Streams, items under names, under pairs, and items that change from pass to pass come as they do without it."""
    code = """
class Stream(torch.utils.data.IterableDataset):
    def __len__(self): return 4
    def __iter__(self): return iter(torch.arange(4.))
class Named(Dataset):
    def __len__(self): return 2
    def __getitem__(self, key): return {"a": 1., "b": 2.}[key]
class Sized(Dataset):
    def __len__(self): return 2
    def __getitem__(self, key): sum(range(20_000)); return torch.zeros(key[1] if isinstance(key, tuple) else 1)
class Growing(Dataset):
    epoch = 0
    def __len__(self): return 4
    def __getitem__(self, key): sum(range(20_000)); return key + 10. * self.epoch
growing = Growing()
for epoch in range(3):
    growing.epoch = max(0, epoch - 1)
    for loader in (DataLoader(Stream(), batch_size=2), DataLoader(Named(), batch_size=2, sampler=["a", "b"]),
                   DataLoader(Sized(), batch_size=2, sampler=[(0, 2), (1, 2)]), DataLoader(growing, batch_size=4)):
        print([batch.tolist() for batch in loader])
"""
    ran = changed(code, tmp_path, "cache")

    assert ran.out == run(LOOP + code, tmp_path).out
    assert "cache: Named: KeyError: 0" in main(ran).left
    assert (
        main(ran).left[-1]
        == "cache: Growing: its items are others than in an earlier pass, so from here on they are made anew"
    )


def test_precision(tmp_path: Path):
    """In a trial the model computes in bfloat16 and gives float32, weights stay what they are."""
    code = (
        LOOP
        + "seen = []\nnet[0].register_forward_hook(lambda m, i, o: seen.append(o.dtype))\n"
        + "out = train(DataLoader(Items(), batch_size=16), 1)\nprint(seen[0], out.dtype, net[0].weight.dtype)"
    )
    ran = run(
        code, tmp_path, environment=remedied({"precision": "bf16", "trial": "steps=1000 passes=0 batches=0"})
    )

    assert (ran.code, ran.out) == (0, "torch.bfloat16 torch.float32 torch.float32\n"), ran.err
    assert main(ran).changed == (
        "precision: Sequential computes in bfloat16 (autocast on cpu), its weights stay float32",
    )


def test_a_trial_measures_and_ends(tmp_path: Path):
    """Passes are cut to the same first batches, the later ones measured, evaluations apart; then the process ends."""
    code = (
        LOOP
        + """
data = Items()
val = DataLoader(TensorDataset(X, Y), batch_size=8)
def check():
    net.eval()
    with torch.no_grad(): n = sum(len(x) for x, _ in val)
    print(n); net.train()
loader = DataLoader(data, batch_size=4, shuffle=True)
for epoch in range(50):
    for step, (xb, yb) in enumerate(loader):
        opt.zero_grad(); nn.functional.cross_entropy(net(xb), yb).backward(); opt.step()
        if step == 5:
            with torch.no_grad(): [net(x) for x, _ in val]
    check()
print("never")
"""
    )
    ran = run(code, tmp_path, environment=remedied({"trial": "steps=30 passes=3 batches=10"}))
    view = main(ran)

    assert (ran.code, ran.out) == (0, "64\n64\n"), ran.err
    assert view.steps == 30
    assert [w.kind for w in view.windows] == ["start", *["steps"] * 8] * 2
    assert sum(w.samples for w in view.windows) == 2 * 10 * 4
    assert sum(w.evaluations for w in view.windows) == 2
    assert all(w.cpu_s >= w.apart_cpu_s for w in view.windows)
    assert all(0 < w.wall_s < 60 for w in view.windows)


def test_a_trial_thins_evaluations(tmp_path: Path):
    """With validate, evaluation loaders give their first batch in a trial."""
    code = (
        LOOP
        + """
val = DataLoader(TensorDataset(X, Y), batch_size=8)
train(DataLoader(Items(), batch_size=16), 1)
with torch.no_grad(): print(sum(len(x) for x, _ in val))
"""
    )
    ran = run(
        code, tmp_path, environment=remedied({"validate": "epoch", "trial": "steps=1000 passes=0 batches=0"})
    )

    assert (ran.code, ran.out) == (0, "8\n"), ran.err
    assert main(ran).changed == ("validate: evaluations see their first batch only, in this trial",)


def test_a_trial_counts_workers(tmp_path: Path):
    """The CPU seconds of a window are those of the process and its workers, which end with it."""
    code = (
        LOOP
        + """
class Heavy(Items):
    def __getitem__(self, i): sum(range(100_000)); return X[i], Y[i]
train(DataLoader(Heavy(), batch_size=4, num_workers=2), 50)
"""
    )
    ran = run(code, tmp_path, environment=remedied({"trial": "steps=30 passes=3 batches=10"}))
    measured = main(ran).windows

    assert ran.code == 0, ran.err
    assert sum(w.cpu_s for w in measured) > 80 * 0.0005  # 80 items of 100,000 additions
