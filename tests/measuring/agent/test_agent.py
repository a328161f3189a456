from __future__ import annotations

import os

from joulewise.measuring.agent import BOOT, ejected, injected


def test_first_in_the_path():
    """The agent's folder comes before the user's own entries, once."""
    once = injected({"PYTHONPATH": f"/a{os.pathsep}/b"})

    assert once["PYTHONPATH"].split(os.pathsep) == [BOOT, "/a", "/b"]
    assert injected(once) == once


def test_empty_path():
    """An empty PYTHONPATH does not become the working directory."""
    assert injected({"PYTHONPATH": ""})["PYTHONPATH"] == BOOT
    assert injected({})["PYTHONPATH"] == BOOT


def test_out_again():
    """What was put in is taken out, and a variable that was not there is not there."""
    assert ejected(injected({"A": "b"})) == {"A": "b"}
    assert ejected(injected({"PYTHONPATH": "/a"})) == {"PYTHONPATH": "/a"}
