"""`joulewise compress` and `joulewise.compress`: from a model and rows to a folder that is served."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

import joulewise as public
from joulewise.serving.compressed import folder_of
from joulewise.serving.endpoint import Limits
from joulewise.serving.folder import read_folder
from joulewise.serving.hosting import host
from joulewise.vocabulary.errors import UsageError
from tests.compressing.models import dense, rows_for
from tests.serving.asking import ask


@pytest.fixture
def model(home):
    """Return a model and its rows as files in the working folder."""
    path = dense(home / "m.onnx")
    np.savez(home / "val.npz", allow_pickle=False, **rows_for(path))
    return path


def test_a_folder_that_is_served(model, home, joulewise):
    """The verb makes a folder with cards, its recording is in the ledger, and the server answers from it."""
    done = joulewise("compress", "m.onnx", "--data", "val.npz", "--max-drop", "5%", "--zone", "DE")
    assert done.returncode == 0, done.stderr
    folder = read_folder(home / "m-compressed")
    card = json.loads((home / "m-compressed" / "card.json").read_text())

    assert folder.variants[-1].name == "fp32"
    assert [one.name for one in folder.variants] == [one["name"] for one in card["kept"]]
    assert set(folder.left_out) | {one.name for one in folder.variants} == {
        "fp32",
        "int8-dynamic",
        "int8-static",
        "fp16",
        "bf16",
    }
    assert set(folder.variant("fp32").joules) == {1, 32}
    assert folder.life.compressing_j == card["spent_j"] > 0
    assert "left out: bf16" in done.stdout
    assert "joulewise serve m-compressed" in done.stdout
    assert folder.card.startswith("# m\n")
    assert "compress-m" in joulewise("runs").stdout
    x = rows_for(model)["x"][:1]
    service = host([folder], Limits())
    answer = asyncio.run(ask(service, body=json.dumps({"inputs": {"x": x.tolist()}}).encode()))
    assert (answer.status, answer.headers["x-variant"].split("@")[0]) == (200, folder.variants[0].name)


def test_json_and_wrong_use(model, home, joulewise):
    """--json is the card; wrong input is one line and exit code 2; what is there is not written over."""
    told = joulewise("compress", "m.onnx", "--data", "val.npz", "--variants", "fp16", "--out", "o", "--json")
    again = joulewise("compress", "m.onnx", "--data", "val.npz", "--out", "o")
    wrong = {
        ("m.onnx", "--data", "none.npz"): "No such file",
        ("m.onnx", "--data", "val.npz", "--metric", "accuracyy"): "did you mean accuracy",
        ("m.onnx", "--data", "val.npz", "--batch-sizes", "1,none"): "whole numbers from 1",
        ("m.onnx", "--data", "val.npz", "--candidate", "small"): "a name and a file",
        ("m.onnx", "--data", "val.npz", "--candidate", "fp32=m.onnx"): "not fp32",
        ("m.onnx", "--data", "val.npz", "--device", "abacus"): "is for abacus",
        ("m.pkl", "--data", "val.npz"): "nothing is unpickled",
    }

    assert json.loads(told.stdout)["left_out"]["fp16"]
    assert json.loads(told.stdout)["schema_version"]
    assert again.returncode == 2
    assert "o is there already" in again.stderr
    for arguments, said in wrong.items():
        done = joulewise("compress", *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert said in done.stderr
        assert not (home / "m-compressed").exists()


def test_from_python(model, home):
    """From Python, rows are arrays and the metric any function; what gets worse by it is left out."""
    rows = rows_for(model)
    told = public.compress(
        model,
        (rows["x"], rows["y"]),
        metric=lambda y, t: y.argmax(1) == t,
        max_drop=0.0001,
        variants=["int8-static"],
        out="o",
    )

    assert [one.name for one in told.kept] == ["fp32"]
    assert "drops by" in told.left_out["int8-static"]
    with pytest.raises(UsageError, match="is there already"):
        public.compress(model, (rows["x"], rows["y"]), out="o")
    with pytest.raises(UsageError, match=r"must be an \.npz file, a pair"):
        public.compress(model, rows["x"], out="p")


def test_an_embedding_is_refused_by_its_neighbours(model, home):
    """Vectors that are nearly fp32's by cosine are refused where a tenth of the nearest neighbours changes."""
    rows = {"x": rows_for(model)["x"]}
    told = public.compress(model, rows, metric="recall@10", max_drop="1%", variants=["int8-static"], out="o")

    assert told.left_out["int8-static"].startswith("recall@10 drops by")


def test_a_folder_is_whole_or_not_there(model, home):
    """A place that cannot be written is told in one line."""
    (home / "file").write_text("")
    rows = rows_for(model)
    told = public.compress(model, (rows["x"], rows["y"]), variants=["bf16"], out="o")

    with pytest.raises(UsageError, match="is there already"):
        folder_of(told, home / "file")
