"""Keys of products and of cached results: everything that decides a result, and nothing else, as one short text.

A key joins what is in the image (its samples, not where it came from), the chain with every default filled in, the
versions of operations, analyses and plug-ins, the contents of the files that parameters name, and the versions of the
packages that compute. Whoever changes one of them finds nothing, instead of something old. No pixels are computed here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from pipelines.analyses.registry import ANALYSES
from pipelines.errors import RayjobsError
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations.chain import compile_chain
from pipelines.operations.column_values import slots_of
from pipelines.operations.registry import OPERATIONS, Image
from pipelines.registry import named_files

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
    RayjobsError
        A file that a parameter names can't be read.
    """
    compile_chain(operations)
    return _digest([step_key(operation) for operation in operations], package_versions())


def step_key(operation: ImageOperation) -> list[Any]:
    """What decides the pixels of one step of a chain that was checked; also part of the digests of a job's products.

    Of a step whose parameters come from columns of the inputs, all but their values.
    """
    entry = OPERATIONS[operation.name]
    if slots_of([operation]):
        paths = {name: operation.params.get(name) for name in named_files(entry.parameters)}
        files = {name: file_digest(path) for name, path in paths.items() if isinstance(path, str)}
        return [operation.canonical(), files, entry.version]
    values, files = _told_apart(entry.parameters(**operation.params))
    # The bare name of a step that a file alone decides is what it always was in the ledgers of jobs.
    said = ImageOperation(operation.name, values).canonical() if values or not files else operation.name
    return [said, files, entry.version]


def named_contents(request: AnalysisRequest) -> dict[str, str]:
    """Parameter -> digest of the content, of the files that an analysis is told to read."""
    return _told_apart(ANALYSES[request.name].parameters(**request.params))[1]


def render_key(content: str, chain: str, *, hint: str, version: int | str) -> str:
    """Key of an image after a chain: the digest of the image before, the chain's key, and the strategy."""
    return _digest("render", content, chain, hint, version)


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str]:
    """Package -> installed version, of those that compute samples."""
    return {name: metadata.version(name) for name in DECIDING_PACKAGES}


def _told_apart(parameters: BaseModel) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters by name, defaults filled in: values, and digests of the contents of those that name a file."""
    values = parameters.model_dump(mode="json")
    named = [name for name in named_files(type(parameters)) if isinstance(values[name], str)]
    return values, {name: file_digest(values.pop(name)) for name in named}


def file_digest(path: str) -> str:
    """SHA-256 of what a file contains, in hexadecimal.

    Raises
    ------
    RayjobsError
        It can't be read, or is no regular file.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe would never end
            raise RayjobsError(f"{path}: is no file")
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # a NUL in it is a ValueError
        raise RayjobsError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _header_digest(image: Image) -> hashlib.blake2b:
    return hashlib.blake2b(f"{image.dtype.str} {image.shape} ".encode(), digest_size=20)


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
