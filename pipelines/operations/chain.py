"""The chain: running the operations of a job one after the other on an image.

Covers checking the parameters, composing neighbouring lookup tables into one, taking alpha off and putting it back,
EXIF orientation, and naming the operation that failed. Doesn't read, write or tile images. The result never depends on
the composing: tables are composed after rounding, so that one look-up gives what several would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.errors import FailedReason, ImageError, RayjobsError, is_out_of_memory
from pipelines.models import ImageOperation
from pipelines.operations.lookup import compose, look_up
from pipelines.operations.reduction import Reduction
from pipelines.operations.registry import OPERATIONS, Image, Operation, Scale

UPRIGHT = 1
"""The EXIF orientation of an image that needs no turning."""
AUTO_ORIENT = "auto_orient"
"""The operation that gets the image's own orientation."""
RESIZE = "resize"
"""The operation that gets what is known of a picture that its decoder made smaller."""

Resolved = tuple[tuple[ImageOperation, Operation], ...]
"""Requests with what they stand for at the moment: a key for caches that outlives no change of the registry."""


class ChainError(RayjobsError):
    """A chain names an unknown operation or gives it wrong parameters; the text says which, by number and name."""


@dataclass(frozen=True, slots=True)
class ChainResult:
    """What a chain gives."""

    pixels: Image
    """May be the input array itself when nothing changes it."""
    orientation: int
    """The EXIF orientation still to be applied by whoever shows the pixels: 1 after auto_orient."""
    reduction: Reduction | None = None
    """How much smaller the pixels are than those that the chain is about; None from ``resize`` on."""
    scale: Scale | None = (1.0, 1.0)
    """Rows and columns of pixels before the chain that one pixel stands for; None when an operation doesn't say."""
    unscaled: str = ""
    """That operation, for messages."""
    pixel_size: Scale | None = None
    """Height and width of one pixel, in the unit of what was given; None without, or when an operation doesn't say."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operation of a chain with its checked parameters."""

    label: str
    """For messages: ``operation 2 (curves)``."""
    operation: Operation
    arguments: Mapping[str, Any]
    """Every parameter of the operation, defaults included."""


@dataclass(frozen=True, slots=True, eq=False)
class LookUp:
    """One or several neighbouring steps as a single table."""

    label: str
    table: NDArray[Any]


def as_operations(steps: Iterable[ImageOperation | Mapping[str, Any] | str]) -> tuple[ImageOperation, ...]:
    """Operations as people write them: a name, ``{name: parameters}`` as in a job file, or an ``ImageOperation``.

    Raises
    ------
    ChainError
        A step is something else, or there is no list.
    """
    if isinstance(steps, str | Mapping | ImageOperation):
        steps = [steps]
    if not isinstance(steps, Iterable):
        raise ChainError(f"operations: give a list of them, which may be empty, not {steps!r}")
    found = []
    for number, step in enumerate(steps, start=1):
        try:
            found.append(ImageOperation.of(step))
        except RayjobsError as error:
            raise ChainError(f"operation {number}: {error}") from error
    return tuple(found)


def native(image: Image) -> Image:
    """The image in this machine's byte order; itself if it is."""
    return image if image.dtype.isnative else image.astype(image.dtype.newbyteorder("="))


def compile_chain(operations: Sequence[ImageOperation]) -> tuple[Step, ...]:
    """Check a chain before any image is read.

    Raises
    ------
    ChainError
        For an unknown name, an unknown parameter, or a value of the wrong type or out of range.
    """
    return _steps(_resolved(operations))


def chain_halo(operations: Sequence[ImageOperation]) -> int | None:
    """Pixels of surroundings that a tile needs on each side; None if some operation needs the whole image.

    Raises ChainError as ``compile_chain`` does.
    """
    halo = 0
    for step in compile_chain(operations):
        if step.operation.reach == "local" and step.operation.halo is not None:
            halo += step.operation.halo(**step.arguments)
        elif step.operation.reach != "point":
            return None
    return halo


def apply_operations(
    image: Image,
    operations: Sequence[ImageOperation],
    *,
    orientation: int = UPRIGHT,
    reduction: Reduction | None = None,
    pixel_size: Scale | None = None,
) -> ChainResult:
    """Run a chain on an image.

    Parameters
    ----------
    image : ndarray
        uint8, uint16 or float32, in either byte order; shape (M, N), (M, N, 3) or (M, N, 4). Pixels as stored; never
        changed.
    operations : sequence of ImageOperation
        Applied in this order. Alpha is handed to the operations that handle it and kept as it is by all others.
    orientation : int
        The image's EXIF orientation, 1 to 8. ``auto_orient`` applies it, unless the job gives that an orientation of
        its own; without ``auto_orient`` it is handed on.
    reduction : Reduction, optional
        Of an image that its decoder made smaller: the chain must begin with ``resize``, or with it after
        ``auto_orient``.
    pixel_size : (float, float), optional
        Height and width of the image's pixels in any unit, to be followed through the chain.

    Returns
    -------
    ChainResult
        Pixels of the input's dtype, in this machine's byte order, and the orientation that remains.

    Raises
    ------
    ImageError
        ``operation_error``, with number and name of the operation; ``plugin_error``; ``out_of_memory``; ``bad_shape``
        for an array that is no image; or the reason that an operation gives itself.
    """
    image = native(image)
    check_image(image)
    try:
        stages = _stages(_resolved(operations), image.dtype.name)
    except ChainError as error:
        raise image_error_of(error, operations) from error
    result = ChainResult(image, orientation, reduction, pixel_size=pixel_size)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities and NaN of a float image are carried through
        for stage in stages:
            result = _run(stage, result)
    return result


def image_error_of(error: ChainError, operations: Sequence[ImageOperation]) -> ImageError:
    """A mistake in a job's chain as the failure of one of its images: ``plugin_error`` or ``operation_error``."""
    # The job was checked, so a name that is known to be missing is a plug-in that this process couldn't load.
    missing = any(OPERATIONS.is_explained(request.name) for request in operations)
    return ImageError(FailedReason.PLUGIN_ERROR if missing else FailedReason.OPERATION_ERROR, str(error))


def _resolved(operations: Sequence[ImageOperation]) -> Resolved:
    pairs = []
    for number, request in enumerate(operations, start=1):
        label = _label(number, request)
        if request.name not in OPERATIONS:
            raise ChainError(f"{label}: unknown operation{OPERATIONS.hint(request.name)}")
        try:
            hash(request)
        except TypeError as error:
            raise ChainError(f"{label}: parameters must be plain values, as in a job file ({error})") from error
        pairs.append((request, OPERATIONS[request.name]))
    return tuple(pairs)


def _label(number: int, request: ImageOperation) -> str:
    return f"operation {number} ({request.name})"


@lru_cache(maxsize=32)
def _steps(resolved: Resolved) -> tuple[Step, ...]:
    steps = []
    for number, (request, operation) in enumerate(resolved, start=1):
        label = _label(number, request)
        try:
            checked = operation.parameters(**request.params)
        except ValidationError as error:
            raise ChainError(f"{label}: {complaints(error)}") from error
        arguments = {name: getattr(checked, name) for name in operation.parameters.model_fields}
        steps.append(Step(label, operation, arguments))
    return tuple(steps)


def complaints(error: ValidationError) -> str:
    """What is wrong with the parameters, one clause per mistake."""
    clauses = [
        f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}"
        for each in error.errors(include_url=False)
    ]
    return "; ".join(clauses)


@lru_cache(maxsize=32)
def _stages(resolved: Resolved, dtype_name: str) -> tuple[Step | LookUp, ...]:
    """What to run for this dtype: neighbouring steps with tables become one look-up, unless the images are floats."""
    steps, dtype = _steps(resolved), np.dtype(dtype_name)
    if dtype.kind == "f":
        return steps
    stages: list[Step | LookUp] = []
    for has_table, group in groupby(steps, key=lambda step: step.operation.table is not None):
        members = list(group)
        stages.extend([_composed(members, dtype)] if has_table else members)
    return tuple(stages)


def _composed(steps: list[Step], dtype: np.dtype[Any]) -> LookUp:
    label = steps[0].label if len(steps) == 1 else f"{steps[0].label} to {steps[-1].label}"
    return LookUp(label, reduce(compose, (_table(step, dtype) for step in steps)))


def _table(step: Step, dtype: np.dtype[Any]) -> NDArray[Any]:
    assert step.operation.table is not None
    try:
        return step.operation.table(dtype, **step.arguments)
    except Exception as error:  # as in _run
        if is_out_of_memory(error):
            raise
        raise ChainError(f"{step.label}: {type(error).__name__}: {error}") from error


def _run(stage: Step | LookUp, before: ChainResult) -> ChainResult:
    try:
        scale, pixel_size = (_scale_after(stage, before, each) for each in (before.scale, before.pixel_size))
        if (scale is None) > (before.scale is None) or (pixel_size is None) > (before.pixel_size is None):
            before = replace(before, unscaled=before.unscaled or stage.label)
        if before.reduction is not None:
            return replace(_on_reduced(stage, before, before.reduction), scale=scale, pixel_size=pixel_size)
        if isinstance(stage, LookUp) or not stage.operation.handles_alpha:
            pixels = _on_colours(stage, before.pixels)
            return replace(before, pixels=pixels, scale=scale, pixel_size=pixel_size)
        return replace(_with_alpha(stage, before), scale=scale, pixel_size=pixel_size)
    except ImageError as error:
        raise ImageError(error.reason, f"{stage.label}: {error}") from error
    except Exception as error:  # whatever an operation raises, plug-ins included, is this image's failure alone
        reason = FailedReason.OUT_OF_MEMORY if is_out_of_memory(error) else FailedReason.OPERATION_ERROR
        text = str(error) if isinstance(error, RayjobsError) else f"{type(error).__name__}: {error}"
        raise ImageError(reason, f"{stage.label}: {text}") from error


def _scale_after(stage: Step | LookUp, before: ChainResult, scale: Scale | None) -> Scale | None:
    """What becomes of a scale, or of a pixel's height and width."""
    if scale is None or isinstance(stage, LookUp):
        return scale
    if stage.operation.scale is None:
        return None if stage.operation.reach == "geometry" else scale
    arguments = dict(stage.arguments)
    if stage.operation.name == AUTO_ORIENT:
        arguments["orientation"] = turn_of(stage, before.orientation)
    size = before.pixels.shape[:2] if before.reduction is None else (before.reduction.rows, before.reduction.columns)
    return stage.operation.scale(scale, size, **arguments)


def _on_reduced(stage: Step | LookUp, before: ChainResult, reduction: Reduction) -> ChainResult:
    from pipelines.operations.geometry import ORIENTATIONS, resize_reduced

    if isinstance(stage, Step) and stage.operation.name == AUTO_ORIENT:
        turn = turn_of(stage, before.orientation)
        return replace(_with_alpha(stage, before), reduction=reduction.turned(*ORIENTATIONS[turn]))
    if isinstance(stage, Step) and stage.operation.name == RESIZE:
        return replace(before, pixels=resize_reduced(before.pixels, reduction, stage.arguments), reduction=None)
    raise RayjobsError(f"got an image that its decoder made {reduction.factor} times smaller, before any resize")


def turn_of(step: Step, orientation: int) -> int:
    """The EXIF orientation that an ``auto_orient`` applies to an image of this one."""
    own: int | None = step.arguments["orientation"]
    return orientation if own is None else own


def _with_alpha(step: Step, before: ChainResult) -> ChainResult:
    if step.operation.name != AUTO_ORIENT:
        return replace(before, pixels=_checked(step.operation.function(before.pixels, **step.arguments), before.pixels))
    turn = turn_of(step, before.orientation)
    turned = step.operation.function(before.pixels, **{**step.arguments, "orientation": turn})
    return replace(before, pixels=_checked(turned, before.pixels), orientation=UPRIGHT)


def _on_colours(stage: Step | LookUp, image: Image) -> Image:
    if image.ndim == 2 or image.shape[2] == 3:
        return _changed(stage, image)
    from pipelines.operations.alpha import join_alpha, shares_of, split_alpha

    colours, alpha = split_alpha(image)
    if isinstance(stage, Step) and stage.operation.takes_shares and (shares := shares_of(alpha)) is not None:
        if not shares.any():  # nothing is to be seen
            return image
        changed = _checked(stage.operation.function(colours, shares, **stage.arguments), colours)
    else:
        changed = _changed(stage, colours)
    if changed.shape[:2] != alpha.shape:
        raise RayjobsError(f"made {changed.shape[:2]} of {alpha.shape} pixels, but doesn't handle alpha")
    return join_alpha(changed, alpha)


def _changed(stage: Step | LookUp, image: Image) -> Image:
    if isinstance(stage, LookUp):
        return look_up(image, stage.table)
    return _checked(stage.operation.function(image, **stage.arguments), image)


def _checked(result: object, image: Image) -> Image:
    if not isinstance(result, np.ndarray):
        raise RayjobsError(f"returned {type(result).__name__} instead of an array")
    if result.dtype != image.dtype or not _has_image_shape(result):
        raise RayjobsError(f"returned {result.dtype} {result.shape} for {image.dtype} {image.shape}")
    return result


def check_image(image: Image) -> None:
    """Raise ImageError ``bad_shape`` unless the array is an image as operations and analyses take it."""
    if image.dtype not in (np.uint8, np.uint16, np.float32) or not _has_image_shape(image):
        raise ImageError(
            FailedReason.BAD_SHAPE,
            f"{image.dtype} {image.shape}: images are uint8, uint16 or float32, (M, N), (M, N, 3) or (M, N, 4)",
        )


def _has_image_shape(array: NDArray[Any]) -> bool:
    return array.size > 0 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)))
