"""Seven months of a made-up team, to look at totals, budgets and targets: JOULEWISE_HOME=/tmp/team python examples/team.py

Then: JOULEWISE_HOME=/tmp/team joulewise totals (or diagnose --month this, or web)
"""

import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from joulewise.testing.ledger_contract import write_recording
from joulewise.vocabulary.moments import month_before

home = Path(os.environ["JOULEWISE_HOME"])
chance = random.Random(4)  # noqa: S311 - a made-up team
people = {"ada": "vision", "grace": "vision", "alan": "speech", "katherine": "speech", "barbara": "ranking"}
zones = {"vision": "DE", "speech": "FR", "ranking": "PL"}
now = datetime.now(UTC)
for back in range(7):
    month = month_before(f"{now:%Y-%m}", back)
    for person, project in people.items():
        for number in range(5):
            at = datetime.fromisoformat(f"{month}-01T03:00:00+00:00") + timedelta(days=5 * number)
            if at < now:
                write_recording(
                    home / "runs",
                    f"train-{project}",
                    at=at,
                    length_s=3600 * chance.uniform(3, 20) * (1 + 0.08 * back),
                    meta={"person": person, "project": project, "zone": zones[project]},
                    values={"samples": chance.randint(900_000, 1_100_000)},
                )
(home / "targets.toml").write_text(f"""
[[target]]
project = "vision"
what = "grams"
baseline = "{month_before(f"{now:%Y-%m}", 5)}"
reduce = "20%"
by = "{month_before(f"{now:%Y-%m}", -3)}"

[[target]]
project = "speech"
what = "joules/samples"
value = "4J"
by = "{month_before(f"{now:%Y-%m}", -1)}"

[[budget]]
project = "vision"
monthly = "12kWh"
""")
print(f"made a team of {len(people)} in {home}; look: JOULEWISE_TARGETS={home}/targets.toml joulewise totals")
