"""Make the inputs of the example of a lab: micrographs of two plates, and a table that says what is in each well.

    python examples/plates_inputs.py DIRECTORY

Bright nuclei on an uneven, noisy background; a higher dose leaves fewer and smaller ones. Each run makes the same.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import cv2
import numpy as np

PLATES = ("P1", "P2")
DOSES = {"A": 0.0, "B": 0.1, "C": 1.0, "D": 10.0}
"""Of each row of wells, µM."""
NUCLEI = {0.0: 12, 0.1: 10, 1.0: 7, 10.0: 3}
RADIUS_PX = {0.0: 5, 0.1: 5, 1.0: 4, 10.0: 3}
WELLS_PER_ROW = 3
SIDE_PX = 128


def micrograph(dose: float, random: np.random.Generator) -> np.ndarray:
    """A well, 8 bits gray: nuclei at places that keep apart."""
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    image = 20 + 12 * (rows + columns) / (2 * SIDE_PX) + random.normal(0, 2, (SIDE_PX, SIDE_PX))
    places = random.permutation(16)[: NUCLEI[dose]]
    for place in places.tolist():
        centre = 16 + 32 * (place % 4), 16 + 32 * (place // 4)
        moved = tuple(int(value) for value in random.integers(-4, 5, 2) + centre)
        cv2.circle(image, moved, RADIUS_PX[dose], float(random.integers(150, 220)), -1)
    return cv2.GaussianBlur(image, (3, 3), 0.8).clip(0, 255).round().astype(np.uint8)


def gather(target: Path) -> None:
    """Fill ``target`` with ``plates.csv`` and the micrographs that it names; that of one well can't be read."""
    target.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(20)
    with (target / "plates.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "plate", "well", "dose"])
        for plate in PLATES:
            (target / plate).mkdir(exist_ok=True)
            for row, dose in DOSES.items():
                for number in range(1, WELLS_PER_ROW + 1):
                    well = f"{row}{number:02d}"
                    table.writerow([f"{plate}/{well}.png", plate, well, dose])
                    cv2.imwrite(str(target / plate / f"{well}.png"), micrograph(dose, random))
    (target / "P2" / "C03.png").write_bytes(b"the microscope stopped here")


if __name__ == "__main__":
    gather(Path(sys.argv[1]))
