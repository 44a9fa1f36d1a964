"""What the processor runs on Ray: one task that renders one or several images from the object store.

A large image is put into the store once and read there without a copy. The images of a task share an object, and so do
its results: each object costs the driver and Ray's daemon a millisecond, whatever its size. An image's failure is a
value of the task, so it reaches no other image. Which images share a task and what becomes of results: ``ray_pool``.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import ray
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayTaskError

from pipelines.cpu_threads import limit_threads
from pipelines.errors import FailedReason, ImageError
from pipelines.extensions.extension_adapters import operation_of
from pipelines.extensions.extension_manager import load_extensions
from pipelines.freed_memory import keep_freed_memory
from pipelines.kernel_cache import keep_kernels
from pipelines.operations.chain import native
from pipelines.operations.registry import OPERATIONS, Image, Operation
from pipelines.processor.processing_pool import PoolError, RenderRecipe
from pipelines.resource_needs import ray_options

INLINE_BYTES = 100 * 1024
"""Smaller arrays travel with the task; Ray's own bound for that."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where tasks find an image."""

    value: object
    """A reference, or a small array itself."""
    index: int | None = None
    """Within the list that the reference stands for; None: it stands for the image."""

    def fetch(self) -> Image:
        """Its pixels, read-only when they lie in the store; raises RayError when they are lost."""
        value: Any = ray.get(self.value) if isinstance(self.value, ray.ObjectRef) else self.value
        image: Image = value if self.index is None else value[self.index]
        return image


def stored(images: Sequence[object]) -> list[Stored]:
    """What to give to a task: large arrays in one object, small ones themselves, references as they are."""
    if not ray.is_initialized():  # else ray.put would start a cluster of its own
        raise PoolError("this process isn't connected to Ray any more")
    large = [image for image in images if isinstance(image, np.ndarray) and image.nbytes >= INLINE_BYTES]
    together = ray.put(large) if large else None
    index_of = {id(image): index for index, image in enumerate(large)}
    return [Stored(together, index_of[id(image)]) if id(image) in index_of else Stored(image) for image in images]


def object_store_bytes() -> int:
    """Size of this node's object store."""
    own = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == own)
    return int(node["Resources"].get("object_store_memory", 0))


def as_image_error(error: Exception) -> ImageError:
    """What to say of an image whose task, with no other image in it, brought nothing back."""
    if isinstance(error, OutOfMemoryError):
        return ImageError(FailedReason.OUT_OF_MEMORY, "its worker needed more memory than the node has")
    if isinstance(error, RayTaskError):
        return ImageError(FailedReason.OPERATION_ERROR, f"{type(error.cause).__name__}: {error.cause}")
    return ImageError(FailedReason.CRASHED, f"the process that worked on it alone ended ({type(error).__name__})")


def cluster_cpus() -> int:
    """CPUs of all nodes."""
    return int(ray.cluster_resources().get("CPU", 1))


def render_resources() -> dict[str, float]:
    """What a task of ours holds beside a CPU: the resource of the stage that renders, where nodes declare it."""
    return {"render": 1.0} if ray.cluster_resources().get("render", 0) >= 1 else {}


def packed(recipe: RenderRecipe) -> bytes:
    """A recipe as its tasks get it; extensions that were defined in a notebook travel with it."""
    data: bytes = cloudpickle.dumps(recipe)
    return data


@lru_cache(maxsize=8)
def _unpacked(data: bytes) -> RenderRecipe:
    recipe: RenderRecipe = cloudpickle.loads(data)
    return recipe


@lru_cache(maxsize=8)
def _own_operations(data: bytes) -> dict[str, Operation]:
    """Operations of the processor's own extensions."""
    return {each.origin.name: operation_of(each.processor, each.origin) for each in _unpacked(data).extensions}


def _lent_operations(data: bytes) -> AbstractContextManager[None]:
    # Not in the task: Ray sends it with what it names, and this worker has a table of its own.
    return OPERATIONS.lent(_own_operations(data))


def start_task(recipe: RenderRecipe, data: bytes, inputs: Sequence[Stored], resources: Mapping[str, float]) -> Any:
    """A reference to one outcome per image and, last, the seconds; the name is what the dashboard shows.

    ``render 4 images: curves, unsharp_mask``
    """
    what = ", ".join(operation.name for operation in recipe.operations) or "nothing"
    count = "an image" if len(inputs) == 1 else f"{len(inputs)} images"
    hint = "" if recipe.strategy.hint == "default" else f" ({recipe.strategy.hint})"
    values = {id(each.value): each.value for each in inputs}
    numbers = {key: number for number, key in enumerate(values)}
    picks = [(numbers[id(each.value)], each.index) for each in inputs]
    options = ray_options(cpus=1, resources=resources, name=f"render {count}: {what}{hint}")
    return render_images.options(**options).remote(data, picks, *values.values())


@ray.remote
def render_images(
    data: bytes, picks: list[tuple[int, int | None]], *values: Any
) -> list[Image | ImageError | list[float]]:
    """One outcome per image, then the seconds that each one took; an image's failure is an outcome of its own.

    ``picks``: the number of the value, and the image's index in it, as ``Stored`` has it.
    """
    _prepare_process()
    recipe = _unpacked(data)
    load_extensions(dict(recipe.plugins))
    outcomes: list[Image | ImageError | list[float]] = []
    seconds = []
    with _lent_operations(data):
        for number, index in picks:
            start = time.perf_counter()
            outcomes.append(_outcome_of(values[number] if index is None else values[number][index], recipe))
            seconds.append(time.perf_counter() - start)
    return [*outcomes, seconds]


@cache
def _prepare_process() -> None:
    limit_threads(1)
    keep_kernels()
    keep_freed_memory()


def _outcome_of(image: object, recipe: RenderRecipe) -> Image | ImageError:
    if not isinstance(image, np.ndarray):
        return ImageError(FailedReason.BAD_SHAPE, f"the reference stands for {type(image).__name__}, not an array")
    try:
        return np.ascontiguousarray(recipe.strategy.render(native(image), recipe.operations))
    except ImageError as error:
        return error
    except MemoryError as error:
        return ImageError(FailedReason.OUT_OF_MEMORY, f"{recipe.strategy.hint}: {error}")
