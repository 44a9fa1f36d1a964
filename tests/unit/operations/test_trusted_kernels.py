"""The rows of ``docs/reference/trust.md`` about kernels: the worst cases that can be made, against float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.analyses.noise import noise
from pipelines.models import ImageOperation
from pipelines.operations import apply_operations, chain_halo
from pipelines.operations.filters import bilateral, gaussian, gaussian_radius, unsharp_mask
from pipelines.operations.geometry import rotate
from pipelines.operations.smoothing_kernels import _whole_weights
from pipelines.operations.tiled_chain import apply_by_tiles
from tests.operation_cases import top_of
from tests.unit.analyses.test_noise import by_wavelet

TRUST = Path(__file__).resolve().parents[3] / "docs" / "reference" / "trust.md"


def blurred(image: NDArray[Any], sigma: float) -> NDArray[np.float64]:
    return np.asarray(ndimage.gaussian_filter(image.astype(np.float64), sigma, mode="mirror", truncate=4))


def adversaries(dtype: Any, sigma: float) -> Iterator[NDArray[Any]]:
    """Bright where the kernel's own weights are too large (or too small), and noise: nothing errs more."""
    radius = gaussian_radius(sigma)
    side = 2 * radius + 1
    exact = ndimage.gaussian_filter1d(np.eye(1, side, radius)[0], sigma, truncate=4, mode="constant")
    top = top_of(dtype)
    line = np.zeros((side, 3), dtype)
    line[radius] = top
    kernels = [gaussian(line, sigma=sigma)[:, 1].astype(np.float64) / top]
    if dtype == "uint8" and sigma <= 3:
        half = _whole_weights(sigma, 256) / 256
        kernels.append(np.pad(np.r_[half[:0:-1], half], radius - half.size + 1))
    for kernel in kernels:
        for bright in (kernel > exact, kernel < exact):
            for pattern in (np.outer(bright, bright), np.outer(bright, np.ones(side, bool))):
                for low, high in ((0, 1), (0.4, 0.63)):
                    picture = np.pad(np.where(pattern, high, low), radius, constant_values=low) * top
                    yield picture.astype(dtype) if top == 1 else np.rint(picture).astype(dtype)
    yield (np.random.default_rng(0).integers(0, 2, (50, 70)) * top).astype(dtype)


def gaussian_error(dtype: str, *sigmas: float) -> float:
    pairs = [(image, sigma) for sigma in sigmas for image in adversaries(dtype, sigma)]
    return max(
        float(np.abs(gaussian(image, sigma=s).astype(np.float64) - blurred(image, s)).max()) for image, s in pairs
    )


def unsharp_error() -> float:
    worst = 0.0
    for sigma in (0.5, 1.85, 2.3, 2.7, 4.0):
        for image in adversaries("uint8", sigma):
            difference = image - blurred(image, sigma)
            for amount in (0.5, 1.0, 2.0, 20.0):
                exact = np.clip(image + amount * difference, 0, 255)
                error = np.abs(unsharp_mask(image, radius=sigma, amount=amount) - exact).max()
                worst = max(worst, float(error) / (1 + amount))
    return worst


def bilateral_error() -> float:
    worst = 0.0
    for space, exponent in ((1.0, 2.0), (4.0, 5.0), (4.0, 8.0), (12.0, 8.0), (12.0, 12.0)):
        speck = np.zeros((31, 31), np.float32)
        speck[15, 15] = 0.9
        noisy = np.random.default_rng(1).random((31, 31)).astype(np.float32)
        for image in (speck, noisy):
            colour = 0.9 / math.sqrt(2 * exponent)
            exact = weighed(image, space, colour)
            found = bilateral(image, sigma_space=space, sigma_color=colour)
            worst = max(worst, float(np.abs(found - exact).max()))
    return worst


def weighed(image: NDArray[Any], space: float, colour: float) -> NDArray[np.float64]:
    radius = math.ceil(2 * space)
    padded = np.pad(image.astype(np.float64), radius, mode="reflect")
    rows, columns = image.shape
    total, norm = np.zeros(image.shape), np.zeros(image.shape)
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            there = padded[dy : dy + rows, dx : dx + columns]
            place = (dy - radius) ** 2 + (dx - radius) ** 2
            weight = np.exp(-place / (2 * space**2) - (there - image) ** 2 / (2 * colour**2))
            total += weight * there
            norm += weight
    return np.asarray(total / norm)


def rotate_error() -> float:
    from skimage.transform import rotate as reference

    random = np.random.default_rng(0)
    worst = 0.0
    for angle in (45.0, 1e-3, 179.9999, 30.0, *random.uniform(-360, 360, 8)):
        image = random.integers(0, 2, random.integers(3, 90, 2)).astype(np.float32)
        exact = reference(image.astype(np.float64), angle, order=3, clip=False, preserve_range=True)
        worst = max(worst, float(np.abs(rotate(image, angle=float(angle), expand=False) - exact).max()))
    return worst


def wavelet_error() -> float:
    worst = 0.0
    for dtype, unit in (("uint16", 1.0), ("float32", 1e-3 / 65535)):
        for grains in (0.6, 1.5, 7, 40):
            values = np.random.default_rng(2).normal(20_000 * unit, grains * unit, (96, 99))
            image = np.rint(values).astype(dtype) if dtype == "uint16" else values.astype(dtype)
            worst = max(worst, abs(noise(image)["sigma_wavelet"] / by_wavelet(image) - 1))
    return worst


def tile_error() -> float:
    image = np.random.default_rng(3).integers(0, 2, (150, 160, 3)).astype(np.float32)
    worst = 0.0
    for amount, operation in (
        (0, ImageOperation("gaussian", {"sigma": 2.0})),
        (0, ImageOperation("gaussian", {"sigma": 9.0})),
        (20, ImageOperation("unsharp_mask", {"radius": 9.0, "amount": 20.0})),
    ):
        tiles = apply_by_tiles(image, [operation], halo=chain_halo([operation]) or 0, side=53)
        whole = apply_operations(image, [operation]).pixels
        worst = max(worst, float(np.abs(tiles - whole).max()) / (1 + amount))
    return worst


CHECKS: dict[str, Callable[[], float]] = {
    "gaussian of uint8, sigma up to 3": lambda: gaussian_error("uint8", 0.5, 0.8, 1.5, 2.0, 2.4, 2.75, 2.8, 3.0),
    "gaussian of uint8, sigma above 3": lambda: gaussian_error("uint8", 3.1, 5.0, 11.5),
    "gaussian of uint16": lambda: gaussian_error("uint16", 0.5, 1.0, 2.9, 6.0),
    "gaussian of float32": lambda: gaussian_error("float32", 0.5, 2.0, 9.0),
    "unsharp_mask of uint8, per 1 + amount": unsharp_error,
    "bilateral of float32": bilateral_error,
    "rotate of float32": rotate_error,
    "noise, sigma_wavelet (relative)": wavelet_error,
    "tiles of float32, per 1 + amount": tile_error,
}


@pytest.mark.parametrize("area", CHECKS)
def test_the_table_of_trust_holds(area: str) -> None:
    rows = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in TRUST.read_text().splitlines()]
    (row,) = [row for row in rows if row[0] == area]
    worst, tolerance = (float(cell.split()[0]) for cell in row[3:5])
    assert CHECKS[area]() <= worst <= tolerance
