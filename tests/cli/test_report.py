"""`joulewise report` and the sentence for a paper."""

from __future__ import annotations

import json

import pytest

from joulewise.exchange.latex import escaped


def test_html_json_latex(joulewise, recorded, home):
    """Each form is written where it was asked for, and said where it is."""
    recorded("digits_1", "sum(range(20_000_000))", "--zone", "DE")
    done = joulewise("report", "latest", "--html", "r.html", "--json", "r.json", "--latex", "-")

    assert done.returncode == 0, done.stderr
    assert f"wrote {home / 'r.html'}" in done.stderr
    html = (home / "r.html").read_text("utf-8")
    assert html.lower().startswith("<!doctype html>")
    assert len(html) < 300_000
    assert json.loads((home / "r.json").read_text())["power_series"]["t_s"]
    assert done.stdout.startswith(r"The run \emph{digits\_1} took ")
    assert r"90\,\% interval" in done.stdout
    assert "OWID/Ember" in done.stdout


def test_html_is_the_default(joulewise, recorded, home):
    """Without an option the HTML file is named after the recording."""
    recorded("digits")
    joulewise("report")

    assert len(list(home.glob("*-digits-*.html"))) == 1


def test_no_such_folder(joulewise, recorded):
    """A file that cannot be written is one line with exit code 2."""
    recorded("digits")
    done = joulewise("report", "--html", "nowhere/r.html")

    assert done.returncode == 2
    assert (
        done.stderr
        == "joulewise: --html is 'nowhere/r.html', which cannot be written: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("50%_{x}", r"50\%\_\{x\}"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("1–2 $", r"1--2 \$"),
    ],
)
def test_latex_is_escaped(text, safe):
    """No character of a recording means anything to LaTeX."""
    assert escaped(text) == safe
