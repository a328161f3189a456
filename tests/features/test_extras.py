"""Libraries that are not installed are said in one line."""

from __future__ import annotations

import pytest

from joulewise.features.extras import need
from joulewise.vocabulary.errors import UsageError


def test_installed():
    """What is there is no matter."""
    need("json")


def test_not_installed():
    """What is not there is named with the line to run."""
    with pytest.raises(
        UsageError, match=r"not_there_at_all is not installed.*pip install 'joulewise\[redis\]'"
    ):
        need("not_there_at_all", "redis")
