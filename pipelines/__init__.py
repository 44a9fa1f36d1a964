"""What is computed: image operations, analyses, charts, files and tables.

    file -> decode -> operations -> image -> analyses -> arrays and numbers
                                      |                     |        |
                                   encoded file          charts    table rows

Pure functions on arrays; Ray appears only in the ``ray_*`` modules, at the package's edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.lazy_names import lazy_names

if TYPE_CHECKING:
    from pipelines.analyses import AnalysisCalculator as AnalysisCalculator
    from pipelines.charts import ChartEngine as ChartEngine
    from pipelines.charts import ChartOptions as ChartOptions
    from pipelines.charts import draw_chart as draw_chart
    from pipelines.contracts import ProcessorExtension as ProcessorExtension
    from pipelines.contracts import ResourceProvider as ResourceProvider
    from pipelines.contracts import TaskHandler as TaskHandler
    from pipelines.errors import ImageError as ImageError
    from pipelines.errors import JobError as JobError
    from pipelines.errors import RayjobsError as RayjobsError
    from pipelines.export_models import AnalysisExportTask as AnalysisExportTask
    from pipelines.export_models import ExportConfig as ExportConfig
    from pipelines.export_models import ExportRecord as ExportRecord
    from pipelines.export_models import ExportResult as ExportResult
    from pipelines.extensions.extension_manager import ExtensionManager as ExtensionManager
    from pipelines.models import AnalysisRequest as AnalysisRequest
    from pipelines.models import ImageOperation as ImageOperation
    from pipelines.processor.processing_pool import ProcessingPool as ProcessingPool
    from pipelines.processor.processing_stats import ProcessingStats as ProcessingStats
    from pipelines.processor.processing_strategies import ProcessingStrategy as ProcessingStrategy
    from pipelines.processor.processor import BatchError as BatchError
    from pipelines.processor.processor import ExtensibleImageProcessor as ExtensibleImageProcessor
    from pipelines.resources import PerformanceMetrics as PerformanceMetrics
    from pipelines.resources import ResourceAllocation as ResourceAllocation
    from pipelines.resources import ResourceConfig as ResourceConfig
    from pipelines.resources import ResourceEstimate as ResourceEstimate
    from pipelines.resources import ResourceInfo as ResourceInfo
    from pipelines.resources import ResourceLimits as ResourceLimits
    from pipelines.resources import ResourceUsageInfo as ResourceUsageInfo
    from pipelines.result_cache import ResultCache as ResultCache
    from pipelines.tasks import ExtensibleTask as ExtensibleTask
    from pipelines.tasks import QueueStatus as QueueStatus
    from pipelines.tasks import Task as Task
    from pipelines.tasks import TaskHandle as TaskHandle
    from pipelines.tasks import TaskPriority as TaskPriority
    from pipelines.tasks import TaskResult as TaskResult
    from pipelines.tasks import TaskStatus as TaskStatus

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "AnalysisCalculator": "pipelines.analyses",
        "AnalysisExportTask": "pipelines.export_models",
        "AnalysisRequest": "pipelines.models",
        "BatchError": "pipelines.processor.processor",
        "ChartEngine": "pipelines.charts",
        "ChartOptions": "pipelines.charts",
        "ExportConfig": "pipelines.export_models",
        "ExportRecord": "pipelines.export_models",
        "ExportResult": "pipelines.export_models",
        "ExtensibleImageProcessor": "pipelines.processor.processor",
        "ExtensibleTask": "pipelines.tasks",
        "ExtensionManager": "pipelines.extensions.extension_manager",
        "ImageError": "pipelines.errors",
        "ImageOperation": "pipelines.models",
        "JobError": "pipelines.errors",
        "PerformanceMetrics": "pipelines.resources",
        "ProcessingPool": "pipelines.processor.processing_pool",
        "ProcessingStats": "pipelines.processor.processing_stats",
        "ProcessingStrategy": "pipelines.processor.processing_strategies",
        "ProcessorExtension": "pipelines.contracts",
        "QueueStatus": "pipelines.tasks",
        "RayjobsError": "pipelines.errors",
        "ResourceAllocation": "pipelines.resources",
        "ResourceConfig": "pipelines.resources",
        "ResourceEstimate": "pipelines.resources",
        "ResourceInfo": "pipelines.resources",
        "ResourceLimits": "pipelines.resources",
        "ResourceProvider": "pipelines.contracts",
        "ResourceUsageInfo": "pipelines.resources",
        "ResultCache": "pipelines.result_cache",
        "Task": "pipelines.tasks",
        "TaskHandle": "pipelines.tasks",
        "TaskHandler": "pipelines.contracts",
        "TaskPriority": "pipelines.tasks",
        "TaskResult": "pipelines.tasks",
        "TaskStatus": "pipelines.tasks",
        "draw_chart": "pipelines.charts",
    },
)
