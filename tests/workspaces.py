"""Workspaces of runs that have no driver, and their inputs."""

from __future__ import annotations

from pathlib import Path

from pipelines.models import WorkItem
from pipelines.stages.block_task import Workspace


def prepared(workspace: Workspace) -> Workspace:
    """With its temporary directory, which a driver makes before workers begin."""
    workspace.temporary.mkdir(parents=True, exist_ok=True)
    return workspace


def planned(path: Path, number: int, recipe: int = 1) -> WorkItem:
    """An input as it lies there now."""
    status = path.stat()
    return WorkItem(
        id=number,
        path=bytes(path),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        name=path.stem,
        title=path.name,
        recipe=recipe,
        seq=number,
    )
