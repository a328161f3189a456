"""The command `joulewise`: the verb `run` by a fast road, every other verb through click.

`run` starts the user's program before it loads anything slow; see cli/run.py.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Errors that the user can understand are one line on standard error, never a traceback."""
    _own_libraries_first()
    from joulewise.vocabulary.errors import JoulewiseError

    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["run"] and "_JOULEWISE_COMPLETE" not in os.environ:
            from joulewise.cli.run import main as run

            code = run(arguments[1:])
        else:
            from joulewise.cli.app import app

            code = app.main(arguments, prog_name="joulewise", standalone_mode=True) or 0
    except JoulewiseError as error:
        _say(f"joulewise: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        code = 128 + signal.SIGPIPE
    _leave(code)


def _own_libraries_first() -> None:
    """Look for modules in Python's own library before the user's folders.

    `python -m` and PYTHONPATH put those first, for the program that is to run; a `random.py` there is not ours.
    """
    theirs = {os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p}
    with suppress(OSError):  # the current folder was deleted
        theirs.add(os.getcwd())
    first = [p for p in sys.path if p and os.path.abspath(p) not in theirs]
    sys.path[:] = first + [p for p in sys.path if p and p not in first]


def _say(line: str) -> None:
    try:
        os.write(2, f"{line}\n".encode("utf-8", "replace"))
    except OSError:
        return


def _leave(code: int) -> NoReturn:
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # nobody reads, or it was closed
        code = code or 128 + signal.SIGPIPE
    os._exit(code)


if __name__ == "__main__":
    main()
