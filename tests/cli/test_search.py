"""`joulewise search` takes objective and space from a Python file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from joulewise.cli.search import command
from joulewise.vocabulary.errors import UnknownName, UsageError

pytest.importorskip("threadpoolctl", reason="a search needs the extra `search`")
pytest.importorskip("numpy", reason="a search needs the extra `search`")

PROGRAM = """
from joulewise.searching import Float, Int
from offset import OFFSET

space = {"x": Float(0.0, 1.0), "layers": Int(1, 3)}

def objective(trial):
    for epoch in trial.epochs():
        yield (trial["x"] - 0.3) ** 2 + 1 / epoch + OFFSET
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "offset.py").write_text("OFFSET = 2\n")
    path = tmp_path / "train.py"
    path.write_text(PROGRAM)
    return path


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def test_text(file):
    """The report names the best settings, the reason and the journal."""
    result = run(f"{file}:objective", "--budget", "1m,5trials", "--epochs", 3, "--minimise")

    assert result.exit_code == 0
    assert result.output.startswith("objective: 5 trials")
    assert "\nended: all 5 trials of the budget are started" in result.output
    assert "\njournal: " in result.output


def test_json(file):
    """As JSON every trial has its settings, values as they were reported, and costs."""
    result = run(f"{file}:objective", "--budget", "1m,5trials", "--epochs", 3, "--minimise", "--json")

    told = json.loads(result.output)
    assert told["schema_version"] == 1
    assert len(told["trials"]) == 5
    assert told["best"]["value"] == min(v for t in told["trials"] for v in t["values"]) > 2
    assert all(len(t["values"]) == len(t["costs"]) for t in told["trials"])


def test_until(file):
    """The search ends at the value that was asked for."""
    result = run(f"{file}:objective", "--budget", "1m", "--minimise", "--until", "2.6")

    assert "ended: the target 2.6 is reached by trial" in result.output


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("train.py", UsageError, "must be FILE.py:OBJECTIVE"),
        ("nowhere.py:objective", UsageError, "there is no file"),
        ("{file}:objektive", UnknownName, "unknown objective 'objektive'; did you mean objective"),
    ],
)
def test_refused(file, target, error, message):
    """A target that is none, a file that is missing and a name that is not in it are refused in one line."""
    with pytest.raises(error, match=message):
        run(target.format(file=file), "--budget", "1m")


def test_unreadable(file):
    """A file that is no Python is refused in one line."""
    file.write_text("def")

    with pytest.raises(UsageError, match="cannot read"):
        run(f"{file}:objective", "--budget", "1m")


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "needs nowhere, which is not installed$"), ("numpy", r"pip install 'joulewise\[search\]'$")],
)
def test_missing_module(file, monkeypatch, name, message):
    """A module that the file needs and that is not installed is named, with the extra if it is ours."""
    monkeypatch.setitem(__import__("sys").modules, name, None)
    file.write_text(f"import {name}")

    with pytest.raises(UsageError, match=message):
        run(f"{file}:objective", "--budget", "1m")


SCRIPT = """
import sys
rate = float(sys.argv[1].partition("=")[2])
for epoch in range(1, 4):
    print(f"epoch {epoch}: loss={(rate - 0.3) ** 2 + 1 / epoch}", flush=True)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    space = tmp_path / "space.toml"
    space.write_text("rate = { low = 0.0, high = 1.0 }\n")
    return ["--space", space, "--epochs", 3, "--", sys.executable, path]


def test_program(script):
    """A program is searched as it is; its metric's name says that smaller is better."""
    result = run("--budget", "1m,6trials", "--metric", "loss", "--json", *script)

    told = json.loads(result.output)
    assert len(told["trials"]) == 6
    assert told["best"]["value"] == min(v for t in told["trials"] for v in t["values"])
    assert all(set(t["params"]) == {"rate"} for t in told["trials"])


def test_workers(script):
    """Several workers share the study of the verb."""
    result = run("--budget", "1m,8trials", "--metric", "loss", "--workers", "2", "--json", *script)

    told = json.loads(result.output)
    lines = [json.loads(text) for text in Path(told["journal"]).read_text().splitlines()]
    assert len(told["trials"]) == 8
    assert sum(line["kind"] == "joined" for line in lines) == 2


def test_plan(script):
    """`--plan` trains three trials a little, and says what the search needs."""
    result = run("--budget", "1m", "--metric", "loss", "--plan", *script)

    assert result.output.startswith("to find settings among the best hundredth:")
    assert "full trainings' worth" in result.output
    assert "  cost            " in result.output


SHARED = """
import sys
rate, share = (float(a.partition("=")[2]) for a in sys.argv[1:])
for epoch in range(3):
    print(f"loss={(rate - 0.3) ** 2 + 1 / (epoch + 1) + 0.1 / share}", flush=True)
"""


def test_program_by_shares(script):
    """A program is told its share in its command line; each training runs to its end, and its last value counts."""
    script[-1].write_text(SHARED)
    argv = [*script, "--rate={rate}", "--part={share}"]
    result = run("--budget", "1m,9trials", "--metric", "loss", "--shares", "0.1,0.3,1", "--json", *argv)

    told = json.loads(result.output)
    rests = {
        round(value - (t["params"]["rate"] - 0.3) ** 2, 6)
        for t in told["trials"]
        for value in t["values"][:1]
    }
    assert rests == {round(1 / 3 + 1.0, 6)}
    assert max(len(t["values"]) for t in told["trials"]) == 3
    assert min(len(t["values"]) for t in told["trials"]) == 1


def test_shares_wrong_use(script):
    """A share without a place, and places that nothing fills, are one line each."""
    with pytest.raises(UsageError, match=r"shares need a place in the program's command line: \{share\}"):
        run("--budget", "1m", "--metric", "loss", "--shares", "0.1,1", *script)
    with pytest.raises(UsageError, match=r"\{share\} in the command .*; say which: --shares 0\.1,0\.3,1"):
        run("--budget", "1m", "--metric", "loss", *script, "--part={share}")
    with pytest.raises(UsageError, match=r"each training is a run of its own, which has no \{checkpoint\}"):
        run("--budget", "1m", "--metric", "loss", "--shares", "0.1,1", *script, "{share}", "{checkpoint}")


def test_store_out_of_reach(script):
    """A store that cannot be reached is wrong use, in one line without its password."""
    pytest.importorskip("psycopg", reason="PostgreSQL needs the extra `postgres`")
    place = "postgresql://anna:secret@127.0.0.1:1/studies"
    with pytest.raises(UsageError) as refused:
        run("--budget", "1m", "--metric", "loss", "--name", "digits", "--store", place, *script)

    text = str(refused.value)
    assert text.startswith("cannot use the ledger postgresql://anna:***@127.0.0.1:1/studies: ")
    assert text.endswith("(the store of the study)")
    assert "\n" not in text
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", ""], "which value is to be searched for"),
        (["--metric", "quux"], "the name 'quux' does not tell whether smaller is better"),
        (["--metric", "loss", "--workers", "many"], "workers is 'many', but must be a whole number"),
        (["--metric", "loss", "--store", "studies.db"], "a study in a store needs a name"),
    ],
)
def test_program_wrong_use(script, options, message):
    """What is missing for a program is said in one line."""
    with pytest.raises(UsageError, match=message):
        run("--budget", "1m", *options, *script)
