"""Workspaces of runs that have no driver."""

from __future__ import annotations

from pipelines.stages.block_task import Workspace


def prepared(workspace: Workspace) -> Workspace:
    """With its temporary directory, which a driver makes before workers begin."""
    workspace.temporary.mkdir(parents=True, exist_ok=True)
    return workspace
