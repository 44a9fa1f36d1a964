"""What transparent pixels do: every operation and analysis keeps to the rule that it names in the reference's table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from docs.generate import alpha_table
from pipelines.alpha_rules import AlphaRule
from pipelines.analyses import ANALYSES, ROWS, AnalysisCalculator
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations import OPERATIONS, apply_operations
from tests.operation_cases import DTYPES, analysis_cases, operation_cases, top_of

ROOT = Path(__file__).resolve().parents[3]
Case = tuple[str, dict[str, Any]]


def picture(dtype: Any, shape: tuple[int, int] = (48, 61)) -> NDArray[Any]:
    """RGBA with structure, noise, hard and soft edges of alpha, holes and specks that are invisible."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = np.stack([np.sin(x / 5) * np.cos(y / 7), np.cos(x / 9 + y / 4), np.sin((x + y) / 6)], -1) * 0.3 + 0.5
    colours = np.clip(waves + random.normal(0, 0.05, (*shape, 3)), 0.01, 0.99)
    alpha = np.clip((x - 8) / 12, 0, 1) * ((y - 24) ** 2 + (x - 40) ** 2 > 60) * (random.random(shape) > 0.02)
    alpha[:9, 30:] = 1  # opaque up to the border
    values = np.concatenate([colours, alpha[..., None]], -1) * top_of(dtype)
    image = values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values).astype(dtype)
    return image


def repainted(image: NDArray[Any], seed: int = 0) -> NDArray[Any]:
    """The same picture with other colours under alpha 0; of floats NaN and infinities as well."""
    random = np.random.default_rng(seed)
    colours = random.integers(0, int(top_of(image.dtype)) + 1, (*image.shape[:2], 3)).astype(image.dtype)
    if image.dtype.kind == "f":
        colours = random.choice(np.array([0, 1, 7, np.nan, np.inf, -np.inf], np.float32), colours.shape)
    result = image.copy()
    hidden = image[..., 3] == 0
    result[hidden, :3] = colours[hidden]
    return result


def with_alpha(image: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    return np.dstack([image[..., :3], alpha.astype(image.dtype)])


def run(image: NDArray[Any], case: Case) -> NDArray[Any]:
    before = image.copy()
    view = image.view()
    view.flags.writeable = False
    result = apply_operations(view, [ImageOperation(*case)]).pixels
    np.testing.assert_array_equal(image, before)
    return result


def numbers(image: NDArray[Any], case: Case) -> dict[str, Any]:
    found = AnalysisCalculator([AnalysisRequest(*case)]).calculate_analyses(image)[case[0]]
    return {**{key: value for key, value in found.items() if key != ROWS}, **found.get(ROWS, {})}


def assert_same_numbers(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key], err_msg=key)


def seen(image: NDArray[Any]) -> NDArray[Any]:
    """The image with black in the place of what is invisible."""
    return np.where(image[..., 3:] > 0, image, image.dtype.type(0))


OPERATION_CASES = operation_cases()
ANALYSIS_CASES = analysis_cases()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", OPERATION_CASES, ids=str)
def test_what_is_invisible_changes_nothing_visible(case: Case, dtype: str) -> None:
    image = picture(dtype)
    expected = run(image, case)
    for seed in (1, 2):
        result = run(repainted(image, seed), case)
        np.testing.assert_array_equal(seen(result), seen(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ANALYSIS_CASES, ids=str)
def test_what_is_invisible_changes_no_number(case: Case, dtype: str) -> None:
    image = picture(dtype)
    assert_same_numbers(numbers(repainted(image, 1), case), numbers(repainted(image, 2), case))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", OPERATION_CASES, ids=str)
def test_an_operation_keeps_to_its_rule(case: Case, dtype: str) -> None:
    image = picture(dtype)
    top = top_of(dtype)
    rule = OPERATIONS[case[0]].alpha
    colours = run(image, case)
    visible = image[..., 3] > 0
    if rule is AlphaRule.APART:
        opaque = run(np.ascontiguousarray(image[..., :3]), case)
        np.testing.assert_array_equal(colours[..., :3], opaque if opaque.ndim == 3 else np.dstack([opaque] * 3))
    elif rule is AlphaRule.VISIBLE:
        least = np.where(visible, 1 if top > 1 else 1 / 255, 0)
        full = np.where(visible, top, 0)
        faint, clear = (run(with_alpha(image, alpha), case)[visible, :3] for alpha in (least, full))
        np.testing.assert_array_equal(faint, clear)
    elif rule is AlphaRule.WEIGHED:
        half = with_alpha(image, np.full(visible.shape, top // 2 if top > 1 else 0.5))
        opaque = run(np.ascontiguousarray(image[..., :3]), case).astype(float)
        assert np.abs(run(half, case)[..., :3] - opaque).max() <= 1.5 * max(top / 255, 1e-3 * top)
        uneven = with_alpha(image, np.where(np.arange(61) % 2, top, 0.1 * top) * np.ones(visible.shape))
        assert np.abs(run(uneven, case)[..., :3] - opaque).max() > 1.6 * top / 255
    else:
        assert rule is AlphaRule.MOVED
        grey = with_alpha(np.full_like(image, 0.6 * top), image[..., 3])
        found = run(grey, case)
        shown = found[found[..., 3] > 0][:, :3].astype(float)
        shown = shown[shown.any(axis=1)]  # what pad and rotate add is black
        assert np.abs(shown - grey[0, 0, 0]).max() <= 1e-4 * top


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ANALYSIS_CASES, ids=str)
def test_an_analysis_keeps_to_its_rule(case: Case, dtype: str) -> None:
    image = picture(dtype)
    top = top_of(dtype)
    visible = image[..., 3] > 0
    least, full = np.where(visible, 1 if top > 1 else 1 / 255, 0), np.where(visible, top, 0)
    faint, clear = (numbers(with_alpha(image, alpha), case) for alpha in (least, full))
    if ANALYSES[case[0]].alpha is AlphaRule.VISIBLE:
        assert_same_numbers(faint, clear)
        opaque = with_alpha(image, np.full(visible.shape, top))
        assert_same_numbers(numbers(opaque, case), numbers(np.ascontiguousarray(image[..., :3]), case))
        assert any(not np.array_equal(value, numbers(opaque, case)[key]) for key, value in clear.items())
    else:
        assert ANALYSES[case[0]].alpha is AlphaRule.WEIGHED
        assert faint != clear


@pytest.mark.parametrize("case", OPERATION_CASES, ids=str)
def test_a_picture_of_which_nothing_is_visible_is_possible(case: Case) -> None:
    image = picture("uint8")
    image[..., 3] = 0
    result = run(image, case)
    assert result[..., 3].max() == 0 or case[0] in ("pad", "rotate")


@pytest.mark.parametrize("case", ANALYSIS_CASES, ids=str)
def test_nothing_visible_has_numbers_of_nothing(case: Case) -> None:
    image = picture("float32")
    image[..., 3] = 0
    assert_same_numbers(numbers(image, case), numbers(repainted(image), case))


@pytest.mark.parametrize("page", ["operations", "analyses"])
def test_the_reference_has_the_table(page: str) -> None:
    """Made of what the tests above hold the entries to; every entry of ours names one of the rules."""
    entries: Any = OPERATIONS if page == "operations" else ANALYSES
    table = alpha_table(entries)
    assert table in (ROOT / "docs" / "reference" / f"{page}.md").read_text()
    ours = [name for name, entry in entries.items() if entry.function.__module__.startswith("pipelines.")]
    assert all(f"`{name}`" in table and entries[name].alpha is not AlphaRule.OWN for name in ours)
    assert {case[0] for case in (OPERATION_CASES if page == "operations" else ANALYSIS_CASES)} == set(ours)


@pytest.mark.parametrize("method", ["erode", "dilate", "open", "close", "tophat"])
def test_invisible_pixels_are_like_those_outside_of_the_image(method: str) -> None:
    """A frame of invisible pixels around a picture, and nothing around it, are the same to morphology."""
    image = picture("uint8")
    image[..., 3] = 255
    case = ("morphology", {"method": method, "radius": 2})
    framed = repainted(np.pad(image, ((5, 5), (5, 5), (0, 0))))
    np.testing.assert_array_equal(run(framed, case)[5:-5, 5:-5], run(image, case))


def test_the_median_is_that_of_the_visible_pixels() -> None:
    image = picture("uint16", (20, 23))
    result = run(image, ("median", {"radius": 3}))
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), mode="edge")
    for row, column in np.argwhere(image[..., 3] > 0):
        window = padded[row : row + 7, column : column + 7].reshape(-1, 4)
        samples = np.sort(window[window[:, 3] > 0][:, :3], axis=0)
        np.testing.assert_array_equal(result[row, column, :3], samples[len(samples) // 2])


def test_a_gaussian_is_that_of_premultiplied_colours() -> None:
    """Against SciPy in float64."""
    from scipy import ndimage

    image = picture("float32")
    shares = image[..., 3].astype(np.float64)
    options: dict[str, Any] = {"sigma": 2.5, "mode": "mirror", "truncate": 4.0}
    norm = ndimage.gaussian_filter(shares, **options)
    result = run(image, ("gaussian", {"sigma": 2.5}))
    for channel in range(3):
        total = ndimage.gaussian_filter(image[..., channel] * shares, **options)
        known = (image[..., 3] > 0) & (norm > 1e-6)
        assert np.abs(result[..., channel][known] - (total[known] / norm[known])).max() <= 1e-5
