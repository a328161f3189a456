"""`joulewise.track` in the study's bench of trackers; imported at the end of its adapters.py."""

import os
import time
from pathlib import Path

from adapters import ALL, A


class Joulewise(A):
    """Records into the bench's folder, and tells what the recording's account says."""

    NAME = IMPORT = "joulewise"
    DEFAULT_S, FASTEST_S = 1.0, 0.1

    def make(self):
        """Open nothing yet."""
        os.environ["JOULEWISE_HOME"] = str(self.out)
        import joulewise

        self.track = joulewise.track(f"bench-{time.monotonic_ns()}", zone="DE", interval_s=self.i)

    def start(self):
        """Start the recorder's thread."""
        self.track.__enter__()

    def stop(self):
        """End the recording and return its joules and grams."""
        self.track.__exit__(None, None, None)
        from joulewise import wiring
        from joulewise.ledger.files import read_recording

        folder = max(Path(self.out, "runs").glob("*/*"), key=os.path.getmtime)
        cost = wiring.account(read_recording(folder)).footprint
        parts = {name: cost.energy_j.get(name) for name in ("cpu", "memory", "gpu")}
        told = {
            ("dram" if name == "memory" else name) + "_j": part.value
            for name, part in parts.items()
            if part is not None
        }
        return told | {
            "total_j": cost.total_j.value, "total_low_j": cost.total_j.low, "total_high_j": cost.total_j.high,
            "basis": cost.total_j.basis.name.lower(), "co2_g": cost.carbon_g.value if cost.carbon_g else None,
        }  # fmt: skip


ALL[Joulewise.NAME] = Joulewise
