"""The one line that the ledger's index keeps of a recording.

Joules are kept, grams and money are not: they follow from joules, place and time when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joulewise.measuring.attribution import Attribution
from joulewise.vocabulary.recording import Recording
