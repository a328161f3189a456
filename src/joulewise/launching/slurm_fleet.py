"""Fleet mode on Slurm: two scripts that record every task of a cluster, so that nobody types a prefix.

TaskProlog runs as the user before each task, with the process that becomes the task as its parent. It starts a recorder beside
the task and prints what Slurm puts into the task's environment: the recording's folder (a `joulewise run` or `track` inside is
then part of it and not counted twice) and the agent that sees phases. TaskEpilog waits for a few seconds until the recorder has
written the end: on clusters that keep a task's processes in a cgroup, what is left of them is killed right after.

Whatever fails in them, they end with 0 and say nothing: a task starts as if they were not there. `JOULEWISE_FLEET=off` in a
job's environment leaves it alone.
"""

from __future__ import annotations

import shlex
from pathlib import Path

PROLOG, EPILOG = "joulewise-task-prolog.sh", "joulewise-task-epilog.sh"

_RUNS = """\
runs=${JOULEWISE_RUNS:-${JOULEWISE_HOME:+$JOULEWISE_HOME/runs}}
runs=${runs:-${XDG_DATA_HOME:-$HOME/.local/share}/joulewise/runs}
told=$runs/.fleet/$SLURM_JOB_ID.$SLURM_STEP_ID.$SLURM_PROCID
"""
_PROLOG = """\
#!/bin/sh
# TaskProlog of Slurm, as the user, before each task: record it beside. Made by `joulewise fleet slurm`.
[ "$JOULEWISE_FLEET" = off ] && exit 0
task=${{SLURM_TASK_PID:-$PPID}}
{runs}name=$(printf %s "${{SLURM_JOB_NAME:-task}}" | tr -cs 'A-Za-z0-9._' - | cut -c1-40)
name=${{name%-}}
run=$(date -u +%Y%m%dT%H%M%S)-${{name:-task}}-$(od -An -N5 -tx1 /dev/urandom | tr -d ' \\n')
folder=$runs/$(date -u +%Y-%m-%d)/$run
umask 077
mkdir -p "$folder" "$runs/.fleet" 2>/dev/null || exit 0
if [ ! -x {python} ] || ! printf '%s\\n' "$folder" 2>/dev/null >"$told"; then
    rmdir "$folder" 2>/dev/null
    exit 0
fi
# Slurm kills the prolog's process group once the prolog has ended: the substitution lasts until the recorder has left it.
: "$(JOULEWISE_RUNS=$runs setsid sh -c 'exec "$@" >/dev/null' sh {python} -m joulewise fleet task "$task" --run "$run" </dev/null 2>/dev/null &)"
echo "export JOULEWISE_RECORDING=$folder"
{phases}exit 0
"""
_PHASES = 'echo "export PYTHONPATH={boot}${{PYTHONPATH:+:$PYTHONPATH}}"\n'
_EPILOG = """\
#!/bin/sh
# TaskEpilog of Slurm, as the user, after each task: let its recorder write the end. Made by `joulewise fleet slurm`.
[ "$JOULEWISE_FLEET" = off ] && exit 0
{runs}[ -f "$told" ] || exit 0
folder=$(cat "$told")
rm -f "$told"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
    tail -qn 1 "$folder"/run-*.jsonl 2>/dev/null | grep -q '"k":"end"' && exit 0
    sleep 0.2
done
exit 0
"""


def prolog(python: str, boot: str) -> str:
    """Return the script of TaskProlog: `python` is the interpreter that has joulewise, `boot` the agent's folder ("" for none)."""
    phases = _PHASES.format(boot=boot) if boot else ""
    return _PROLOG.format(runs=_RUNS, python=shlex.quote(python), phases=phases)


def epilog() -> str:
    """Return the script of TaskEpilog."""
    return _EPILOG.format(runs=_RUNS)


def install(folder: Path, python: str, boot: str) -> tuple[Path, Path]:
    """Write both scripts into a folder that all nodes see, readable and runnable by all, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / PROLOG, folder / EPILOG)
    for path, text in zip(paths, (prolog(python, boot), epilog()), strict=True):
        fresh = path.with_name(f".{path.name}")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o755)
        fresh.replace(path)
    return paths
