"""The contracts by the bench of Rayjobs, the meaning by known values."""

from __future__ import annotations

import numpy as np
import pytest
from rayjobs_vignette.analysis import ANALYSIS, chart, measure
from rayjobs_vignette.operation import OPERATION, render

from rayjobs.plugins import Image
from rayjobs.testing import check_analysis, check_chart, check_operation


def test_contracts() -> None:
    check_operation(OPERATION, [{}, {"strength": 0}, {"strength": 1}], wrong=[{"strength": 2}, {"strength": "much"}])
    check_analysis(ANALYSIS, [{}, {"floor": 0.5}])
    check_chart(chart, ANALYSIS)


def test_the_operation_keeps_the_centre_and_darkens_the_corners(any_image: Image) -> None:
    np.testing.assert_array_equal(render(any_image, strength=0), any_image)
    done = render(np.full((101, 101), 200, np.uint8), strength=1)
    assert done[50, 50] == 200
    assert done[0, 0] == round(200 * (1 - (100 / 101) ** 2))


def test_flat_light_measures_one() -> None:
    result = measure(np.full((64, 64, 3), 128, np.uint8))
    assert result["corner_ratio"] == pytest.approx(1)
    np.testing.assert_allclose(result["rings"], 128 / 255)
