"""What the processor needs of a pool of workers, and what goes in and comes out.

Data and one Protocol; Ray's implementation is ``ray_pool.RayPool``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.contracts import ProcessorExtension
from pipelines.errors import RayjobsError
from pipelines.extensions.extension_adapters import Origin
from pipelines.models import ImageOperation
from pipelines.operations.registry import Image
from pipelines.processor.processing_strategies import ProcessingStrategy


class PoolError(RayjobsError):
    """The pool can't work: there is no cluster, or it was shut down."""


@dataclass(frozen=True, slots=True)
class LentExtension:
    """A processor extension that workers get with the task that needs it."""

    origin: Origin
    processor: ProcessorExtension


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRecipe:
    """What to do; images with the same recipe may share a task."""

    operations: tuple[ImageOperation, ...]
    chain: str
    """``cache_keys.chain_key`` of the operations."""
    strategy: ProcessingStrategy
    extensions: tuple[LentExtension, ...] = ()
    plugins: tuple[tuple[str, str], ...] = ()
    """Installed plug-ins that the chain uses, with the versions that the caller has; workers load them themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedImage:
    """A rendered image, and where the pool keeps it."""

    pixels: Image
    """Read-only."""
    seconds: float
    """Time that a worker needed for it."""
    source: object
    """The pool's handle of the input, for ``fetch``."""
    result: object
    """The pool's handle of the pixels; they stay in the pool's memory as long as it lives."""


@dataclass(frozen=True, slots=True, eq=False)
class RenderRequest:
    """One image to render."""

    image: object
    """An array, or a reference of the pool's kind to one."""
    recipe: RenderRecipe
    future: Future[Image] = field(default_factory=Future)
    """Gets the pixels, or an ImageError."""
    rendered: Callable[[RenderedImage], None] = lambda _: None
    """Called before the future is resolved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """What a pool has in hand."""

    waiting: int
    """Images that no worker has yet."""
    running: int
    """Images in tasks."""
    tasks: int
    """Tasks started since the beginning; fewer than images when small ones were merged."""


class ProcessingPool(Protocol):
    """Workers that render images; every method may be called from any thread."""

    def submit(self, requests: Sequence[RenderRequest]) -> None:
        """Begin with the requests as workers become free; requests of one call may be merged into tasks."""

    def is_reference(self, image: object) -> bool:
        """Whether it stands for an image that the pool's memory holds already."""

    def reference_key(self, reference: object) -> str:
        """A text that no other reference has."""

    def fetch(self, handle: object) -> Image:
        """The pixels of a handle; raises PoolError when they are lost."""

    def memory_bytes(self) -> int:
        """Size of the memory that holds images and results."""

    def stats(self) -> PoolStats:
        """What it has in hand."""

    def shutdown(self) -> None:
        """Cancel what waits, wait for what runs, free everything."""
