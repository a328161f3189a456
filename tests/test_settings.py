"""Settings: one value, read once; each entry knows where it came from."""

from __future__ import annotations

import os

import pytest

from joulewise import settings
from joulewise.vocabulary.errors import UnknownName, UsageError


@pytest.fixture
def environment(tmp_path):
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def write(environment, text):
    path = settings.user_file(environment)
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_defaults(environment, tmp_path):
    """Without any file or variable the defaults hold, and everything lives under the user's home."""
    chosen = settings.load(environment, str(tmp_path))

    assert (chosen.zone, chosen.interval_s) == ("", 1.0)
    assert chosen.runs == f"{tmp_path}/.local/share/joulewise/runs"
    assert chosen.ledger == f"{tmp_path}/.local/state/joulewise/ledger.db"
    assert chosen.grid == f"{tmp_path}/.local/share/joulewise/grid"
    assert chosen.online is False


def test_home_moves_everything(tmp_path):
    """JOULEWISE_HOME moves recordings and ledger together."""
    chosen = settings.load({"JOULEWISE_HOME": "/data/jw", "HOME": "/root"}, str(tmp_path))

    assert (chosen.runs, chosen.ledger) == ("/data/jw/runs", "/data/jw/ledger.db")


def test_precedence(environment, tmp_path):
    """File, project, variable and flag win in this order, and each value says where it came from."""
    write(environment, 'zone = "DE"\ntariff = "0.30EUR/kWh"\npue = 1.4\ncurrency = "EUR"\n')
    (tmp_path / "pyproject.toml").write_text('[tool.joulewise]\nzone = "FR"\npue = 1.3\n')
    environment["JOULEWISE_ZONE"] = "SE"

    seen = {s.key: s for s in settings.sources(environment, str(tmp_path), {"interval_s": 0.5, "live": None})}

    assert (seen["zone"].value, seen["zone"].source) == ("SE", "the variable JOULEWISE_ZONE")
    assert seen["pue"].value == 1.3
    assert "pyproject.toml" in seen["pue"].source
    assert "settings.toml" in seen["tariff"].source
    assert (seen["interval_s"].value, seen["interval_s"].source) == (0.5, "the command line")
    assert seen["live"].source == "default"


def test_nearest_project_file(environment, tmp_path):
    """The nearest pyproject.toml above the current folder counts."""
    (tmp_path / "pyproject.toml").write_text('[tool.joulewise]\nzone = "FR"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)

    assert settings.load(environment, str(inner)).zone == "FR"


def test_unknown_key(environment, tmp_path):
    """A key that is not known is refused, with the nearest known one and the file's name."""
    write(environment, 'zones = "DE"\n')

    with pytest.raises(UnknownName, match=r"zones.*did you mean zone.*settings\.toml"):
        settings.load(environment, str(tmp_path))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('interval_s = "fast"', "interval_s is 'fast'"),
        ("interval_s = 0.001", "at least 0.01"),
        ("pue = -1", "pue is -1"),
        ("zone = 7", "must be text"),
        ('online = "maybe"', "online is 'maybe'"),
        ("online = 1", "must be true or false"),
        ('live = "loud"', "live is 'loud'"),
        ("zone = ", "cannot read"),
    ],
)
def test_wrong_values(environment, tmp_path, line, said):
    """A wrong value is refused in one line with the value seen."""
    write(environment, line + "\n")

    with pytest.raises(UsageError, match=said):
        settings.load(environment, str(tmp_path))


@pytest.mark.parametrize(("text", "online"), [("true", True), ("false", False), ('"True"', True)])
def test_online(environment, tmp_path, text, online):
    """Whether services may be asked is true or false, in a file and in a variable."""
    write(environment, f"online = {text}\n")

    assert settings.load(environment, str(tmp_path)).online is online
    assert settings.load({"HOME": str(tmp_path), "JOULEWISE_ONLINE": "true"}, str(tmp_path)).online is True


def test_no_home(tmp_path, monkeypatch):
    """Without a home nothing is guessed: there is no folder, and that is not an error."""
    monkeypatch.setattr("os.path.expanduser", lambda path: path)

    chosen = settings.load({}, str(tmp_path))

    assert (chosen.runs, chosen.ledger) == ("", "")
    assert settings.user_file({}) is None


def test_folder_that_may_not_be_entered(tmp_path, monkeypatch):
    """A settings file behind a closed door (another user's home) is as none: nothing fails."""
    import errno

    real = os.stat

    def closed(path, *arguments, **options):
        if "closed" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", closed)
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "closed")}

    assert settings.load(environment, str(tmp_path / "closed" / "project")).zone == ""
