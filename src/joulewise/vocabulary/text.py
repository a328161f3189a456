"""Foreign text on one line: names, commands and notes come from whoever made a recording."""

from __future__ import annotations

import unicodedata


def plain(text: object, most: int = 200) -> str:
    """Return text on one line without control characters, cut to `most` characters."""
    words = "".join(
        " " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in str(text)[: 4 * most]
    )
    words = " ".join("".join(c for c in words if unicodedata.category(c) != "Cf").split())
    return words if len(words) <= most else f"{words[: most - 1]}…"
