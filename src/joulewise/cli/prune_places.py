"""The places that `joulewise prune` tidies: recordings here, what was pushed to the team's ledger, folders of local jobs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from joulewise import wiring
from joulewise.cli.prune import OPEN, Found, delete, look, recordings
from joulewise.launching.folders import read_json
from joulewise.launching.keeper import ENDED
from joulewise.ledger import bodies
from joulewise.ledger.files import QUIET_S, decode, read_recording
from joulewise.ledger.reducing import is_reduced, reduce_folder, reduced, summary_fields
from joulewise.ledger.store import Store
from joulewise.vocabulary.errors import JoulewiseError


@final
class Here:
    """This machine's folder of recordings."""

    def __init__(self, runs: str) -> None:
        self.name = runs

    def found(self) -> Iterator[Found]:
        """Yield the recordings."""
        return recordings(self.name)

    def delete(self, one: Found) -> tuple[str, int]:
        """Delete a recording's files and folder."""
        fault = delete(self.name, one)
        return fault, 0 if fault else one.bytes

    def reduce(self, one: Found) -> tuple[str, int]:
        """Keep one tick a minute in each file of a recording, each file whole or not at all."""
        again = look(one.folder)
        if again is None or again.kept:
            return (again.kept if again else "it is gone"), 0
        opened: list[int] = []
        try:
            told = summary_fields(wiring.summarise(read_recording(Path(one.folder))))
            opened.append(os.open(self.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            for part in (os.path.basename(os.path.dirname(one.folder)), one.run_id):
                opened.append(os.open(part, OPEN | os.O_DIRECTORY, dir_fd=opened[-1]))
            names = sorted(n for n in os.listdir(opened[-1]) if n.endswith(".jsonl"))
            before, after = reduce_folder(opened[-1], names, told)
        except OSError as error:
            return f"{error.strerror}", 0
        except JoulewiseError as error:
            return str(error), 0
        finally:
            for fd in opened:
                os.close(fd)
        return "", before - after

    def close(self) -> None:
        """Nothing is open."""


@final
class Ledger:
    """What machines have pushed to the team's ledger."""

    def __init__(self, store: Store) -> None:
        self.name = store.where
        self._store = store

    def found(self) -> Iterator[Found]:
        """Yield the recordings whose bodies the ledger holds; one that was added to just now still runs."""
        rows = self._store.query(
            "SELECT r.run_id, r.name, r.started_utc, r.growing, SUM(b.kept_bytes) AS size, MAX(b.changed_utc) AS changed "
            "FROM bodies b JOIN recordings r USING (run_id) GROUP BY r.run_id, r.name, r.started_utc, r.growing ORDER BY r.run_id"
        )
        for row in rows:
            silent_s = (datetime.now(UTC) - datetime.fromisoformat(row["changed"])).total_seconds()
            kept = "still running" if row["growing"] and silent_s < QUIET_S else ""
            started = datetime.fromisoformat(row["started_utc"])
            yield Found("", row["run_id"], row["name"], started, int(row["size"]), kept)

    def delete(self, one: Found) -> tuple[str, int]:
        """Delete a recording's body, and its line where no machine has its folder any more."""
        with self._store.transaction():
            bodies.forget(self._store, one.run_id)
            row = {"run_id": one.run_id}
            if self._store.execute("DELETE FROM recordings WHERE run_id = :run_id AND root = ''", row):
                for table in ("minutes", "months", "wastes"):
                    self._store.execute(f"DELETE FROM {table} WHERE run_id = :run_id", row)  # noqa: S608
        return "", one.bytes

    def reduce(self, one: Found) -> tuple[str, int]:
        """Keep one tick a minute in each file of a recording's body."""
        try:
            told = summary_fields(wiring.summarise(bodies.read_body(self._store, one.run_id)))
        except JoulewiseError as error:
            return str(error), 0
        files = bodies.contents(self._store, one.run_id)
        for file, held in bodies.held(self._store, one.run_id).items():
            content = files[file]
            if not is_reduced(decode(content[: content.find(b"\n") + 1])):
                bodies.replace(self._store, one.run_id, file, held.mark, reduced(content, told))
        now = sum(body.kept_bytes for body in bodies.held(self._store, one.run_id).values())
        return "", one.bytes - now

    def close(self) -> None:
        """Give back the connection."""
        self._store.close()


@final
class Jobs:
    """The folders of local jobs: their output and state. Only of those that have ended."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)

    def found(self) -> Iterator[Found]:
        """Yield the jobs that were started here."""
        for entry in sorted(os.scandir(self.name), key=lambda e: e.name):
            if not entry.is_dir(follow_symlinks=False):
                continue
            order, state = read_json(entry.path, "order.json"), read_json(entry.path, "state.json")
            if order is None:
                continue
            over = state is not None and state["state"] in ENDED
            size = sum(f.stat(follow_symlinks=False).st_size for f in os.scandir(entry.path))
            began = datetime.fromtimestamp(os.stat(os.path.join(entry.path, "order.json")).st_mtime, UTC)
            kept = "" if over else "it has not ended"
            yield Found(entry.path, entry.name, str(order.get("key", entry.name)), began, size, kept)

    def delete(self, one: Found) -> tuple[str, int]:
        """Delete a job's folder: renamed first, so that nobody takes half of one for a job."""
        gone = os.path.join(self.name, f".gone-{one.run_id}-{time.monotonic_ns()}")
        try:
            os.rename(one.folder, gone)
            shutil.rmtree(gone)
        except OSError as error:
            return f"{error.strerror}", 0
        return "", one.bytes

    def reduce(self, one: Found) -> tuple[str, int]:
        """Refuse: a job has no ticks."""
        return f"{one.name} has no ticks", 0

    def close(self) -> None:
        """Nothing is open."""
