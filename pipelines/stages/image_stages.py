"""The three stages of one image as functions: render, analyze, export."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from pipelines.analyses import ANALYSES, Analysis, AnalysisCalculator
from pipelines.analyses.frames import frame_results, is_of_frames, measured
from pipelines.charts import draw_chart
from pipelines.errors import FailedReason, ImageError, RayjobsError, is_out_of_memory
from pipelines.image_io import (
    DecodedImage,
    ImageHeader,
    encode_image,
    encoding_losses,
    probe_header,
    read_bytes,
    suffix_of,
)
from pipelines.image_io.pixel_size import pixel_size_um
from pipelines.models import AnalysisRequest, Output, WorkItem
from pipelines.operations import Image
from pipelines.operations.image_geometry import AS_STORED, ImageGeometry, geometry_of
from pipelines.result_cache import ResultCache
from pipelines.stages.cached_analyses import NOTHING, Known, content_of, keep, look_up
from pipelines.stages.decoder_reduction import decode_and_apply, decoder_reduction
from pipelines.stages.memory_need import BeyondMemoryError, check_budget, decoding_bytes
from pipelines.stages.output_paths import image_stem
from pipelines.stages.publish import Publisher
from pipelines.stages.recipe import Recipe, Results, result_schemas
from pipelines.tables import check_results


@dataclass(frozen=True, slots=True)
class Rendered:
    """An image after its operations, with what its file said that the outputs need."""

    pixels: Image
    geometry: ImageGeometry
    """How they lie in the picture of the file."""
    source: DecodedImage
    known: Known = NOTHING
    """What other jobs measured of it; when that is all that is wanted, it has no pixels."""

    @property
    def orientation(self) -> int:
        """What is left to do for a viewer (EXIF 1..8)."""
        return self.geometry.orientation


def read_input(item: WorkItem, recipe: Recipe) -> bytes:
    """The file as it was planned. Raises ImageError: ``missing``, ``changed``, ``permission``, ..."""
    return read_bytes(
        item.path, max_bytes=recipe.read.max_file_bytes, expected_size=item.size, expected_mtime_ns=item.mtime_ns
    )


Read = Callable[[WorkItem, Recipe], bytes]
"""``read_input``, or what calls it at another time."""


def render(
    item: WorkItem,
    recipe: Recipe,
    budget_bytes: int | None = None,
    cache: ResultCache | None = None,
    read: Read = read_input,
) -> Rendered:
    """Read, decode and process one input; with a ``cache``, also look for what is known of it.

    Raises
    ------
    BeyondMemoryError
        Decoded, it is larger than the recipe allows.
    ImageError
        For every reason that lies in the file or in an operation.
    MoreMemoryNeededError
        Its header says that it needs more memory than ``budget_bytes``.
    """
    if recipe.memory_per_image is not None and item.size > recipe.memory_per_image:
        raise BeyondMemoryError(f"{item.size:,} bytes of file, above limits.memory_per_image")
    data = read(item, recipe)
    if recipe.read.frames == "all" and probe_header(data, recipe.read).frame_count > 1:
        raise SeveralFramesError(f"{item.title} holds several images")
    known = NOTHING if cache is None or recipe.kept is None else look_up(cache, recipe.kept, content_of(data))
    return render_frame(data, recipe, budget_bytes, known=known)


class SeveralFramesError(RayjobsError):
    """A file of several images, all of which the job wants: it goes through ``produce_frames``."""


def render_frame(
    data: bytes, recipe: Recipe, budget_bytes: int | None, frame: int = 0, known: Known = NOTHING
) -> Rendered:
    """Decode and process one image of a file, unless all that is wanted of it is known; as ``render``."""
    header = probe_header(data, recipe.read, frame=frame)
    if recipe.image is None and known.results and all(r.name in known.results for r in measured(recipe.analyses)):
        nothing: Image = np.zeros((0, 0), np.uint8)
        return Rendered(nothing, AS_STORED, DecodedImage(pixels=nothing, header=header), known)
    reduction = decoder_reduction(header, recipe.read, recipe.operations)
    held = 1 if recipe.read.truncated == "salvage" else reduction  # a cut file's share is measured at its full size
    _check_memory(header, recipe.memory_per_image, held)
    check_budget(header, budget_bytes, held)
    asks = any(request.params.get("pixel_size") == "file" for request in measured(recipe.analyses))
    size = pixel_size_um(data, frame) if asks else None
    decoded, result = decode_and_apply(
        data, header, recipe.read, recipe.operations, frame=frame, factor=reduction, pixel_size=size
    )
    if decoded.degraded is not None:
        known = replace(known, key="")  # of less than the file promises nothing is kept
    if recipe.image is not None:
        lost = encoding_losses(
            result.pixels, recipe.image, source=decoded, orientation=result.orientation, scale=result.scale
        )
        decoded = replace(decoded, degraded="; ".join(filter(None, [decoded.degraded, *lost])) or None)
    return Rendered(result.pixels, geometry_of(result), decoded, known)


def analyze(rendered: Rendered, recipe: Recipe, cache: ResultCache | None = None) -> Results:
    """Measure one rendered image, but for what is known of it, and keep what is measured in the ``cache``.

    Raises
    ------
    ImageError
        ``analysis_error``, also for a result that doesn't fit the columns of its table; ``out_of_memory``.
    """
    if not recipe.analyses:
        return {}
    results = with_frames([measure(rendered, recipe, cache)], recipe)
    check_agreement(results, recipe)
    return results


def measure(rendered: Rendered, recipe: Recipe, cache: ResultCache | None) -> Results:
    """What is measured of each image of a file."""
    known = rendered.known
    requests = tuple(request for request in measured(recipe.analyses) if request.name not in known.results)
    if not requests:
        return known.results
    analyses = tuple(ANALYSES[request.name] for request in requests)
    results = calculator(requests, analyses).calculate_analyses(rendered.pixels, geometry=rendered.geometry)
    if cache is not None and recipe.kept is not None:
        keep(cache, recipe.kept, known, results)
    return {**known.results, **results}


def with_frames(frames: Sequence[Results], recipe: Recipe) -> Results:
    """The results of a file: those of its first image, and the rows of all of them where they are asked for."""
    return {
        request.name: frame_results(request, frames) if is_of_frames(request) else frames[0][request.name]
        for request in recipe.analyses
    }


def export(
    item: WorkItem,
    rendered: Rendered,
    results: Results,
    recipe: Recipe,
    publisher: Publisher,
    *,
    names: Mapping[str, str] | None = None,
) -> list[Output]:
    """Encode and draw everything, and only then publish: an input whose last chart fails leaves no file.

    ``names`` are paths by product, relative to the publisher's root, of outputs that don't go where a job's go.

    Raises
    ------
    ImageError
        ``chart_error``, ``write_error``, ``no_space`` or ``name_invalid``.
    """
    files = produced_files(item, rendered, results, recipe)
    renamed = [(product, (names or {}).get(product, path), data) for product, path, data in files]
    return publish_files(item, renamed, recipe, publisher)


def produced_files(
    item: WorkItem, rendered: Rendered, results: Results, recipe: Recipe
) -> list[tuple[str, str, bytes]]:
    """(product, path, bytes) of every file that one image becomes."""
    files: list[tuple[str, str, bytes]] = []
    if recipe.image is not None:
        options = recipe.image
        geometry = rendered.geometry
        data = encode_image(
            rendered.pixels, options, source=rendered.source, orientation=geometry.orientation, scale=geometry.scale
        )
        suffix = suffix_of(options.format, rendered.source.header.format)
        files.append(("image", f"{image_stem(item.name, item.image)}{suffix}", data))
    return files + drawn_charts(item, results, recipe)


def publish_files(
    item: WorkItem, files: Sequence[tuple[str, str, bytes]], recipe: Recipe, publisher: Publisher
) -> list[Output]:
    return [
        publisher.publish(
            product,
            path,
            data,
            known=known_hashes(item, path),
            overwrite=product == "image" and recipe.on_conflict == "overwrite",  # a stranger's chart is never replaced
            beside=beside(item, product),
        )
        for product, path, data in files
    ]


def check_agreement(results: Results, recipe: Recipe) -> None:
    try:
        check_results(results, *result_schemas(recipe))
    except RayjobsError as error:  # found here, it costs this image; found when rows are saved, it would cost others
        raise ImageError(FailedReason.ANALYSIS_ERROR, str(error)) from error


def drawn_charts(item: WorkItem, results: Results, recipe: Recipe) -> list[tuple[str, str, bytes]]:
    """Product, path and content of each chart."""
    return [
        (f"chart:{analysis}", recipe.paths.chart(analysis, item.name), _draw(analysis, results, item, recipe))
        for analysis in recipe.charted
    ]


def beside(item: WorkItem, product: str) -> Path | None:
    """The source's directory, for an image that goes there."""
    return Path(os.fsdecode(os.path.dirname(item.path))) if item.image and product == "image" else None


def known_hashes(item: WorkItem, path: str) -> set[str]:
    """The sha256 of files of this job that may lie there."""
    return {sha256 for known, sha256 in item.known if known == path}


def _draw(analysis: str, results: Results, item: WorkItem, recipe: Recipe) -> bytes:
    assert recipe.charts is not None
    try:
        return draw_chart(analysis, results[analysis], title=PurePosixPath(item.title).name, options=recipe.charts)
    except ImageError as error:
        raise ImageError(error.reason, f"chart of {analysis}: {error}") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ImageError(FailedReason.CHART_ERROR, f"chart of {analysis}: {type(error).__name__}: {error}") from error


def _check_memory(header: ImageHeader, limit: int | None, reduction: int) -> None:
    needed = decoding_bytes(header, reduction)
    if limit is not None and needed > limit:
        raise BeyondMemoryError(
            f"{header.width} x {header.height} {header.dtype} needs {needed:,} bytes decoded, above "
            f"limits.memory_per_image ({limit:,})",
        )


@lru_cache(maxsize=16)
def calculator(requests: tuple[AnalysisRequest, ...], analyses: tuple[Analysis, ...]) -> AnalysisCalculator:
    """``analyses`` are what the requests stand for at the moment: the cache outlives no change of a plug-in."""
    return AnalysisCalculator(requests)
