"""One input, from its file to its files: render, analyze, export.

The three stages are plain functions, run one after the other in one process or as three operators side by side; what
they do to an image is the same. An image larger than the memory for one goes through all stages at once, in bands
(``giant_image``). Everything that can go wrong with one image ends here, as a failed row.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pyarrow as pa

from pipelines.analyses import ANALYSES, Analysis, AnalysisCalculator, Result
from pipelines.analyses.frames import TABLED, frame_results, is_of_frames, measured
from pipelines.charts import ChartOptions, draw_chart
from pipelines.errors import FailedReason, ImageError, RayjobsError, SkippedReason, is_out_of_memory
from pipelines.image_io import (
    DecodedImage,
    EncodeOptions,
    ImageHeader,
    ReadPolicy,
    encode_image,
    encoding_losses,
    open_source,
    probe_header,
    read_bytes,
    suffix_of,
)
from pipelines.image_io.pixel_size import pixel_size_um
from pipelines.machine_faults import MachineFaultError, fault_in
from pipelines.models import AnalysisRequest, ImageOperation, ImageStatus, Output, WorkItem
from pipelines.operations import Image
from pipelines.operations.image_geometry import AS_STORED, ImageGeometry, geometry_of
from pipelines.registry import UnknownNameError
from pipelines.result_cache import ResultCache
from pipelines.stages.cached_analyses import NOTHING, Kept, Known, content_of, keep, look_up
from pipelines.stages.decoder_reduction import decode_and_apply, decoder_reduction
from pipelines.stages.memory_need import BeyondMemoryError, MoreMemoryNeededError, check_budget, decoding_bytes
from pipelines.stages.output_names import frame_name
from pipelines.stages.output_paths import OutputPaths, image_stem
from pipelines.stages.publish import Publisher
from pipelines.stages.work_meter import AT_ONCE, WorkMeter
from pipelines.storage.local_files import sha256_of
from pipelines.tables import analyses_schema, check_results, object_schemas

Results = Mapping[str, Result]
"""Analysis name -> its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to compute for an input: the products that it lacks."""

    id: int
    """Number of this set of products in the job's ledger."""
    operations: tuple[ImageOperation, ...] = ()
    read: ReadPolicy
    image: EncodeOptions | None = None
    """None: no image is wanted, or it is there already."""
    image_suffixes: tuple[str, ...] = ()
    """What may follow the item's name: ``.jpg``; several when each input keeps its own format."""
    analyses: tuple[AnalysisRequest, ...] = ()
    charts: ChartOptions | None = None
    charted: tuple[str, ...] = ()
    """Analyses to draw; each of them is among ``analyses``."""
    kept: Kept | None = None
    """Analyses that may come from other jobs, and go to them; None: none may."""
    on_conflict: Literal["refuse", "skip", "overwrite"] = "refuse"
    """When a file that isn't the job's has an output's name."""
    memory_per_image: int | None = None
    """Bytes that decoding one image may need; larger ones are done in bands, where that is possible."""

    @property
    def paths(self) -> OutputPaths:
        """Where it publishes."""
        suffix = "" if self.charts is None else f".{self.charts.format}"
        return OutputPaths(image_suffixes=self.image_suffixes, chart_suffix=suffix, charted=self.charted)


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


def render(
    item: WorkItem, recipe: Recipe, budget_bytes: int | None = None, cache: ResultCache | None = None
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
    data = read_input(item, recipe)
    if recipe.read.frames == "all" and probe_header(data, recipe.read).frame_count > 1:
        raise SeveralFramesError(f"{item.title} holds several images")
    known = NOTHING if cache is None or recipe.kept is None else look_up(cache, recipe.kept, content_of(data))
    return render_frame(data, recipe, budget_bytes, known=known)


class SeveralFramesError(RayjobsError):
    """A file of several images, all of which the job wants: it goes through ``produce_frames``."""


def read_input(item: WorkItem, recipe: Recipe) -> bytes:
    """The file as it was planned. Raises ImageError: ``missing``, ``changed``, ``permission``, ..."""
    return read_bytes(
        item.path, max_bytes=recipe.read.max_file_bytes, expected_size=item.size, expected_mtime_ns=item.mtime_ns
    )


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
    decoded, result = decode_and_apply(data, header, recipe.read, recipe.operations, frame=frame, factor=reduction)
    if decoded.degraded is not None:
        known = replace(known, key="")  # of less than the file promises nothing is kept
    if recipe.image is not None:
        lost = encoding_losses(result.pixels, recipe.image, source=decoded, orientation=result.orientation)
        decoded = replace(decoded, degraded="; ".join(filter(None, [decoded.degraded, *lost])) or None)
    asks = any(request.params.get("pixel_size") == "file" for request in measured(recipe.analyses))
    geometry = geometry_of(result, pixel_size_um(data, frame) if asks else None)
    return Rendered(result.pixels, geometry, decoded, known)


def analyze(rendered: Rendered, recipe: Recipe, cache: ResultCache | None = None) -> Results:
    """Measure one rendered image, but for what is known of it, and keep what is measured in the ``cache``.

    Raises
    ------
    ImageError
        ``analysis_error``, also for a result that doesn't fit the columns of its table; ``out_of_memory``.
    """
    if not recipe.analyses:
        return {}
    results = _with_frames([_measure(rendered, recipe, cache)], recipe)
    _check_results(results, recipe)
    return results


def _measure(rendered: Rendered, recipe: Recipe, cache: ResultCache | None) -> Results:
    """What is measured of each image of a file."""
    known = rendered.known
    requests = tuple(request for request in measured(recipe.analyses) if request.name not in known.results)
    if not requests:
        return known.results
    analyses = tuple(ANALYSES[request.name] for request in requests)
    results = _calculator(requests, analyses).calculate_analyses(rendered.pixels, geometry=rendered.geometry)
    if cache is not None and recipe.kept is not None:
        keep(cache, recipe.kept, known, results)
    return {**known.results, **results}


def _with_frames(frames: Sequence[Results], recipe: Recipe) -> Results:
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
    files = _files(item, rendered, results, recipe)
    renamed = [(product, (names or {}).get(product, path), data) for product, path, data in files]
    return _publish(item, renamed, recipe, publisher)


def _files(item: WorkItem, rendered: Rendered, results: Results, recipe: Recipe) -> list[tuple[str, str, bytes]]:
    """(product, path, bytes) of every file that one image becomes."""
    files: list[tuple[str, str, bytes]] = []
    if recipe.image is not None:
        options = recipe.image
        data = encode_image(rendered.pixels, options, source=rendered.source, orientation=rendered.orientation)
        suffix = suffix_of(options.format, rendered.source.header.format)
        files.append(("image", f"{image_stem(item.name, item.image)}{suffix}", data))
    return files + _charts(item, results, recipe)


def _publish(
    item: WorkItem, files: Sequence[tuple[str, str, bytes]], recipe: Recipe, publisher: Publisher
) -> list[Output]:
    return [
        publisher.publish(
            product,
            path,
            data,
            known=_known(item, path),
            overwrite=product == "image" and recipe.on_conflict == "overwrite",  # a stranger's chart is never replaced
            beside=_beside(item, product),
        )
        for product, path, data in files
    ]


def produce_frames(
    item: WorkItem,
    recipe: Recipe,
    publisher: Publisher,
    budget_bytes: int | None,
    alive: Callable[[], None],
    cache: ResultCache | None = None,
) -> tuple[Rendered, Results, list[Output]]:
    """All three stages of a file of several images, decoded one at a time; ``alive`` is called before each.

    The outputs of the first image bear the item's name, those of the others ``frame_name``. Raises as the stages.
    """
    data = read_input(item, recipe)
    content = "" if cache is None or recipe.kept is None else content_of(data)
    first: Rendered | None = None
    results: list[Results] = []
    files: list[tuple[str, str, bytes]] = []
    remarks: list[str] = []
    for frame in range(probe_header(data, recipe.read).frame_count):
        alive()
        known = look_up(cache, recipe.kept, content, frame) if cache and recipe.kept else NOTHING
        rendered = render_frame(data, recipe, budget_bytes, frame, known)
        results.append(_measure(rendered, recipe, cache))
        remarks += (rendered.source.degraded or "").split("; ")
        image = item.image and frame_name(item.image, frame + 1)
        of_frame = replace(item, name=frame_name(item.name, frame + 1), image=image)
        files += _files(of_frame, rendered, results[-1], recipe)
        first = first or rendered
    assert first is not None  # a file of several images has a first one
    every = "; ".join(filter(None, dict.fromkeys(remarks))) or None  # the row is that of all images
    first = replace(first, source=replace(first.source, degraded=every))
    of_file = _with_frames(results, recipe)
    _check_results(of_file, recipe)
    return first, of_file, _publish(item, files, recipe, publisher)


def produce_in_bands(
    item: WorkItem,
    recipe: Recipe,
    publisher: Publisher,
    budget_bytes: int | None,
    alive: Callable[[], None],
    cache: ResultCache | None = None,
) -> tuple[Rendered, Results, list[Output]]:
    """All three stages of an input that is larger than the memory for one; ``alive`` is called again and again.

    What is rendered comes back without its pixels. No cache is asked: nobody has read all of the file's bytes.

    Raises
    ------
    ImageError
        ``too_large`` when something stands in the way; else as the stages.
    MoreMemoryNeededError
        Even bands need more memory than ``budget_bytes``.
    """
    from pipelines.stages.giant_image import GiantWork, open_giant

    requests = tuple(request for request in recipe.analyses if not is_of_frames(request))
    work = GiantWork(
        operations=recipe.operations,
        calculator=_calculator(requests, tuple(ANALYSES[request.name] for request in requests)),
        image=recipe.image,
        memory_bytes=recipe.memory_per_image or 0,
    )
    path = f"{image_stem(item.name, item.image)}{suffix_of('tiff')}"
    overwrite = recipe.on_conflict == "overwrite"
    with ExitStack() as drafts:
        with (
            open_source(item.path, expected_size=item.size, expected_mtime_ns=item.mtime_ns) as file,
            open_giant(file, recipe.read, work) as giant,
        ):
            if budget_bytes is not None and giant.needed_bytes > budget_bytes:
                raise MoreMemoryNeededError(giant.needed_bytes)
            draft = (
                None
                if recipe.image is None
                else drafts.enter_context(publisher.draft(path, beside=_beside(item, "image")))
            )
            results = giant.run(draft, alive)
            for request in filter(is_of_frames, recipe.analyses):
                results[request.name] = frame_results(request, [results])  # a file of one image
            _check_results(results, recipe)
            rendered = Rendered(giant.source.pixels, ImageGeometry(orientation=giant.orientation), giant.source)
        charts = _charts(item, results, recipe)
        outputs = []
        if draft is not None:
            output = publisher.publish_draft("image", path, draft, known=_known(item, path), overwrite=overwrite)
            outputs.append(output)
        outputs += [publisher.publish(product, path, data, known=_known(item, path)) for product, path, data in charts]
    return rendered, results, outputs


Produce = Callable[
    [WorkItem, Recipe, Publisher, int | None, Callable[[], None], ResultCache | None],
    tuple[Rendered, Results, list[Output]],
]


def produce_of(error: BeyondMemoryError | SeveralFramesError) -> Produce:
    """What takes an input through all stages at once that can't be rendered as one array."""
    return produce_frames if isinstance(error, SeveralFramesError) else produce_in_bands


def process(
    item: WorkItem,
    recipe: Recipe,
    publisher: Publisher,
    *,
    worker: str = "",
    budget_bytes: int | None = None,
    alive: Callable[[], None] = lambda: None,
    cache: ResultCache | None = None,
) -> tuple[ImageStatus, Results]:
    """All three stages of one input; never raises for anything that the input may cause, only for the machine's faults.

    An input that needs more memory than ``budget_bytes`` is handed back undecoded. ``alive`` is called while a large
    one makes progress.
    """
    started, meter = time.perf_counter(), WorkMeter()
    if existing := already_there(item, recipe, publisher):
        return existing, {}
    rendered: Rendered | None = None
    try:
        produce: Produce | None = None
        try:
            with meter.stage("render"):
                rendered = render(item, recipe, budget_bytes, cache)
        except (BeyondMemoryError, SeveralFramesError) as error:
            produce = produce_of(error)  # called only now, with the file's bytes gone from the error's frames
        if produce is not None:
            with meter.stage(AT_ONCE):
                rendered, results, outputs = produce(item, recipe, publisher, budget_bytes, alive, cache)
        else:
            assert rendered is not None
            with meter.stage("analyze"):
                results = analyze(rendered, recipe, cache)
            with meter.stage("export"):
                outputs = export(item, rendered, results, recipe, publisher)
    except Exception as error:  # noqa: BLE001 - whatever one image causes must never reach another
        return failed_status(item, recipe, error, started, worker), {}
    return done_status(item, recipe, rendered, outputs, started, worker, meter), results


def already_there(item: WorkItem, recipe: Recipe, publisher: Publisher) -> ImageStatus | None:
    """The skipped row of an item whose image exists, when the job's policy is to leave such an input out."""
    if recipe.on_conflict != "skip" or recipe.image is None:
        return None
    paths = recipe.paths.images(image_stem(item.name, item.image))
    there = [path for path in paths if os.path.lexists(publisher.root / path)]
    if not there or any(sha256_of(publisher.root / path) in _known(item, path) for path in there):
        return None
    message = f"{there[0]} exists (on_conflict: skip)"
    return ImageStatus(id=item.id, status="skipped", reason=SkippedReason.EXISTS, message=message, recipe=recipe.id)


def done_status(
    item: WorkItem,
    recipe: Recipe,
    rendered: Rendered,
    outputs: list[Output],
    started: float,
    worker: str,
    meter: WorkMeter | None = None,
) -> ImageStatus:
    """The row of an input whose products are all published."""
    header = rendered.source.header
    return ImageStatus(
        id=item.id,
        status="done",
        degraded=rendered.source.degraded,
        width=header.width,
        height=header.height,
        outputs=tuple(outputs),
        recipe=recipe.id,
        known=len(rendered.known.results),
        seconds=time.perf_counter() - started,
        worker=worker,
        spent={} if meter is None else meter.spent,
    )


def failed_status(item: WorkItem, recipe: Recipe, error: Exception, started: float, worker: str) -> ImageStatus:
    """The row of an input that failed, with a reason of the fixed list and one line of text.

    One that needs more memory than its task has is released instead.

    Raises
    ------
    MachineFaultError
        The input isn't at fault: this machine is.
    """
    fault = fault_in(error)
    if fault is not None:
        raise MachineFaultError(fault) from error
    if isinstance(error, MoreMemoryNeededError):
        return ImageStatus(
            id=item.id, status="released", needs_bytes=error.needed_bytes, recipe=recipe.id, worker=worker
        )
    if isinstance(error, ImageError):
        reason, message = error.reason, str(error)
    elif is_out_of_memory(error):
        reason, message = FailedReason.OUT_OF_MEMORY, "not enough memory for this image"
    elif isinstance(error, UnknownNameError):  # the job was checked: this process couldn't load a plug-in
        reason, message = FailedReason.PLUGIN_ERROR, str(error)
    else:
        reason, message = FailedReason.OPERATION_ERROR, f"unexpected {type(error).__name__}: {error}"
    return ImageStatus(
        id=item.id,
        status="failed",
        reason=reason,
        message=" ".join(message.split())[:500],
        recipe=recipe.id,
        seconds=time.perf_counter() - started,
        worker=worker,
    )


def _check_results(results: Results, recipe: Recipe) -> None:
    try:
        check_results(results, *result_schemas(recipe))
    except RayjobsError as error:  # found here, it costs this image; found when rows are saved, it would cost others
        raise ImageError(FailedReason.ANALYSIS_ERROR, str(error)) from error


def _charts(item: WorkItem, results: Results, recipe: Recipe) -> list[tuple[str, str, bytes]]:
    """Product, path and content of each chart."""
    return [
        (f"chart:{analysis}", recipe.paths.chart(analysis, item.name), _draw(analysis, results, item, recipe))
        for analysis in recipe.charted
    ]


def _beside(item: WorkItem, product: str) -> Path | None:
    """The source's directory, for an image that goes there."""
    return Path(os.fsdecode(os.path.dirname(item.path))) if item.image and product == "image" else None


def _known(item: WorkItem, path: str) -> set[str]:
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
def _calculator(requests: tuple[AnalysisRequest, ...], analyses: tuple[Analysis, ...]) -> AnalysisCalculator:
    """``analyses`` are what the requests stand for at the moment: the cache outlives no change of a plug-in."""
    return AnalysisCalculator(requests)


def result_schemas(recipe: Recipe) -> tuple[pa.Schema, dict[str, pa.Schema]]:
    """Of the table of images and, by analysis, of the tables of objects that the recipe gives rows of."""
    return _schemas(recipe.analyses, tuple(TABLED[request.name] for request in recipe.analyses))


@lru_cache(maxsize=16)
def _schemas(
    requests: tuple[AnalysisRequest, ...], analyses: tuple[Analysis, ...]
) -> tuple[pa.Schema, dict[str, pa.Schema]]:
    """Of the images' table and, by analysis, of the tables of objects; ``analyses`` as for ``_calculator``."""
    by_name = {analysis.name: analysis for analysis in analyses}
    rows = object_schemas(requests, by_name)
    return analyses_schema(requests, by_name), {request.name: schema for request, schema in rows.items()}
