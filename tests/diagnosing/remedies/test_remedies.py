"""Remedies: what may be asked for, and what they do inside programs, run as they are."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from joulewise.diagnosing.remedies import KNOBS, parse
from joulewise.vocabulary.errors import UsageError
from joulewise.wiring import REMEDIES, remedied
from tests.measuring.agent.running import run

linux = pytest.mark.skipif(sys.platform != "linux", reason="the agent is tested on Linux")


def test_knobs_are_read():
    """A knob has a value, or a usual one where its name says enough."""
    assert parse("batch=x4, workers=0,cache,early-stop") == {
        "batch": "x4", "workers": "0", "cache": "on", "early-stop": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bach=x4", "did you mean batch"),
        ("batch", "batch is '', but must be a factor or a size"),
        ("batch=0", "batch=64"),
        ("threads=0", "threads=1"),
        ("precision=fp16", "gradient scaler"),
        ("threads=1,threads=2", "given twice"),
        (" , ", "no knob is named"),
    ],
)
def test_wrong_knobs(text: str, words: str):
    """What cannot be meant is one line that says what can."""
    with pytest.raises(UsageError, match=words):
        parse(text)


def test_every_knob_has_its_file():
    """The registry names a module for each knob, and the agent is given a file that is there."""
    assert set(KNOBS) <= set(REMEDIES)
    (lines,) = remedied(dict.fromkeys(REMEDIES, "1")).values()
    assert all(Path(line.split("\t")[2]).is_file() for line in lines.split("\n"))


@linux
def test_threads(tmp_path: Path):
    """The number of threads is set before the program looks, and the recording says what it was."""
    ran = run(
        "import os\nprint(os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])",
        tmp_path,
        options=["--with", "threads=3"],
    )

    assert (ran.code, ran.out, ran.err) == (0, "3 3\n", "")
    assert ran.view.changed == ("threads: OMP_NUM_THREADS=3 (was 1), MKL and OpenBLAS alike",)
    assert any("threads=3" in note.text for note in ran.recording.notes)


@linux
def test_a_remedy_that_fails_is_told(tmp_path: Path):
    """A remedy that cannot be loaded is named in the recording; the program hears nothing of it."""
    broken = tmp_path / "broken.py"
    broken.write_text("raise KeyError('x')")
    ran = run("print('runs')", tmp_path, environment={"JOULEWISE_WITH": f"cache\ton\t{broken}"})

    assert (ran.code, ran.out, ran.err) == (0, "runs\n", "")
    assert ran.view.left == ("cache: KeyError: 'x'",)


BOOSTED = """
import numpy as np
rng = np.random.default_rng(0)
x = rng.normal(size=(600, 5)); y = (x[:, 0] + rng.normal(size=600) > 0).astype(int)
"""


@linux
def test_xgboost_stops(tmp_path: Path):
    """XGBoost stops on its held-out data, by its own means; without any it is left alone."""
    pytest.importorskip("xgboost")
    code = BOOSTED + (
        "import xgboost\na, b = xgboost.DMatrix(x[:400], y[:400]), xgboost.DMatrix(x[400:], y[400:])\n"
        "p = {'objective': 'binary:logistic', 'nthread': 1}\n"
        "n = xgboost.train(p, a, 300, evals=[(b, 'valid')], verbose_eval=False).num_boosted_rounds()\n"
        "m = xgboost.train(p, a, 20).num_boosted_rounds()\nprint(n < 200, m)"
    )
    ran = run(code, tmp_path, options=["--with", "early-stop=5"])

    assert (ran.code, ran.out) == (0, "True 20\n"), ran.err
    assert ran.view.changed == ("early-stop: XGBoost stops after 5 rounds without improvement on valid",)
    assert ran.view.left == ("early-stop: XGBoost: no held-out data in evals",)


@linux
def test_lightgbm_stops(tmp_path: Path):
    """LightGBM's estimators stop on their evaluation set; one that stops by itself is left alone."""
    pytest.importorskip("lightgbm")
    code = BOOSTED + (
        "import lightgbm\nm = lightgbm.LGBMClassifier(n_estimators=300, n_jobs=1, verbose=-1)\n"
        "m.fit(x[:400], y[:400], eval_set=[(x[400:], y[400:])])\nprint(m.best_iteration_ < 200)\n"
        "m.fit(x[:400], y[:400], eval_set=[(x[400:], y[400:])], callbacks=[lightgbm.early_stopping(7, verbose=False)])"
    )
    ran = run(code, tmp_path, options=["--with", "early-stop"])

    assert (ran.code, ran.out) == (0, "True\n"), ran.err
    assert ran.view.changed == ("early-stop: LightGBM stops after 30 rounds without improvement",)
    assert ran.view.left == ("early-stop: LightGBM: it stops early already",)


@linux
def test_the_sandbox_keeps_writes(tmp_path: Path):
    """Links in a scratch folder become copies before they are written to; trackers are offline; what lies elsewhere is told."""
    real, box = tmp_path / "real", tmp_path / "box"
    (real / "logs").mkdir(parents=True)
    box.mkdir()
    (real / "data.bin").write_text("original")
    (real / "logs" / "old.txt").write_text("old")
    for name in ("data.bin", "logs"):
        (box / name).symlink_to(real / name)
    outside = (
        Path.home() / "joulewise-test-outside"
        if tmp_path.as_posix().startswith("/tmp")
        else tmp_path / "outside"
    )
    code = f"""
import os
open({str(box / "data.bin")!r}, "a").write("+")
open({str(box / "logs" / "new.txt")!r}, "w").write("new")
os.makedirs({str(box / "out" / "deep")!r})
try:
    open({str(outside)!r}, "w").close()
    os.remove({str(outside)!r})
except OSError: pass
print(os.environ["WANDB_MODE"], os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite:///"), os.environ["NEPTUNE_MODE"])
"""
    ran = run(code, tmp_path, environment=remedied({"sandbox": str(box)}))

    assert (ran.code, ran.out) == (0, "offline True offline\n"), ran.err
    assert ((real / "data.bin").read_text(), (box / "data.bin").read_text()) == ("original", "original+")
    assert sorted(p.name for p in (real / "logs").iterdir()) == ["old.txt"]
    assert sorted(p.name for p in (box / "logs").iterdir()) == ["new.txt", "old.txt"]
    assert ran.view.outside == (str(outside),)


@linux
def test_files_among_temporary_ones(tmp_path: Path):
    """What a trial makes among temporary files passes; what was there before and is written to is told."""
    box = tmp_path / "box"
    box.mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        there, own = Path(folder, "log.txt"), Path(folder, "own.txt")
        there.write_text("old")
        code = f"for path in ({str(own)!r}, {str(own)!r}, {str(there)!r}): open(path, 'a').close()"
        ran = run(code, tmp_path, environment=remedied({"sandbox": str(box)}))

    assert ran.view.outside == (str(there),)
