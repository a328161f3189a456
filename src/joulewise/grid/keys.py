"""Keys of grid services: from the environment, or from a file that only the user may read.

    JOULEWISE_ELECTRICITYMAPS_KEY   JOULEWISE_WATTTIME_KEY (name:password)   JOULEWISE_ENTSOE_KEY   JOULEWISE_EIA_KEY

    ~/.config/joulewise/keys.toml   electricitymaps = "..."      (chmod 600; refused while others can read it)

A key is handed to its source and to nobody else: it is in no recording, no kept answer and no message.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

from joulewise.vocabulary.errors import UsageError

NAMES = ("electricitymaps", "watttime", "entsoe", "eia", "alerts")  # the last signs what a webhook is told


def variable(name: str) -> str:
    """Return the environment variable of a service's key."""
    return f"JOULEWISE_{name.upper()}_KEY"


def read_keys(file: Path | None, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the keys by service; refuse a file that others can read, and one that is no TOML."""
    found = {**_from(file)} if file is not None and file.is_file() else {}
    found.update({n: environment[variable(n)] for n in NAMES if environment.get(variable(n))})
    return found


def _from(file: Path) -> dict[str, str]:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise UsageError(
            f"{file} holds keys and can be read by others (mode {mode:o}); run: chmod 600 {file}"
        )
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # the parser's message may quote a key
        raise UsageError(f'{file} is no TOML; write lines such as entsoe = "..."') from None
    return {name: key for name, key in told.items() if name in NAMES and isinstance(key, str) and key}
