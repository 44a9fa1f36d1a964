"""A NaN or an infinity spoils its surroundings at most: every operation, by the reach it states, every analysis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.analyses import ANALYSES, ROWS, AnalysisCalculator
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations import OPERATIONS, apply_operations, chain_halo
from tests.operation_cases import analysis_cases, operation_cases
from tests.strategies import example_image

Case = tuple[str, dict[str, Any]]
BAD = (np.nan, np.inf, -np.inf)
SHAPE = (61, 67)


def run(image: NDArray[Any], case: Case) -> NDArray[Any]:
    view = image.view()
    view.flags.writeable = False
    return apply_operations(view, [ImageOperation(*case)]).pixels


def with_bad(image: NDArray[Any], row: int, column: int, bad: float) -> NDArray[Any]:
    result = image.copy()
    result[row, column] = bad
    return result


def reach_of(case: Case) -> int:
    """Pixels around a sample that isn't finite that may be spoilt; for those that see the whole image as they say."""
    operation = OPERATIONS[case[0]]
    if operation.reach == "local":
        halo = chain_halo([ImageOperation(*case)])
        assert halo is not None
        return halo
    return 1 if case[1].get("method") == "sobel" else 0


NEARBY = [case for case in operation_cases() if OPERATIONS[case[0]].reach != "geometry"]
MOVING = [case for case in operation_cases() if OPERATIONS[case[0]].reach == "geometry"]


@pytest.mark.parametrize("case", NEARBY, ids=str)
@settings(deadline=None, max_examples=8)
@given(row=st.integers(0, SHAPE[0] - 1), column=st.integers(0, SHAPE[1] - 1), bad=st.sampled_from(BAD), data=st.data())
def test_it_spoils_no_more_than_the_reach(case: Case, row: int, column: int, bad: float, data: st.DataObject) -> None:
    image = example_image("float32", data.draw(st.sampled_from([1, 3])), SHAPE)
    reach = reach_of(case)
    expected, result = run(image, case), run(with_bad(image, row, column, bad), case)
    far = np.ones(SHAPE, bool)
    far[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = False
    assert np.isfinite(result[far]).all()
    if OPERATIONS[case[0]].reach in ("local", "point"):
        np.testing.assert_allclose(result[far], expected[far], atol=2e-6)
    else:  # one pixel less counts in percentiles, thresholds and means of the whole image
        changed = np.abs(result[far] - expected[far])
        assert changed.mean() < 0.01
        assert np.count_nonzero(changed > 0.1) <= 0.01 * far.size


@pytest.mark.parametrize("case", MOVING, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bad", BAD)
def test_moved_pixels_are_spoilt_where_they_are_mixed(case: Case, channels: int, bad: float) -> None:
    """Lanczos mixes three pixels of the coarser side, bicubic rotation two, in each direction."""
    image = example_image("float32", channels, SHAPE).copy()
    expected = run(image, case)
    image[20, 30, ...] = bad
    if channels == 4:
        image[20, 30, 3] = 1
    result = run(image, case)
    spoilt = ~np.isclose(result, expected, atol=2e-6)
    if channels > 1:
        spoilt = spoilt.any(axis=2)
    rows, columns = np.nonzero(spoilt)
    most = 2 if case[1].get("width") == 90 else 1  # enlarged, it is there twice
    if case[0] in ("resize", "rotate") and case[1].get("angle") != 90 and case[1].get("kernel") != "nearest":
        most = max(7, math.ceil(6 * max(result.shape[0] / SHAPE[0], result.shape[1] / SHAPE[1])) + 1)
    assert spoilt.any() or case[1].get("kernel") == "nearest"
    assert np.ptp(rows) < most if rows.size else True
    assert np.ptp(columns) < most if columns.size else True


@pytest.mark.parametrize("case", [case for case in MOVING if case[0] in ("resize", "rotate")], ids=str)
@pytest.mark.parametrize("bad", BAD)
def test_alpha_stays_a_share_where_pixels_are_mixed(case: Case, bad: float) -> None:
    image = np.full((*SHAPE, 4), 0.5, np.float32)
    image[20, 30, 3] = bad
    alpha = run(image, case)[..., 3]
    if case[1].get("angle") == 90 or case[1].get("kernel") == "nearest":
        assert np.count_nonzero(~np.isfinite(alpha)) <= 4
    else:
        np.testing.assert_array_equal(alpha, np.clip(alpha, 0, 1))
        assert np.isfinite(alpha).all()


@pytest.mark.parametrize("case", analysis_cases(), ids=str)
@pytest.mark.parametrize("bad", BAD)
def test_it_costs_an_analysis_its_surroundings(case: Case, bad: float) -> None:
    image = example_image("float32", 3, (120, 140))
    expected, result = numbers(image, case), numbers(with_bad(image, 50, 60, bad), case)
    for key, value in expected.items():
        if key in ("nan_samples", "infinite_samples"):
            assert result[key] == 3 * (np.isnan(bad) == (key == "nan_samples"))
        elif isinstance(value, str):
            assert (int(value, 16) ^ int(result[key], 16)).bit_count() <= 2
        elif isinstance(value, np.ndarray) and value.dtype.kind == "u":
            clipped = 1 if math.isinf(bad) else 0  # an infinity counts as the end of the scale
            assert np.abs(value.astype(int) - result[key].astype(int)).sum() <= 1 + clipped
        else:
            np.testing.assert_allclose(np.float64(result[key]), np.float64(value), rtol=0.02, atol=1e-3, err_msg=key)


def numbers(image: NDArray[Any], case: Case) -> dict[str, Any]:
    found = AnalysisCalculator([AnalysisRequest(*case)]).calculate_analyses(image)[case[0]]
    return {key: value for key, value in found.items() if key != ROWS and not np.all(value is None)}


@pytest.mark.parametrize("smoothing", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("method", ["otsu", "li", "local", "fixed"])
@pytest.mark.parametrize("bad", BAD)
def test_it_costs_an_object_one_pixel(method: str, smoothing: float, bad: float) -> None:
    y, x = np.mgrid[:80, :90]
    image = (((y - 40) ** 2 + (x - 45) ** 2 < 400) * 0.6 + 0.2).astype(np.float32)
    case = (
        "objects",
        {"method": method, "smoothing": smoothing, "properties": ["area"], "fill_holes": method != "local"},
    )

    def areas(picture: NDArray[Any]) -> list[float]:
        found = AnalysisCalculator([AnalysisRequest(*case)]).calculate_analyses(picture)["objects"]
        return list(found[ROWS]["area"])

    whole, holed, outside = (
        areas(picture) for picture in (image, with_bad(image, 40, 45, bad), with_bad(image, 5, 5, bad))
    )
    assert len(whole) == 1
    assert outside == whole
    assert len(holed) == 1
    assert 0 <= whole[0] - holed[0] <= 1
    assert ANALYSES["objects"].version == 3


@pytest.mark.parametrize("method", ["rolling_ball", "flat_field"])
@pytest.mark.parametrize("bad", BAD)
def test_a_background_loses_one_pixel(method: str, bad: float) -> None:
    image = example_image("float32", 1, SHAPE)
    case = ("background", {"method": method, "radius": 10})
    result = run(with_bad(image, 30, 30, bad), case)
    np.testing.assert_array_equal(result[30, 30], np.float32(bad))
    result, expected = (np.delete(each.ravel(), 30 * SHAPE[1] + 30) for each in (result, run(image, case)))
    assert np.abs(result - expected).max() < 0.1
