"""What decides a product: a digest for each, equal as long as the product would come out the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any

from actors.ledger.product_plan import ANALYSIS, CHART, IMAGE
from pipelines import cache_keys
from pipelines.analyses import ANALYSES
from pipelines.analyses.frames import frame_requests, is_of_frames, measured
from pipelines.charts import charts_of
from pipelines.image_io import DECODING_VERSION
from pipelines.models import AnalysisRequest
from rayjobs.job.beside import BESIDE
from rayjobs.job.job_spec import JobSpec

OUR_DECODING = "rayjobs decoding"
DECIDING_PACKAGES = (*cache_keys.DECIDING_PACKAGES, "Pillow", "tifffile", "imagecodecs", "simplejpeg", OUR_DECODING)
"""Whose versions may decide a pixel or a number, decoding and encoding included: another one makes a product anew."""
DRAWING_PACKAGES = ("matplotlib",)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Package -> installed version."""
    return {name: version(name) for name in packages}


@lru_cache(maxsize=64)
def version(package: str) -> str:
    return DECODING_VERSION if package == OUR_DECODING else metadata.version(package)


def pixels_digest(spec: JobSpec, extensions: Mapping[str, str]) -> str:
    """Digest of all that decides the pixels that are measured and written, but for the input itself.

    ``extensions`` are the versions of the plug-ins that the job uses; see ``deciding_extensions``.
    """
    return digest_of(
        [cache_keys.step_key(operation) for operation in spec.operations],
        spec.read.model_dump(),
        versions(DECIDING_PACKAGES),
        dict(extensions),
    )


def wanted_products(spec: JobSpec, extensions: Mapping[str, str]) -> dict[str, str]:
    """Product -> digest of all that decides its bytes, but for the input itself; ``extensions`` as above."""
    pixels = pixels_digest(spec, extensions)
    found: dict[str, str] = {}
    if spec.export.images is not None:
        chosen = spec.export.images.model_dump(exclude={"on_conflict", "layout", "name"})
        if spec.export.images.layout == BESIDE:  # a name may stay the same while the place changes
            chosen["layout"] = BESIDE
        found[IMAGE] = digest_of(pixels, chosen)
    for request in table_requests(spec):
        found[ANALYSIS + request.canonical()] = digest_of(pixels, *_decided_by(request))
    charts = spec.export.charts
    if charts is not None:
        for name in charts_of(spec.analyses):
            request = next(request for request in spec.analyses if request.name == name)
            drawing = versions(DRAWING_PACKAGES) if charts.engine == "matplotlib" else {}
            result = found[ANALYSIS + request.canonical()]
            found[CHART + name] = digest_of(result, request.canonical(), charts.model_dump(), drawing)
    return found


def table_requests(spec: JobSpec) -> tuple[AnalysisRequest, ...]:
    """Everything that has columns or rows in the tables: the job's analyses, and the rows of frames if it reads all."""
    return spec.analyses + (frame_requests(spec.analyses) if spec.read.frames == "all" else ())


def _decided_by(request: AnalysisRequest) -> list[Any]:
    """What decides numbers besides pixels and parameters: versions, and the files that analyses are told to read."""
    requests = measured([request]) if is_of_frames(request) else (request,)
    versions = [ANALYSES[each.name].version for each in requests]
    files = [contents for each in requests if (contents := cache_keys.named_contents(each))]
    return [versions if is_of_frames(request) else versions[0], *files]


def digest_of(*parts: Any) -> str:
    """Digest of what decides a product: values that JSON knows."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
