"""What must be known before the program starts: the same answers as the slower ways give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from joulewise import settings
from joulewise.cli.start import new_run_id, recording_folder, run_name, runs_folder
from joulewise.ledger import files


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python", "train.py", "--lr", "1"], "train"),
        (["python3.11", "-u", "-W", "error", "src/train.py"], "train"),
        (["python", "-m", "pkg.train"], "pkg.train"),
        (["python", "-c", "print(1)"], "python"),
        (["bash", "job.sh"], "job"),
        (["/usr/bin/make", "all"], "make"),
        (["torchrun", "--nproc", "2", "train.py"], "train"),
        (["./train"], "train"),
    ],
)
def test_name_of_a_command(command, name):
    """A recording is named after the script, not after its interpreter."""
    assert run_name(command) == name


@pytest.mark.parametrize("name", ["digits", "a b/c", "../../etc", "é" * 90, "", "---"])
def test_ids_are_safe_and_sort(name):
    """An id is a plain folder name that begins with the time, whatever the name."""
    assert re.fullmatch(r"\d{8}T\d{6}-[A-Za-z0-9._-]{1,40}-[0-9a-f]{10}", new_run_id(name))


@pytest.mark.parametrize(
    "environment",
    [
        {"JOULEWISE_HOME": "/x"},
        {"JOULEWISE_RUNS": "/runs"},
        {"XDG_DATA_HOME": "/data", "HOME": "/home/me"},
        {"HOME": "/home/me"},
    ],
)
def test_same_folder_as_the_settings(environment, tmp_path, monkeypatch):
    """The fast answer is the one that the settings give."""
    monkeypatch.chdir(tmp_path)

    assert runs_folder(environment) == settings.load(environment).runs


def test_settings_files_are_heard(tmp_path, monkeypatch):
    """A settings file that moves the recordings is asked."""
    (tmp_path / "joulewise").mkdir()
    (tmp_path / "joulewise" / "settings.toml").write_text('runs = "/elsewhere"\n')
    monkeypatch.chdir(tmp_path)

    assert runs_folder({"HOME": "/home/me", "XDG_CONFIG_HOME": str(tmp_path)}) == "/elsewhere"


def test_project_file_is_heard(tmp_path, monkeypatch):
    """`[tool.joulewise]` of the nearest pyproject.toml is asked, from a folder below it, too."""
    (tmp_path / "pyproject.toml").write_text('[tool.joulewise]\nruns = "/project"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")

    assert runs_folder({"HOME": "/home/me", "XDG_CONFIG_HOME": str(tmp_path / "none")}) == "/project"


def test_same_place_as_the_ledger():
    """The folder of a recording is the one in which the ledger looks."""
    run_id = new_run_id("x")

    assert recording_folder("/runs", run_id) == str(files.run_folder(Path("/runs"), run_id))
