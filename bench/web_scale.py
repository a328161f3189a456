"""How fast the dashboard's pages are on a large ledger: 100,000 recordings (goal: under 300 ms a page).

    python bench/web_scale.py [--count 100000]

Each page is asked seven times of a server in this process; the first answer (cold) and the median of the rest are shown,
in wall milliseconds and in CPU milliseconds of the server's process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

GOAL_MS = 300
PAGES = ["/", "/?page=1999", "/?q=gpt", "/?q=nothing-fits", "/?order=energy", "/?state=failed", "/?since=month", "/runs/latest",
         "/experiments", "/experiment?name=live", "/savings", "/grid?zone=DE", "/totals", "/totals?by=person",
         "/totals?by=zone&project=bert-eval", "/where", "/where?project=bert-eval", "/models"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="joulewise-bench-") as home:
        os.environ["JOULEWISE_HOME"] = home
        sys.path.insert(0, str(Path(__file__).parent))
        from ledger_scale import make_folders, make_rows, plan
        from starlette.testclient import TestClient

        from joulewise import wiring
        from joulewise.testing.ledger_contract import write_recording
        from joulewise.web.site import site

        recordings = plan(options.count)
        make_folders(Path(home, "runs"), recordings, full=False)
        make_rows(Path(home, "ledger.db"), Path(home, "runs"), recordings)
        for _ in range(40):
            write_recording(Path(home, "runs"), "live")
        wiring.refresh().close()
        client = TestClient(site(), base_url="http://127.0.0.1")
        print(f"{'page':<28}{'cold ms':>9}{'warm ms':>9}{'CPU ms':>8}  goal {GOAL_MS} ms")
        for page in PAGES:
            walls, cpus = [], []
            for _ in range(7):
                wall, cpu = time.perf_counter(), time.process_time()
                answer = client.get(page)
                walls.append(1000 * (time.perf_counter() - wall))
                cpus.append(1000 * (time.process_time() - cpu))
                assert answer.status_code == 200, (page, answer.text)
            warm = statistics.median(walls[1:])
            met = "met" if warm < GOAL_MS else "MISSED"
            print(f"{page:<28}{walls[0]:>9.0f}{warm:>9.0f}{statistics.median(cpus[1:]):>8.0f}  {met}")


if __name__ == "__main__":
    main()
