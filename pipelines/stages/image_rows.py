"""What became of an image, as the row that goes to the ledger."""

from __future__ import annotations

import os
import time

from pipelines.errors import FailedReason, ImageError, SkippedReason, is_out_of_memory
from pipelines.machine_faults import MachineFaultError, fault_in
from pipelines.models import ImageStatus, Output, WorkItem
from pipelines.registry import UnknownNameError
from pipelines.stages.image_stages import Rendered, known_hashes
from pipelines.stages.memory_need import MoreMemoryNeededError
from pipelines.stages.output_paths import image_stem
from pipelines.stages.publish import Publisher
from pipelines.stages.recipe import Recipe
from pipelines.stages.work_meter import WorkMeter
from pipelines.storage.local_files import sha256_of


def already_there(item: WorkItem, recipe: Recipe, publisher: Publisher) -> ImageStatus | None:
    """The skipped row of an item whose image exists, when the job's policy is to leave such an input out."""
    if recipe.on_conflict != "skip" or recipe.image is None:
        return None
    paths = recipe.paths.images(image_stem(item.name, item.image))
    there = [path for path in paths if os.path.lexists(publisher.root / path)]
    if not there or any(sha256_of(publisher.root / path) in known_hashes(item, path) for path in there):
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
