"""Jobs as the managers keep them: the plain one, and the one with exports and tasks.

Mutable, as in the seed design. What became of a job is in the ledger of its output; ``status``, ``progress`` and times
are what that said when the manager was asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.export_models import AnalysisExportTask, ExportRecord
from pipelines.resources import ResourceUsageInfo
from pipelines.tasks import ExtensibleTask
from rayjobs.job.job_state import JobStatus


@dataclass
class BatchJob:
    """A job of the plain batch system."""

    job_id: str
    name: str
    source_paths: list[str | dict[str, Any]] = field(default_factory=list)
    """The image pool: files, directories, globs, ``@lists``; relative ones are relative to ``base``."""
    operations: list[str | dict[str, Any]] = field(default_factory=list)
    """As in a job file: a name, or one name with its parameters."""
    export_config: dict[str, Any] | None = None
    """The key ``export`` of a job file; None: rendered images if there are operations."""
    status: JobStatus = JobStatus.PENDING
    progress: int = 0
    """Percent of the inputs that are final."""
    result_message: str | None = None
    """Counts, or why it couldn't go on."""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output: str = ""
    """Absolute."""
    base: str = ""
    """Absolute."""
    analyses: list[str | dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    """Other keys of a job file: ``exclude``, ``limits``, ``read``, ``priority``, ``plugins``, ..."""


@dataclass
class EnhancedBatchJob(BatchJob):
    """A job with its analysis exports and its tasks of registered types."""

    export_tasks: dict[str, AnalysisExportTask] = field(default_factory=dict)
    extensible_tasks: dict[str, ExtensibleTask] = field(default_factory=dict)
    export_history: list[ExportRecord] = field(default_factory=list)
    """Ended exports, the oldest first."""
    resource_usage: ResourceUsageInfo = field(default_factory=ResourceUsageInfo)
    extension_data: dict[str, Any] = field(default_factory=dict)
    """For whoever extends jobs: plain values, kept as they are."""
