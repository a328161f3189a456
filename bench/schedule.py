"""What forecasts and plans are worth on real intensities: `make bench-schedule DATA=DIR`.

Runs the parts in turn, each a program of its own beside this one: schedule_forecast.py (the grid room) and
schedule_planning.py (the scheduling room). 0 where every goal is met, 1 where one is missed, 2 for wrong use.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PARTS = ("schedule_forecast.py", "schedule_planning.py")


def main() -> int:
    """Run the parts that are there and return the worst exit code."""
    here = Path(__file__).parent
    there = [here / part for part in PARTS if (here / part).is_file()]
    return max(
        subprocess.run([sys.executable, part, *sys.argv[1:]], check=False).returncode for part in there
    )


if __name__ == "__main__":
    raise SystemExit(main())
