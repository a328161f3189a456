"""Kubernetes: batch Jobs and Kueue workloads, by the official client. All that is known stands in the Job itself.

What `spec.suspend` means decides what this engine can do: the Job's pods are deleted, with SIGTERM and their grace, and made
anew when it is taken away. So Kubernetes can hold (a Job that is created suspended) and requeue (a program that saves its state
on a signal), and it cannot let a program stand still with its memory: that is refused. It has no delayed start.

    start       a Job whose name is made of the key; the API server takes a name only once
    two copies  `podReplacementPolicy: Failed`: no new pod before the old one has ended; `backoffLimit: 0`: no retries
    signals     pods hear SIGTERM; a few lines of sh, which the image must have, turn it into the order's checkpoint signal
    Kueue       with a queue name, Kueue decides about `suspend`: a held Job gets the queue's label when it is released, and a
                workload is paused by `spec.active: false`
    cancel      the Job is suspended for good and marked; it stays, so that its end can be read
    logs        those of the pods that are there: what an earlier start wrote went with its pod
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from math import ceil
from typing import Any, final

from joulewise.launching.port import HOLD, REQUEUE, Delays, Order, Refused, State, Status, Unreachable

_MARK = "joulewise.dev"  # the prefix of our labels and annotations
_QUEUE = "kueue.x-k8s.io/queue-name"
_KUEUE = ("kueue.x-k8s.io", "v1beta1")
_START_S, _GRACE_S = 3.0, 30.0
_TRIES = 6  # against others who change the same Job
_MOST_BYTES = 1 << 20
_RUN = 'trap \'kill -{signal} "$pid" 2>/dev/null\' TERM; "$@" & pid=$!; while :; do wait "$pid"; code=$?; kill -0 "$pid" 2>/dev/null || exit "$code"; done'


@final
class Kubernetes:
    """The engine `kubernetes`: Jobs of `image` in a namespace; `api` is a configured `kubernetes.client.ApiClient`."""

    name = "kubernetes"
    keeps = False
    abilities = frozenset({HOLD, REQUEUE})

    def __init__(self, api: Any, image: str, namespace: str = "default", queue: str = "") -> None:
        from kubernetes import client

        self._image, self._namespace, self._queue = image, namespace, queue
        self._batch: Any = client.BatchV1Api(api)
        self._core: Any = client.CoreV1Api(api)
        self._custom: Any = client.CustomObjectsApi(api)

    def start(self, order: Order) -> str:
        """Create the Job and return its name; the first one if the key was started before."""
        if not order.argv or not order.key:
            raise Refused("an order needs a key and a command")
        name = _name(order)
        if self._job(name) is not None:
            return name
        if order.begin_utc is not None and order.begin_utc.timestamp() > time.time():
            raise Refused(
                "Kubernetes has no delayed start: start the job held, and release it when it is due"
            )
        self._refuse_impossible(order)
        with suppress(FileExistsError):  # somebody else was faster
            _ask(self._batch.create_namespaced_job, self._namespace, self._manifest(name, order))
        return name

    def find(self, key: str) -> str | None:
        """Return the name of the Job started under `key`, or None."""
        name = _name(Order(key, ("",), "/"))
        return name if self._job(name) is not None else None

    def status(self, handle: str) -> Status:
        """Return where the Job is."""
        job = self._known(handle)
        notes = job.metadata.annotations or {}
        restarts = int(notes.get(f"{_MARK}/restarts", 0))
        alive = (job.status.active or 0) + (job.status.terminating or 0)
        over = {c.type: c for c in job.status.conditions or [] if c.status == "True"}
        if "Complete" in over:
            return Status(State.FINISHED, 0, "", restarts)
        if "Failed" in over:
            return self._failed(handle, over["Failed"], restarts)
        if f"{_MARK}/cancelled" in notes:
            if alive:
                return Status(State.RUNNING, None, "asked to end", restarts)
            return Status(State.CANCELLED, self._exit_code(handle), "cancelled", restarts)
        if notes.get(f"{_MARK}/held") == "yes":
            reason = "asked to save its state and end" if alive else ""
            return Status(State.RUNNING if alive else State.HELD, None, reason, restarts)
        if job.spec.suspend:
            return Status(
                State.QUEUED,
                None,
                "waits for Kueue" if self._queue else "suspended by somebody else",
                restarts,
            )
        return Status(State.RUNNING if job.status.ready else State.QUEUED, None, "", restarts)

    def begin(self, handle: str, when_utc: datetime) -> None:
        """Refuse: Kubernetes has no delayed start."""
        self._known(handle)
        if when_utc.timestamp() > time.time():
            raise Refused("Kubernetes has no delayed start: hold the job, and release it when it is due")

    def hold(self, handle: str) -> None:
        """Keep a Job that has not started from starting."""
        if self._live(handle, "held").state not in (State.QUEUED, State.HELD):
            raise Refused(f"{handle} runs already, so it cannot be held")
        self._pause(handle, "held", restart=0)

    def release(self, handle: str) -> None:
        """Let a held Job start; Kueue admits it, where a queue is named."""
        self._live(handle, "released")

        def change(_job: Any) -> dict[str, Any]:
            patch: dict[str, Any] = {"metadata": {"annotations": {f"{_MARK}/held": "no"}}}
            if self._queue:
                patch["metadata"]["labels"] = {_QUEUE: self._queue}
            else:
                patch["spec"] = {"suspend": False}
            return patch

        self._change(handle, change)
        if self._queue:
            self._activate(handle, active=True)

    def place(self, handle: str, away: Sequence[str]) -> None:
        """Refuse: where a pod runs is the cluster's to say."""
        raise Refused(
            f"{handle.partition('/')[0]} cannot be kept off {', '.join(away)}: where a pod runs is the cluster's to say"
        )

    def suspend(self, handle: str) -> None:
        """Refuse: Kubernetes ends the pods of what it suspends."""
        self._live(handle, "suspended")
        raise Refused(
            "Kubernetes ends what it suspends: a program that saves its state is requeued, another one runs on"
        )

    def resume(self, handle: str) -> None:
        """Do nothing: nothing stands still here."""
        self._live(handle, "resumed")

    def requeue(self, handle: str) -> None:
        """Suspend the Job: its pods hear the checkpoint signal, end, and are made anew after `release`."""
        now = self._live(handle, "requeued")
        if (self._known(handle).metadata.annotations or {}).get(f"{_MARK}/checkpoint") != "yes":
            raise Refused(f"{handle} cannot save its state, so it is not requeued: let it run")
        if now.state is not State.HELD:
            self._pause(handle, "held", restart=int(now.state is State.RUNNING))

    def cancel(self, handle: str, grace_s: float = 10.0) -> None:
        """Suspend the Job for good: SIGTERM, and SIGKILL after the grace that the order's pods have (0: at once)."""
        if not self.status(handle).live:
            return
        self._pause(handle, "cancelled", restart=0)
        if not grace_s:
            for pod in self._pods(handle):
                with suppress(LookupError):
                    _ask(
                        self._core.delete_namespaced_pod,
                        pod.metadata.name,
                        self._namespace,
                        grace_period_seconds=0,
                    )

    def logs(self, handle: str, offset: int = 0) -> bytes:
        """Return what the newest pod wrote from byte `offset` on."""
        self._known(handle)
        for pod in reversed(self._pods(handle)):
            try:
                told = _ask(
                    self._core.read_namespaced_pod_log,
                    pod.metadata.name,
                    self._namespace,
                    _preload_content=False,
                )
            except (LookupError, Refused):  # gone, or not started yet
                continue
            return bytes(told.data[offset : offset + _MOST_BYTES])
        return b""

    def delays(self) -> Delays:
        """Return what a pod takes to start; what an image takes to be pulled is not known here."""
        return Delays(start_s=_START_S, requeue_s=2 * _START_S)

    def _manifest(self, name: str, order: Order) -> dict[str, Any]:
        needs, saving = order.resources, order.checkpointing
        labels = {f"{_MARK}/job": name} | ({_QUEUE: self._queue} if self._queue and not order.held else {})
        notes = {
            f"{_MARK}/key": order.key,
            f"{_MARK}/held": "yes" if order.held else "no",
            f"{_MARK}/name": order.name,
        }
        notes |= {f"{_MARK}/{_plain(tag)}": value for tag, value in order.tags.items()}
        notes[f"{_MARK}/checkpoint"] = "yes" if saving else "no"
        amounts = {"cpu": str(max(1, ceil(needs.cpus / needs.nodes)))}
        if needs.memory_bytes is not None:
            amounts["memory"] = str(ceil(needs.memory_bytes / needs.nodes))
        if needs.gpus:
            amounts["nvidia.com/gpu"] = str(ceil(needs.gpus / needs.nodes))
        run = _RUN.format(signal=int(saving.signal) if saving else 15)
        container = {
            "name": "main",
            "image": self._image,
            "command": ["sh", "-c", run, "sh", *[_literal(word) for word in order.argv]],
            "workingDir": order.cwd,
            "env": [{"name": n, "value": _literal(v)} for n, v in order.env.items()],
            "resources": {"requests": amounts, "limits": amounts},
        }
        spec: dict[str, Any] = {
            "suspend": order.held or bool(self._queue),
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "parallelism": needs.nodes,
            "completions": needs.nodes,
            "template": {
                "metadata": {"labels": {f"{_MARK}/job": name}},
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": ceil(saving.grace_s if saving else _GRACE_S),
                    "containers": [container],
                },
            },
        }
        if needs.nodes > 1:
            spec["completionMode"] = "Indexed"
        if needs.limit_s is not None:
            spec["activeDeadlineSeconds"] = ceil(needs.limit_s)
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": labels, "annotations": notes},
            "spec": spec,
        }

    def _refuse_impossible(self, order: Order) -> None:
        """Refuse what no node can hold, where the user may see the nodes."""
        try:
            nodes = _ask(self._core.list_node).items
        except Refused:
            return
        needs = order.resources
        cpus = [_amount(n.status.allocatable.get("cpu", "0")) for n in nodes]
        if nodes and (max(cpus) < needs.cpus / needs.nodes or len(nodes) < needs.nodes):
            raise Refused(
                f"{needs.nodes} nodes with {needs.cpus / needs.nodes:g} CPUs each are asked for; "
                f"the cluster has {len(nodes)}, the largest with {max(cpus):g}"
            )

    def _pause(self, handle: str, why: str, *, restart: int) -> None:
        def change(job: Any) -> dict[str, Any]:
            notes = job.metadata.annotations or {}
            told = {f"{_MARK}/{why}": "yes"}
            told[f"{_MARK}/restarts"] = str(int(notes.get(f"{_MARK}/restarts", 0)) + restart)
            patch: dict[str, Any] = {"metadata": {"annotations": told}}
            if not self._queue:
                patch["spec"] = {"suspend": True}
            return patch

        self._change(handle, change)
        if self._queue:
            self._activate(handle, active=False)

    def _activate(self, handle: str, *, active: bool) -> None:
        """Tell Kueue whether the Job's workload may run; before Kueue has made one there is nothing to tell."""
        uid = self._known(handle).metadata.uid
        place = (*_KUEUE, self._namespace, "workloads")
        label = f"kueue.x-k8s.io/job-uid={uid}"
        found = _ask(self._custom.list_namespaced_custom_object, *place, label_selector=label)
        for workload in found["items"]:
            patch = {"spec": {"active": active}}
            _ask(self._custom.patch_namespaced_custom_object, *place, workload["metadata"]["name"], patch)

    def _change(self, handle: str, change: Callable[[Any], dict[str, Any]]) -> Any:
        """Patch the Job as it was read; where somebody else changed it in between, read it again."""
        for attempt in range(_TRIES):
            job = self._known(handle)
            patch = change(job)
            patch["metadata"]["resourceVersion"] = job.metadata.resource_version
            try:
                return _ask(self._batch.patch_namespaced_job, handle, self._namespace, patch)
            except FileExistsError:
                time.sleep(0.05 * 2**attempt)
        raise Unreachable(f"{handle} is changed by somebody else all the time")

    def _failed(self, handle: str, condition: Any, restarts: int) -> Status:
        if condition.reason == "DeadlineExceeded":
            return Status(State.CANCELLED, None, "it ran into its limit", restarts)
        code = self._exit_code(handle)
        if code is None:
            return Status(State.LOST, None, f"{condition.reason}: {condition.message}", restarts)
        return Status(State.FINISHED, code, "" if code <= 128 else f"killed by signal {code - 128}", restarts)

    def _exit_code(self, handle: str) -> int | None:
        """Return the worst exit code of the pods that have ended."""
        states = [
            s.state.terminated
            for p in self._pods(handle)
            for s in p.status.container_statuses or []
            if s.state
        ]
        return max((ended.exit_code for ended in states if ended is not None), default=None)

    def _pods(self, handle: str) -> list[Any]:
        """Return the Job's pods, oldest first; a list that expired half-way is begun anew."""
        label = f"{_MARK}/job={handle}"
        for _attempt in range(_TRIES):
            pods: list[Any] = []
            more = None
            try:
                while True:
                    page = _ask(
                        self._core.list_namespaced_pod,
                        self._namespace,
                        label_selector=label,
                        limit=100,
                        _continue=more,
                    )
                    pods += page.items
                    more = page.metadata._continue  # noqa: SLF001 - the client's own name
                    if not more:
                        return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)
            except TimeoutError:
                continue
        raise Unreachable("the list of pods expires faster than it can be read")

    def _live(self, handle: str, what: str) -> Status:
        now = self.status(handle)
        if not now.live:
            raise Refused(f"{handle} has ended ({now.state}), so it cannot be {what}")
        return now

    def _known(self, handle: str) -> Any:
        job = self._job(handle) if re.fullmatch(r"jw-[a-z0-9-]+", handle) else None
        if job is None:
            raise Refused(f"there is no Job {handle!r} of ours in the namespace {self._namespace}")
        return job

    def _job(self, name: str) -> Any:
        try:
            return _ask(self._batch.read_namespaced_job, name, self._namespace)
        except LookupError:
            return None


def _ask(call: Callable[..., Any], *words: Any, **named: Any) -> Any:
    """Call the API and return what it answers: LookupError for 404, FileExistsError for 409, TimeoutError for 410."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call(*words, **named)
    except ApiException as error:
        said = re.search(r'"message":\s*"((?:[^"\\]|\\.)*)"', str(error.body or ""))
        why = " ".join((said[1] if said else str(error.reason)).split())[:300]
        if error.status in (404, 409, 410):
            kind = {404: LookupError, 409: FileExistsError, 410: TimeoutError}[error.status]
            raise kind(why) from None
        if error.status in (429, 500, 502, 503, 504) or not error.status:
            raise Unreachable(f"Kubernetes does not answer: {error.status} {why}") from None
        raise Refused(f"Kubernetes: {why}") from None
    except (HTTPError, OSError) as error:
        raise Unreachable(f"Kubernetes does not answer: {' '.join(str(error).split())[:200]}") from None


def _name(order: Order) -> str:
    """Return the Job's name: a hash of the key, which is all that decides it."""
    return f"jw-{sha256(order.key.encode(errors='surrogateescape')).hexdigest()[:24]}"


def _plain(word: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", word)[:60] or "tag"


def _literal(word: str) -> str:
    """Return a word that the kubelet does not expand: it replaces `$(NAME)`, and `$$` stands for `$`."""
    return word.replace("$", "$$")


def _amount(text: str) -> float:
    """Return an amount of processors: `4` or `3920m`."""
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
