"""A process that decodes what it is given over memory full of one byte, and says what came out.

Whatever a decoder leaves unfilled shows as the byte; two such processes with different bytes then say different things.
glibc fills what is allocated and freed (``MALLOC_PERTURB_``), numpy's own small blocks are filled here. ``Poisoned`` is
the other end.
"""

from __future__ import annotations

import hashlib
import os
import resource
import select
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipelines.errors import ImageError
from pipelines.image_io import ReadPolicy, decode_image, open_source
from pipelines.image_io.tiff_blocks import open_tiff_blocks

STRICT, SALVAGE = (ReadPolicy(truncated=truncated, max_pixels=1_000_000) for truncated in ("strict", "salvage"))
MOST_BYTES = 3 << 30
"""Of address space: a file that makes a decoder ask for more fails there, not here."""
_FRAMES = 3


class Poisoned:
    """A decoding process over memory full of a byte. ``said`` is None when it ended or took too long."""

    def __init__(self, byte: int, seconds: float = 30) -> None:
        environment = {
            **os.environ,
            "MALLOC_PERTURB_": str(byte),
            "MALLOC_MMAP_THRESHOLD_": str(1 << 30),  # else large blocks come from the system, full of zeros
            "PYTHONMALLOC": "malloc",
        }
        self._seconds = seconds
        self._unread = b""
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.decoding_process", str(byte)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def give(self, data: bytes) -> None:
        """Begin to decode."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(struct.pack("<I", len(data)) + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # told by said()

    def said(self) -> str | None:
        """What came out of the file that was given last: one line."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            ready, _, _ = select.select([descriptor], [], [], self._seconds)
            piece = os.read(descriptor, 1 << 16) if ready else b""
            if not piece:
                return None
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def outcome(data: bytes, file: Path | None = None) -> str:
    """Pixels and remarks of the first frames as a digest; or the reason why not; or what must not be."""
    found = []
    for frame in range(_FRAMES):
        first = one(data, frame, STRICT, file)
        found.append(first if not first.startswith("truncated") else f"{first}, {one(data, frame, SALVAGE, file)}")
        if not first.startswith("pixels"):
            break
    return "; ".join(found)


def one(data: bytes, frame: int, policy: ReadPolicy, file: Path | None) -> str:
    try:
        decoded = decode_image(data, policy, frame=frame)
    except ImageError as error:
        return error.reason.value
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"WRONG {type(error).__name__}: {error}".replace("\n", " ")
    header, pixels = decoded.header, decoded.pixels
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if (*pixels.shape[:2], channels, pixels.dtype.name) != (header.height, header.width, header.channels, header.dtype):
        return f"WRONG {pixels.shape} {pixels.dtype} of {header}"
    if file is not None and frame == 0 and header.format == "tiff":
        by_rows = _by_rows(data, policy, file)
        if not isinstance(by_rows, str) and not np.array_equal(by_rows, pixels, equal_nan=pixels.dtype.kind == "f"):
            return "WRONG: other pixels by rows"
        if isinstance(by_rows, str):
            return f"WRONG: by rows {by_rows}"
    return f"pixels {hashlib.sha256(pixels.tobytes()).hexdigest()[:16]} {pixels.shape} {decoded.degraded or ''}".strip()


def _by_rows(data: bytes, policy: ReadPolicy, file: Path) -> Any:
    file.write_bytes(data)
    try:
        with open_source(bytes(file)) as source, open_tiff_blocks(source, policy) as blocks:
            return np.concatenate(list(blocks))
    except ImageError as error:
        return error.reason.value


_KEPT_SIZES = [size for size in range(1, 1024) for _ in range(7)]
"""numpy keeps up to seven freed blocks of each of these sizes, and gives them out again as they are."""


def poison(byte: int) -> None:
    """Fill numpy's small blocks with the byte."""
    empty, kind = np.empty, np.dtype(np.uint8)
    for kept in [empty(size, kind) for size in _KEPT_SIZES]:
        kept.fill(byte)


def _serve(byte: int, given: BinaryIO, answers: BinaryIO) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    with tempfile.TemporaryDirectory() as directory:
        while head := given.read(4):
            data = given.read(struct.unpack("<I", head)[0])
            poison(byte)
            answers.write(outcome(data, Path(directory) / "a.tif").encode() + b"\n")
            answers.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
