"""The settings in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from joulewise import settings as settings_room
from joulewise.settings import Settings

if TYPE_CHECKING:
    pass


def settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings in force."""
    return settings_room.load(flags=flags)
