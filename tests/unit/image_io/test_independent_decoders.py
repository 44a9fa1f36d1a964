"""Decoded pixels compared with libraries that decode nothing in the product: OpenImageIO, and libvips for AVIF.

Both come as wheels with libraries of their own, so neither the code nor the builds are those of Pillow, imagecodecs,
tifffile or simplejpeg. The worst differences stand in ``docs/reference/trust.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import ImageError
from pipelines.image_io import ReadPolicy, decode_image
from tests.corpus import GOOD, PHOTO, saved
from tests.decoder_samples import GRAY, GRAY16, RGB, RGB16, RGBA, SAMPLES, described, tiff_entries
from tests.strategies import example_image
from tests.trust import hold

if find_spec("OpenImageIO") is None:
    pytest.skip("OpenImageIO isn't installed; decoding isn't compared with it", allow_module_level=True)
STRICT = ReadPolicy()
_SUFFIXES = {"jpeg": "jpg", "png": "png", "apng": "png", "gif": "gif", "webp": "webp", "bmp": "bmp"}
_NOT_THERE = {
    *("tiff zstd", "tiff lzma", "tiff lerc", "tiff jpeg2000", "tiff png", "tiff jpegxl", "tiff jpegxr"),
    *("bmp 32 masks", "bmp 32", "tiff thumbnail", "tiff deflate", "tiff premultiplied"),
}
"""Samples that OpenImageIO can't read, or means otherwise: masks it doesn't know, alpha of BMP without masks, the first
directory whatever it is, colours left premultiplied."""


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        yield other


def by_openimageio(process: ProcessPoolExecutor, data: bytes, directory: Path, name: str) -> NDArray[Any] | None:
    path = directory / f"a.{_SUFFIXES.get(name.split(maxsplit=1)[0], 'tif')}"
    path.write_bytes(data)
    return process.submit(_read, path).result()


def _read(path: Path) -> NDArray[Any] | None:
    from tests import openimageio_reader  # in that process alone

    return openimageio_reader.read(path)


def in_channels(pixels: NDArray[Any], count: int) -> NDArray[Any]:
    """Gray as so many channels, gray with alpha as RGBA, alpha that is full left out."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    alpha = pixels[..., -1:] if pixels.shape[-1] in (2, 4) else None
    colours = pixels[..., :-1] if alpha is not None else pixels
    if count in (3, 4) and colours.shape[-1] == 1:
        colours = np.repeat(colours, 3, axis=-1)
    if count == 4:
        full = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        alpha = np.full_like(colours[..., :1], full) if alpha is None else alpha
        return np.concatenate([colours, alpha], axis=-1)
    assert alpha is None or (alpha == alpha.max()).all()
    return colours


def difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    count = 4 if 4 in (ours.shape[-1] * (ours.ndim == 3), theirs.shape[-1]) or theirs.shape[-1] == 2 else 3
    a, b = (in_channels(pixels, count).astype(np.float64) for pixels in (ours, theirs))
    assert a.shape == b.shape
    return float(np.nanmax(np.abs(a - b)))


def jpegs() -> Iterator[bytes]:
    for shape in ((1, 1), (17, 31), (160, 240)):
        picture = example_image("uint8", 3, shape)
        for quality in (30, 90, 100):
            for subsampling in (0, 1, 2):
                for progressive in (False, True):
                    yield saved(picture, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    yield saved(GRAY, "JPEG")
    yield saved(PHOTO, "JPEG", restart_marker_blocks=2)
    yield saved(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95)


def of_samples(*formats: str) -> Iterator[tuple[str, bytes]]:
    known = SAMPLES | {name: maker for name, (maker, _) in GOOD.items() if name not in SAMPLES}
    for name, maker in known.items():
        if name.split()[0] in formats and name not in _NOT_THERE:
            yield name, maker()


AREAS = {
    "decoding JPEG": lambda: [("jpeg", data) for data in jpegs()],
    "decoding PNG": lambda: list(of_samples("png", "apng")),
    "decoding TIFF": lambda: list(of_samples("tiff", "bigtiff")),
    "decoding WebP": lambda: list(of_samples("webp")),
    "decoding GIF": lambda: list(of_samples("gif")),
    "decoding BMP": lambda: list(of_samples("bmp")),
}


@pytest.mark.parametrize("area", AREAS)
def test_openimageio_decodes_the_same(area: str, process: ProcessPoolExecutor, tmp_path: Path) -> None:
    differences = {}
    for number, (name, data) in enumerate(AREAS[area]()):
        theirs = by_openimageio(process, data, tmp_path, name)
        assert theirs is not None, name
        ours = decode_image(data, STRICT).pixels
        scale = 257 if ours.dtype == np.uint16 else 1 / 255 if ours.dtype == np.float32 else 1
        differences[f"{number} {name}"] = difference(ours, theirs) / scale
    worst = max(differences, key=lambda name: differences[name])
    assert differences[worst] <= 1, (worst, differences[worst])
    hold(area, cases=len(differences), worst=differences[worst])


def _pages() -> Iterator[tuple[list[tuple[int, int, Any]], bytes]]:
    """Plain pages, with every tag that a reader may miss."""
    more = [(254, 4, 0), (266, 3, 1), (274, 3, 1), (284, 3, 1), (317, 3, 1)]
    for pixels, photometric, samples in ((GRAY, 1, 1), (GRAY16, 1, 1), (RGB, 2, 3), (RGB16, 2, 3), (RGBA, 2, 4)):
        bits = 8 * pixels.itemsize
        entries = [entry for entry in described(bits, photometric) if entry[0] not in (258, 277)]
        entries += [(258, 3, (bits,) * samples), (277, 3, samples), (339, 3, (1,) * samples), *more]
        entries += [(338, 3, 2)] if samples == 4 else []
        yield entries, pixels.tobytes()
    yield [*described(1, 1), *more, (339, 3, 1)], np.packbits(GRAY > 128, axis=1).tobytes()


def test_a_missing_tag_means_what_openimageio_takes_it_to_mean(process: ProcessPoolExecutor, tmp_path: Path) -> None:
    """Where both accept a page without one of its tags, they show the same; ours may refuse what could be anything."""
    differences = []
    for entries, strip in _pages():
        for tag, *_ in entries:
            data = tiff_entries([entry for entry in entries if entry[0] != tag], strip)
            theirs = by_openimageio(process, data, tmp_path, "tiff")
            try:
                ours = decode_image(data, STRICT)
            except ImageError:
                continue
            if theirs is None or ours.degraded:  # samples without a name: left out and told
                continue
            differences.append(difference(ours.pixels, theirs))
    hold("TIFF with a tag missing", cases=len(differences), worst=max(differences))


def test_libvips_decodes_the_same_avif() -> None:
    pyvips: Any = pytest.importorskip("pyvips", reason="libvips isn't installed; AVIF isn't compared with it")
    differences = []
    for picture in (PHOTO, example_image("uint8", 4, (160, 240)), example_image("uint8", 3, (17, 31))):
        for quality in (60, 90, 100):
            data = saved(picture, "AVIF", quality=quality, subsampling="4:4:4", speed=9)
            theirs = pyvips.Image.new_from_buffer(data, "").numpy()
            differences.append(difference(decode_image(data, STRICT).pixels, theirs))
    hold("decoding AVIF, full colour", cases=len(differences), worst=max(differences))
