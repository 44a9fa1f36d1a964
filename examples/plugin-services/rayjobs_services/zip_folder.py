"""The task type ``zip_folder``: put a finished job's files into one archive."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from rayjobs.plugins import ExtensibleTask, TaskHandler, TaskResult, TaskStatus

EPOCH = (1980, 1, 1, 0, 0, 0)


class ZipFolder(TaskHandler):
    """Archives ``folder`` as ``archive``; the same files give the same bytes, so repeating it changes nothing."""

    def get_supported_task_types(self) -> list[str]:
        return ["zip_folder"]

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        try:
            folder, archive = Path(task.config["folder"]), Path(task.config["archive"])
        except KeyError as error:
            return TaskResult(
                task_id=task.task_id, status=TaskStatus.FAILED, error=f"zip_folder: the config has no {error}"
            )
        files = sorted(path for path in folder.rglob("*") if path.is_file() and ".rayjobs" not in path.parts)
        if not files:
            return TaskResult(task_id=task.task_id, status=TaskStatus.FAILED, error=f"zip_folder: no files in {folder}")
        # Written under another name first: a reader never sees half of an archive.
        temporary = archive.with_name(f".{archive.name}.{task.task_id}.tmp")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as target:
            for file in files:
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                target.writestr(entry, file.read_bytes())
        os.replace(temporary, archive)
        value = {"files": len(files), "bytes": archive.stat().st_size}
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value=value)
