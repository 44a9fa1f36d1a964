"""The processor's cache of rendered images, in two levels: handles in the object store, then results on disk.

The first level is exact without digesting every byte: a large image is looked up by a fingerprint of samples and then
compared with the input that the store still has. The second level, if there is one, is keyed by the digest of all
samples and holds only what any process could make: nothing of an extension that was registered at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from pipelines.cache_keys import content_digest, fingerprint, render_key
from pipelines.operations.registry import Image
from pipelines.processor.memory_cache import MemoryCache
from pipelines.processor.processing_pool import PoolError, ProcessingPool, RenderedImage, RenderRecipe
from pipelines.result_cache import CacheStats, ResultCache

_PIXELS = "pixels"


@dataclass(frozen=True, slots=True)
class _Kept:
    result: object
    """Handle of the pixels."""
    source: object | None
    """Handle of the input to compare with; None when the key says all."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the first level said of an image."""

    pixels: Image | None = None
    key: str | None = None
    """Under which the result may be kept; None: it may not."""
    exact: bool = True
    """Whether the key covers every sample."""


class RenderCache:
    """Both levels; every method may be called from any thread."""

    def __init__(
        self, pool: ProcessingPool, *, max_entries: int, max_bytes: int, disk: ResultCache | None = None
    ) -> None:
        self._pool = pool
        self._memory: MemoryCache[_Kept] = MemoryCache(max_entries=max_entries, max_bytes=max_bytes)
        self._disk = disk

    def find(self, image: object, recipe: RenderRecipe) -> Lookup:
        """Ask the first level."""
        if not recipe.strategy.cached:
            return Lookup()
        reference = self._pool.is_reference(image)
        content, exact = (self._pool.reference_key(image), True) if reference else fingerprint(cast(Image, image))
        key = _key(content, recipe)
        kept = self._memory.get(key, None if exact else lambda kept: self._is_source(kept, cast(Image, image)))
        if kept is not None:
            try:
                return Lookup(self._pool.fetch(kept.result), key, exact)
            except PoolError:  # lost with its node
                self._memory.discard(key)
        return Lookup(None, key, exact)

    def likeness(self, image: object, lookup: Lookup) -> str:
        """A text that equal images share; of those that share it some may differ: see ``are_equal``."""
        if lookup.key is not None:
            return lookup.key
        return self._pool.reference_key(image) if self._pool.is_reference(image) else fingerprint(cast(Image, image))[0]

    def are_equal(self, one: object, other: object) -> bool:
        """Whether two images of the same likeness are the same in every sample."""
        if one is other or self._pool.is_reference(one) or self._pool.is_reference(other):
            return True  # a reference is alike only to itself
        left, right = cast(Image, one), cast(Image, other)
        same_kind = left.dtype == right.dtype and left.shape == right.shape
        return same_kind and np.array_equal(_bytes(left), _bytes(right))

    def keep(self, lookup: Lookup, image: object, rendered: RenderedImage) -> None:
        """Keep a result in the first level, as long as the pool's memory has it."""
        if lookup.key is None:
            return
        source = None if lookup.exact else rendered.source
        size = rendered.pixels.nbytes + (0 if lookup.exact else cast(Image, image).nbytes)
        self._memory.put(lookup.key, _Kept(rendered.result, source), size)

    def uses_disk(self, image: object, recipe: RenderRecipe) -> bool:
        """Whether the second level is worth asking: its key costs a look at every byte."""
        return self._disk is not None and recipe.strategy.cached and not recipe.extensions and is_array(image)

    def find_on_disk(self, image: object, recipe: RenderRecipe) -> tuple[str, Image | None]:
        """The key in the second level, and the result if it is there."""
        assert self._disk is not None
        key = _key(content_digest(cast(Image, image)), recipe)
        found = self._disk.get(key)
        return key, None if found is None else found[_PIXELS]

    def keep_on_disk(self, key: str, pixels: Image) -> None:
        assert self._disk is not None
        self._disk.put(key, {_PIXELS: pixels})

    def clear(self, *, disk: bool) -> None:
        """Empty the first level; the second, which others share, only when told so."""
        self._memory.clear()
        if disk and self._disk is not None:
            self._disk.clear()

    def stats(self) -> tuple[CacheStats, CacheStats | None]:
        """Of the first and of the second level."""
        return self._memory.stats(), None if self._disk is None else self._disk.stats()

    def _is_source(self, kept: _Kept, image: Image) -> bool:
        try:
            source = self._pool.fetch(kept.source)
        except PoolError:
            return False
        return self.are_equal(source, image)


def is_array(image: object) -> bool:
    """Whether it is an array of numbers, whatever its shape."""
    return isinstance(image, np.ndarray) and not image.dtype.hasobject and image.size > 0


def _bytes(image: Image) -> Image:
    """As bytes, so that NaN equals NaN."""
    return np.ascontiguousarray(image).reshape(-1).view(np.uint8)


def _key(content: str, recipe: RenderRecipe) -> str:
    strategy = recipe.strategy
    return render_key(content, recipe.chain, hint=strategy.hint, version=strategy.version)
