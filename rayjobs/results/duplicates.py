"""Groups of duplicates over a whole job: the column that no worker can fill, because it needs every image's hash.

Covers reading the hashes from the sealed results and filling the column, in every table that has it: of images, and of
frames when a job reads all of them. What a hash is, and which are near each other: ``pipelines.analyses.image_hash``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.analyses.frames import COUNT, FRAMES
from pipelines.analyses.image_hash import GROUP, HASH, MAX_DISTANCE, group_numbers
from pipelines.models import AnalysisRequest
from rayjobs.results.published import TABLE
from rayjobs.results.results_store import ResultsStore

ANALYSIS_NAME = "image_hash"
GROUP_COLUMN = f"{ANALYSIS_NAME}_{GROUP}"
_HASH_COLUMN = f"{ANALYSIS_NAME}_{HASH}"
_COUNT_COLUMN = f"{FRAMES}_{COUNT}"


@dataclass(frozen=True, slots=True)
class DuplicateGroups:
    """The groups of the rows of one table."""

    numbers: NDArray[np.int64]
    """Per row, in order: the number of its group; 0 for none."""
    starts: Mapping[int, int]
    """Range -> place of its first row."""

    def filled(self, table: pa.Table, range_number: int, row: int) -> pa.Table:
        """Rows of a range, from ``row`` on, with their groups."""
        first = self.starts[range_number] + row
        numbers = self.numbers[first : first + table.num_rows]
        index = table.schema.get_field_index(GROUP_COLUMN)
        return table.set_column(index, table.schema.field(index), pa.array(numbers, mask=numbers == 0))


def find_duplicates(store: ResultsStore, ranges: range) -> dict[str, DuplicateGroups]:
    """Table -> the groups of its rows; nothing when a job doesn't ask for hashes. Holds some 50 bytes per image.

    Each image of the job counts once, in the order of the inputs and of the frames within a file, so a number means the
    same group in every table. A file of several images has the group of its first one in the table of images.
    """
    request = next((request for request in store.requests if request.name == ANALYSIS_NAME), None)
    if request is None:
        return {}
    frames = next((each for each in store.object_schemas if each.name == FRAMES), None)
    found = [_RangeHashes.read(store, number, frames) for number in ranges]
    hashes = np.concatenate([np.empty(0, np.uint64), *(each.hashes for each in found if each)])
    known = np.concatenate([np.empty(0, bool), *(each.known for each in found if each)])
    numbers = group_numbers(hashes, known, int(request.params.get("max_distance", MAX_DISTANCE)))
    of_images, of_frames = _Rows(), _Rows()
    first = 0
    for number, each in zip(ranges, found, strict=True):
        if each is not None:
            of_images.add(number, numbers[first + each.images])
            of_frames.add(number, numbers[first + each.frames])
            first += each.hashes.size
    return {TABLE: of_images.groups(), **({} if frames is None else {FRAMES: of_frames.groups()})}


@dataclass(frozen=True, slots=True)
class _RangeHashes:
    """All images of a range's inputs, file by file."""

    hashes: NDArray[np.uint64]
    known: NDArray[np.bool_]
    images: NDArray[np.int64]
    """Per row of the table of images, where its hash is."""
    frames: NDArray[np.int64]
    """The same per row of the table of frames."""

    @classmethod
    def read(cls, store: ResultsStore, number: int, frames: AnalysisRequest | None) -> _RangeHashes | None:
        """None when no input of the range is done."""
        sealed = store.sealed_part(number)
        if sealed is None:
            return None
        path = None if frames is None else store.sealed_objects(number, frames)
        hashes, known = _hashes(sealed[0])
        counts = np.ones(hashes.size, np.int64)
        if path is not None:
            column = _column(sealed[0], _COUNT_COLUMN)
            counts = np.maximum(column.fill_null(1).to_numpy().astype(np.int64), 1)
        places = np.cumsum(counts) - counts
        several = np.repeat(counts > 1, counts)
        every, every_known = np.repeat(hashes, counts), np.repeat(known, counts)
        if path is not None:
            every[several], every_known[several] = _hashes(path)
        return cls(every, every_known, places, np.flatnonzero(several))


class _Rows:
    """The numbers of one table, range by range."""

    def __init__(self) -> None:
        self._starts: dict[int, int] = {}
        self._numbers = [np.empty(0, np.int64)]
        self._total = 0

    def add(self, number: int, groups: NDArray[np.int64]) -> None:
        """The rows of a range."""
        self._starts[number] = self._total
        self._numbers.append(groups)
        self._total += groups.size

    def groups(self) -> DuplicateGroups:
        """Of all ranges so far."""
        return DuplicateGroups(np.concatenate(self._numbers), self._starts)


def _hashes(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The hashes of a sealed file's rows, and which rows have one."""
    column = _column(path, _HASH_COLUMN)
    valid = column.is_valid().to_numpy()
    values = np.zeros(len(column), np.uint64)
    values[valid] = np.frombuffer(bytes.fromhex("".join(column.drop_null().to_pylist())), ">u8")
    return values, valid


def _column(path: Path, name: str) -> pa.ChunkedArray:
    with pq.ParquetFile(path) as file:
        return file.read(columns=[name], use_threads=False).column(0)
