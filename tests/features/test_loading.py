"""Views from files: Python and TOML say the same."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("numpy")

from joulewise.features.loading import load_views
from joulewise.features.views import Column, Source
from joulewise.vocabulary.errors import UsageError

TOML = """
[spend]
keys = "user"
event_time = "ts"
ttl = "2d"
owner = "growth"
sql = "SELECT user, ts, n, m FROM events"
columns = { n = "int32", m = { type = "float32", default = 0.5 } }
sources = { events = "data/*.parquet", users = { place = "postgresql://me@host/db", query = "users" } }
"""
PYTHON = """
from joulewise.features import Column, Source, view

@view(keys="user", event_time="ts", ttl="2d", owner="growth",
      columns={"n": "int32", "m": Column("m", "float32", 0.5)},
      sources={"events": "data/*.parquet", "users": Source("postgresql://me@host/db", "users")})
def spend():
    return "SELECT user, ts, n, m FROM events"

again = spend
"""


def test_both_are_the_same(tmp_path):
    """The same view from both kinds of file; paths are relative to the file, URLs stay."""
    (tmp_path / "views.toml").write_text(TOML)
    (tmp_path / "views.py").write_text(PYTHON)
    (one,), (two,) = load_views(tmp_path / "views.toml"), load_views(tmp_path / "views.py")

    assert one == two
    assert one.columns == (Column("n", "int32"), Column("m", "float32", 0.5))
    assert one.sources == {
        "events": Source(str(tmp_path / "data/*.parquet")),
        "users": Source("postgresql://me@host/db", "users"),
    }


def test_neighbours(tmp_path):
    """A Python file may import what lies beside it; the path is as before afterwards."""
    (tmp_path / "joulewise_test_neighbour.py").write_text("TTL = '3d'\n")
    (tmp_path / "views.py").write_text(
        "from joulewise_test_neighbour import TTL\n" + PYTHON.replace('"2d"', "TTL")
    )
    before = list(sys.path)

    assert load_views(tmp_path / "views.py")[0].ttl_s == 3 * 86_400
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("views.toml", "[spend", "cannot read views from .*views.toml"),
        ("views.toml", "spend = 3", "spend is no table; each view is a table such as"),
        ("views.toml", TOML.replace("ttl =", "tl ="), "view spend has no ttl"),
        ("views.toml", TOML + 'ownr = "x"', "unknown entry 'ownr'.*did you mean owner"),
        ("views.toml", "", "declares no views"),
        ("views.py", "x = (", "cannot read views from .*views.py: "),
        ("views.py", "import not_there_at_all", "No module named 'not_there_at_all'"),
        ("views.py", "x = 1", "declares no views"),
        ("views.yaml", "", "neither a .py nor a .toml file"),
    ],
)
def test_refused(tmp_path, name, text, message):
    """A file that declares nothing, or wrongly, is refused in one line."""
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message) as refused:
        load_views(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_no_file(tmp_path):
    """A file that is not there is said."""
    with pytest.raises(UsageError, match="no file of views at"):
        load_views(tmp_path / "views.py")
