"""The manual as pages: it builds in strict mode, is whole, and asks for nothing on a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mkdocs", reason="the pages need the extra docs")
pytest.importorskip("material", reason="the pages need the extra docs")

from tests.web.conftest import browser  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the manual."""
    folder = tmp_path_factory.mktemp("manual")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.slow
def test_nothing_is_fetched(pages):
    """No page names a script, style, font or picture elsewhere."""
    found = []
    for page in pages.rglob("*.html"):
        text = page.read_text()
        found += re.findall(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?https?:[^>]*>""", text)
    for sheet in pages.rglob("*.css"):
        found += re.findall(r"url\(['\"]?https?:[^)]*\)|@import[^;]*http[^;]*", sheet.read_text())

    assert found == []


@pytest.mark.slow
def test_reference_is_whole(pages):
    """Every verb with its options, every public name and every setting is in the reference."""
    from dataclasses import fields

    import joulewise
    from joulewise.cli.app import VERBS
    from joulewise.settings import Settings

    def told(name: str) -> str:
        return Path(pages, "reference", f"{name}.html").read_text()

    assert all(f"joulewise {verb}" in told("verbs") for verb in VERBS)
    assert "--max-increase" in told("verbs")
    assert all(f"joulewise.{name}" in told("python") for name in joulewise.__all__ if name != "__version__")
    assert all(f"JOULEWISE_{field.name.upper()}" in told("settings") for field in fields(Settings))


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("page", ["index.html", "tutorial.html", "reference/verbs.html", "comparison.html"])
def test_in_chromium(pages, browser: Any, page):  # noqa: F811 - the fixture
    """Opened from the folder, without a server: no request leaves it and nothing is wider than a phone."""
    opened = browser.new_page(viewport={"width": 390, "height": 900})
    asked: list[str] = []
    opened.on(
        "request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else asked.append(r.url)
    )
    opened.goto(f"file://{pages / page}")

    assert opened.locator("h1").count() == 1
    assert asked == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    opened.close()
