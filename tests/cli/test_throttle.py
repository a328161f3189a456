from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from joulewise.cli.app import app
from joulewise.vocabulary.errors import UsageError


def test_told():
    """Without a cluster the cap is told, with its reason, for whatever sets the capacity."""
    done = CliRunner().invoke(app, ["throttle", "--zone", "DE", "--units", "16", "--once", "--json"])

    told = json.loads(done.output)
    assert 4 <= told["units"] <= told["most"] == 16
    assert "g/kWh" in told["reason"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--zone", "DE", "--once"], "say what is capped"),
        (["--units", "4", "--once"], "say where the cluster stands"),
        (["--zone", "DE", "--units", "4", "--least", "much", "--once"], "--least is 'much'"),
        (["--zone", "DE", "--units", "4", "--least", "120%", "--once"], "--least is '120%'"),
        (["--zone", "DEE", "--units", "4", "--once"], "unknown zone 'DEE'"),
        (["--units", "4", "--release"], "--release takes the cap of --slurm away"),
    ],
)
def test_wrong(words, says):
    """Wrong use is one line and exit code 2."""
    done = CliRunner().invoke(app, ["throttle", *words])

    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)
    assert "\n" not in str(done.exception)
