"""The tasks of a job file: what each one stands for, and which are still to do. Running them: ``ray_job_tasks``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.ledger.file_record import TASK
from pipelines.contracts import TASK_TYPES
from pipelines.extensions.extension_adapters import ExtensionKind
from pipelines.extensions.extension_manager import process_extensions
from pipelines.models import Output
from pipelines.tasks import TaskResult, TaskStatus
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.options import deciding_extensions
from rayjobs.job.task_handlers import OWN_TASKS, named_contents


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """One task, complete."""

    task_type: str
    config: Mapping[str, Any]
    """As its handler reads it: placeholders are filled in."""
    digest: str
    """Of type, configuration, contents of files that it names, and the versions of the plug-ins that may run it."""

    def ended(self, result: TaskResult, seconds: float) -> dict[str, Any]:
        """What the ledger (its fact ``tasks``) and ``job.json`` say about it."""
        found = {"type": self.task_type, "status": str(result.status), "seconds": round(seconds, 3)}
        if result.status is TaskStatus.COMPLETED:
            return {**found, "result": result.value, "digest": self.digest}
        return {**found, "error": result.error or f"was {result.status}", "digest": self.digest}


def planned_tasks(spec: JobSpec, base: Path, output: Path) -> list[PlannedTask]:
    """A job's tasks, in order.

    In texts of their configuration ``{output}`` stands for the absolute output directory, ``{base}`` for the directory
    that relative paths of the job are relative to, and ``{job}`` for the job's name. Those of the program's own tasks
    are relative to it as well.
    """
    values = {"{output}": str(output), "{base}": str(base), "{job}": spec.name}
    versions = process_extensions().versions(spec.plugins, kinds=(ExtensionKind.TASK,))
    planned = []
    for task in spec.tasks:
        config = _filled(dict(task.params), values)
        deciding, files = versions, list[dict[str, str]]()
        if task.name in OWN_TASKS.get_supported_task_types() and task.name not in TASK_TYPES:
            config = OWN_TASKS.located(config, base)
            deciding, files = {**versions, **deciding_extensions(spec)}, named_contents(config)
        text = json.dumps([task.name, config, deciding, *files], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        planned.append(PlannedTask(task_type=task.name, config=config, digest=digest))
    return planned


def completed(planned: Sequence[PlannedTask], ended: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What was noted of planned tasks that completed."""
    digests = {task.digest for task in planned}
    return [entry for entry in ended if entry["digest"] in digests and entry["status"] == TaskStatus.COMPLETED]


def task_files(ended: Mapping[str, Any], root: Path) -> list[Output]:
    """The files that a task of the program itself says it wrote; their paths are relative to the output."""
    result = ended.get("result")
    files = result.get("files") if isinstance(result, Mapping) else None
    found = []
    for entry in files if isinstance(files, list) else []:
        if isinstance(entry, Mapping) and {"path", "sha256", "bytes"} <= set(entry):
            path = os.path.relpath(os.path.realpath(entry["path"]), os.path.realpath(root))
            found.append(Output(product=TASK, path=path, sha256=entry["sha256"], bytes=entry["bytes"]))
    return found


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in values.items():
            value = value.replace(name, text)
        return value
    if isinstance(value, Mapping):
        return {key: _filled(entry, values) for key, entry in value.items()}
    return [_filled(entry, values) for entry in value] if isinstance(value, list) else value
