"""Groups of duplicates over a whole job: the column that no worker can fill, because it needs every image's hash.

Covers reading the hashes from the sealed results and filling the column. What a hash is, and which are near each other:
``pipelines.analyses.image_hash``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.analyses.image_hash import GROUP, HASH, MAX_DISTANCE, group_numbers
from rayjobs.results_store import ResultsStore

ANALYSIS_NAME = "image_hash"
GROUP_COLUMN = f"{ANALYSIS_NAME}_{GROUP}"
_HASH_COLUMN = f"{ANALYSIS_NAME}_{HASH}"


@dataclass(frozen=True, slots=True)
class DuplicateGroups:
    """The groups of all done inputs of a job."""

    numbers: NDArray[np.int64]
    """Per done input, in order: the number of its group; 0 for none."""
    starts: Mapping[int, int]
    """Range -> place of its first done input."""

    def filled(self, table: pa.Table, range_number: int, row: int) -> pa.Table:
        """Rows of a range, from ``row`` on, with their groups."""
        first = self.starts[range_number] + row
        numbers = self.numbers[first : first + table.num_rows]
        index = table.schema.get_field_index(GROUP_COLUMN)
        return table.set_column(index, table.schema.field(index), pa.array(numbers, mask=numbers == 0))


def find_duplicates(store: ResultsStore, ranges: range) -> DuplicateGroups | None:
    """The groups of a job; None when it doesn't ask for hashes. Holds some 50 bytes per input for the moment."""
    request = next((request for request in store.requests if request.name == ANALYSIS_NAME), None)
    if request is None:
        return None
    starts: dict[int, int] = {}
    hashes, known = [np.empty(0, np.uint64)], [np.empty(0, bool)]
    total = 0
    for number in ranges:
        sealed = store.sealed_part(number)
        if sealed is None:
            continue
        starts[number] = total
        with pq.ParquetFile(sealed[0]) as file:
            column = file.read(columns=[_HASH_COLUMN], use_threads=False).column(0)
        valid = column.is_valid().to_numpy()
        digits = "".join(column.drop_null().to_pylist())
        values = np.zeros(len(column), np.uint64)
        values[valid] = np.frombuffer(bytes.fromhex(digits), ">u8")
        hashes.append(values)
        known.append(valid)
        total += len(column)
    distance = int(request.params.get("max_distance", MAX_DISTANCE))
    return DuplicateGroups(group_numbers(np.concatenate(hashes), np.concatenate(known), distance), starts)
