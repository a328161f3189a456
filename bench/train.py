"""The whole table of training, one part after another; a part whose needs are missing is named and left out.

    python bench/train.py [DATA_DIR] [--only PART ...] [--again PART ...]

DATA_DIR holds algoperf_curves/, ecnas/, taskset/ and zeus_traces/. What a part printed is kept in build/train/ and
shown again by the next call, with the note that code has changed since where it has; `--again` runs a part anew. So the
table can be filled piece by piece: `recipe` alone trains for some 25 CPU minutes (run by run, resumable by itself),
`curves`, `ladder` and `validation` for two to six each, the others for less than two.
The last lines are the issue's table: every line of a part that begins with "=" is `what | goal | seen`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
FMNIST = Path("/usr/share/datasets/fashion-mnist")
SHARED = HERE.parents[1] / "shared"
KEPT = Path("build/train")
PARTS = {  # name: modules that it needs, whether it takes DATA_DIR
    "recipe": (("torch", "schedulefree", "PIL"), False),
    "curves": (("torch", "sklearn"), False),
    "stopping": (("numpy",), True),
    "validation": (("torch",), False),
    "ladder": (("numpy",), True),
    "recurring": ((), True),
    "feeding": (("torch", "PIL"), False),
}


def fingerprint(part: str) -> str:
    """Return what identifies the code that a part measures."""
    source = HERE.parent / "src" / "joulewise"
    files = [HERE / f"train_{part}.py", source / "compressing" / "pruning.py"]
    files += sorted((source / "training").glob("*.py")) + sorted((source / "curves").glob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]


def missing(part: str) -> list[str]:
    """Return what a part needs and does not find."""
    lacking = [m for m in PARTS[part][0] if find_spec(m) is None]
    return lacking + ([str(FMNIST)] if part in ("validation", "recipe") and not FMNIST.is_dir() else [])


def run(part: str, data: Path) -> str | None:
    """Run a part, print what it prints, keep it; return that, None where it failed."""
    extra = [str(data)] if PARTS[part][1] else []
    extra += [str(SHARED / "workloads" / "w08" / "train.py")] if part == "validation" else []
    extra += ["--fmnist"] if part == "ladder" and find_spec("torch") and FMNIST.is_dir() else []
    command = [sys.executable, "-u", HERE / f"train_{part}.py", *extra]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        return None
    KEPT.mkdir(parents=True, exist_ok=True)
    text = "".join(lines)
    (KEPT / f"{part}.json").write_text(json.dumps({"code": fingerprint(part), "text": text}))
    return text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", type=Path, default=SHARED / "data" / "train")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--again", nargs="+", choices=PARTS, default=[])
    args = parser.parse_args()
    rows, failed = [], []
    for part in PARTS:
        kept = KEPT / f"{part}.json"
        print(f"\n== {part}", flush=True)
        note = ""
        if kept.is_file() and part not in args.again:
            stored = json.loads(kept.read_text())
            text, note = stored["text"], "" if stored["code"] == fingerprint(part) else ", code changed since"
            print(f"(kept{note})\n{text}", end="")
        elif part not in args.only or missing(part):
            print(f"left out{': needs ' + ', '.join(missing(part)) if missing(part) else ''}")
            continue
        else:
            text = run(part, args.data)
            if text is None:
                failed.append(part)
                continue
        rows += [(line[2:].split(" | "), note) for line in text.splitlines() if line.startswith("= ")]
    print(f"\n{'figure':76} {'goal':34} seen")
    for (what, goal, *seen), note in rows:
        print(f"{what:76} {goal:34} {' | '.join(seen)}{note}")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
