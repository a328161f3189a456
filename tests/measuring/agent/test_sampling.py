"""Loops of which only some steps are timed: counts stay exact, shares hold, and what is no step is always seen.

One program imports PyTorch once and forks a child for each kind of loop; each child has a view of its own.
"""

from __future__ import annotations

import importlib.util

import pytest

from joulewise.vocabulary.observed import Phase, ProcessView
from tests.measuring.agent.running import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here"),
]

PROGRAM = """
import os, sys, threading, time
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
torch.set_num_threads(1)
def network(): return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
def optimiser(net): return torch.optim.SGD(net.parameters(), lr=0.01)
x = torch.randn(256, 8)
optimiser(network()).step()  # what that imports is imported once
def passes(batch, count):
    loader = DataLoader(TensorDataset(x), batch_size=batch, shuffle=True)
    for _ in range(count):
        for (part,) in loader: yield part
def loop(count=400, each=lambda n: None):
    net = network(); opt = optimiser(net)
    for n in range(count):
        loss = net(x[:32]).pow(2).mean(); loss.backward(); opt.step(); opt.zero_grad(); each(n)
    return net

def accumulation():
    net = network(); opt = optimiser(net)
    for n, part in enumerate(passes(8, 8)):
        (net(part).pow(2).mean() / 4).backward()
        if n % 4 == 3: opt.step(); opt.zero_grad()
def parts_of_a_batch():
    net = network(); opt = optimiser(net)
    for whole in passes(64, 30):
        for part in whole.split(16): (net(part).pow(2).mean() / 4).backward()
        opt.step(); opt.zero_grad()
def two_networks():
    made, told = network(), network(); a, b = optimiser(made), optimiser(told)
    for part in passes(16, 10):
        b.zero_grad(); told(part).mean().backward(); (-told(part + 1).mean()).backward(); b.step()
        a.zero_grad(); made(part).mean().backward(); a.step()
def closures():
    net = network(); opt = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=3)
    def closure():
        opt.zero_grad(); loss = net(x[:64]).pow(2).mean(); loss.backward(); return loss
    for _ in range(100): opt.step(closure)
def evaluation_inside():
    net = network()
    def each(n):
        if n % 50 == 49:
            with torch.no_grad(): net(x[:200])
    loop(400, each)
def teacher():
    old = network()
    def each(n):
        with torch.no_grad(): old(x[:32])
    loop(400, each)
def pauses(): loop(400, lambda n: time.sleep(0.2) if n % 80 == 79 else None)
def saves():
    def each(n):
        if n % 20 == 19: torch.save(x[:4], "part.pt")
        if n % 40 == 39: print("step", n)
    loop(400, each)
def side_by_side():
    other = threading.Thread(target=loop, args=(300,)); other.start(); loop(400); other.join()
def killed():
    def each(n):
        if n == 599: os._exit(0)
    loop(800, each)
def scaled():
    net = network(); opt = optimiser(net); scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for n in range(100):
        with torch.autocast("cpu", torch.bfloat16): loss = (net(x[:32]) * 0 + 3).mean()
        scaler.scale(loss).backward(); scaler.step(opt); scaler.update(); opt.zero_grad(); time.sleep(0.001)
def patched():
    before = torch.autograd.backward; called = []
    def mine(*args, **kwargs): called.append(1); return before(*args, **kwargs)
    torch.autograd.backward = mine
    loop(200)
    assert torch.autograd.backward is mine and len(called) == 200
def held():
    net = network(); opt = optimiser(net); batches = iter(DataLoader(TensorDataset(x), batch_size=32)); n = 0
    while n < 200:
        try: (part,) = next(batches)
        except StopIteration: batches = iter(DataLoader(TensorDataset(x), batch_size=32)); continue
        net(part).mean().backward(); opt.step(); opt.zero_grad(); n += 1
def generator():
    def parts():
        for start in range(0, 256, 64): yield x[start:start + 64]
    net = network(); opt = optimiser(net)
    for epoch in range(100):
        for part in parts(): net(part).mean().backward(); opt.step(); opt.zero_grad()
def workers():
    class Items(Dataset):
        def __len__(self): return 256
        def __getitem__(self, i):
            if i % 50 == 0: time.sleep(0.3)
            return x[i]
    net = network(); opt = optimiser(net)
    for part in DataLoader(Items(), batch_size=1, num_workers=1): net(part).mean().backward(); opt.step(); opt.zero_grad()
def leaves_early():
    net = network(); opt = optimiser(net); loader = DataLoader(TensorDataset(x), batch_size=8)
    for _ in range(15):
        for n, (part,) in enumerate(loader):
            if n == 20: break
            net(part).mean().backward(); opt.step(); opt.zero_grad()
def slow_sampler():
    class Slow(torch.utils.data.Sampler):
        def __iter__(self):
            for n in range(600): time.sleep(0.02 if n % 40 == 39 else 0.005); yield n % 256
        def __len__(self): return 600
    net = network(); opt = optimiser(net)
    for (part,) in DataLoader(TensorDataset(x), batch_size=1, sampler=Slow()):
        net(part).mean().backward(); opt.step(); opt.zero_grad()

for kind in KINDS:
    pid = os.fork()
    if pid == 0:
        try: globals()[kind](); code = 0
        except BaseException: import traceback; traceback.print_exc(); code = 1
        finally: sys.stdout.flush()
        import atexit; atexit._run_exitfuncs(); os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, kind
"""
KINDS = (
    "accumulation", "parts_of_a_batch", "two_networks", "closures", "evaluation_inside", "teacher", "pauses", "saves", "side_by_side",
    "killed", "scaled", "patched", "held", "generator", "workers", "leaves_early", "slow_sampler",
)  # fmt: skip


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProcessView]:
    """Return the view of each loop."""
    code = PROGRAM.replace("KINDS", repr(KINDS))
    ran = run(code, tmp_path_factory.mktemp("loops"))
    assert (ran.code, ran.err) == (0, "")
    forks = [v for v in ran.views if v.kind == "fork" and v.steps]
    assert len(forks) == len(KINDS)
    return dict(zip(KINDS, forks, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_most_steps_are_not_timed(kind: str, views: dict[str, ProcessView]):
    """Every loop is accounted for whole, without a fault, from a few of its steps."""
    view = views[kind]

    assert view.accounted_share > 0.95
    assert view.faults == ()
    assert sum(p.wall_s for p in view.phases) == pytest.approx(view.duration_s, rel=0.02)


def test_gradients_that_are_added_up(views: dict[str, ProcessView]):
    """A step is the optimiser's; each batch of a loader that goes back is a batch."""
    view = views["accumulation"]

    assert (view.steps, view.batch_sizes, view.samples) == (64, {8: 256}, 2048)
    assert view.phase(Phase.BACKWARD).calls == view.phase(Phase.FORWARD).calls == 256
    assert view.phase(Phase.OPTIMISER).calls == 64
    assert view.loaders[0].batches == 256
    assert (
        264 <= view.phase(Phase.DATA).calls <= 272
    )  # and the beginnings of eight passes, and their ends where they are timed


def test_parts_of_a_batch(views: dict[str, ProcessView]):
    """A loader's batch that the program splits is trained on in its parts."""
    view = views["parts_of_a_batch"]

    assert (view.steps, view.batch_sizes) == (120, {16: 480})


def test_two_networks(views: dict[str, ProcessView]):
    """Two networks that learn from one batch use one batch, and each optimiser has its own steps."""
    view = views["two_networks"]

    assert view.steps == 320
    assert [o.steps for o in view.optimisers] == [160, 160]
    assert view.batch_sizes == {16: 160}


def test_closures(views: dict[str, ProcessView]):
    """A step that evaluates its closure several times is a step on one batch."""
    view = views["closures"]

    assert (view.steps, view.batch_sizes) == (100, {64: 100})


def test_evaluation_inside(views: dict[str, ProcessView]):
    """A forward pass without gradient among untimed steps is an evaluation, at its step."""
    view = views["evaluation_inside"]

    assert [e.step for e in view.evaluations] == list(range(50, 401, 50))
    assert {e.items for e in view.evaluations} == {200}


def test_teacher(views: dict[str, ProcessView]):
    """A network that is asked in each step belongs to the steps: its time is shared out with theirs."""
    view = views["teacher"]

    assert (view.steps, view.batch_sizes) == (400, {32: 400})
    assert view.phase(Phase.VALIDATION).wall_s > 0.2 * view.phase(Phase.FORWARD).wall_s
    assert view.sampled_share > 0.2


def test_pauses(views: dict[str, ProcessView]):
    """A pause among untimed steps is waiting, and no part of a step."""
    view = views["pauses"]

    assert view.phase(Phase.WAITING).wall_s == pytest.approx(1.0, rel=0.3)


def test_rare_calls(views: dict[str, ProcessView]):
    """Each checkpoint and each line is seen."""
    view = views["saves"]

    assert (view.phase(Phase.CHECKPOINT).calls, view.phase(Phase.LOGGING).calls) == (20, 10)
    assert view.steps == 400


def test_side_by_side(views: dict[str, ProcessView]):
    """Two threads that train do as alone; the main one's steps are counted, and the other's forward passes beside them."""
    view = views["side_by_side"]

    assert view.steps == 400


def test_killed(views: dict[str, ProcessView]):
    """A process that ends hard has told all its time, and all but its last untimed steps."""
    view = views["killed"]

    assert 450 <= view.steps <= 600


def test_scaled_loss(views: dict[str, ProcessView]):
    """A loss that a scaler has made larger stands in the curve as the program's own."""
    view = views["scaled"]

    assert {p.values["loss"] for p in view.curve} == {3.0}
    assert view.steps == 100


def test_held_iterator(views: dict[str, ProcessView]):
    """An iterator that the program holds itself, and makes anew when it is through."""
    view = views["held"]

    assert (view.steps, view.batch_sizes) == (200, {32: 200})


def test_generator(views: dict[str, ProcessView]):
    """Without a loader the epochs are those of the loop's own variable, though not each of them is looked at, nor the last."""
    view = views["generator"]

    assert (view.epochs, view.steps) == (100, 400)


def test_long_waits_for_workers(views: dict[str, ProcessView]):
    """A worker that keeps the loop waiting now and then is seen each time."""
    view = views["workers"]

    assert (view.steps, view.batch_sizes) == (256, {1: 256})
    assert view.loaders[0].wait_s > 0.8
    assert view.phase(Phase.DATA).wall_s > 0.8


def test_loop_that_is_left(views: dict[str, ProcessView]):
    """A pass that the program breaks off is a pass; what it took is what counts."""
    view = views["leaves_early"]

    assert (view.steps, view.batch_sizes) == (300, {8: 300})
    assert view.loaders[0].passes == 15
    assert view.loaders[0].batches == 315


def test_a_slow_sampler(views: dict[str, ProcessView]):
    """Where nearly all of a step is a wait for its batch, that is a step like any other, and the sampler's time is told as a whole."""
    view = views["slow_sampler"]
    slept_s = 600 * 0.005 + 15 * 0.015

    assert (view.steps, view.batch_sizes) == (600, {1: 600})
    assert view.loaders[0].index_s > 0.8 * slept_s
    assert view.phase(Phase.DATA).wall_s > 0.8 * slept_s
