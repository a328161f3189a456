"""What TraceML and joulewise say of programs with one planted waste each, and of healthy ones.

The programs are the templates of ../diagnose (the first variant). joulewise gets each as it is. TraceML needs lines in a loop
of one's own, so it gets a copy with what its documentation shows: `init(mode="auto")`, and `with trace_step(model):` around
the body of the training loop. TraceML names a place, joulewise a cause, so TraceML is right where its verdict leads to the
planted waste by the table of its own documentation ("What TraceML diagnoses"), which is the kinder way to count.
"""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parents[1] / "diagnose" / "programs"
sys.path.insert(0, str(PROGRAMS.parent))
MODELS = ("net", "model", "student", "policy", "online")
LEADS = {  # TraceML's verdict: the planted causes that its documentation sends the reader to
    "INPUT": {"slow_transforms", "rereading_input", "costly_shuffle", "too_many_loader_workers", "repeated_preprocessing"},
    "RESIDUAL": {"checkpoint_too_often", "logging_overhead", "validation_too_often", "unbatched_inference"},
    "COMPUTE": {"small_batch", "precision_unused", "oversized_model"},
}  # fmt: skip
QUIET = ("BALANCED", "NO_DATA", "NORMAL", "INSUFFICIENT", "none")
LIMIT_S = 900


def traced(text: str) -> str | None:
    """Return the program with TraceML's lines; None if it has no training loop of its own or no model to name."""
    tree = ast.parse(text)
    assigned = {
        t.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Assign)
        for t in n.targets
        if isinstance(t, ast.Name)
    }
    model = next((name for name in MODELS if name in assigned), None)
    loops = [
        loop for loop in ast.walk(tree)
        if isinstance(loop, ast.For) and any("zero_grad" in ast.unparse(s) for s in loop.body if isinstance(s, ast.Expr))
    ]  # fmt: skip
    if not loops or model is None:
        return None
    for loop in loops:
        step = ast.parse(f"with traceml_ai.trace_step({model}):\n    pass").body[0]
        assert isinstance(step, ast.With)
        step.body, loop.body = loop.body, [step]
    return (
        f"import traceml_ai\ntraceml_ai.init(mode='auto')\n{ast.unparse(ast.fix_missing_locations(tree))}\n"
    )


def free_port() -> int:
    """Return a port that nobody listens on: its usual ones are taken where two run beside each other."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def verdict(python: Path, text: str, work: Path) -> tuple[str, str]:
    """Return TraceML's verdict and the next step that it names."""
    (work / "train.py").write_text(text)
    subprocess.run(
        [python.with_name("traceml"), "run", "train.py", "--run-name", "seen", "--logs-dir", "logs",
         "--aggregator-port", str(free_port()), "--master-port", str(free_port())],
        cwd=work, capture_output=True, timeout=LIMIT_S, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(work), "PATH": f"{python.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    try:
        said = json.loads((work / "logs" / "seen" / "final_summary.json").read_text())
    except FileNotFoundError:
        return "none", "it made no summary"
    first = said.get("primary_diagnosis") or {}
    return str(first.get("status") or first.get("kind") or "none"), str(first.get("action") or "")


def advice(python: Path, text: str, work: Path) -> list[str]:
    """Return the causes that joulewise names, the dearest first."""
    (work / "train.py").write_text(text)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(work),
        "JOULEWISE_HOME": str(work / "home"),
    }
    ours = [sys.executable, "-m", "joulewise"]
    told = {"cwd": work, "capture_output": True, "timeout": LIMIT_S, "env": environment}
    subprocess.run([*ours, "run", "--quiet", "--", python, "train.py"], check=False, **told)
    found = json.loads(subprocess.run([*ours, "diagnose", "latest", "--json"], check=True, **told).stdout)
    return [f["cause"] for f in found["findings"]]


def main(python: Path, names: list[str]) -> None:
    """Print what both say of each program."""
    from generate import sides, variants

    right = {"traceml": 0, "joulewise": 0}
    accused = dict(right)
    counts = {"wasteful": 0, "healthy": 0}
    print(f"{'program':<24}{'planted':<26}{'TraceML says':<22}joulewise says first")
    for file in sorted(PROGRAMS.glob("*/*.py"), key=lambda f: (f.parent.name != "wasteful", f.name)):
        kind = file.parent.name
        if names and file.stem not in names and kind not in names:
            continue
        first, _, rest = file.read_text().partition("\n")
        program, _twin = sides(variants(rest)[0])
        with_lines = traced(program)
        if with_lines is None:
            continue
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            said, _next = verdict(python, with_lines, Path(one))
            causes = advice(python, program, Path(two))
        counts[kind] += 1
        if kind == "wasteful":
            cause, _, also = first.removeprefix("# cause: ").partition("; also: ")
            fits = {cause, *also.split(", ")}
            right["traceml"] += any(said.upper().startswith(v) and cause in led for v, led in LEADS.items())
            right["joulewise"] += bool(causes) and causes[0] in fits
        else:
            cause = "nothing"
            accused["traceml"] += not said.upper().startswith(("COMPUTE", *QUIET))
            accused["joulewise"] += bool(causes)
        print(f"{file.stem:<24}{cause:<26}{said[:21]:<22}{causes[0] if causes else 'nothing'}", flush=True)
    for tool, count in right.items():
        print(
            f"{tool}: {count} of {counts['wasteful']} led to what was planted, {accused[tool]} of {counts['healthy']} healthy ones accused"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
