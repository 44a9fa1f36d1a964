"""Make the inputs of the example of a data team: small pictures with a bright square, and a table of them.

    python examples/crops_inputs.py DIRECTORY [NUMBER]

Running it again changes nothing, so that a second run of the job finds nothing left to do.
"""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIDE = 48
SUBJECTS = ("cat", "dog", "Füchse", "hawk/owl")


def make(target: Path, number: int = 10_000) -> pa.Table:
    """Fill ``target`` with ``pictures/`` and ``subjects.parquet``; gives the table."""
    rows = [_row(place) for place in range(number)]
    table = pa.Table.from_pylist(rows)
    if not (target / "subjects.parquet").exists():
        for batch in range(-(-number // 1000)):
            (target / f"pictures/batch_{batch}").mkdir(parents=True, exist_ok=True)
        for place, row in enumerate(rows):
            cv2.imwrite(str(target / "pictures" / row["file"]), picture(place, row))
        pq.write_table(table, target / "subjects.parquet")
    return table


def picture(place: int, row: dict[str, object]) -> np.ndarray:
    """A dim picture with a square whose gray is told by its row."""
    pixels = np.full((SIDE, SIDE), 10 + place % 50, np.uint8)
    x, y, side = (int(str(row[name])) for name in ("x0", "y0", "side"))
    pixels[y : y + side, x : x + side] = gray_of(place)
    return pixels


def gray_of(place: int) -> int:
    """The level of the square of a picture."""
    return 100 + place % 150


def _row(place: int) -> dict[str, object]:
    side = 8 + place % 9
    return {
        "file": f"batch_{place // 1000}/{place:05d}.png",
        "subject": SUBJECTS[place % len(SUBJECTS)],
        "weight": place / 8,
        "taken": date(2026, 1, 1) + timedelta(days=place % 300),
        "x0": place * 7 % (SIDE - side),
        "y0": place * 11 % (SIDE - side),
        "side": side,
    }


if __name__ == "__main__":
    make(Path(sys.argv[1]), *map(int, sys.argv[2:]))
