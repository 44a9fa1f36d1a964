"""Keys of cached results: everything that decides a result, and nothing else, as one short text.

A key joins what is in the image (its samples, not where it came from), the chain with every default filled in, the
versions of operations, analyses and plug-ins, the contents of look-up files, and the versions of the packages that
compute. Whoever changes one of them finds nothing, instead of something old. No pixels are computed here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from typing import Any

import numpy as np

from pipelines.analyses.registry import ANALYSES
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations.chain import Step, compile_chain
from pipelines.operations.cube_lut import file_digest
from pipelines.operations.registry import Image

DECIDING_PACKAGES = ("numpy", "scipy", "scikit-image", "opencv-python-headless", "numba")
"""Whose versions may decide a sample of a result."""

SAMPLED_ABOVE_BYTES = 1 << 18
"""Larger images get a fingerprint of samples: a digest of all bytes costs as much as a whole operation."""
_CHUNKS, _CHUNK_BYTES = 64, 1024


def content_digest(image: Image) -> str:
    """BLAKE2b of shape, dtype and all samples: equal for equal images, whatever their memory layout."""
    digest = _header_digest(image)
    digest.update(np.ascontiguousarray(image).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def fingerprint(image: Image) -> tuple[str, bool]:
    """A quick digest, and whether it covers every sample.

    Equal images have equal fingerprints. Two large images with the same one may still differ: compare them.
    """
    if image.nbytes <= SAMPLED_ABOVE_BYTES:
        return content_digest(image), True
    digest = _header_digest(image)
    samples = np.ascontiguousarray(image).reshape(-1).view(np.uint8)
    apart = (samples.size - _CHUNK_BYTES) // (_CHUNKS - 1)
    chunks = np.lib.stride_tricks.sliding_window_view(samples, _CHUNK_BYTES)[: _CHUNKS * apart : apart]
    digest.update(np.ascontiguousarray(chunks).data)
    return digest.hexdigest(), False


def chain_key(operations: Sequence[ImageOperation]) -> str:
    """What a chain does to pixels, under the installed versions.

    Raises
    ------
    ChainError
        The chain is wrong.
    CubeLutError
        A look-up file can't be read.
    """
    return _digest([_step_key(step) for step in compile_chain(operations)], package_versions())


def render_key(content: str, chain: str, *, hint: str, version: int | str) -> str:
    """Key of an image after a chain: the digest of the image before, the chain's key, and the strategy."""
    return _digest("render", content, chain, hint, version)


def analysis_key(content: str, chain: str, request: AnalysisRequest) -> str:
    """Key of one analysis of an image after a chain: as ``render_key``, and what is measured."""
    entry = ANALYSES[request.name]
    parameters = entry.parameters(**request.params).model_dump(mode="json")
    return _digest("analysis", content, chain, request.name, parameters, entry.version)


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str]:
    """Package -> installed version, of those that compute samples."""
    return {name: metadata.version(name) for name in DECIDING_PACKAGES}


def _step_key(step: Step) -> list[Any]:
    files = {
        name: file_digest(value)
        for name, value in step.arguments.items()
        if step.operation.name == "lut3d" and name == "path"
    }
    arguments = step.operation.parameters(**step.arguments).model_dump(mode="json")
    return [step.operation.name, step.operation.version, {**arguments, **files}]


def _header_digest(image: Image) -> hashlib.blake2b:
    return hashlib.blake2b(f"{image.dtype.str} {image.shape} ".encode(), digest_size=20)


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
