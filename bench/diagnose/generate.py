"""Generate planted wastes with their twins, and healthy controls with traps, as programs that an ordinary user writes.

    python bench/diagnose/generate.py OUT [--kind healthy|wasteful]

`programs/healthy/*.py` and `programs/wasteful/*.py` are the templates. A line `NAME = 3  # vary: 3, 8` makes one variant for
each value; all varied lines of a program take their n-th values together. A line `... # fixed: OTHER` is replaced by OTHER
in the twin. The first line of a template, `# cause: NAME; also: OTHER` or `# healthy: why`, becomes truth.json. The
marks are taken out of what is written. Deterministic: the same templates give the same programs.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parent / "programs"
_VARY = re.compile(r"^(?P<code>\s*(?P<name>\w+) = ).*?  # vary: (?P<values>.*)$")
_FIXED = re.compile(r"^(?P<indent>\s*)(?P<code>.*?)  # fixed: (?P<other>.*)$")


def variants(text: str) -> list[str]:
    """Return the program once for each n-th value of its varied lines."""
    found = [m["values"].split(", ") for line in text.splitlines() if (m := _VARY.match(line))]
    count = max((len(v) for v in found), default=1)
    made = []
    for number in range(count):
        lines = []
        for line in text.splitlines():
            m = _VARY.match(line)
            values = m["values"].split(", ") if m else []
            lines.append(f"{m['code']}{values[min(number, len(values) - 1)]}" if m else line)
        made.append("\n".join(lines) + "\n")
    return made


def sides(text: str) -> tuple[str, str | None]:
    """Return the program as found and its twin; None if nothing in it is to be fixed."""
    found, twin = [], []
    for line in text.splitlines():
        m = _FIXED.match(line)
        found.append(f"{m['indent']}{m['code']}" if m else line)
        twin.append(f"{m['indent']}{m['other']}".rstrip() if m else line)
    return "\n".join(found) + "\n", "\n".join(twin) + "\n" if found != twin else None


def truth(first: str, script: str) -> dict[str, object]:
    """Return what the template's first line says of it."""
    if first.startswith("# healthy: "):
        return {"script": script, "cause": None, "healthy_because": first.removeprefix("# healthy: ")}
    cause, _, also = first.removeprefix("# cause: ").partition("; also: ")
    return {"script": script, "cause": cause, "also_acceptable": [a for a in also.split(", ") if a]}


def generate(out: Path, kind: str) -> int:
    """Write every variant of every template of a kind; return how many."""
    count = 0
    for template in sorted((PROGRAMS / kind).glob("*.py")):
        first, _, rest = template.read_text().partition("\n")
        for number, text in enumerate(variants(rest)):
            folder = out / f"{kind[0]}-{template.stem}-{number + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            found, twin = sides(text)
            (folder / "train.py").write_text(found)
            if twin is not None:
                (folder / "train_fixed.py").write_text(twin)
            (folder / "truth.json").write_text(json.dumps(truth(first, "train.py"), indent=1))
            count += 1
    return count


def main() -> None:
    """Generate into a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", choices=("healthy", "wasteful"), action="append")
    options = parser.parse_args()
    for kind in options.kind or ("healthy", "wasteful"):
        print(f"{kind}: {generate(options.out, kind)} programs")


if __name__ == "__main__":
    main()
