"""What a plug-in author imports: the interfaces, and the values that they take and give.

    entry-point group     what it adds      what the entry point names
    rayjobs.processors    an operation      ProcessorExtension, or an Operation
    rayjobs.analyses      an analysis       Analysis
    rayjobs.charts        a chart           a function (result, title, options) -> ChartData
                          a chart engine    ChartEngine
    rayjobs.resources     a resource type   ResourceProvider
    rayjobs.tasks         task types        TaskHandler

``rayjobs new-plugin NAME`` writes a complete package, ``rayjobs.testing`` is the test bench, ``docs/how-to/plugins.md``
the guide.
"""

from __future__ import annotations

from pipelines.analyses.registry import Analysis, Column, Result
from pipelines.charts.data import Axis, Bars, ChartData, Marker, Note, Panel, Steps, Tick, Trace
from pipelines.charts.options import ChartOptions
from pipelines.charts.registry import ChartEngine
from pipelines.contracts import ProcessorExtension, ResourceProvider, TaskHandler
from pipelines.errors import FailedReason, ImageError, RayjobsError
from pipelines.operations.registry import Image, Operation
from pipelines.registry import NamesFile, Parameters, parameters_of
from pipelines.resources import ResourceAllocation, ResourceInfo
from pipelines.tasks import ExtensibleTask, TaskResult, TaskStatus

__all__ = [
    "Analysis",
    "Axis",
    "Bars",
    "ChartData",
    "ChartEngine",
    "ChartOptions",
    "Column",
    "ExtensibleTask",
    "FailedReason",
    "Image",
    "ImageError",
    "Marker",
    "NamesFile",
    "Note",
    "Operation",
    "Panel",
    "Parameters",
    "ProcessorExtension",
    "RayjobsError",
    "ResourceAllocation",
    "ResourceInfo",
    "ResourceProvider",
    "Result",
    "Steps",
    "TaskHandler",
    "TaskResult",
    "TaskStatus",
    "Tick",
    "Trace",
    "parameters_of",
]
