"""`import joulewise` costs the standard library only, and everything public is a lazy name on it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import joulewise


def loaded(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after `code`, those of its own start left out."""
    program = f"import sys; before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    return set(
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_import_is_light():
    """Importing loads no room of ours and nothing from outside the standard library."""
    names = loaded("import joulewise")

    assert {n for n in names if n.startswith("joulewise")} == {"joulewise"}
    assert {n.partition(".")[0] for n in names} <= set(sys.stdlib_module_names) | {"joulewise"}


def test_recording_needs_the_standard_library_only():
    """Tracking and recording import nothing from outside the standard library on a machine without a GPU driver."""
    names = loaded("import joulewise\nwith joulewise.track('x', interval_s=0.05) as run: run.log(loss=1.0)")

    assert {n.partition(".")[0] for n in names} - {"pynvml", "pynvml_utils"} <= set(
        sys.stdlib_module_names
    ) | {"joulewise"}


@pytest.mark.parametrize("name", joulewise.__all__)
def test_public_names(name):
    """Every public name exists and says what it is."""
    thing = getattr(joulewise, name)

    assert thing.__doc__
    assert name in dir(joulewise)


def test_unknown_name():
    """A name that does not exist is refused as Python does."""
    with pytest.raises(AttributeError, match="no attribute 'trakc'"):
        _ = joulewise.trakc
