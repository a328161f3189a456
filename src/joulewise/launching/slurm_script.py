"""The batch script around a command of ours: plain bash, since nothing but the program need be on the compute nodes.

The program is a child of the script, so that its exit code reaches a file: without accounting Slurm forgets a job some
minutes after its end. SIGUSR1 to the script is passed on as the order's checkpoint signal. The script runs the program
only if it is the first job under its key (`claim` is created by exactly one), whatever happened at the submission.
"""

from __future__ import annotations

from shlex import quote

from joulewise.launching.port import Order

TAKEN = 125  # the exit code of a job that found its key claimed

_SCRIPT = """\
#!/bin/bash
# {title}
cd {folder} || exit 125
(set -C; echo "$SLURM_JOB_ID" > claim) 2>/dev/null || [ "$(cat claim)" = "$SLURM_JOB_ID" ] || exit {taken}
cd {cwd} || exit 125
{exports}
trap : TERM INT HUP
trap '[ -z "$pid" ] || kill -{signal} "$pid"' USR1
(trap - INT QUIT; exec {command}) &
pid=$!
while :; do
    wait "$pid"
    code=$?
    kill -0 "$pid" 2>/dev/null || break
done
cd {folder} && echo "${{SLURM_RESTART_COUNT:-0}} $code" > .ended && mv .ended ended
exit "$code"
"""


def script(order: Order, folder: str) -> str:
    """Return the batch script that runs the order's command and leaves its files in `folder`."""
    exports = "\n".join(f"export {name}={quote(value)}" for name, value in order.env.items())
    return _SCRIPT.format(
        title=" ".join(f"{order.name or 'job'} {order.key}".split()),
        folder=quote(folder),
        cwd=quote(order.cwd),
        exports=exports or ":",
        signal=int(order.checkpointing.signal) if order.checkpointing else 0,
        command=" ".join(quote(word) for word in order.argv),
        taken=TAKEN,
    )
