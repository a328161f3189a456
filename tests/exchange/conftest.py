"""The verbs' fixtures are used here, too."""

from tests.cli.conftest import joulewise, recorded

__all__ = ["joulewise", "recorded"]
