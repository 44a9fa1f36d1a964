"""Lists of inputs: one path per line, or separated by NUL bytes where there are any, as ``find -print0`` writes them.

Read piece by piece, so that a list may be as long as it likes. Lines end with LF or CRLF; a byte order mark of UTF-8
says nothing and is dropped. What a path in it means: ``discovery``.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import JobError
from pipelines.tables.cells import readable_path
from pipelines.text_encoding import is_utf16

MAX_LIST_BYTES = 2**30
MAX_ENTRY_BYTES = 2**16
_BLOCK_BYTES = 2**16


def read_list(file: Path) -> Iterator[bytes]:
    """The paths in a list, as they stand there.

    Raises
    ------
    JobError
        It can't be read, is too large, or is no list in UTF-8 or bytes.
    """
    name = readable_path(bytes(file))
    try:
        if file.stat().st_size > MAX_LIST_BYTES:
            raise JobError(f"inputs: the list {name} is larger than {MAX_LIST_BYTES:,} bytes; split it")
        with file.open("rb") as stream:
            start = stream.read(_BLOCK_BYTES)
            if is_utf16(start):
                raise JobError(f"inputs: the list {name} is UTF-16; save it as UTF-8")
            stream.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
            separator = b"\0" if b"\0" in start else b"\n"
            if b"\r" in start.rstrip(b"\r") and b"\0" not in start and b"\n" not in start:
                raise JobError(f"inputs: the list {name} has lines that end with CR alone; save it with LF or CRLF")
            for entry in _split(stream, separator):
                if len(entry) > MAX_ENTRY_BYTES:
                    raise JobError(f"inputs: the list {name} has no paths in it: {MAX_ENTRY_BYTES:,} bytes without end")
                path = entry if separator == b"\0" else entry.rstrip(b"\r")
                if path:
                    yield path
    except OSError as error:
        raise JobError(f"inputs: the list {name} can't be read: {error.strerror}") from error


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """What stands between separators; of what is too long, at least more than may be."""
    rest = b""
    while block := stream.read(_BLOCK_BYTES):
        *whole, rest = (rest + block).split(separator)
        yield from whole
        if len(rest) > MAX_ENTRY_BYTES:
            break
    yield rest
