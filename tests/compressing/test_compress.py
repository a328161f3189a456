"""A model through both gates."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from joulewise.compressing import card, costing, runtime
from joulewise.compressing import compress as room
from joulewise.compressing.compress import Ask, compress, paid, parse_drop
from joulewise.compressing.costing import Unmetered
from joulewise.compressing.data import of_arrays
from joulewise.compressing.metrics import metric, of_function
from joulewise.vocabulary.errors import UnknownName, UsageError
from tests.compressing.models import Bench, dense, rows_for


@pytest.fixture
def costs(monkeypatch):
    """Let each form cost what the test says, a call and a row: the gates' work is to be seen, not this machine's."""
    told = {"fp32": 0.002, "int8-dynamic": 0.001, "int8-static": 0.003, "fp16": 0.003, "bf16": 0.003}

    def measure(runs, data, sizes, gauge, rounds=3):
        bench = Bench(getattr(gauge, "joules", None))
        return costing.measure(bench.runs({name: told[name] for name in runs}), data, sizes, bench, rounds)

    monkeypatch.setattr(room, "measure", measure)
    monkeypatch.setattr(
        room, "cold_starts", lambda paths, *_: {name: costing.Cold(0.5, 0.25) for name in paths}
    )
    return told


def compressed(path, *, name="accuracy", drop="5%", gauge=None, rows=None, **more):
    held = rows or rows_for(path)
    data = of_arrays(held, room.inputs(path), "y")
    return compress(
        path, data, Ask(metric(name), parse_drop(drop), **more), path.parent, "m", gauge or Bench()
    )


def test_both_gates(tmp_path, costs):
    """What passes both gates is kept, the cheapest first; what fails one is left out with the reason; fp32 stays."""
    told = compressed(dense(tmp_path / "fp32.onnx"), sizes=(1, 4))

    assert [one.name for one in told.kept] == ["int8-dynamic", "fp32"]
    first = told.kept[0]
    assert (first.precision, first.joules[1], first.joules[4]) == (
        "int8",
        pytest.approx(0.02),
        pytest.approx(0.0125),
    )
    assert first.ratios[4].value == pytest.approx(0.5)
    assert first.seconds[4] == pytest.approx(0.005)
    assert (first.cold_start_s, first.cold_start_j) == (0.5, pytest.approx(2.5))
    assert "costs more than fp32" in told.left_out["int8-static"]
    assert "costs more than fp32" in told.left_out["fp16"]
    assert set(told.left_out) == {"int8-static", "fp16", "bf16"}


def test_what_loses_too_much_is_not_measured(tmp_path, costs):
    """A variant that fails on quality is left out before it costs anything, in its metric's words."""
    costs.pop("int8-static")  # to measure it would be an error
    costs.pop("int8-dynamic")
    costs.pop("fp16")
    told = compressed(dense(tmp_path / "fp32.onnx"), name="rmse", drop="0", rows=_regression(tmp_path))

    assert [one.name for one in told.kept] == ["fp32"]
    assert told.left_out["int8-dynamic"].startswith("rmse drops by")


def _regression(folder):
    x = rows_for(dense(folder / "r.onnx"))["x"]
    session = runtime.session(folder / "r.onnx")
    return {"x": x, "y": session.run(None, {"x": x})[0]}


def test_few_rows_cannot_tell(tmp_path, costs):
    """That few rows show no drop is not enough: the variant is left out, and that it cannot be told is said."""
    path = dense(tmp_path / "fp32.onnx", margin=4.0)
    told = compressed(path, drop="2%", rows={name: values[:60] for name, values in rows_for(path).items()})

    assert [one.name for one in told.kept] == ["fp32"]
    assert "cannot be told from so few rows" in told.left_out["int8-dynamic"]


def test_counted_joules_decide(tmp_path, costs):
    """Counters overrule the CPU time: what takes half the time at twice the joules is left out."""
    told = compressed(
        dense(tmp_path / "fp32.onnx"),
        gauge=Bench({"fp32": 1.0, "int8-dynamic": 2.0, "int8-static": 0.5, "fp16": 2.0, "bf16": 2.0}),
    )

    assert told.counted
    assert told.left_out["int8-dynamic"].startswith("it costs more than fp32; joules of a request")
    assert [one.name for one in told.kept] == ["int8-static", "fp32"]
    assert told.kept[0].joules[1] == pytest.approx(0.5)


def test_unknown_joules_stay_unknown(tmp_path, costs):
    """Without meters variants are judged by CPU time, and no joules are told."""
    told = compressed(dense(tmp_path / "fp32.onnx"), gauge=Unmetered())

    assert [one.name for one in told.kept] == ["int8-dynamic", "fp32"]
    assert told.kept[0].joules == {}
    assert told.kept[0].cold_start_j is None
    assert paid(told, None).pays_after == paid(told, 5.0).pays_after == {}


def test_it_pays_after(tmp_path, costs):
    """What compressing and tuning took is saved after so many requests, by batch size."""
    told = compressed(dense(tmp_path / "fp32.onnx"), sizes=(1, 4))

    assert paid(told, 100.0, 900.0).pays_after == {
        1: pytest.approx(1000 / 0.02),
        4: pytest.approx(1000 / 0.0125),
    }
    assert paid(told, 100.0, None).spent_j is None  # a candidate of unknown price
    assert "int8-dynamic pays after 50,000 requests in batches of 1" in card.closing(paid(told, 1000.0))


def test_a_candidate_of_the_user(tmp_path, costs):
    """A model that the user made goes through the same gates; one of other inputs is left out."""
    path = dense(tmp_path / "fp32.onnx")
    small = dense(tmp_path / "small.onnx", hidden=32, seed=9)
    other = onnx.load(path)
    other.graph.output[0].name = other.graph.node[-1].output[0] = "z"
    onnx.save(other, tmp_path / "other.onnx")
    told = compressed(path, extra={"small": small, "other": tmp_path / "other.onnx"}, variants=("bf16",))

    assert told.left_out["small"].startswith("accuracy drops by")
    assert told.left_out["other"] == "other takes x and gives z: not what fp32 takes and gives"


def test_a_fixed_batch_has_its_own_size(tmp_path, costs):
    """A model that takes seven rows at once is judged and measured at seven, the last rows filled up."""
    told = compressed(dense(tmp_path / "fp32.onnx", rows=7), rows=rows_for(dense(tmp_path / "f.onnx")))

    assert list(told.kept[0].joules) == [7]
    assert told.rows == 480


def test_what_is_not_finite_is_left_out(tmp_path, costs):
    """A candidate that answers with what is no number is left out; where fp32 does, all ends."""
    path = dense(tmp_path / "fp32.onnx")
    broken = dense(tmp_path / "broken.onnx", margin=np.inf)
    told = compressed(path, extra={"broken": broken}, variants=("bf16",))

    assert "is not finite" in told.left_out["broken"]
    with pytest.raises(UsageError, match="is not finite"):
        compressed(broken, rows=rows_for(path))


def test_card(tmp_path, costs):
    """The card tells variants, costs, what was left out and why, and is JSON for programs."""
    told = paid(compressed(dense(tmp_path / "fp32.onnx")), 40.0)
    text, fields = card.markdown(told), json.loads(json.dumps(card.fields(told)))

    assert "| int8-dynamic |" in text
    assert f"- **bf16**: {told.left_out['bf16']}" in text
    assert fields["kept"][0]["file"] == "int8-dynamic.onnx"
    assert fields["kept"][0]["drop"]["low"] <= fields["kept"][0]["drop"]["value"]
    assert fields["spent_j"] == 40.0


def test_a_metric_that_sees_nothing_is_refused(tmp_path):
    """A metric that says the same of answers in wrong rows would pass everything: it is refused."""
    path = dense(tmp_path / "fp32.onnx")
    data = of_arrays(rows_for(path), room.inputs(path), "y")
    blind = of_function(lambda answers, targets: answers is targets, "blind")
    with pytest.raises(UsageError, match="blind is 0 for fp32, and the same where answers are exchanged"):
        compress(path, data, Ask(blind, parse_drop("1%")), tmp_path, "m", Bench())


def test_wrong_use(tmp_path):
    """Wrong names, drops and rows are refused before anything is made."""
    path = dense(tmp_path / "fp32.onnx")
    with pytest.raises(UnknownName, match="int8-dynamic"):
        compressed(path, variants=("int8-dynamc",))
    with pytest.raises(UsageError, match="cannot take the data"):
        compressed(path, rows={"x": np.zeros((100, 3)), "y": np.zeros(100)})
    with pytest.raises(UsageError, match="at least 30"):
        compressed(path, rows={"x": np.zeros((20, 8)), "y": np.zeros(20, int)})
    for text in ("-1%", "lots", "", "0,5%"):
        with pytest.raises(UsageError, match="max drop is"):
            parse_drop(text)
