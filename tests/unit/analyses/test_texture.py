"""Texture: sizes and dtypes, co-occurrence and patterns against direct counting, known textures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

from pipelines.analyses.registry import ANALYSES
from pipelines.analyses.texture import COLUMNS, texture
from pipelines.operations.colour import grayscale
from tests.strategies import example_image, images

DTYPES = ("uint8", "uint16", "float32")
NAMES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 3), (37, 53)], ids=str)
def test_every_image_gives_every_column(dtype: str, channels: int, shape: tuple[int, int]) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    result = texture(image)
    assert list(result) == [column.name for column in COLUMNS] == [c.name for c in ANALYSES["texture"].columns()]
    assert (result["contrast"] is None) == (shape == (1, 1))
    assert result["lbp"].shape == (10,)
    assert result["lbp"].sum() == pytest.approx(1)
    np.testing.assert_array_equal(image, before)


def direct(reduced: NDArray[Any], distance: int) -> dict[str, float]:
    """By pairs of pixels, one direction after the other; diagonals are as long as the others, rounded to pixels."""
    rows, columns = reduced.shape
    slant = round(distance / 2**0.5)
    found = []
    for down, right in ((0, distance), (-slant, slant), (-distance, 0), (-slant, -slant)):
        pairs = [
            (int(reduced[r, c]), int(reduced[r + down, c + right]))
            for r in range(rows)
            for c in range(columns)
            if 0 <= r + down < rows and 0 <= c + right < columns
        ]
        if not pairs:
            continue
        both = np.array(pairs + [(b, a) for a, b in pairs], float)
        difference = both[:, 0] - both[:, 1]
        _, counts = np.unique(both, axis=0, return_counts=True)
        shares = counts / counts.sum()
        spread = both[:, 0].std()
        found.append(
            {
                "contrast": (difference**2).mean(),
                "dissimilarity": np.abs(difference).mean(),
                "homogeneity": (1 / (1 + difference**2)).mean(),
                "energy": np.sqrt((shares**2).sum()),
                "correlation": np.corrcoef(both.T)[0, 1] if spread > 0 else 1.0,
                "entropy": -(shares * np.log(shares)).sum(),
            }
        )
    return {name: float(np.mean([each[name] for each in found])) for name in NAMES}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("levels", "distance"), [(32, 1), (8, 2), (256, 3)])
def test_co_occurrence_is_that_of_all_pairs(dtype: str, levels: int, distance: int) -> None:
    image = example_image(dtype, 1, (13, 17))
    top = 255 if dtype == "uint8" else 65535
    stored = np.rint(image.astype(np.float64) * 65535) if dtype == "float32" else image.astype(np.float64)
    expected = direct(np.floor(stored * levels / (top + 1)).astype(int), distance)
    result = texture(image, levels=levels, distance=distance)
    for name in NAMES:
        assert result[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-9), name


def test_scikit_image_gives_the_same_for_a_power_of_two() -> None:
    image = example_image("uint8", 1)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrix = graycomatrix(image >> 4, [1], angles, levels=16, symmetric=True, normed=True)
    result = texture(image, levels=16)
    for name in NAMES:
        assert result[name] == graycoprops(matrix, name).mean()


def test_patterns_are_those_of_scikit_image() -> None:
    image = example_image("uint16", 1)
    patterns = local_binary_pattern(image, 8, 1, "uniform")
    expected = [(patterns == number).mean() for number in range(10)]
    np.testing.assert_array_equal(texture(image)["lbp"], expected)


def test_a_colour_image_counts_as_its_luma() -> None:
    image = example_image("uint8", 3)
    result, expected = texture(image), texture(grayscale(image))
    assert {name: result[name] for name in NAMES} == {name: expected[name] for name in NAMES}


def test_known_textures() -> None:
    even = texture(np.full((8, 8), 90, np.uint8))
    assert (even["contrast"], even["homogeneity"], even["energy"], even["entropy"]) == (0, 1, 1, 0)
    columns = texture(np.tile(np.array([0, 255], np.uint8), (8, 4)), levels=2)
    assert columns["contrast"] == pytest.approx(3 / 4)  # neighbours differ in all directions but down
    assert set(texture(np.full((3, 3), np.nan, np.float32)).values()) == {None}


@settings(deadline=None, max_examples=50)
@given(image=images(dtypes=("uint8", "uint16"), min_side=2), levels=st.integers(2, 256))
def test_the_numbers_keep_their_ranges(image: NDArray[Any], levels: int) -> None:
    result = texture(image, levels=levels)
    assert 0 <= result["dissimilarity"] <= levels - 1
    assert result["dissimilarity"] ** 2 <= result["contrast"] + 1e-9
    assert 0 < result["homogeneity"] <= 1 + 1e-9
    assert 0 < result["energy"] <= 1 + 1e-9
    assert -1 - 1e-9 <= result["correlation"] <= 1 + 1e-9
    mirrored = texture(image[:, ::-1], levels=levels)
    for name in NAMES:
        assert mirrored[name] == pytest.approx(result[name], rel=1e-6, abs=1e-9)
