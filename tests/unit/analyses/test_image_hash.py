"""Image hashes: sizes and dtypes, the formulas, copies that stay alike, and groups against comparing all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import fft
from skimage import data
from skimage.transform import rescale

from pipelines.analyses.image_hash import COLUMNS, group_numbers, image_hash
from pipelines.analyses.registry import ANALYSES
from pipelines.operations.geometry import auto_orient
from pipelines.operations.image_geometry import ImageGeometry
from tests.strategies import example_image, images

DTYPES = ("uint8", "uint16", "float32")
METHODS: Any = ("phash", "dhash")


def distance(one: Any, other: Any) -> int:
    return (int(one["hash"], 16) ^ int(other["hash"], 16)).bit_count()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 3), (37, 53)], ids=str)
def test_the_hash_has_16_digits(method: Any, dtype: str, channels: int, shape: tuple[int, int]) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    found = image_hash(image, method=method)["hash"]
    assert found is None or len(found) == 16
    assert found is not None or shape != (37, 53) or method == "dhash"  # it gets brighter to the right
    np.testing.assert_array_equal(image, before)


def test_the_group_is_a_column_of_the_table() -> None:
    assert [column.name for column in ANALYSES["image_hash"].columns()] == ["hash", "group"]
    assert [column.type for column in COLUMNS] == ["string", "int64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_phash_is_the_sign_of_the_lowest_frequencies(dtype: str) -> None:
    image = example_image(dtype, 1, (64, 96))
    reduced = image.astype(np.float64).reshape(32, 2, 32, 3).mean(axis=(1, 3))
    lowest = fft.dctn(reduced, norm="ortho")[:8, :8]
    bits = (lowest > np.median(lowest)).ravel()
    found = int(image_hash(image)["hash"], 16)
    assert (found ^ int("".join("01"[bit] for bit in bits.astype(int)), 2)).bit_count() <= 1  # float32 at the median


@pytest.mark.parametrize("dtype", DTYPES)
def test_dhash_tells_what_gets_brighter(dtype: str) -> None:
    image = (data.camera()[::32, ::18][:, :27] / 255 * (1 if dtype == "float32" else np.iinfo(dtype).max)).astype(dtype)
    reduced = image.astype(np.float64).reshape(8, 2, 9, 3).mean(axis=(1, 3))
    bits = np.diff(reduced, axis=1) > 0
    found = int(image_hash(image, method="dhash")["hash"], 16)
    assert (found ^ int("".join("01"[bit] for bit in bits.ravel().astype(int)), 2)).bit_count() <= 1


def test_known_hashes() -> None:
    stripes = np.tile(np.repeat([0, 90, 200] * 3, 10).astype(np.uint8), (40, 1))
    assert image_hash(stripes, method="dhash")["hash"] == "db" * 8
    assert image_hash(stripes[:, ::-1], method="dhash")["hash"] == "24" * 8
    for even in (
        np.zeros((9, 9), np.uint8),
        np.full((50, 60, 3), 0.4, np.float32),
        np.full((5, 5), np.nan, np.float32),
    ):
        assert image_hash(even)["hash"] is None


def structureless() -> dict[str, NDArray[Any]]:
    """Pictures that show nothing: even ones, with noise, shading of every kind, and halves."""
    y, x = np.mgrid[0:1:120j, 0:1:160j]
    random = np.random.default_rng(0)
    shades = {
        "even": np.full_like(x, 0.9),
        "noise": 0.9 + random.normal(0, 0.004, x.shape),
        "right": x,
        "faint": 0.9 + 0.03 * y,
        "down": 1 - y,
        "tilted": 0.2 + 0.3 * x + 0.4 * y,
        "vignette": 1 - 0.6 * ((x - 0.5) ** 2 + (y - 0.5) ** 2),
        "scan": 0.95 - 0.05 * x**2 + random.normal(0, 0.004, x.shape),
        "halves": (x > 0.5) * 1.0,
    }
    return {name: np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8) for name, values in shades.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", structureless())
def test_pictures_without_structure_have_no_hash(name: str, method: Any) -> None:
    picture = structureless()[name]
    for turned in (picture, picture[::-1, ::-1], np.stack([picture] * 3, -1)):
        assert image_hash(turned, method=method)["hash"] is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_seen_upright(orientation: int, method: Any) -> None:
    upright = data.astronaut()[:400]
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    stored = auto_orient(upright, orientation=inverse)
    assert image_hash(stored, ImageGeometry(orientation=orientation), method=method) == image_hash(
        upright, method=method
    )


@pytest.mark.parametrize("method", METHODS)
def test_copies_are_near_and_others_are_far(method: Any) -> None:
    astronaut, coffee = data.astronaut(), data.coffee()
    found = image_hash(astronaut, method=method)
    smaller = (rescale(astronaut, 0.37, channel_axis=-1, anti_aliasing=True) * 255).astype(np.uint8)
    brighter = np.clip(astronaut * 1.15 + 9, 0, 255).astype(np.uint8)
    noisy = np.clip(astronaut + np.random.default_rng(0).normal(0, 8, astronaut.shape), 0, 255).astype(np.uint8)
    with_alpha = np.dstack([astronaut, np.full(astronaut.shape[:2], 9, np.uint8)])
    deep = astronaut.astype(np.uint16) * 257
    for copy in (smaller, brighter, noisy, with_alpha, deep, (astronaut / 255).astype(np.float32)):
        assert distance(image_hash(copy, method=method), found) <= 5
    assert distance(image_hash(coffee, method=method), found) > 15


@settings(deadline=None, max_examples=60)
@given(image=images(), method=st.sampled_from(METHODS))
def test_the_hash_depends_on_the_pixels_alone(image: NDArray[Any], method: Any) -> None:
    strided = np.concatenate([image, image], axis=1)[:, : image.shape[1]]
    assert image_hash(strided, method=method) == image_hash(image, method=method)


def by_all_pairs(hashes: list[int | None], most: int) -> list[int | None]:
    """Spread the smallest place of each group until nothing changes."""
    places = list(range(len(hashes)))
    near = [
        (i, j)
        for i, one in enumerate(hashes)
        for j, other in enumerate(hashes)
        if i != j and one is not None and other is not None and (one ^ other).bit_count() <= most
    ]
    changed = True
    while changed:
        changed = False
        for i, j in near:
            least = min(places[i], places[j])
            changed = changed or places[i] != least or places[j] != least
            places[i] = places[j] = least
    firsts = sorted({places[i] for i, _ in near})
    paired = {i for i, _ in near}
    return [firsts.index(places[i]) + 1 if i in paired else None for i in range(len(hashes))]


@st.composite
def related_hashes(draw: st.DrawFn) -> list[int | None]:
    seeds = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    flips = st.lists(st.integers(0, 63), max_size=7)
    made = [
        None if flip is None else seeds[which % len(seeds)] ^ sum({1 << bit for bit in flip})
        for which, flip in draw(st.lists(st.tuples(st.integers(0, 3), st.none() | flips), max_size=20))
    ]
    return [*made, *seeds]


def duplicate_groups(hashes: list[int | None], most: int) -> list[int | None]:
    known = np.array([value is not None for value in hashes], bool)
    values = np.array([value or 0 for value in hashes], np.uint64)
    return [number or None for number in group_numbers(values, known, most).tolist()]


@settings(deadline=None, max_examples=150)
@given(hashes=related_hashes(), most=st.integers(0, 10))
def test_groups_are_those_of_comparing_all_pairs(hashes: list[int | None], most: int) -> None:
    assert duplicate_groups(hashes, most) == by_all_pairs(hashes, most)


def test_groups_are_numbered_as_they_occur() -> None:
    far = 2**64 - 1
    assert duplicate_groups([far, None, 0, 77, 0, far ^ 1, None], 1) == [1, None, 2, None, 2, 1, None]
    assert duplicate_groups([], 5) == []
    assert duplicate_groups([None, 3], 5) == [None, None]


def test_a_group_is_linked_by_steps() -> None:
    chain = [0, 0b11, 0b1111, 0b111111]
    assert duplicate_groups(chain, 2) == [1, 1, 1, 1]
    assert duplicate_groups(chain, 1) == [None] * 4


def test_few_pairs_among_many_are_found() -> None:
    hashes: list[int | None] = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64).tolist()
    hashes[70_000] = hashes[5]
    assert hashes[9] is not None
    hashes[99_999] = hashes[9] ^ 0b10101 << 30
    groups = duplicate_groups(hashes, 5)
    assert {place: group for place, group in enumerate(groups) if group} == {5: 1, 70_000: 1, 9: 2, 99_999: 2}
