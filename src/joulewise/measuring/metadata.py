"""What a recording says about itself without being asked: revision, versions, container, job.

Everything here is read, nothing is imported: framework versions come from the folder of installed packages of
the program's own interpreter. Arguments and values that look like secrets are redacted before they are written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_SECRET = re.compile(r"(?i)(pass(word|wd)?|secret|token|api[-_]?key|access[-_]?key|credential|auth)")
_SECRET_VALUE = re.compile(
    r"(?i)\b(gh[pousr]_\w{20,}|sk-[\w-]{16,}|hf_\w{16,}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
)
_URL_PASSWORD = re.compile(r"(\w+://[^/\s:@]*:)[^@\s/]+@")
_FRAMEWORKS = (
    "torch", "tensorflow", "jax", "scikit-learn", "xgboost", "xgboost-cpu", "lightgbm", "transformers",
    "accelerate", "lightning", "pytorch-lightning", "keras", "numpy", "pandas", "polars", "ray", "optuna", "mlflow",
)  # fmt: skip
_JOB_VARIABLES = {
    "slurm_job": "SLURM_JOB_ID",
    "slurm_task": "SLURM_ARRAY_TASK_ID",
    "slurm_node": "SLURMD_NODENAME",
    "slurm_cluster": "SLURM_CLUSTER_NAME",
    "job": "JOULEWISE_JOB",  # what the user says that several recordings belong to
    "torchrun_run": "TORCHELASTIC_RUN_ID",
    "torchrun_master": "MASTER_ADDR",
    "torchrun_port": "MASTER_PORT",
    "mpi_job": "PMIX_NAMESPACE",  # Open MPI, PRRTE
    "mpi_job_id": "PMI_JOBID",  # MPICH
    "ray_job": "RAY_JOB_ID",
    "mlflow_run": "MLFLOW_RUN_ID",
    "wandb_run": "WANDB_RUN_ID",
    "rank": "RANK",
    "local_rank": "LOCAL_RANK",
    "world_size": "WORLD_SIZE",
}
_GIT_TIMEOUT_S = 2.0


def redacted(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with what looks like a secret replaced by `***`: `--token X`, `key=X`, known key shapes."""
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        name, equals, _value = argument.partition("=")
        if hide_next and not argument.startswith("-"):
            shown.append("***")
        elif equals and _SECRET.search(name):
            shown.append(f"{name}=***")
        else:
            shown.append(_URL_PASSWORD.sub(r"\1***@", _SECRET_VALUE.sub("***", argument)))
        hide_next = argument.startswith("-") and not equals and bool(_SECRET.search(argument))
    return shown


def describe(command: Sequence[str], cwd: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what can be told about the work: folder, git, Python and framework versions, container, job ids."""
    facts: dict[str, Any] = {"cwd": cwd, "joulewise_platform": _platform()}
    if project := repository(cwd):
        facts["project"] = project
    facts.update(git(cwd))
    facts.update(python(command, environment))
    if where := container():
        facts["container"] = where
    facts.update({key: environment[name] for key, name in _JOB_VARIABLES.items() if environment.get(name)})
    if "KUBERNETES_SERVICE_HOST" in environment:
        facts["kubernetes_pod"] = environment.get("HOSTNAME", "")
        namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
        if namespace.is_file():
            facts["kubernetes_namespace"] = namespace.read_text(encoding="utf-8").strip()
    return facts


def git(folder: str) -> dict[str, Any]:
    """Return revision, branch and whether files differ from it; empty outside a repository or without git."""
    if not any(os.path.exists(os.path.join(parent, ".git")) for parent in _upwards(folder)):
        return {}  # nothing is started, nor loaded, where there is nothing to ask
    import subprocess

    command = [
        "git",
        "--no-optional-locks",
        "-C",
        folder,
        "status",
        "--porcelain=v2",
        "--branch",
        "--untracked-files=no",
    ]
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if answer.returncode:
        return {}
    facts: dict[str, Any] = {"git_dirty": False}
    for line in answer.stdout.splitlines():
        if line.startswith("# branch.oid "):
            facts["git_revision"] = line.split()[2]
        elif line.startswith("# branch.head "):
            facts["git_branch"] = line.split()[2]
        elif not line.startswith("#"):
            facts["git_dirty"] = True
    return facts


def repository(folder: str) -> str:
    """Return the name of the folder that holds the git repository of `folder`; "" outside one."""
    found = (parent for parent in _upwards(folder) if os.path.exists(os.path.join(parent, ".git")))
    return os.path.basename(next(found, "").rstrip("/"))


def person(pid: int) -> str:
    """Return the name of the user whose process it is, "" where the system does not tell."""
    try:
        import pwd

        return pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid if os.path.isdir("/proc") else os.getuid()).pw_name
    except (ImportError, KeyError, OSError):  # Windows, a user without a name, a process that is gone
        return ""


def _upwards(folder: str) -> Iterator[str]:
    """Yield a folder and those above it."""
    while folder:
        yield folder
        parent = os.path.dirname(folder)
        folder = parent if parent != folder else ""


def python(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the version of the program's Python and of the frameworks installed beside it; empty if it is no Python."""
    found = _which(command[0], environment.get("PATH", os.defpath)) if command else None
    if found is None:
        return {}
    real = os.path.realpath(found)
    if not os.path.basename(real).startswith("python"):
        real = _interpreter_of(found)
        found = real
    if not real:
        return {}
    facts: dict[str, Any] = {}
    prefix = Path(found).absolute().parent.parent
    for packages in sorted(prefix.glob("lib/python3*/site-packages")):
        facts["python_version"] = _python_version(prefix) or packages.parent.name.removeprefix("python")
        versions = _versions(packages)
        if versions:
            facts["packages"] = versions
    return facts


def container() -> str:
    """Return docker, podman, kubernetes, slurm, lxc or "" when this process is not seen to be in a container."""
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return ""
    for word, name in (
        ("kubepods", "kubernetes"),
        ("docker", "docker"),
        ("libpod", "podman"),
        ("lxc", "lxc"),
        ("slurm", "slurm"),
    ):
        if word in text:
            return name
    return ""


def _platform() -> str:
    system = os.uname()
    return f"{system.sysname} {system.release} {system.machine}"


def _which(name: str, path: str) -> str | None:
    """Return the program that a shell would start (shutil.which imports compressors that nobody here needs)."""
    folders = [""] if os.sep in name else path.split(os.pathsep)
    candidates = (os.path.join(folder, name) for folder in folders)
    return next((c for c in candidates if os.path.isfile(c) and os.access(c, os.X_OK)), None)


def _interpreter_of(script: str) -> str:
    """Return the Python that a script's first line names, or ""."""
    try:
        with open(script, "rb") as file:
            first = file.readline(256)
    except OSError:
        return ""
    words = first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else []
    if not words:
        return ""
    name = words[1] if os.path.basename(words[0]) == "env" and len(words) > 1 else words[0]
    return (
        (_which(name, os.environ.get("PATH", os.defpath)) or "") if "python" in os.path.basename(name) else ""
    )


def _python_version(prefix: Path) -> str:
    try:
        text = (prefix / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return ""
    match = re.search(r"(?m)^version(?:_info)?\s*=\s*([0-9.]+)", text)
    return match[1] if match else ""


def _versions(packages: Path) -> dict[str, str]:
    versions = {}
    try:
        names = os.listdir(packages)
    except OSError:
        return {}
    for entry in names:
        name, _, rest = entry.partition("-")
        known = name.replace("_", "-").lower()
        if entry.endswith(".dist-info") and known in _FRAMEWORKS:
            versions[known] = rest.removesuffix(".dist-info")
    return dict(sorted(versions.items()))
