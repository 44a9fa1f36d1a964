"""Who asks: the job file, the plan, the run, the command line and the report.

    job.yaml -> JobSpec -> plan (sealed input list) -> run (shards on Ray) -> manifest -> report

Imports only go down: ``rayjobs -> actors -> pipelines``.
"""

from __future__ import annotations

import sys

if "rayjobs" in sys.orig_argv and sys.argv[:1] == ["-m"]:  # `python -m rayjobs` imports this first of all
    from rayjobs.command_line.program import drop_start_directory

    drop_start_directory()

from typing import TYPE_CHECKING

from pipelines.lazy_names import lazy_names

if TYPE_CHECKING:
    from pipelines.contracts import ProcessorExtension as ProcessorExtension
    from pipelines.contracts import ResourceProvider as ResourceProvider
    from pipelines.contracts import TaskHandler as TaskHandler
    from pipelines.errors import JobError as JobError
    from pipelines.errors import RayjobsError as RayjobsError
    from pipelines.export_models import AnalysisExportTask as AnalysisExportTask
    from pipelines.export_models import ExportConfig as ExportConfig
    from pipelines.export_models import ExportRecord as ExportRecord
    from pipelines.export_models import ExportResult as ExportResult
    from pipelines.models import ImageOperation as ImageOperation
    from pipelines.resources import ResourceEstimate as ResourceEstimate
    from pipelines.tasks import ExtensibleTask as ExtensibleTask
    from pipelines.tasks import TaskPriority as TaskPriority
    from pipelines.tasks import TaskResult as TaskResult
    from pipelines.tasks import TaskStatus as TaskStatus
    from rayjobs.job.job_state import JobState as JobState
    from rayjobs.job.job_state import JobStatus as JobStatus
    from rayjobs.managers.analysis_export_service import AnalysisExportService as AnalysisExportService
    from rayjobs.managers.analysis_export_service import ExportSource as ExportSource
    from rayjobs.managers.batch_job import BatchJob as BatchJob
    from rayjobs.managers.batch_job import EnhancedBatchJob as EnhancedBatchJob
    from rayjobs.managers.batch_job_manager import BatchJobManager as BatchJobManager
    from rayjobs.managers.batch_processing_handler import BatchProcessingHandler as BatchProcessingHandler
    from rayjobs.managers.enhanced_job_manager import EnhancedJobManager as EnhancedJobManager
    from rayjobs.managers.job_images import JobImage as JobImage
    from rayjobs.managers.job_images import JobWithImages as JobWithImages
    from rayjobs.run.ray_session import ray_session as ray_session

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "AnalysisExportService": "rayjobs.managers.analysis_export_service",
        "AnalysisExportTask": "pipelines.export_models",
        "BatchJob": "rayjobs.managers.batch_job",
        "BatchJobManager": "rayjobs.managers.batch_job_manager",
        "BatchProcessingHandler": "rayjobs.managers.batch_processing_handler",
        "EnhancedBatchJob": "rayjobs.managers.batch_job",
        "EnhancedJobManager": "rayjobs.managers.enhanced_job_manager",
        "ExportConfig": "pipelines.export_models",
        "ExportRecord": "pipelines.export_models",
        "ExportResult": "pipelines.export_models",
        "ExportSource": "rayjobs.managers.analysis_export_service",
        "ExtensibleTask": "pipelines.tasks",
        "ImageOperation": "pipelines.models",
        "JobError": "pipelines.errors",
        "JobImage": "rayjobs.managers.job_images",
        "JobState": "rayjobs.job.job_state",
        "JobStatus": "rayjobs.job.job_state",
        "JobWithImages": "rayjobs.managers.job_images",
        "ProcessorExtension": "pipelines.contracts",
        "RayjobsError": "pipelines.errors",
        "ResourceEstimate": "pipelines.resources",
        "ResourceProvider": "pipelines.contracts",
        "TaskHandler": "pipelines.contracts",
        "TaskPriority": "pipelines.tasks",
        "TaskResult": "pipelines.tasks",
        "TaskStatus": "pipelines.tasks",
        "ray_session": "rayjobs.run.ray_session",
    },
)
