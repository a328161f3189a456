"""Keys: from the environment or a file for the user alone, and never in a message."""

from __future__ import annotations

import pytest

from joulewise.grid.keys import NAMES, read_keys, variable
from joulewise.vocabulary.errors import UsageError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text('entsoe = "from-file"\neia = "other"\nsomething = "else"\nwatttime = 7\n')
    path.chmod(0o600)
    return path


def test_both(file):
    """The environment stands before the file; names that are no service's are left out."""
    assert read_keys(file, {variable("entsoe"): "from-environment"}) == {
        "entsoe": "from-environment",
        "eia": "other",
    }
    assert read_keys(None, {}) == {}
    assert read_keys(file.with_name("none.toml"), {}) == {}
    assert {variable(n) for n in NAMES} >= {"JOULEWISE_ELECTRICITYMAPS_KEY"}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read(file, mode):
    """A file of keys that others can read is refused with the line that mends it."""
    file.chmod(mode)

    with pytest.raises(UsageError, match=f"chmod 600 {file}"):
        read_keys(file, {})


def test_no_toml(file):
    """A broken file is refused without showing any of it."""
    file.write_text("entsoe = s3cret")

    with pytest.raises(UsageError, match="is no TOML") as caught:
        read_keys(file, {})
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
