"""One image from its file to its row: the stages one after the other, in bands or frame by frame if need be."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pipelines.analyses import ANALYSES
from pipelines.analyses.frames import frame_results, is_of_frames
from pipelines.image_io import (
    open_source,
    probe_header,
    suffix_of,
)
from pipelines.models import ImageStatus, Output, WorkItem
from pipelines.operations.image_geometry import ImageGeometry
from pipelines.result_cache import ResultCache
from pipelines.stages.cached_analyses import NOTHING, content_of, look_up
from pipelines.stages.image_rows import already_there, done_status, failed_status
from pipelines.stages.image_stages import (
    Read,
    Rendered,
    SeveralFramesError,
    analyze,
    beside,
    calculator,
    check_agreement,
    drawn_charts,
    export,
    known_hashes,
    measure,
    produced_files,
    publish_files,
    read_input,
    render,
    render_frame,
    with_frames,
)
from pipelines.stages.memory_need import BeyondMemoryError, MoreMemoryNeededError
from pipelines.stages.output_names import frame_name
from pipelines.stages.output_paths import image_stem
from pipelines.stages.publish import Publisher
from pipelines.stages.recipe import Recipe, Results, own_recipe
from pipelines.stages.thumbnails import leave_original, leave_thumbnails
from pipelines.stages.work_meter import AT_ONCE, WorkMeter


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageWork:
    """One input, what is made of it, and what its worker lends for that."""

    item: WorkItem
    recipe: Recipe
    publisher: Publisher
    budget_bytes: int | None = None
    """Memory that it may need; None: any."""
    alive: Callable[[], None] = lambda: None
    """Called again and again while one that takes long makes progress."""
    cache: ResultCache | None = None
    read: Read = read_input


def produce_frames(work: ImageWork) -> tuple[Rendered, Results, list[Output]]:
    """All three stages of a file of several images, decoded one at a time; ``alive`` is called before each.

    The outputs of the first image bear the item's name, those of the others ``frame_name``. Raises as the stages.
    """
    item, recipe, cache = work.item, work.recipe, work.cache
    data = work.read(item, recipe)
    content = "" if cache is None or recipe.kept is None else content_of(data)
    first: Rendered | None = None
    results: list[Results] = []
    files: list[tuple[str, str, bytes]] = []
    remarks: list[str] = []
    for frame in range(probe_header(data, recipe.read).frame_count):
        work.alive()
        known = look_up(cache, recipe.kept, content, frame) if cache and recipe.kept else NOTHING
        rendered = render_frame(data, recipe, work.budget_bytes, frame, known)
        results.append(measure(rendered, recipe, cache))
        remarks += (rendered.source.degraded or "").split("; ")
        image = item.image and frame_name(item.image, frame + 1)
        of_frame = replace(item, name=frame_name(item.name, frame + 1), image=image)
        files += produced_files(of_frame, rendered, results[-1], recipe)
        first = first or rendered
    assert first is not None  # a file of several images has a first one
    every = "; ".join(filter(None, dict.fromkeys(remarks))) or None  # the row is that of all images
    first = replace(first, source=replace(first.source, degraded=every))
    of_file = with_frames(results, recipe)
    check_agreement(of_file, recipe)
    return first, of_file, publish_files(item, files, recipe, work.publisher)


def produce_in_bands(work: ImageWork) -> tuple[Rendered, Results, list[Output]]:
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

    item, recipe, publisher = work.item, work.recipe, work.publisher
    requests = tuple(request for request in recipe.analyses if not is_of_frames(request))
    giant_work = GiantWork(
        operations=recipe.operations,
        calculator=calculator(requests, tuple(ANALYSES[request.name] for request in requests)),
        image=recipe.image,
        memory_bytes=recipe.memory_per_image or 0,
    )
    path = f"{image_stem(item.name, item.image)}{suffix_of('tiff')}"
    overwrite = recipe.on_conflict == "overwrite"
    with ExitStack() as drafts:
        with (
            open_source(item.path, expected_size=item.size, expected_mtime_ns=item.mtime_ns) as file,
            open_giant(file, recipe.read, giant_work) as giant,
        ):
            if work.budget_bytes is not None and giant.needed_bytes > work.budget_bytes:
                raise MoreMemoryNeededError(giant.needed_bytes)
            draft = (
                None
                if recipe.image is None
                else drafts.enter_context(publisher.draft(path, beside=beside(item, "image")))
            )
            results = giant.run(draft, work.alive)
            for request in filter(is_of_frames, recipe.analyses):
                results[request.name] = frame_results(request, [results])  # a file of one image
            check_agreement(results, recipe)
            rendered = Rendered(giant.source.pixels, ImageGeometry(orientation=giant.orientation), giant.source)
        charts = drawn_charts(item, results, recipe)
        outputs = []
        if draft is not None:
            known = known_hashes(item, path)
            output = publisher.publish_draft("image", path, draft, known=known, overwrite=overwrite)
            outputs.append(output)
        outputs += [
            publisher.publish(product, path, data, known=known_hashes(item, path)) for product, path, data in charts
        ]
    return rendered, results, outputs


Produce = Callable[[ImageWork], tuple[Rendered, Results, list[Output]]]


def produce_of(error: BeyondMemoryError | SeveralFramesError) -> Produce:
    """What takes an input through all stages at once that can't be rendered as one array."""
    return produce_frames if isinstance(error, SeveralFramesError) else produce_in_bands


def process(work: ImageWork, *, worker: str = "") -> tuple[ImageStatus, Results]:
    """All three stages of one input; never raises for anything that the input may cause, only for the machine's faults.

    An input that needs more memory than ``budget_bytes`` is released undecoded.
    """
    work = replace(work, recipe=own_recipe(work.recipe, work.item))
    item, recipe, publisher, cache = work.item, work.recipe, work.publisher, work.cache
    started, meter = time.perf_counter(), WorkMeter()
    if existing := already_there(item, recipe, publisher):
        return existing, {}
    rendered: Rendered | None = None
    try:
        produce: Produce | None = None
        try:
            with meter.stage("render"):
                rendered = render(item, recipe, work.budget_bytes, cache, work.read)
        except (BeyondMemoryError, SeveralFramesError) as error:
            produce = produce_of(error)  # called only now, with the file's bytes gone from the error's frames
        if produce is not None:
            with meter.stage(AT_ONCE):
                rendered, results, outputs = produce(work)
        else:
            assert rendered is not None
            with meter.stage("analyze"):
                results = analyze(rendered, recipe, cache)
            with meter.stage("export"):
                outputs = export(item, rendered, results, recipe, publisher)
        leave_original(item, rendered, recipe, publisher)
        leave_thumbnails(item, rendered, outputs, recipe, publisher)
    except Exception as error:  # noqa: BLE001 - whatever one image causes must never reach another
        return failed_status(item, recipe, error, started, worker), {}
    return done_status(item, recipe, rendered, outputs, started, worker, meter), results
