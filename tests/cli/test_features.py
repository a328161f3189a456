"""`joulewise features`: what is there, what it costs, who reads it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

pytest.importorskip("duckdb")
pytest.importorskip("numpy")

from joulewise import wiring
from joulewise.cli.features import command
from joulewise.cli.materialise import command as materialise
from joulewise.features.loading import load_views
from joulewise.features.reading import Reader
from joulewise.vocabulary.errors import UnknownName
from tests.cli.test_materialise import views  # noqa: F401 - a fixture


@pytest.fixture
def filled(views):  # noqa: F811
    """Fill a store with two views, one of which is read by a model."""
    assert CliRunner().invoke(materialise, [views, "--json"]).exception is None
    online = wiring.online_store()
    more = next(v for v in load_views(views) if v.name == "more")
    with Reader(online, [more], name="churn-model") as reader:
        reader.row(1)
        reader.row(77)
    online.close()


def run(*arguments):
    result = CliRunner().invoke(command, arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def told(*arguments):
    return json.loads(run(*arguments, "--json"))


def test_list(filled):
    """Rows, bytes, owner and reads of every view."""
    listed = {v["name"]: v for v in told("list")["views"]}

    assert (listed["spend"]["rows"], listed["spend"]["owner"]) == (5, "growth")
    assert [(t["reader"], t["reads"], t["missing"], t["stale"]) for t in listed["more"]["readers"]] == [
        ("churn-model", 2, 1, 1)
    ]
    lines = run("list").splitlines()
    assert lines[0].split()[:4] == ["view", "owner", "rows", "columns"]
    assert lines[1].split()[-2:] == ["2", "50%"]


def test_show(filled):
    """Columns, readers, runs, and what the recorded runs cost together."""
    shown = told("show", "more")

    assert [(c["name"], c["type"]) for c in shown["columns"]] == [("more", "float64")]
    assert shown["recorded_runs"] == len(shown["runs"]) == 1
    assert shown["energy_j"]["value"] > 0
    text = run("show", "more")
    assert "churn-model" in text
    assert "1 of the last 1 runs are recorded" in text


def test_show_after_pruning(filled):
    """Where the recordings are gone the cost is unknown, not zero."""
    import shutil

    shutil.rmtree(wiring.settings().runs)
    shown = told("show", "more")

    assert (shown["recorded_runs"], shown["energy_j"]) == (0, None)
    assert "recorded" not in run("show", "more").splitlines()[-1].split()


def test_unused(filled):
    """A view that is read, or that another one is made from, is not named; one without readers is."""
    assert told("unused", "--days", "0")["unused"][0]["view"] == "more"
    assert run("unused") == "Nothing is derived for nobody.\n"


def test_lineage(filled):
    """From the sources to the readers."""
    text = run("lineage")

    assert "more  <-  spend" in text
    assert "  ->  churn-model" in text
    assert told("lineage", "spend")["views"][0]["views_above"] == ["more"]


def test_unknown_view(filled):
    """An unknown view suggests the nearest."""
    with pytest.raises(UnknownName, match="did you mean spend"):
        run("show", "spent")


def test_empty():
    """An empty store says how to begin."""
    assert "begin with: joulewise materialise" in run("list")
    assert run("unused") == "Nothing is derived for nobody.\n"


def test_unused_beside_requests(views, tmp_path):  # noqa: F811
    """What a served model aggregates in its requests is named, with the view that has the same derivation."""
    from tests.measuring.agent.running import run as recorded

    (tmp_path / "views.toml").write_text(
        """
[spend]
keys = "user"
event_time = "ts"
ttl = "2d"
sql = 'SELECT "user", max(ts) AS ts, sum(amount) AS total FROM events GROUP BY "user"'
sources = { events = "events.parquet" }
"""
    )
    assert CliRunner().invoke(materialise, [views]).exception is None
    ran = recorded(
        "import http.server, sqlite3\nc = sqlite3.connect(':memory:')\nc.execute('CREATE TABLE events (user, amount)')\n"
        "for n in range(30): c.execute('SELECT sum(amount) FROM events WHERE user = ?', (n,)).fetchone()",
        tmp_path,
    )
    (join,) = told("unused", "--run", str(ran.folder))["request_joins"]

    assert (join["calls"], join["what"], join["views"]) == (30, "SUM", ["spend.total"])
    assert "the same derivation is in the store: read spend.total" in run("unused", "--run", str(ran.folder))


def test_diagnosed(filled, tmp_path):
    """`diagnose --features` tells what a store derives for nobody, and which joins make requests wait."""
    from joulewise.cli.diagnose import command as diagnose

    sql = "SELECT count(*) FROM events GROUP BY user"
    (tmp_path / "queries.json").write_text(
        json.dumps([{"query": sql, "calls": 10, "total_exec_time": 500.0}])
    )
    done = CliRunner().invoke(diagnose, ["--features", "--queries", str(tmp_path / "queries.json"), "--json"])
    assert done.exception is None
    found = {f["cause"]: f for f in json.loads(done.output)["findings"]}

    assert found["request_time_join"]["saving"]["cpu_s"] == pytest.approx(0.5 - 10 * 10e-6)
    assert found["request_time_join"]["subject"] == sql
    text = CliRunner().invoke(diagnose, ["--features", "--queries", str(tmp_path / "queries.json")]).output
    assert "request time join: SELECT count(*)" in text

    (tmp_path / "queries.json").write_text("[1]")
    wrong = CliRunner().invoke(diagnose, ["--features", "--queries", str(tmp_path / "queries.json")])
    assert "cannot read the statements" in str(wrong.exception or wrong.output)
