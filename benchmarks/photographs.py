"""The standard set: JPEG tiles cut from photographs that everyone can fetch, the same on every machine.

Covers fetching two Debian packages (unpacked below the cache, not installed), cutting, and the substitute where they
can't be fetched: the photographs that scikit-image ships. Tile n is the same whatever the size of the set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figures import say

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "benchmarks"
PACKAGES = ("mate-backgrounds", "plasma-workspace-wallpapers")
BUNDLED = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina")
"""Colour photographs that come inside scikit-image."""
PHOTOGRAPH = (1920, 1280)
SMALL_PICTURE = (640, 427)
SMALL = (480, 320)
QUALITY = 92

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TileSet:
    """Tiles of one size, in one directory."""

    directory: Path
    source: str
    """``debian`` or ``scikit-image``: results of one are not those of the other."""
    files: tuple[Path, ...]


def photographs(count: int, size: Size = PHOTOGRAPH, *, cache: Path = CACHE, fetch: bool = True) -> TileSet:
    """The first ``count`` tiles of a size; those that aren't in the cache yet are cut."""
    pictures = _fetched(cache, size) if fetch else []
    source = "debian" if pictures else "scikit-image"
    directory = cache / f"{source}-{size[0]}x{size[1]}"
    directory.mkdir(parents=True, exist_ok=True)
    pictures = pictures or _bundled(cache, size)
    files = tuple(directory / f"photograph-{number:05d}.jpg" for number in range(count))
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        say(f"cutting {len(missing)} tiles of {size[0]} x {size[1]} px into {directory}")
    for place, picture in enumerate(pictures):
        own = [number for number in missing if number % len(pictures) == place]
        if own:
            _cut(picture, own, files, size)
    return TileSet(directory, source, files)


def _cut(picture: Path, numbers: Sequence[int], files: Sequence[Path], size: Size) -> None:
    """Cut tiles at random places; a tile's number decides its place."""
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    width, height = size
    for number in numbers:
        random = np.random.default_rng(number)
        left = int(random.integers(0, image.width - width + 1))
        top = int(random.integers(0, image.height - height + 1))
        temporary = files[number].with_name(f".{uuid.uuid4().hex}")
        image.crop((left, top, left + width, top + height)).save(temporary, "JPEG", quality=QUALITY)
        temporary.replace(files[number])


def _fetched(cache: Path, size: Size) -> list[Path]:
    """JPEG pictures of the Debian packages that hold a tile of this size; none where they can't be fetched."""
    unpacked = cache / "debian"
    if not unpacked.is_dir():
        try:
            _fetch(unpacked)
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"the Debian packages can't be fetched ({error}); taking scikit-image's photographs")
            return []
    # Only the JPEG files: the others are drawings, which compress and decode unlike photographs.
    files = sorted(file for file in unpacked.rglob("*.jpg") if file.is_file() and not file.is_symlink())
    return [file for file in files if _holds(file, size)]


def _fetch(target: Path) -> None:
    say(f"fetching {' and '.join(PACKAGES)}")
    temporary = target.with_name(f".{uuid.uuid4().hex}")
    (temporary / "pictures").mkdir(parents=True)
    try:
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=temporary, check=True, capture_output=True)
        for package in sorted(temporary.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, temporary / "pictures"], check=True, capture_output=True)
        os.replace(temporary / "pictures", target)
    finally:
        shutil.rmtree(temporary)


def _holds(file: Path, size: Size) -> bool:
    with Image.open(file) as image:
        return image.width >= size[0] and image.height >= size[1]


def _bundled(cache: Path, size: Size) -> list[Path]:
    """scikit-image's photographs, enlarged to a quarter more than a tile, so that tiles differ."""
    from skimage import data

    directory = cache / f"enlarged-{size[0]}x{size[1]}"
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for name in BUNDLED:
        file = directory / f"{name}.png"
        files.append(file)
        if file.exists():
            continue
        image = Image.fromarray(getattr(data, name)())
        scale = 1.25 * max(size[0] / image.width, size[1] / image.height)
        enlarged = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        temporary = file.with_name(f".{uuid.uuid4().hex}")
        enlarged.save(temporary, "PNG", compress_level=1)
        temporary.replace(file)
    return files
