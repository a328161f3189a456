"""The notebook magic `%%joulewise`."""

from __future__ import annotations

import pytest

from joulewise.vocabulary.errors import UsageError

IPython = pytest.importorskip("IPython", reason="notebooks need the extra 'notebook' (IPython)")


@pytest.fixture
def shell():
    from IPython.testing.globalipapp import start_ipython

    shell = start_ipython() or IPython.get_ipython()
    shell.run_line_magic("load_ext", "joulewise")
    return shell


def test_cell_runs_and_is_recorded(shell, capsys):
    """A cell runs in the notebook's own names, can log, and says below what it cost."""
    shell.run_cell_magic("joulewise", "sums", "total = sum(range(1000))\nrun.log(epoch=1, total=total)")

    assert shell.user_ns["total"] == 499500
    assert capsys.readouterr().out.startswith("joulewise: ")
    import joulewise

    assert joulewise.recordings("sums")[0].recording.points[0].values["total"] == 499500


def test_error_in_a_cell_goes_on(shell):
    """An exception in the cell reaches the notebook, and the recording has failed with it."""
    with pytest.raises(ZeroDivisionError):
        shell.run_cell_magic("joulewise", "broken", "1 / 0")

    import joulewise

    assert "ZeroDivisionError" in joulewise.recordings("broken")[0].recording.end.reason


def test_wrong_options(shell):
    """Two names, or a budget without a value, are refused in one line."""
    with pytest.raises(UsageError, match="one name"):
        shell.run_cell_magic("joulewise", "two names", "pass")
    with pytest.raises(UsageError, match="needs a value"):
        shell.run_cell_magic("joulewise", "x --budget", "pass")
