"""A double of the Kubernetes API on loopback: batch Jobs, pods that really run, logs, Kueue's workloads, and every fault.

It is a double: no kubelet, no scheduler, no etcd. It keeps what the documentation says of Jobs: names are taken once (409); a
patch with an old resourceVersion conflicts (409); `spec.suspend` deletes pods with their grace and takes it away again;
`podReplacementPolicy`, `backoffLimit: 0`, `activeDeadlineSeconds`; conditions Complete, Failed, Suspended; a page of a list
expires (410); `$(NAME)` is expanded in commands; a container's first process alone hears SIGTERM. Pods run as local processes.

    faults      how often the next requests fail: `refuse(403)`, `refuse(503, times=2)`, `conflicts`, `expired`
    kueue       True: Jobs with a queue's label get a workload, are admitted, and paused by `spec.active: false`
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, final
from urllib.parse import parse_qs, urlsplit

_QUEUE = "kueue.x-k8s.io/queue-name"


@final
class KubernetesDouble:
    """The cluster: `url` is its API server's."""

    def __init__(self, folder: Path, *, cpus: int = 8, kueue: bool = False) -> None:
        self.kueue = kueue
        self.conflicts = self.expired = 0  # how many of the next patches conflict, and pages expire
        self.requests: list[tuple[str, str]] = []
        self._folder, self._cpus = folder, cpus
        self._lock = threading.RLock()
        self._jobs: dict[str, dict[str, Any]] = {}
        self._pods: dict[str, dict[str, Any]] = {}
        self._workloads: dict[str, dict[str, Any]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._kill_at: dict[str, float] = {}
        self._refusals: list[tuple[int, str]] = []
        self._version = 0
        self._open = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever),
            threading.Thread(target=self._live),
        ]
        for thread in self._threads:
            thread.start()

    def refuse(self, code: int, message: str = "refused by the test", times: int = 1) -> None:
        """Let the next requests fail."""
        self._refusals += [(code, message)] * times

    def close(self) -> None:
        """End all pods and the server."""
        self._open = False
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _live(self) -> None:
        """Be the controllers and the kubelet."""
        while self._open:
            with self._lock:
                for name in list(self._pods):
                    self._look_at_pod(name)
                for job in list(self._jobs.values()):
                    self._look_at_queue(job)
                    self._look_at_job(job)
            time.sleep(0.03)

    def _look_at_queue(self, job: dict[str, Any]) -> None:
        """Be Kueue: make a workload for a labelled Job, admit it while it is active, suspend its Job while it is not."""
        name = job["metadata"]["name"]
        if not self.kueue or _QUEUE not in job["metadata"].get("labels", {}):
            return
        workload = self._workloads.get(name)
        if workload is None:
            uid = job["metadata"]["uid"]
            meta = {"name": f"job-{name}", "labels": {"kueue.x-k8s.io/job-uid": uid}}
            self._workloads[name] = {"metadata": meta, "spec": {"active": True}}
            return
        if job["spec"].get("suspend") == workload["spec"]["active"]:
            job["spec"]["suspend"] = not workload["spec"]["active"]
            self._touch(job)

    def _look_at_job(self, job: dict[str, Any]) -> None:
        spec, status = job["spec"], job["status"]
        if any(c["type"] in ("Complete", "Failed") for c in status["conditions"]):
            return
        mine = [p for p in self._pods.values() if p["job"] == job["metadata"]["name"]]
        ending = [p for p in mine if p["deleting"] and not p["ended"]]
        active = [p for p in mine if not p["ended"] and not p["deleting"]]
        status |= {
            "active": len(active),
            "terminating": len(ending),
            "ready": sum(p["running"] for p in active),
        }
        if spec.get("suspend"):
            for pod in active:
                self._delete(pod)
            self._condition(job, "Suspended", "JobSuspended")
            status.pop("startTime", None)
            return
        status["conditions"] = [c for c in status["conditions"] if c["type"] != "Suspended"]
        began = status.setdefault("startTime", time.time())
        limit_s = spec.get("activeDeadlineSeconds")
        failed = [p for p in mine if p["ended"] and not p["deleting"] and p["code"] != 0]
        done = [p for p in mine if p["ended"] and not p["deleting"] and p["code"] == 0]
        if limit_s is not None and time.time() > began + limit_s:
            self._condition(job, "Failed", "DeadlineExceeded")
        elif failed:
            self._condition(job, "Failed", "BackoffLimitExceeded")
        elif len(done) >= spec["completions"]:
            self._condition(job, "Complete", "CompletionsReached")
        elif not ending or spec.get("podReplacementPolicy") != "Failed":
            for _pod in range(spec["parallelism"] - len(active) - len(done)):
                self._create_pod(job)
            return
        else:
            return
        if not done or len(done) < spec["completions"]:
            for pod in active:
                self._delete(pod)

    def _create_pod(self, job: dict[str, Any]) -> None:
        name = f"{job['metadata']['name']}-{len(self._pods)}"
        template = job["spec"]["template"]
        container = template["spec"]["containers"][0]
        env = {e["name"]: _expanded(e["value"], {}) for e in container.get("env", [])}
        argv = [_expanded(word, env) for word in container["command"]]
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                argv,
                cwd=container.get("workingDir") or "/",
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pods[name] = {
            "name": name,
            "job": job["metadata"]["name"],
            "labels": dict(template["metadata"]["labels"]),
            "grace_s": template["spec"]["terminationGracePeriodSeconds"],
            "created": datetime.now(UTC).isoformat(),
            "running": True,
            "ended": False,
            "deleting": False,
            "code": None,
        }

    def _delete(self, pod: dict[str, Any], grace_s: float | None = None) -> None:
        if not pod["deleting"]:
            with suppress(ProcessLookupError):
                self._processes[pod["name"]].send_signal(signal.SIGTERM)  # the first process alone
        pod["deleting"] = True
        at = time.monotonic() + (pod["grace_s"] if grace_s is None else grace_s)
        self._kill_at[pod["name"]] = min(at, self._kill_at.get(pod["name"], at))

    def _look_at_pod(self, name: str) -> None:
        pod, process = self._pods[name], self._processes[name]
        if pod["ended"]:
            if pod["deleting"]:
                del self._pods[name]
            return
        if time.monotonic() >= self._kill_at.get(name, float("inf")):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.poll()
        if code is not None:
            with suppress(ProcessLookupError):  # a container ends with its first process
                os.killpg(process.pid, signal.SIGKILL)
            pod |= {"ended": True, "running": False, "code": 128 - code if code < 0 else code}

    def _condition(self, job: dict[str, Any], kind: str, reason: str) -> None:
        if not any(c["type"] == kind for c in job["status"]["conditions"]):
            job["status"]["conditions"].append(
                {"type": kind, "status": "True", "reason": reason, "message": reason}
            )
            self._touch(job)

    def _touch(self, job: dict[str, Any]) -> None:
        self._version += 1
        job["metadata"]["resourceVersion"] = str(self._version)

    def _answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        self.requests.append((method, path))
        if self._refusals:
            code, message = self._refusals.pop(0)
            return code, _failure(code, message)
        match = re.fullmatch(r"/apis/batch/v1/namespaces/[\w-]+/jobs(?:/([\w-]+))?", path)
        if match:
            return self._answer_job(method, match[1], body)
        match = re.fullmatch(r"/api/v1/namespaces/[\w-]+/pods(?:/([\w-]+)(/log)?)?", path)
        if match:
            return self._answer_pod(method, match[1], query, log=bool(match[2]))
        match = re.fullmatch(
            r"/apis/kueue\.x-k8s\.io/v1beta1/namespaces/[\w-]+/workloads(?:/([\w-]+))?", path
        )
        if match:
            return self._answer_workload(match[1], query, body)
        if path == "/api/v1/nodes":
            node = {"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": f"{self._cpus * 1000}m"}}}
            return 200, {"kind": "NodeList", "items": [node], "metadata": {}}
        return 404, _failure(404, f"the double has no {path}")

    def _answer_job(self, method: str, name: str | None, body: Any) -> tuple[int, Any]:
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self._jobs:
                return 409, _failure(409, f'jobs.batch "{name}" already exists', "AlreadyExists")
            self._jobs[name] = body | {"status": {"conditions": []}}
            body["metadata"]["uid"] = f"uid-{name}"
            self._touch(self._jobs[name])
            return 201, self._jobs[name] | {"status": {}}
        job = self._jobs.get(name or "")
        if job is None:
            return 404, _failure(404, f'jobs.batch "{name}" not found', "NotFound")
        if method == "PATCH":
            asked = body.get("metadata", {}).pop("resourceVersion", None)
            if self.conflicts or asked not in (None, job["metadata"]["resourceVersion"]):
                self.conflicts = max(0, self.conflicts - 1)
                return 409, _failure(
                    409, "the object has been modified; please apply your changes", "Conflict"
                )
            _merge(job, body)
            self._touch(job)
        shown = json.loads(json.dumps(job))
        shown["status"].pop("startTime", None)
        return 200, shown

    def _answer_pod(
        self, method: str, name: str | None, query: dict[str, list[str]], *, log: bool
    ) -> tuple[int, Any]:
        if name is None:
            label, _, value = query.get("labelSelector", ["="])[0].partition("=")
            found = sorted(n for n, p in self._pods.items() if p["labels"].get(label) == value)
            at = int(query.get("continue", ["0"])[0])
            if self.expired and (at or len(found) > 1):
                self.expired -= 1
                return 410, _failure(410, "The provided continue parameter is too old", "Expired")
            more = {"continue": str(at + 1)} if at + 1 < len(found) else {}
            return 200, {
                "kind": "PodList",
                "metadata": more,
                "items": [_pod(self._pods[n]) for n in found[at : at + 1]],
            }
        pod = self._pods.get(name)
        if pod is None:
            return 404, _failure(404, f'pods "{name}" not found', "NotFound")
        if log:
            return 200, (self._folder / f"{name}.log").read_bytes()
        if method == "DELETE":
            self._delete(pod, float(query.get("gracePeriodSeconds", [str(pod["grace_s"])])[0]))
        return 200, _pod(pod)

    def _answer_workload(self, name: str | None, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if name is None:
            label, _, value = query.get("labelSelector", ["="])[0].partition("=")
            items = [w for w in self._workloads.values() if w["metadata"]["labels"].get(label) == value]
            return 200, {"kind": "WorkloadList", "items": items}
        workload = next((w for w in self._workloads.values() if w["metadata"]["name"] == name), None)
        if workload is None:
            return 404, _failure(404, f'workloads "{name}" not found', "NotFound")
        _merge(workload, body)
        return 200, workload

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                with double._lock:
                    code, told = double._answer(self.command, parts.path, parse_qs(parts.query), body)
                    sent = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(code)
                self.send_header(
                    "Content-Type", "text/plain" if isinstance(told, bytes) else "application/json"
                )
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - named by the base class

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@contextmanager
def kubernetes_double(*, cpus: int = 8, kueue: bool = False) -> Iterator[KubernetesDouble]:
    """Start a double and yield it; its pods end with it."""
    with tempfile.TemporaryDirectory(prefix="joulewise-kubernetes-") as folder:
        double = KubernetesDouble(Path(folder), cpus=cpus, kueue=kueue)
        try:
            yield double
        finally:
            double.close()


def _pod(pod: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {}}
    if pod["ended"]:
        state = {"terminated": {"exitCode": pod["code"]}}
    return {
        "metadata": {"name": pod["name"], "labels": pod["labels"], "creationTimestamp": pod["created"]},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {
                    "name": "main",
                    "image": "i",
                    "imageID": "i",
                    "ready": pod["running"],
                    "restartCount": 0,
                    "state": state,
                }
            ],
        },
    }


def _failure(code: int, message: str, reason: str = "") -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for name, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        elif value is None:
            into.pop(name, None)
        else:
            into[name] = value


def _expanded(word: str, environment: dict[str, str]) -> str:
    """Return a word as the kubelet hands it over: `$(NAME)` replaced where NAME is known, `$$` a single `$`."""
    return re.sub(
        r"\$\$|\$\(([\w.-]+)\)",
        lambda found: "$" if found[0] == "$$" else environment.get(found[1], found[0]),
        word,
    )
