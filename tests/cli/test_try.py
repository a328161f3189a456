"""`joulewise try`: refusals without PyTorch, and a real trial with it."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from joulewise.cli import try_
from joulewise.cli.scratch import make
from joulewise.cli.try_ import _absolute
from joulewise.diagnosing.case import about
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.finding import Cause, Finding, Remedy, RemedyKind, Saving
from tests.cli.conftest import Joulewise
from tests.diagnosing.views import view

TRAIN = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
torch.manual_seed(0); torch.set_num_threads(1)
X, Y = torch.randn(1600, 8), torch.randint(0, 3, (1600,))
class Items(Dataset):
    def __len__(self): return len(X)
    def __getitem__(self, i):
        v = X[i]
        for _ in range(200): v = v * 1.0
        return v, Y[i]
items, net = Items(), nn.Linear(8, 3)
opt = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(3):
    for xb, yb in DataLoader(items, batch_size=8, shuffle=True):
        opt.zero_grad(); loss = nn.functional.cross_entropy(net(xb), yb); loss.backward(); opt.step()
    torch.save(net.state_dict(), "model.pt")
"""


def test_wrong_use(joulewise: Joulewise, recorded):
    """What cannot be tried is one line and exit code 2, and nothing runs."""
    recorded("plain")
    for arguments, words in (
        (("plain",), "no training steps"),
        (("plain", "--knob", "speed=9"), "unknown knob"),
        (("plain", "--knob", "batch"), "must be a factor or a size"),
        (("nowhere",), "nowhere"),
    ):
        done = joulewise("try", *arguments)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
def test_a_real_trial(joulewise: Joulewise, home: Path, monkeypatch):
    """A slow data set is confirmed or corrected by a trial in a scratch copy; diagnose and the ledger know of it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (home / "train.py").write_text(TRAIN)
    done = joulewise("run", "--quiet", "--name", "job", "--", sys.executable, "train.py", timeout=600)
    assert done.returncode == 0, done.stderr
    before = os.stat(home / "model.pt").st_mtime_ns

    assert joulewise("try", "job", "--knob", "cache", "--future", "1000").returncode == 2  # nobody said yes
    done = joulewise("try", "job", "--knob", "cache", "--future", "1000", "--yes", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (trial,) = told["trials"]
    assert trial["knob"] == "cache=on"
    assert trial["changed"] == ["cache: Items: 1600 items kept in memory (2 MB)"]
    assert trial["equal_quality"] is True
    assert trial["step_share"]["value"] > 0.2  # 200 multiplications an item are most of a step
    assert told["written_outside"] == []
    assert os.stat(home / "model.pt").st_mtime_ns == before

    shown = json.loads(joulewise("diagnose", "job", "--json").stdout)
    assert [f["trial"]["knob"] for f in shown["findings"] if f["trial"]] == ["cache=on"]
    assert "tried" in joulewise("diagnose", "job").stdout
    assert (
        json.loads(joulewise("runs", "--savings", "--json").stdout)["savings"] == []
    )  # a trial is no settlement


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
def test_wrong_first_advice_is_withdrawn(joulewise: Joulewise, home: Path, monkeypatch):
    """A first finding that is wrong (ready items, said to be slow ones) is followed, found to save nothing, and withdrawn."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (home / "train.py").write_text(TRAIN.replace("        for _ in range(200): v = v * 1.0\n", ""))
    done = joulewise("run", "--quiet", "--name", "job", "--", sys.executable, "train.py", timeout=600)
    assert done.returncode == 0, done.stderr
    wrong = Finding(
        Cause.SLOW_TRANSFORMS,
        "a wrong finding",
        Saving(about(2.0, 1.5, 2.5), about(2.0, 1.5, 2.5), 0.4, 0.4, energy_share=0.4),
        Remedy(RemedyKind.DIFF, "make the items once"),
        "none",
    )
    monkeypatch.setattr(try_, "diagnose", lambda *_, **__: (wrong,))
    said = CliRunner().invoke(
        try_.command, ["job", "--future", "1000", "--yes", "--json"], catch_exceptions=False
    )
    (trial,) = json.loads(said.stdout)["trials"]

    assert (trial["knob"], trial["cause"]) == ("cache=on", "slow_transforms")
    assert trial["promised_share"]["value"] == pytest.approx(0.4)
    assert trial["verdict"] in ("withdrawn", "unclear"), trial  # unclear: beside busy neighbours
    assert trial["run_share"]["value"] < 0.1


SWEEP = """
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
rng = np.random.default_rng(0)
X = rng.normal(size=(3000, 400)); y = (X[:, :3].sum(1) > 0).astype(int)
for c in np.logspace(-3, 1, 10):
    pca = PCA(20, svd_solver="full")
    a = pca.fit_transform(X[:2000])
    model = LogisticRegression(C=c, max_iter=50).fit(a, y[:2000])
    print(f"C={c:.4f} {model.score(pca.transform(X[2000:]), y[2000:]):.4f}", flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed here")
def test_a_sweep_of_scikit_learn_is_confirmed(joulewise: Joulewise, home: Path, monkeypatch):
    """Components computed anew for each setting: found, confirmed by a piece of the sweep with the same scores, applied, settled."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (home / "sweep.py").write_text(SWEEP)
    assert joulewise("run", "--quiet", "--name", "before", "--", sys.executable, "sweep.py").returncode == 0
    first = json.loads(joulewise("diagnose", "before", "--json").stdout)["findings"][0]
    assert first["cause"] == "repeated_preprocessing"

    done = joulewise("try", "before", "--future", "20", "--yes", "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    (trial,) = json.loads(done.stdout)["trials"]
    assert (trial["knob"], trial["cause"]) == ("cache=on", "repeated_preprocessing")
    assert trial["verdict"] in ("confirmed", "corrected"), trial
    assert trial["equal_quality"] is True
    assert "PCA.fit_transform" in trial["changed"][0]

    after = joulewise(
        "run", "--quiet", "--name", "after", "--with", "cache", "--", sys.executable, "sweep.py"
    )
    assert after.returncode == 0, after.stderr
    left = json.loads(joulewise("diagnose", "after", "--json").stdout)["findings"]
    assert "repeated_preprocessing" not in [f["cause"] for f in left]


def test_scratch_copy(tmp_path: Path):
    """Small files are copied, large ones and environments linked, neighbours above are found, history is left out."""
    source = tmp_path / "a" / "project"
    (source / "deep").mkdir(parents=True)
    (tmp_path / "a" / "data").mkdir()
    (tmp_path / "a" / "data" / "x.csv").write_text("1")
    (source / "train.py").write_text("pass")
    (source / "deep" / "own.txt").write_text("own")
    (source / ".git").mkdir()
    (source / "venv").mkdir()
    (source / "venv" / "pyvenv.cfg").write_text("")
    with (source / "large.bin").open("wb") as file:
        file.truncate(20_000_000)
    scratch = make(source, tmp_path / "scratch")
    (scratch.folder / "deep" / "own.txt").write_text("other")

    assert sorted(os.listdir(scratch.folder)) == ["deep", "large.bin", "train.py", "venv"]
    assert (source / "deep" / "own.txt").read_text() == "own"
    assert (scratch.folder / "large.bin").is_symlink()
    assert (scratch.folder / "venv").is_symlink()
    assert (scratch.folder / ".." / "data" / "x.csv").read_text() == "1"
    assert (scratch.copied, scratch.linked) == (2, 2)


def test_a_knob_that_changes_nothing_is_left_out():
    """It is dropped and told, and the others go on; without another there is no trial."""
    order: list[str | None] = [None, "cache", "batch"]
    ran: dict[str | None, list[try_._Ran]] = {knob: [] for knob in order}
    try_._drop("batch", "no shuffling DataLoader was made", order, ran)

    assert (order, list(ran)) == ([None, "cache"], [None, "cache"])
    with pytest.raises(UsageError, match="cache changes nothing in this program: one epoch"):
        try_._drop("cache", "one epoch", order, ran)


def test_why_a_knob_changed_nothing():
    """The remedy's own reason, else what is usual where it found no place."""
    assert try_._why_not("cache", view(changed=("cache: Items: kept",))) == ""
    assert (
        try_._why_not("cache", view(left=("cache: Items: its items differ", "batch: x")))
        == "Items: its items differ"
    )
    assert "no shuffling DataLoader" in try_._why_not("batch", view())


def test_absolute_paths_are_warned_of(tmp_path: Path):
    """Those in the command, and those of the script that lie in folders that are there."""
    (tmp_path / "train.py").write_text(
        f"a = '{tmp_path}/out'; b = '/no/such/folder/x'; c = '/'; d = 'data/x'; e = '/%s/'"
    )

    assert _absolute(["python", "train.py", "--log=/var/log/x", "out"], tmp_path) == [
        "--log=/var/log/x",
        f"{tmp_path}/out",
    ]
    assert _absolute(["python", "gone.py"], tmp_path) == []
    assert _absolute(["program"], tmp_path) == []
