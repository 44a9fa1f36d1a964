"""Lookup tables in .cube files: Adobe Cube LUT Specification 1.0 (2013), and the input ranges that Resolve writes.

Covers reading, checking and caching the files, and interpolating 1D tables; 3D interpolation is a kernel. A file is
untrusted: its size and its table's size are limited before anything is allocated. It is UTF-8, or at least ASCII where
it matters: what else stands in titles and comments does no harm.
"""

from __future__ import annotations

import math
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import RayjobsError
from pipelines.operations.lookup import Values
from pipelines.text_encoding import is_utf16

MAX_FILE_BYTES = 96 * 1024 * 1024
MAX_SIZE = {1: 65_536, 3: 129}
"""Dimensions -> entries per side. The specification allows 256 for 3D; 129 is the largest in use (25 MB here)."""

_START_BYTES = 2**16

LARGEST = 1e6
"""What every number in a file stays below."""

Triple = tuple[float, float, float]


class CubeLutError(RayjobsError):
    """A .cube file can't be used; the text says which file and line, and why."""


@dataclass(frozen=True, slots=True, eq=False)
class CubeLut:
    """One lookup table, as its file says."""

    title: str
    dimensions: int
    """1 or 3."""
    table: NDArray[np.float32]
    """1D: (size, 3), a curve per channel; 3D: (size, size, size, 3), indexed [blue, green, red]. Read-only."""
    domain: tuple[Triple, Triple]
    """Least and largest input of each channel: what the table's ends stand for."""

    def interpolate(self, values: Values) -> Values:
        """A 1D table's curves at float values, linearly interpolated; the last axis is the channel (1 or 3)."""
        curves = self.table.T
        if (curves == curves[0]).all() and len(set(zip(*self.domain, strict=True))) == 1:
            curves = curves[:1]  # nothing tells the channels apart: gray stays gray
        planes = []
        for channel, curve in enumerate(curves):
            least, most = self.domain[0][channel], self.domain[1][channel]
            plane = values[..., min(channel, values.shape[-1] - 1)] if len(curves) == 3 else values
            planes.append(np.interp(plane, np.linspace(least, most, curve.size), curve))
        return np.stack(planes, axis=-1) if len(curves) == 3 else planes[0]


def load(path: str) -> CubeLut:
    """The table of a file, kept while the file's size and time stay the same."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise CubeLutError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in it, or what no file name has
        raise CubeLutError(f"{path!r}: no path: {error}") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe would never end
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no file"
        raise CubeLutError(f"{path}: is {kind}; give the path of a .cube file")
    if status.st_size > MAX_FILE_BYTES:
        raise CubeLutError(f"{path}: {status.st_size} bytes; a .cube file may have {MAX_FILE_BYTES}")
    return _load(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _load(path: str, mtime_ns: int, size_bytes: int) -> CubeLut:
    try:
        with Path(path).open("rb") as file:
            content = file.read(size_bytes + 1)
    except OSError as error:
        raise CubeLutError(f"{path}: {error.strerror or error}") from error
    if is_utf16(content[:_START_BYTES]):
        raise CubeLutError(f"{path}: is UTF-16 text; save it as UTF-8")
    return parse(content.decode("utf-8-sig", errors="replace"), path)


def parse(text: str, name: str) -> CubeLut:
    """Read the text of a .cube file; ``name`` is for messages."""
    header = _Header(name)
    rows: list[tuple[int, str]] = []
    for number, raw in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line[0].isalpha():
            if rows:
                raise header.error(number, f"{line.split()[0][:40]!r} stands among the rows of the table")
            header.read(line, number)
        elif len(rows) == header.row_count:
            raise header.error(number, "more rows than the size says" if rows else "a row before the size of the table")
        else:
            rows.append((number, line))
    return header.finish(rows)


@dataclass(slots=True)
class _Header:
    """What the keywords of a file have said so far."""

    name: str
    title: str = ""
    dimensions: int = 0
    size: int = 0
    domain: list[Triple] = field(default_factory=lambda: [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)])

    @property
    def row_count(self) -> int:
        return self.size**self.dimensions if self.dimensions else 0

    def error(self, number: int, reason: str) -> CubeLutError:
        return CubeLutError(f"{self.name}, line {number}: {reason}")

    def read(self, line: str, number: int) -> None:
        keyword, _, rest = line.replace("\t", " ").partition(" ")
        match keyword:
            case "TITLE":
                self.title = rest.strip().strip('"')
            case "LUT_1D_SIZE" | "LUT_3D_SIZE":
                self._read_size(int(keyword[4]), rest.strip(), number)
            case "DOMAIN_MIN":
                self.domain[0] = self._triple(rest, number)
            case "DOMAIN_MAX":
                self.domain[1] = self._triple(rest, number)
            case "LUT_1D_INPUT_RANGE" | "LUT_3D_INPUT_RANGE":
                least, most = self._floats(rest, 2, number)
                self.domain = [(least,) * 3, (most,) * 3]
            case _:
                raise self.error(number, f"unknown keyword {keyword[:40]!r}")

    def _read_size(self, dimensions: int, digits: str, number: int) -> None:
        if self.dimensions:
            raise self.error(number, "a second LUT_1D_SIZE or LUT_3D_SIZE; only one table per file is supported")
        largest = MAX_SIZE[dimensions]
        if not (digits.isascii() and digits.isdigit() and len(digits) < 7 and 2 <= int(digits) <= largest):
            raise self.error(number, f"the size of a {dimensions}D table is a whole number from 2 to {largest}")
        self.dimensions, self.size = dimensions, int(digits)

    def _triple(self, text: str, number: int) -> Triple:
        red, green, blue = self._floats(text, 3, number)
        return red, green, blue

    def _floats(self, text: str, count: int, number: int) -> list[float]:
        try:
            values = [float(word) for word in text.split()]
        except ValueError:
            values = []
        if len(values) != count or not all(math.isfinite(value) and abs(value) < LARGEST for value in values):
            raise self.error(number, f"expected {count} numbers, found {text[:60]!r}")
        return values

    def finish(self, rows: list[tuple[int, str]]) -> CubeLut:
        if not self.dimensions:
            raise CubeLutError(f"{self.name}: neither LUT_1D_SIZE nor LUT_3D_SIZE; not a .cube file")
        if len(rows) != self.row_count:
            raise CubeLutError(f"{self.name}: {len(rows)} rows; a table of this size has {self.row_count}")
        if any(least >= most for least, most in zip(*self.domain, strict=True)):
            raise CubeLutError(f"{self.name}: the domain's minimum must be below its maximum, in each channel")
        table = self._numbers(rows).astype(np.float32).reshape((self.size,) * self.dimensions + (3,))
        table.flags.writeable = False
        return CubeLut(self.title, self.dimensions, table, (self.domain[0], self.domain[1]))

    def _numbers(self, rows: list[tuple[int, str]]) -> NDArray[np.float64]:
        # All at once is several times faster; one by one is for the line that is wrong.
        try:
            table = np.loadtxt([line for _, line in rows], np.float64, comments=None, ndmin=2)
        except ValueError:
            table = np.empty((0, 0))
        if table.shape == (len(rows), 3) and (np.abs(table) < LARGEST).all():
            return table
        return np.array([self._triple(line, number) for number, line in rows], np.float64)
