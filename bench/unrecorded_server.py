"""`joulewise serve` whose recorder does nothing, to see what the energy ledger itself costs: `unrecorded_server.py serve MODEL ...`.

All else is there: the parent, its journal, the wire.
"""

import sys

from joulewise.__main__ import main
from joulewise.measuring.recorder import Recorder


def nothing(self, *arguments, **named):
    """Record nothing."""


Recorder.start = Recorder.append = nothing
sys.exit(main())
