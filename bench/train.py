"""The whole table of training, one part after another; a part whose needs are missing is named and left out.

    python bench/train.py [DATA_DIR]      # DATA_DIR holds algoperf_curves/, ecnas/, taskset/ and zeus_traces/

The last two take long: the naive recipe alone trains for some seven CPU minutes a seed.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
FMNIST = Path("/usr/share/datasets/fashion-mnist")
SHARED = HERE.parents[1] / "shared"
PARTS = (
    ("stopping", ("numpy",), True),
    ("recurring", (), True),
    ("ladder", ("numpy",), True),
    ("feeding", ("torch", "PIL"), False),
    ("validation", ("torch",), False),
    ("recipe", ("torch", "schedulefree", "PIL"), False),
)


def main() -> None:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED / "data" / "train"
    failed = []
    for part, modules, wants_data in PARTS:
        print(f"\n== {part}", flush=True)
        missing = [m for m in modules if find_spec(m) is None]
        missing += [str(FMNIST)] if part in ("validation", "recipe") and not FMNIST.is_dir() else []
        if missing:
            print(f"left out: needs {', '.join(missing)}")
            continue
        extra = [str(data)] if wants_data else []
        extra += [str(SHARED / "workloads" / "w08" / "train.py")] if part == "validation" else []
        extra += ["--fmnist"] if part == "ladder" and find_spec("torch") and FMNIST.is_dir() else []
        if subprocess.run([sys.executable, HERE / f"train_{part}.py", *extra], check=False).returncode:
            failed.append(part)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
