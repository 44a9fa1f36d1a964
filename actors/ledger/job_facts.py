"""What a ledger knows of a job as a whole, and of the sealed parts of its results: JSON by name, in its table ``meta``.

Who writes: the driver, as in all of the ledger (``job_ledger``). What the facts mean for a run: ``rayjobs.run.run``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any

from actors.queue.task_pools import BATCH
from pipelines.column_models import InputColumn
from pipelines.storage.custody import Written

_SPEC = "spec"
_SEALED = "sealed:"
"""How the names of what is known of sealed parts begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """A job as a whole. The names of the fields are those in the ledger."""

    job_id: str = ""
    name: str = ""
    base: str = ""
    """What relative paths of the job are relative to."""
    pool: str = BATCH
    """See ``task_pools``."""
    source: str | None = None
    """Output of another job over the same images; see ``rayjobs.run.planning``."""
    max_failures: int = 0
    """Inputs that may fail without the job counting as failed."""
    epoch: int = 0
    """Number of the latest run."""
    status: str = "pending"
    """A ``JobStatus``; ``running`` of a run that nobody runs any more was interrupted."""
    started: float | None = None
    """Unix seconds of the latest run's start, and end."""
    finished: float | None = None
    error: str | None = None
    """Why the job could not go on."""
    known: int = 0
    """Analyses that the latest run found in the cache."""
    cpu_seconds: float | None = None
    """Of the workers over all runs; None: an older version didn't measure it."""
    peak_memory_bytes: int = 0
    """Of the largest worker."""
    products: Mapping[str, str] = field(default_factory=dict)
    """Product -> digest of all that decides its bytes, as the job wants them."""
    pixels: str = ""
    """Digest of all that decides the pixels of its inputs after the operations; see ``thumbnail_key``."""
    results: str | None = None
    """Key of manifest, tables and report as they are; None: they aren't as they should be."""
    columns: tuple[InputColumn, ...] = ()
    """That the inputs have, in order."""
    unmatched: int = 0
    """Inputs whose path the job's pattern of columns doesn't match."""
    tasks: tuple[Mapping[str, Any], ...] = ()
    """What became of the job's tasks; see ``rayjobs.job.job_tasks``."""
    record_complete: bool = False
    """Whether the record lists every file; one of an older format doesn't until it was taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPart:
    """A sealed part of the results."""

    analyses: tuple[str, ...]
    """In order of the columns; canonical requests."""
    rows: int
    files: tuple[Written, ...] | None
    """The part itself and its objects, by name; None: an older format didn't say."""


@dataclass(frozen=True, slots=True)
class FactRecord:
    """The table ``meta`` of a ledger."""

    _transaction: Callable[[], AbstractContextManager[sqlite3.Connection]]
    _all: Callable[..., list[Any]]

    def read(self) -> JobFacts:
        """The facts as they are; what was never noted is as by default."""
        names = [each.name for each in fields(JobFacts)]
        marks = ",".join("?" * len(names))
        found = {n: json.loads(v) for n, v in self._all(f"SELECT key, value FROM meta WHERE key IN ({marks})", names)}
        columns = tuple(InputColumn(*each) for each in found.get("columns", ()))
        return JobFacts(**found | {"tasks": tuple(found.get("tasks", ())), "columns": columns})

    def write(self, facts: JobFacts) -> None:
        """Note facts; those that are so already cost no write."""
        with self._transaction() as db:
            before = self.read()
            for each in fields(JobFacts):
                value = getattr(facts, each.name)
                if value != getattr(before, each.name):
                    said = [[column.name, column.type] for column in value] if each.name == "columns" else value
                    _put(db, each.name, said)

    def spec(self) -> dict[str, Any] | None:
        """The job as it was last asked for, as a job file has it; by itself, since it may list very many inputs."""
        found: dict[str, Any] | None = self._one(_SPEC)
        return found

    def write_spec(self, spec: Mapping[str, Any]) -> None:
        with self._transaction() as db:
            _put(db, _SPEC, spec)

    def part(self, name: str) -> SealedPart | None:
        """What is known of a sealed part."""
        said = self._one(_SEALED + name)
        if said is None:
            return None
        listed = [Written(path=path, bytes=b, mtime_ns=t, sha256=s) for path, b, t, s in said.get("files", ())]
        files = tuple(listed) if "files" in said else None
        return SealedPart(analyses=tuple(said["analyses"]), rows=said["rows"], files=files)

    def write_part(self, name: str, part: SealedPart) -> None:
        said: dict[str, Any] = {"analyses": part.analyses, "rows": part.rows}
        if part.files is not None:
            said["files"] = [[file.path, file.bytes, file.mtime_ns, file.sha256] for file in part.files]
        with self._transaction() as db:
            _put(db, _SEALED + name, said)

    def forget_parts(self) -> None:
        """Forget the parts in which no results lie any more."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM meta WHERE key >= ?1 AND key < ?2"
                " AND substr(key, length(?1) + 1) NOT IN (SELECT part FROM work WHERE part IS NOT NULL)",
                (_SEALED, _SEALED[:-1] + chr(ord(_SEALED[-1]) + 1)),
            )

    def _one(self, key: str) -> Any:
        found = self._all("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(found[0][0]) if found else None


def _put(db: sqlite3.Connection, key: str, value: Any) -> None:
    same = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    db.execute(f"{same} WHERE value <> excluded.value", (key, json.dumps(value, sort_keys=True)))
