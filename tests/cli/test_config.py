"""`joulewise config` says where each setting came from, and no secret."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from joulewise.cli.config import UNSET, command, shown
from joulewise.settings import Settings
from joulewise.vocabulary.errors import UnknownName, UsageError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def entries(*arguments):
    result = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    return {e["key"]: e for e in json.loads(result.output)["settings"]}


def test_every_setting_is_shown():
    """Each field of the settings is one entry, in their order."""
    assert list(entries()) == [f.name for f in dataclasses.fields(Settings)]


def test_sources(home, tmp_path, monkeypatch):
    """A value names the file, the project, or the variable that it came from."""
    file = Path(home) / "config" / "joulewise" / "settings.toml"
    file.parent.mkdir(parents=True)
    file.write_text('zone = "DE"\ncurrency = "CHF"\npue = 1.2\n')
    (tmp_path / "pyproject.toml").write_text('[tool.joulewise]\nzone = "FR"\n')
    monkeypatch.setenv("JOULEWISE_CURRENCY", "USD")

    found = entries()

    assert (found["pue"]["value"], found["pue"]["source"]) == (1.2, str(file))
    assert found["zone"]["value"] == "FR"
    assert found["zone"]["source"] == f"{tmp_path / 'pyproject.toml'} [tool.joulewise]"
    assert found["currency"] == {
        "key": "currency",
        "value": "USD",
        "source": "the variable JOULEWISE_CURRENCY",
    }
    assert found["interval_s"]["source"] == "default"


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_no_secret_is_shown(monkeypatch, how):
    """Passwords and tokens in URLs never reach the screen."""
    monkeypatch.setenv(
        "JOULEWISE_LEDGER", "postgresql://ann:hush1@db.example/joulewise?password=hush2&sslmode=require"
    )
    monkeypatch.setenv("JOULEWISE_PROMETHEUS", "https://u:hush3@prom.example/?token=hush4")

    output = CliRunner().invoke(command, how, catch_exceptions=False).output

    assert "hush" not in output
    assert "postgresql://ann:***@db.example/joulewise?password=***&sslmode=require" in output


def test_plain_values_stay():
    """What holds no secret is shown as it is."""
    assert shown("0.30EUR/kWh 22:00-06:00=0.20EUR") == "0.30EUR/kWh 22:00-06:00=0.20EUR"
    assert shown(1.5) == 1.5


def test_one_key():
    """With a key only that setting is shown; an unknown one is refused with the nearest."""
    assert list(entries("zone")) == ["zone"]

    result = CliRunner().invoke(command, ["tarif"])
    assert isinstance(result.exception, UnknownName)
    assert "did you mean tariff" in str(result.exception)


def test_unset_settings_say_what_holds():
    """A setting that is empty says what holds then; only settings that exist are explained."""
    output = CliRunner().invoke(command).output

    assert "the world's range" in output
    assert set(UNSET) <= {f.name for f in dataclasses.fields(Settings)}


def test_wrong_value_is_refused(monkeypatch):
    """A setting that cannot be what the user means is one line that names the variable."""
    monkeypatch.setenv("JOULEWISE_PUE", "much")

    error = CliRunner().invoke(command).exception

    assert isinstance(error, UsageError)
    assert "JOULEWISE_PUE" in str(error)
