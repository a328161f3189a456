"""Programs of PyTorch, run as they are; skipped where torch is not installed (it is in no extra of ours)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from joulewise.vocabulary.observed import Phase, ProcessView
from tests.measuring.agent.running import alone, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here"),
]

DATA = """
import os, sys, time
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
torch.manual_seed(3)
x, y = torch.randn(256, 8), torch.randint(0, 3, (256,))
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
opt = torch.optim.Adam(net.parameters(), lr=0.01)
loss_fn = nn.CrossEntropyLoss()
def train(xb, yb):
    opt.zero_grad()
    loss = loss_fn(net(xb), yb)
    loss.backward()
    opt.step()
    return loss
"""
LOADER = """
def accuracy(loader):
    with torch.no_grad():
        return sum((net(a).argmax(1) == b).sum().item() for a, b in loader) / 64
loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
validation = DataLoader(TensorDataset(x[:64], y[:64]), batch_size=16)
sched = torch.optim.lr_scheduler.ExponentialLR(opt, gamma=0.5)
for epoch in range(4):
    for xb, yb in loader:
        loss = train(xb, yb)
        time.sleep(0.004)
    sched.step()
    val_acc = accuracy(validation)
    print(epoch, val_acc)
"""


@pytest.fixture(scope="module")
def loader_view(tmp_path_factory: pytest.TempPathFactory) -> ProcessView:
    ran = run(DATA + LOADER, tmp_path_factory.mktemp("loader"))
    assert (ran.code, ran.err) == (0, "")
    return ran.view


def test_loop_with_a_loader(loader_view: ProcessView):
    """Epochs, steps, batches, items, parameters and seed are those of the program."""
    view = loader_view

    assert (view.epochs, view.steps, view.samples, view.dataset_items) == (4, 32, 1024, 256)
    assert view.batch_sizes == {32: 32}
    assert (view.parameters, view.model, view.precision, view.device) == (195, "Sequential", "float32", "cpu")
    assert view.seeds == ("torch 3",)
    assert view.schedulers == ("ExponentialLR",)
    assert view.faults == ()


def test_loaders(loader_view: ProcessView):
    """Both loaders are known: what they deliver, how often, and which one evaluates."""
    training, validating = loader_view.loaders

    assert (training.items, training.batch_size, training.passes, training.batches) == (256, 32, 4, 32)
    assert (training.shuffle, training.evaluates, training.in_memory) == (True, False, True)
    assert (validating.items, validating.passes, validating.batches, validating.evaluates) == (
        64,
        4,
        16,
        True,
    )


def test_evaluations(loader_view: ProcessView):
    """Each validation is one evaluation of four batches, eight steps apart, in the function that does it."""
    found = loader_view.evaluations

    assert [(e.step, e.batches, e.items) for e in found] == [
        (8, 4, 64),
        (16, 4, 64),
        (24, 4, 64),
        (32, 4, 64),
    ]
    assert found[0].where == "program.py:accuracy"


def test_curve(loader_view: ProcessView):
    """Losses come from backward, accuracies and epochs from the program's own names, rates from the optimiser."""
    accuracies = [p.values["val_acc"] for p in loader_view.curve if "val_acc" in p.values]

    assert any("loss" in p.values for p in loader_view.curve)
    assert len(accuracies) == 4  # also where two in a row are the same
    assert loader_view.optimisers[0].rates[:2] == ((0, 0.01), (8, 0.005))
    assert loader_view.optimisers[0].steps == 32


def test_every_second(loader_view: ProcessView):
    """The phases add up to the life of the process, and each kind of work is there."""
    phases = {p.phase for p in loader_view.phases}

    assert sum(p.wall_s for p in loader_view.phases) == pytest.approx(loader_view.duration_s, rel=0.02)
    assert loader_view.accounted_share > 0.95
    assert {
        Phase.IMPORT,
        Phase.DATA,
        Phase.FORWARD,
        Phase.BACKWARD,
        Phase.OPTIMISER,
        Phase.VALIDATION,
    } <= phases
    assert loader_view.phase(Phase.WAITING).wall_s > 0.05


def test_loop_without_a_loader(tmp_path: Path):
    """Without a loader, epochs come from the loop's own variable and the data set's size from what went through."""
    code = DATA + (
        "def main():\n    for epoch in range(3):\n        for i in range(0, 256, 64):\n            train(x[i:i+64], y[i:i+64]); time.sleep(0.02)\n"
        "        torch.save(net.state_dict(), 'c.pt')\nmain()"
    )
    view = run(code, tmp_path).view

    assert (view.epochs, view.steps, view.dataset_items) == (3, 12, 256)
    assert view.phase(Phase.CHECKPOINT).calls == 3
    assert view.phase(Phase.CHECKPOINT).bytes > 1000


def test_workers_and_their_items(tmp_path: Path):
    """Forked workers time the items that they make; items that come out the same every epoch are known as such."""
    code = DATA + (
        "class Slow(Dataset):\n    def __len__(self): return 64\n    def __getitem__(self, i):\n"
        "        t = time.perf_counter()\n        while time.perf_counter() - t < 0.003: pass\n        return x[i], y[i]\n"
        "loader = DataLoader(Slow(), batch_size=16, num_workers=2)\n"
        "for _ in range(2):\n    for xb, yb in loader: train(xb, yb)"
    )
    ran = run(code, tmp_path)
    main = next(v for v in ran.views if v.kind == "main")

    assert (ran.code, ran.err) == (0, "")
    assert sum(v.kind == "fork" for v in ran.views) == 4
    assert main.loaders[0].workers == 2
    assert main.loaders[0].item_s is not None
    assert main.loaders[0].item_s >= 0.003
    assert (
        sum(loader.same_items for loader in main.loaders)
        == sum(loader.compared_items for loader in main.loaders)
        > 0
    )
    assert all(v.phase(Phase.DATA).wall_s > 0.05 for v in ran.views if v.kind == "fork")


def test_scoring_in_a_second_thread(tmp_path: Path):
    """Requests that a thread answers are counted, and its seconds are taken from the main thread's waiting."""
    code = DATA + (
        "import threading\ndef serve():\n    for _ in range(20):\n        time.sleep(0.05)\n        with torch.no_grad(): net(x[:1])\n"
        "t = threading.Thread(target=serve); t.start(); t.join()"
    )
    view = run(code, tmp_path).view

    assert 18 <= view.requests <= 20
    assert view.evaluations[0].thread
    assert view.evaluations[0].batch_size == 1
    assert view.phase(Phase.FORWARD).calls == 20


def test_compiled_and_copied_models(tmp_path: Path):
    """A compiled, scripted, pickled or deep-copied model does what it does alone."""
    code = DATA + (
        "import copy, pickle\nout = net(x[:4])\n"
        "same = [copy.deepcopy(net)(x[:4]), pickle.loads(pickle.dumps(net))(x[:4]), torch.jit.trace(net, x[:4])(x[:4]),\n"
        "        torch.compile(net, backend='eager', fullgraph=True)(x[:4])]\nprint(all(torch.equal(out, s) for s in same))"
    )
    ran = run(code, tmp_path)

    assert (ran.code, ran.out) == (0, "True\n"), ran.err
    assert "TracerWarning" not in ran.err


def test_traced_model(tmp_path: Path):
    """What a model is asked by us stands in no graph that PyTorch traces."""
    code = (
        DATA
        + "net(x)\nm = torch.jit.trace(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3)), torch.zeros(2, 8))\n"
        + "print(sum(n.kind() == 'aten::size' for n in m.inlined_graph.nodes()), m(x).shape[1])\nfor _ in range(3): train(x, y)\n"
    )
    ran = run(code, tmp_path)

    assert (ran.code, ran.out) == (0, "0 3\n"), ran.err
    assert ran.view.steps == 3


def test_program_that_patches_torch(tmp_path: Path):
    """A program that replaces torch's own functions gets what it put there."""
    code = DATA + (
        "called = []\nbefore = torch.Tensor.backward\n"
        "def mine(self, *a, **k):\n    called.append(1)\n    return before(self, *a, **k)\n"
        "torch.Tensor.backward = mine\ntrain(x, y)\nprint(len(called), torch.Tensor.backward is mine)"
    )
    ran = run(code, tmp_path)

    assert (ran.code, ran.out) == (0, "1 True\n")
    assert ran.view.phase(Phase.BACKWARD).calls == 1


def test_an_error_in_the_model(tmp_path: Path):
    """An exception of the program passes through the hooks, and the steps after it are seen."""
    code = DATA + (
        "try:\n    net(torch.zeros(1, 99))\nexcept RuntimeError: print('caught')\ntrain(x, y)\nwith torch.no_grad(): net(x)\n"
    )
    ran = run(code, tmp_path)

    assert (ran.code, ran.out) == (0, "caught\n")
    assert (ran.view.steps, ran.view.evaluation_calls) == (1, 1)


def test_any_module_can_be_the_model(tmp_path: Path):
    """A model of one bare layer is a model, and a loss that is a module is none."""
    code = (
        DATA
        + "net = nn.Linear(8, 3)\nopt = torch.optim.SGD(net.parameters(), lr=0.1)\ntrain(x, y)\nwith torch.no_grad(): loss_fn(net(x), y)"
    )
    view = run(code, tmp_path).view

    assert (view.model, view.phase(Phase.FORWARD).calls, view.batch_sizes) == ("Linear", 1, {256: 1})
    assert [(e.batches, e.items) for e in view.evaluations] == [(1, 256)]


def test_untimed_batches_cost_nothing(tmp_path: Path):
    """In a loop of its own a process fetches by PyTorch's own method; a fetcher is changed while one timed batch is made."""
    code = (
        DATA
        + """
from torch.utils.data._utils.fetch import _MapDatasetFetcher
waiting = hasattr(_MapDatasetFetcher.fetch, "__wrapped__")
seen = []
class Items(Dataset):
    def __len__(self): return 64
    def __getitem__(self, i):
        seen.append("fetch" in vars(loop._dataset_fetcher))
        return x[i], y[i]
loop = iter(DataLoader(Items(), batch_size=8))
for xb, yb in loop:
    train(xb, yb)
print(waiting, hasattr(_MapDatasetFetcher.fetch, "__wrapped__"), all(seen), "fetch" in vars(loop._dataset_fetcher))
"""
    )
    ran = run(code, tmp_path)
    (loader,) = ran.view.loaders

    assert (ran.code, ran.out) == (0, "True False True False\n"), ran.err
    assert loader.batches == 8
    assert loader.fetched >= 64  # of quick items one batch in eight is timed, and stands for the others
    assert loader.fetch_s > 0


def test_compiled_training(tmp_path: Path):
    """A model, a function and a module in place, each compiled and trained: as many graphs as alone, and every step counted."""
    code = """
import torch
from torch import nn
import torch._dynamo.utils as utils
torch.set_num_threads(1)
x = torch.randn(64, 8)
def network(): return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
def loop(step, net):
    opt = torch.optim.SGD(net.parameters(), lr=0.01)
    for n in range(200): step(x).backward(); opt.step(); opt.zero_grad()
    print(utils.counters["stats"]["unique_graphs"], sum(utils.counters["graph_break"].values()))
a, b, c = network(), network(), network()
c.compile(backend="eager"); loop(lambda x: c(x).pow(2).mean(), c)
fast = torch.compile(a, backend="eager"); loop(lambda x: fast(x).pow(2).mean(), a)
loop(torch.compile(lambda x: b(x).pow(2).mean(), backend="eager", fullgraph=True), b)
"""
    ran = run(code, tmp_path)

    assert (ran.code, ran.out) == (0, alone(code, tmp_path).stdout)
    assert ran.view.steps == 600
    assert ran.view.batch_sizes == {64: 600}


def test_torchrun(tmp_path: Path):
    """Processes that torchrun starts train together as alone, and each has a view with its steps and its world."""
    pytest.importorskip("torch.distributed.run")
    (tmp_path / "worker.py").write_text(
        "import torch\nfrom torch import nn, distributed\ndistributed.init_process_group('gloo')\ntorch.manual_seed(0)\n"
        "net = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))\nopt = torch.optim.SGD(net.parameters(), lr=0.1)\n"
        "for n in range(60):\n    net(torch.ones(8, 4)).mean().backward(); opt.step(); opt.zero_grad()\n"
        "distributed.destroy_process_group()\n"
    )
    code = (
        "import subprocess, sys\nsys.exit(subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', "
        "'--nproc-per-node=2', 'worker.py']).returncode)"
    )
    ran = run(code, tmp_path)
    trained = [v for v in ran.views if v.steps]

    assert ran.code == 0, ran.err
    assert [(v.steps, v.batch_sizes, v.world) for v in trained] == [(60, {8: 60}, 2)] * 2
    assert all(v.faults == () for v in trained)
