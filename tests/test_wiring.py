"""Wiring chooses: which meters, which place, which ledger."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from joulewise import wiring
from joulewise.grid.history import History
from joulewise.measuring.meters.port import Found
from joulewise.settings import Settings
from joulewise.testing.meters import HandMeter, device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Basis
from joulewise.vocabulary.job import Duration, Job, Pace
from joulewise.vocabulary.recording import Component, Missing
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import Ticket


def family(name, components, *meters, missing=()):
    return wiring.Family(
        name, frozenset(components), lambda _settings, _pid: Found(tuple(meters), tuple(missing))
    )


def chosen(monkeypatch, *families):
    monkeypatch.setattr(wiring.meters, "FAMILIES", families)
    return list(wiring.survey(Settings(), 1))


def test_best_family_wins(monkeypatch):
    """A component is read by the first family that has it; later meters of it are closed."""
    counter = HandMeter(device("perf:0", Component.CPU))
    model = HandMeter(device("model:cpu", Component.CPU, Basis.MODELLED))
    memory = HandMeter(device("model:memory", Component.MEMORY, Basis.MODELLED))

    found = chosen(
        monkeypatch,
        family("perf", {Component.CPU}, counter),
        family("modelled", {Component.CPU, Component.MEMORY}, model, memory),
    )

    assert [(name, [m.device.id for m in f.meters]) for name, f in found] == [
        ("perf", ["perf:0"]),
        ("modelled", ["model:memory"]),
    ]
    assert model.closed
    assert not counter.closed


def test_covered_family_is_not_asked(monkeypatch):
    """A family all of whose components are covered is not even looked for."""

    def never(_settings, _pid):
        raise AssertionError("asked")

    counter = HandMeter(device("perf:0", Component.CPU))
    found = chosen(
        monkeypatch,
        family("perf", {Component.CPU}, counter),
        wiring.Family("powercap", frozenset({Component.CPU}), never),
    )

    assert [name for name, _ in found] == ["perf"]


def test_unreadable_source_is_told_where_a_model_stands_in(monkeypatch):
    """What could not be read is told when only a model stands in for it, and not when a better source does."""
    denied = Missing("perf", "not allowed", "setcap")
    model = HandMeter(device("model", Component.CPU, Basis.MODELLED))
    counter = HandMeter(device("rapl", Component.CPU))

    modelled = chosen(
        monkeypatch,
        family("perf", {Component.CPU}, missing=[denied]),
        family("modelled", {Component.CPU}, model),
    )
    measured = chosen(
        monkeypatch,
        family("perf", {Component.CPU}, missing=[denied]),
        family("powercap", {Component.CPU}, counter),
    )

    assert [m for _, f in modelled for m in f.missing] == [denied]
    assert [m for _, f in measured for m in f.missing] == []


def test_node_sensor_covers_nothing(monkeypatch):
    """A sensor of the whole machine is kept beside the parts and replaces none of them."""
    node = HandMeter(device("psys", Component.NODE))
    model = HandMeter(device("model", Component.CPU, Basis.MODELLED))

    found = chosen(
        monkeypatch, family("powercap", {Component.CPU}, node), family("modelled", {Component.CPU}, model)
    )

    assert [m.device.id for _, f in found for m in f.meters] == ["psys", "model"]


def test_unknown_family():
    """A family that nobody offers is refused with the nearest known one."""
    with pytest.raises(UnknownName, match="did you mean powercap"):
        wiring.families(dataclasses.replace(Settings(), meters="powercapp"))


def test_this_machine_has_an_answer():
    """On whatever machine this runs, CPU and memory are read or modelled, and no component twice."""
    found = [m.device for _, f in wiring.survey(Settings(), 1) for m in f.meters]

    assert {Component.CPU, Component.MEMORY} <= {d.component for d in found}
    assert len({d.id for d in found}) == len(found)


def test_recording_from_end_to_end(home):
    """A tracked stretch is recorded, listed by the ledger, found by its name and priced at its zone."""
    with wiring.track("end-to-end", interval_s=0.05, zone="DE", size=3) as run, run.span("work"):
        sum(i * i for i in range(300_000))
        run.log(epoch=1, loss=0.5)

    recording = wiring.find("end-to-end")
    what = wiring.account(recording)

    assert recording == wiring.find("latest")
    assert recording.params == {"size": 3}
    assert what.footprint.carbon_g is not None
    assert "zone" not in what.footprint.unknown
    assert [p.name for p in what.phases] == ["work"]
    assert [a.recording.run_id for a in wiring.recordings()] == [recording.run_id]
    assert str(home) in wiring.settings().runs


def test_unknown_run_suggests():
    """A name that no recording has is refused with the nearest one."""
    with wiring.track("digits", interval_s=0.05):
        pass

    with pytest.raises(UnknownName, match="digits"):
        wiring.find("digit5")


def test_grams_by_the_hour_where_they_are_kept(tmp_path, monkeypatch):
    """The same recording counts by the yearly mean, then by the kept forecast, then by actual values: no new run needed."""
    monkeypatch.setenv("JOULEWISE_HOME", str(tmp_path))
    run = recording([device("perf:0", Component.CPU)], {"perf:0": 50.0})
    history = History(tmp_path / "grid")

    def seen():
        intensity = wiring.account(run, "DE").footprint.factors["intensity"]
        return intensity.value, intensity.basis, intensity.source

    yearly = seen()
    history.add(Signal.of("DE", [120.0], run.started_utc, issued_utc=run.started_utc, source="service"))
    forecast = seen()
    history.add(Signal.of("DE", [80.0], run.started_utc, source="service"))
    actual = seen()

    assert "OWID" in yearly[2]
    assert forecast[:2] == (120, Basis.ASSUMED)
    assert actual[:2] == (80, Basis.MODELLED)
    assert "by the hour" in actual[2]
    assert wiring.account(run, "FR").footprint.factors["intensity"].source.startswith("OWID")


def test_derived_data_have_their_place(home):
    """Cached training data and the online store are below the user's folder, unless the settings name a place."""
    pytest.importorskip("numpy")
    found = wiring.cached([1, 2, 3], abs)
    store = wiring.online_store()

    assert list(found) == [1, 2, 3]
    assert found.folder is not None
    assert found.folder.parent == home / "features" / "cache"
    assert store.where == str(home / "features" / "online.db")
    store.close()


def test_online_store_of_the_settings(home, monkeypatch):
    """The setting `online_store` names the store, and an argument goes before it."""
    pytest.importorskip("numpy")
    monkeypatch.setenv("JOULEWISE_ONLINE_STORE", str(home / "mine.db"))
    places = []
    for place in (None, str(home / "other.db")):
        store = wiring.online_store(place)
        places.append(store.where)
        store.close()

    assert places == [str(home / "mine.db"), str(home / "other.db")]


def test_search(home):
    """A search is recorded as a run, holds its budget in seconds, and a study with a name goes on where it was."""
    pytest.importorskip("threadpoolctl", reason="a search needs the extra `search`")
    searching = pytest.importorskip("joulewise.searching", reason="a search needs the extra `search`")
    space = {"x": searching.Float(0.0, 1.0)}

    def objective(trial):
        for epoch in trial.epochs():
            yield (trial["x"] - 0.3) ** 2 + 1 / epoch

    first = wiring.search(objective, space, "30s,6trials", epochs=3, minimise=True, name="my study")
    again = wiring.search(objective, space, "30s,9trials", epochs=3, minimise=True, name="my study")

    assert len(first.trials) == 6
    assert len(again.trials) == 9
    assert first.path == home / "studies" / "my-study.jsonl" == again.path
    recorded = [a.recording for a in wiring.recordings("my study")]
    assert len(recorded) == 2
    assert {p.values["trial"] for p in recorded[-1].points} == set(range(6))


def test_optuna_plug(home):
    """An Optuna study is metered and recorded as a run while its plug is open."""
    optuna = pytest.importorskip("optuna", reason="the plug for Optuna needs optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        for step in range(3):
            trial.report(x, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    with wiring.optuna_plug(epochs=3, budget="1m", name="mine") as plug:
        study = optuna.create_study(sampler=plug.sampler, pruner=plug.pruner)
        study.optimize(objective, callbacks=[plug.callback], n_trials=8)

    assert len(study.trials) == 8
    assert all("joulewise:costs" in t.user_attrs for t in study.trials)
    assert [r.recording.name for r in wiring.recordings("mine")] == ["mine"]


def test_search_needs_a_budget():
    """A search without a limit is refused in one line."""
    searching = pytest.importorskip("joulewise.searching", reason="a search needs the extra `search`")

    with pytest.raises(UsageError, match="the budget '' is empty"):
        wiring.search(lambda trial: iter([1.0]), {"x": searching.Float(0, 1)}, "")


@pytest.mark.parametrize(
    ("engine", "argv", "begins"),
    [
        ("local", ("train",), [sys.executable, "-m", "joulewise", "run", "--quiet"]),
        ("slurm", ("sbatch", "job.sh"), ["sbatch", "job.sh"]),
        ("local", ("sbatch", "job.sh"), [sys.executable, "-m", "joulewise", "run", "--quiet"]),
    ],
)
def test_recorded(engine, argv, begins):
    """A job is run under `joulewise run`, but an sbatch line stays as it is."""
    assert wiring.recorded(_ticket(engine, argv), "a-1")[: len(begins)] == begins


def test_recorded_elsewhere(tmp_path):
    """On machines with other files a job runs with joulewise where it is there, and plainly where it is not."""
    argv = wiring.recorded(_ticket("kubernetes", ("echo", "two  words; $HOME")), "a-1")
    plain = subprocess.run(argv, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    (tmp_path / "joulewise").write_text('#!/bin/sh\necho recorded "$@"\n')
    (tmp_path / "joulewise").chmod(0o755)
    here = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    recorded = subprocess.run(argv, env=here, capture_output=True, text=True, check=True)

    assert plain.stdout == "two  words; $HOME\n"
    assert recorded.stdout.startswith("recorded run --quiet --name")
    assert recorded.stdout.endswith("-- echo two  words; $HOME\n")


def test_engines(monkeypatch):
    """Engines are known by name; one that lacks a setting says which."""
    assert wiring.engine("slurm").name == "slurm"
    assert wiring.engine("ray").name == "ray"
    monkeypatch.delenv("JOULEWISE_KUBERNETES_IMAGE", raising=False)
    with pytest.raises(UsageError, match="JOULEWISE_KUBERNETES_IMAGE"):
        wiring.engine("kubernetes")
    with pytest.raises(UsageError, match="did you mean slurm"):
        wiring.engine("slrm")


def _ticket(engine: str, argv: tuple[str, ...]) -> Ticket:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    job = Job("digits", Duration.of(60.0), now, now + timedelta(hours=1), (Pace("1 worker", 1.0, 10.0),))
    return Ticket(job, argv, "/", "ada", engine=engine)
