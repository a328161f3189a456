"""joulewise in a bench that is not ours: `run.py BENCH_FOLDER [its own arguments]`.

The folder is a copy of the measuring or the serving bench of our study (programs `run.py` or `bench.py` with an `adapters.py`
that asks to be added to). It is copied to build/reference, ours is added there by an import at the end of its `adapters.py`,
and its program is run with the arguments that follow. Environments are looked up where its `--venvs` says: `joulewise` (for the
measuring bench) and `v-joulewise` (for the serving bench: `pip install "joulewise[serve]" onnx`).
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCHES = {  # the bench's program: our adapter, and what else goes beside it
    "run.py": ("measuring_adapter.py", ()),
    "bench.py": ("serving_adapter.py", (("srv_joulewise.py", "servers/srv_joulewise.py"),)),
}


def main() -> None:
    """Copy, add, run."""
    if len(sys.argv) < 2 or not (given := Path(sys.argv[1])).is_dir():
        sys.exit(f"usage: {sys.argv[0]} BENCH_FOLDER [its own arguments]")
    program = next((name for name in BENCHES if (given / name).exists()), None)
    if program is None or not (given / "adapters.py").exists():
        sys.exit(
            f"{given} has no adapters.py beside a run.py or bench.py, so there is nothing to add joulewise to"
        )
    copy = HERE.parents[1] / "build" / "reference" / given.resolve().name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(given, copy)
    adapter, beside = BENCHES[program]
    for source, target in ((adapter, adapter), *beside):
        shutil.copy(HERE / source, copy / target)
    with open(copy / "adapters.py", "a", encoding="utf-8") as file:
        file.write(f"\nimport {Path(adapter).stem}  # joulewise\n")
    os.execv(sys.executable, [sys.executable, str(copy / program), *sys.argv[2:]])


if __name__ == "__main__":
    main()
