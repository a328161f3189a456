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


def test_picture(shell, monkeypatch):
    """Where enough was seen of it, the cell's power is drawn beside the words; both come from the recording."""
    shown = []
    monkeypatch.setattr(type(shell.display_pub), "publish", lambda _self, data, **_more: shown.append(data))
    monkeypatch.setenv("JOULEWISE_INTERVAL", "0.05")
    shell.run_cell_magic(
        "joulewise", "busy", "import time\nend = time.monotonic() + 2.5\nwhile time.monotonic() < end: pass"
    )

    assert shown[-1]["text/plain"].startswith("joulewise: ")
    assert "<svg" in shown[-1]["text/html"]
    assert "<script" not in shown[-1]["text/html"]


@pytest.mark.service
@pytest.mark.slow
def test_real_kernel(home, tmp_path, monkeypatch):
    """In a real Jupyter kernel: the extension loads, the cell is recorded, its output holds words and picture."""
    nbclient = pytest.importorskip("nbclient", reason="a real kernel needs nbclient and ipykernel")
    pytest.importorskip("ipykernel")
    import nbformat

    monkeypatch.setenv("JOULEWISE_INTERVAL", "0.1")  # a busy machine may give a second only one reading
    book = nbformat.v4.new_notebook()
    cell = "import time\nend = time.monotonic() + 2.5\nwhile time.monotonic() < end: pass"
    book.cells = [
        nbformat.v4.new_code_cell(c) for c in ("%load_ext joulewise", f"%%joulewise warm-up\n{cell}")
    ]
    nbclient.NotebookClient(
        book, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    told = [o["data"] for o in book.cells[1].outputs if o["output_type"] == "display_data"]

    assert told[0]["text/plain"].startswith("joulewise: ")
    assert "<svg" in told[0]["text/html"]


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
