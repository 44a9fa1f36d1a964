"""What the job tells readers, encoders, charts and Ray: options from a checked job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pipelines.charts import ChartOptions
from pipelines.extensions.extension_adapters import ExtensionKind
from pipelines.extensions.extension_manager import process_extensions
from pipelines.image_io import EncodeOptions, ReadPolicy
from rayjobs.job.job_spec import JobSpec

CONFLICTS: Mapping[str, Literal["refuse", "skip", "overwrite"]] = {
    "rename": "refuse",
    "error": "refuse",
    "skip": "skip",
    "overwrite": "overwrite",
}


def read_policy(spec: JobSpec) -> ReadPolicy:
    """How the job's inputs are decoded."""
    return ReadPolicy(
        truncated=spec.read.truncated,
        frames=spec.read.frames,
        color=spec.read.color,
        max_pixels=spec.limits.max_pixels,
    )


def encode_options(spec: JobSpec) -> EncodeOptions | None:
    """How rendered images are written; None for a job that writes none."""
    images = spec.export.images
    if images is None:
        return None
    return EncodeOptions(
        format=images.format,
        quality=images.quality,
        chroma=images.chroma,
        compression=images.compression,
        bit_depth=images.bit_depth,
        metadata=images.metadata,
        copyright=images.set.copyright,
        artist=images.set.artist,
    )


def chart_options(spec: JobSpec) -> ChartOptions | None:
    """How charts are drawn; None for a job without."""
    charts = spec.export.charts
    if charts is None:
        return None
    return ChartOptions(
        format=charts.format, engine=charts.engine, scale=charts.scale, width=charts.width, height=charts.height
    )


def deciding_extensions(spec: JobSpec) -> dict[str, str]:
    """Versions of the job's plug-ins that may decide a pixel or a number; resource and task types don't."""
    kinds = (ExtensionKind.PROCESSOR, ExtensionKind.ANALYSIS, ExtensionKind.CHART)
    return process_extensions().versions(spec.plugins, kinds=kinds)
