"""Analysis exports as the managers and the export service know them: what to write, how it stands, what was written.

The task of the seed design keeps its name, fields and mutability; values of our own are frozen. Data only: an export is
run by ``rayjobs.managers.analysis_export_service``, on the same path as every job.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.errors import RayjobsError
from pipelines.resources import ResourceAllocation
from pipelines.tasks import TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """What an analysis export computes and writes; everything has a default."""

    analyses: tuple[str | Mapping[str, Any], ...] = ("scopes",)
    """As in a job file: names, ``scopes``, ``all``, or one name with its parameters."""
    data_formats: tuple[str, ...] = ("parquet",)
    """Table formats: parquet, csv, json, xlsx."""
    charts: bool | Mapping[str, Any] = True
    """A chart per image and analysis: whether, or the keys of a job file's ``export.charts``."""
    include_effects: bool = True
    """Analyse the images with the job's operations applied; else the originals."""
    output: str | None = None
    """Directory; ``exports/<task id>`` below the job's output unless given."""
    priority: str = "normal"
    """urgent, high, normal, low."""

    def __post_init__(self) -> None:
        """As in a job file, one value may stand where a list may be, and a list is as good as a tuple.

        Raises
        ------
        RayjobsError
            There is no list, nor one value.
        """
        for name in ("analyses", "data_formats"):
            given = getattr(self, name)
            if not isinstance(given, Iterable):
                raise RayjobsError(f"{name} of an export: give a list, not {reprlib.repr(given)}")
            object.__setattr__(self, name, (given,) if isinstance(given, str | Mapping) else tuple(given))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export wrote."""

    output: str
    """Its directory: ``data/``, ``charts/``, ``manifest.parquet``, ``report/index.html``."""
    total: int
    done: int
    failed: int
    skipped: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Reason -> images that failed or were skipped for it."""
    tables: tuple[str, ...] = ()
    """Files and directories below ``data/``, relative to ``output``."""
    report: str | None = None
    """The page to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecord:
    """One ended export in the history of its job; never changed afterwards."""

    task_id: str
    job_id: str
    config: ExportConfig
    status: TaskStatus
    start_time: datetime | None = None
    end_time: datetime | None = None
    result: ExportResult | None = None
    error_info: str | None = None


@dataclass
class AnalysisExportTask:
    """An analysis export of the images of a job."""

    task_id: str
    job_id: str
    config: ExportConfig
    status: TaskStatus = TaskStatus.PENDING
    progress: int = 0
    """0 to 100."""
    start_time: datetime | None = None
    end_time: datetime | None = None
    result: ExportResult | None = None
    error_info: str | None = None
    resource_allocation: ResourceAllocation | None = None
    """None for exports on the run path: there resources are granted shard by shard."""
