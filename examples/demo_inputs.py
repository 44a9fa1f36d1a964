"""Gather the inputs of the demo: photographs and micrographs that scikit-image ships, and three files that are broken.

    python examples/demo_inputs.py DIRECTORY

Running it again changes nothing, so that the demo's second run finds nothing left to do.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import skimage

PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "color.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "rocket.jpg",
    "camera.png",
    "clock_motion.png",
    "coins.png",
    "moon.png",
    "page.png",
    "text.png",
)
MICROGRAPHS = ("cell.png", "ihc.png", "microaneurysms.png", "retina.jpg")
TEXTURES = ("brick.png", "grass.png", "gravel.png", "phantom.png", "logo.png")


def gather(target: Path) -> None:
    """Fill ``target`` with ``photographs/``, ``micrographs/``, ``textures/`` and ``broken/``."""
    source = Path(skimage.__file__).parent / "data"
    for folder, names in (("photographs", PHOTOGRAPHS), ("micrographs", MICROGRAPHS), ("textures", TEXTURES)):
        for name in names:
            copy = target / folder / name
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, copy)
    whole = (source / "rocket.jpg").read_bytes()
    broken = {
        "cut-off.jpg": whole[: len(whole) // 2],
        "not-a-picture.png": b"This is a text file that somebody named like a picture.\n",
        "empty.jpg": b"",
    }
    for name, data in broken.items():
        file = target / "broken" / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    gather(Path(sys.argv[1]))
