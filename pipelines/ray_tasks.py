"""What the processor runs on Ray: one task that renders one or several images from the object store.

A large image is put into the store once and read there without a copy. An image's failure is a value of the task, so it
reaches no other image. Which images share a task and what becomes of results: ``ray_pool``.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache, lru_cache
from typing import Any

import numpy as np
import ray
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayTaskError

from pipelines.cpu_threads import limit_threads
from pipelines.errors import FailedReason, ImageError
from pipelines.extension_adapters import ExtensionKind, install
from pipelines.extension_manager import load_extensions
from pipelines.freed_memory import keep_freed_memory
from pipelines.operations.registry import Image
from pipelines.processing_pool import PoolError, RenderRecipe

INLINE_BYTES = 100 * 1024
"""Smaller arrays travel with the task; Ray's own bound for that."""


def stored(image: object) -> object:
    """What to give to a task: a reference to a large array, a small one itself, a reference as it is."""
    if not ray.is_initialized():  # else ray.put would start a cluster of its own
        raise PoolError("this process isn't connected to Ray any more")
    return ray.put(image) if isinstance(image, np.ndarray) and image.nbytes >= INLINE_BYTES else image


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


def packed(recipe: RenderRecipe) -> bytes:
    """A recipe as its tasks get it; extensions that were defined in a notebook travel with it."""
    data: bytes = cloudpickle.dumps(recipe)
    return data


@lru_cache(maxsize=8)
def _unpacked(data: bytes) -> RenderRecipe:
    recipe: RenderRecipe = cloudpickle.loads(data)
    return recipe


def start_task(recipe: RenderRecipe, data: bytes, inputs: list[object]) -> list[Any]:
    """One reference per image and a last one to the seconds; the name is what the dashboard shows.

    ``render 4 images: curves, unsharp_mask``
    """
    what = ", ".join(operation.name for operation in recipe.operations) or "nothing"
    count = "an image" if len(inputs) == 1 else f"{len(inputs)} images"
    hint = "" if recipe.strategy.hint == "default" else f" ({recipe.strategy.hint})"
    task = render_images.options(name=f"render {count}: {what}{hint}", num_returns=len(inputs) + 1)
    refs: list[Any] = task.remote(data, *inputs)
    return refs


@ray.remote(num_cpus=1, max_retries=0)
def render_images(data: bytes, *images: object) -> Iterator[Image | ImageError | tuple[float, ...]]:
    """One outcome per image, then the seconds that each one took; an image's failure is an outcome of its own."""
    _prepare_process()
    recipe = _unpacked(data)
    load_extensions(dict(recipe.plugins))
    seconds = []
    with ExitStack() as installed:
        for extension in recipe.extensions:
            installed.callback(install(ExtensionKind.PROCESSOR, extension.processor, extension.origin))
        for image in images:
            start = time.perf_counter()
            outcome = _outcome_of(image, recipe)
            seconds.append(time.perf_counter() - start)
            yield outcome
    yield tuple(seconds)


@cache
def _prepare_process() -> None:
    limit_threads(1)
    keep_freed_memory()


def _outcome_of(image: object, recipe: RenderRecipe) -> Image | ImageError:
    if not isinstance(image, np.ndarray):
        return ImageError(FailedReason.BAD_SHAPE, f"the reference stands for {type(image).__name__}, not an array")
    try:
        return np.ascontiguousarray(recipe.strategy.render(image, recipe.operations))
    except ImageError as error:
        return error
    except MemoryError as error:
        return ImageError(FailedReason.OUT_OF_MEMORY, f"{recipe.strategy.hint}: {error}")
